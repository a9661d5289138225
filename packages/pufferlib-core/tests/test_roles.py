"""Agents that differ in their spaces: rows and heads with room for each role."""

from __future__ import annotations

import numpy as np
import pytest
from envs_by_name import Court, Team
from hypothesis import given
from hypothesis import strategies as st
from pufferlib_core import check_env, evaluate, make_vec, train
from pufferlib_core.errors import EnvError
from pufferlib_core.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete
from pufferlib_core.traits import EnvSpec
from pufferlib_core.vector import env_spec
from pufferlib_core.vector.parallel import from_population
from pufferlib_core.vector.roles import Roles

GUARDS, THIEF = [0, 2], 1


def test_spaces_of_roles():
    spec = env_spec("envs_by_name:Court")
    assert (spec.agents, spec.turns, spec.masks) == (3, False, True)
    assert spec.obs_space == Dict({  # zeros belong to every part
        "role": Discrete(2),
        "role0": Box(0, 9, (2,), "uint8"),
        "role1": Dict({"window": Discrete(4), "height": Box(0, 2, ())}),
    })  # fmt: skip
    assert spec.action_space == MultiDiscrete([3, 2])
    assert env_spec("envs_by_name:Team").obs_space == Box(0, 9, (2,))  # equal spaces: no roles


@pytest.mark.parametrize("workers", [None, 2])
def test_rows_of_roles(workers):
    vec = make_vec("envs_by_name:Court", num_envs=2, seed=3, workers=workers)
    segment = vec.allocate(4)
    vec.tree.plain(segment.obs[1])[...] = 7  # what the memory held before must not show
    segment.action_mask[1] = 7
    first = vec.reset().action_mask
    vec.step(np.stack([first[:, :3].argmax(axis=1), 0 * first[:, 0]], axis=1).astype(np.int32), out=(segment, 0))
    vec.close()
    obs, mask = segment.obs[1].reshape(2, 3), segment.action_mask[1].reshape(2, 3, 5)
    assert obs["role"].tolist() == [[0, 1, 0]] * 2
    assert (obs["role0"][:, GUARDS, 1] == 9).all()
    assert np.isin(obs["role0"][:, GUARDS, 0], [2, 3]).all()
    assert not obs["role0"][:, THIEF].any()
    assert (obs["role1"]["height"] == [[0, 1.5, 0]] * 2).all()
    assert not obs["role1"]["window"][:, GUARDS].any()
    # Guards have two of three choices, and of the thief's pace they may only take 0.
    assert mask[:, GUARDS].tolist() == [[[1, 1, 0, 1, 0]] * 2] * 2
    for window, allowed in zip(obs["role1"]["window"][:, THIEF], mask[:, THIEF], strict=True):
        expected = [1, 1, 1, 1, 1]
        expected[window % 3] = 0
        assert allowed.tolist() == expected
    features = vec.tree.features(segment.obs[1])
    assert features.shape == (6, 2 + 2 + 1 + 4)
    assert features[:, :2].tolist() == [[1, 0], [0, 1], [1, 0]] * 2
    assert features[0].tolist() == [1, 0, obs["role0"][0, 0, 0], 9, 0, 1, 0, 0, 0]  # the thief's height and window are 0


def test_actions_of_roles():
    roles = Roles(Court())
    assert roles.decode(0, np.array([1, 0], np.int32)) == 4
    thief = roles.decode(1, np.array([2, 1], np.int32))
    assert thief["at"] == 2
    assert thief["pace"].tolist() == [1]


class Pair:
    """Two agents with spaces that are given."""

    possible_agents = (0, 1)

    def __init__(self, *spaces):
        self.spaces = spaces
        self.reset = self.step = None

    def observation_space(self, agent):
        return self.spaces[agent][0]

    def action_space(self, agent):
        return self.spaces[agent][1]


def test_numbers_of_roles():
    """The longer role's numbers; each role takes as many as it has, within its own bounds."""
    see = Box(0, 1, (1,))
    roles = Roles(Pair((see, Box(-1, 1, (2,))), (see, Box(-2, 0, (1,)))))
    assert roles.action_space == Box([-2, -1], [1, 1])
    assert not roles.masks
    row = np.array([-1.5, 0.5], np.float32)
    assert roles.decode(0, row).tolist() == [-1, 0.5]
    assert roles.decode(1, row).tolist() == [-1.5]
    assert roles.decode(1, np.array([0.5, 9], np.float32)).tolist() == [0]


def test_kinds_of_actions_must_agree():
    see = Box(0, 1, (1,))
    with pytest.raises(EnvError, match="court: some of its agents choose and others give numbers"):
        from_population("court", Pair, Pair((see, Discrete(2)), (see, Box(0, 1, (1,)))))


choices = st.one_of(
    st.integers(1, 4).map(Discrete),
    st.lists(st.integers(1, 4), min_size=1, max_size=3).map(MultiDiscrete),
    st.integers(1, 3).map(MultiBinary),
)


@given(first=choices, second=choices, seed=st.integers(0, 1000))
def test_masks_allow_exactly_the_actions_of_a_role(first, second, seed):
    """Every allowed row of the union decodes into the role's space, and as many rows are allowed as the role has actions."""
    pair = Pair((Box(0, 1, (1,)), first), (Box(0, 1, (2,)), second))
    roles, union = Roles(pair), Roles(pair).action_space
    spec = EnvSpec(name="pair", obs_space=roles.tree.space, action_space=union, masks=True, agents=2, factory=Pair)
    from pufferlib_core.data import aligned_zeros
    from pufferlib_core.vector.base import step_planes

    step = step_planes(spec, 1, spec.mask_size, aligned_zeros)
    roles.write(step, [0, 1], [np.zeros(1), np.zeros(2)])
    rng = np.random.default_rng(seed)
    for agent, space in enumerate((first, second)):
        parts = np.split(step.action_mask[agent], np.cumsum(union.nvec)[:-1])
        assert np.prod([part.sum() for part in parts]) == np.prod(space.nvec)
        row = np.array([rng.choice(np.flatnonzero(part)) for part in parts], np.int32).reshape(union.shape)
        space.validate(np.asarray(roles.decode(agent, row)))


@pytest.mark.parametrize(("name", "updates"), [("Court", 25), ("CourtInTurns", 50)])
def test_roles_keep_the_contract_and_learn(tmp_path, name, updates):
    spec = env_spec(f"envs_by_name:{name}")
    assert spec.turns == (name == "CourtInTurns")
    check_env(spec, steps=30, num_envs=3)
    options = {"train": {"num_envs": 16}, "ppo": {"horizon": 32, "minibatch": 256, "learning_rate": 1e-2, "gamma": 0.2}}
    run = train(f"envs_by_name:{name}", timesteps=16 * 3 * 32 * updates, options=options, out=str(tmp_path))
    assert evaluate(f"envs_by_name:{name}", run.checkpoint, episodes=30)["episode_return_mean"] == 4.0


def test_a_population_of_one():
    class Alone(Court):
        """One guard."""

        possible_agents = ("guard0",)

    check_env(from_population("alone", Alone, Alone()), steps=20, num_envs=2)


def test_absent_agents_of_roles_have_zeros_that_a_network_can_read():
    class Mixed(Team):
        """c has a choice more and sees something else."""

        def observation_space(self, agent):
            return Dict({"see": Discrete(3, start=5)}) if agent == "c" else super().observation_space(agent)

        def action_space(self, agent):
            return Discrete(3 if agent == "c" else 2)

        def look(self):
            return super().look() | ({"c": {"see": 6}} if "c" in self.agents else {})

        def step(self, actions):
            seen, *rest = super().step(actions)
            return (seen | {"c": {"see": 7}} if "c" in seen else seen), *rest

    check_env(from_population("mixed", Mixed, Mixed()), steps=12, num_envs=2)


@pytest.mark.parametrize("kind", ["parallel_env", "env"])
def test_environments_of_others_whose_agents_differ(tmp_path, kind):
    name = f"mpe2.simple_tag_v3:{kind}"
    spec = env_spec(name)
    assert (spec.agents, spec.turns, spec.action_space) == (4, kind == "env", Discrete(5))
    assert [part.shape for part in (spec.obs_space.parts[1][1], spec.obs_space.parts[2][1])] == [(16,), (14,)]
    check_env(spec, steps=60, num_envs=2)
    options = {"train": {"num_envs": 4}, "ppo": {"horizon": 16, "minibatch": 64}}
    run = train(name, timesteps=4 * 4 * 16 * 3, options=options, out=str(tmp_path))
    assert run.summary["steps"] == 4 * 4 * 16 * 3
