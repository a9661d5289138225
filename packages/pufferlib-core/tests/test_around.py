"""What stands between policy and environment: bounds of actions, time limits, normalisers, stacks of frames."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pufferlib_core import Box, EnvSpec, evaluate, load_checkpoint, load_policy, make_vec, train
from pufferlib_core.backends import get_backend
from pufferlib_core.errors import CheckpointError, ConfigError, ShapeError
from pufferlib_core.policies import PolicyConfig, PolicySpec
from pufferlib_core.spaces import Dict as DictSpace
from pufferlib_core.spaces import Discrete
from pufferlib_core.vector import env_spec, vectorize
from pufferlib_core.vector.base import finite_bounds

ACTIONS = Box([-0.1, -np.inf], [0.3, 0.7], (2,), "float64")


class Recorder:
    """Keeps the actions that reach it; pays their sum."""

    observation_space = Box(-1, 1, (1,))
    action_space = ACTIONS

    def __init__(self):
        self.seen = []

    def reset(self, seed=None, options=None):
        return [0.0], {}

    def step(self, action):
        self.seen.append(action)
        return [0.0], float(np.sum(action)), False, False, {}


class Parts(Recorder):
    """The same with nested actions."""

    action_space = DictSpace({"a": Box(-0.1, 0.3, (1, 1), "float64"), "b": Box(-np.inf, 0.7, (), "float32")})

    def step(self, action):
        assert action["a"].shape == (1, 1)
        return super().step(np.array([action["a"][0, 0], action["b"]], np.float64))


class Team:
    """The same for two agents."""

    possible_agents = ("x", "y")

    def __init__(self):
        self.seen = []

    def observation_space(self, agent):
        return Recorder.observation_space

    def action_space(self, agent):
        return ACTIONS

    def reset(self, seed=None, options=None):
        self.agents = list(self.possible_agents)
        return {agent: [0.0] for agent in self.agents}, {}

    def step(self, actions):
        self.seen += actions.values()
        zero = dict.fromkeys(self.agents, 0.0)
        return {agent: [0.0] for agent in self.agents}, zero, zero, zero, {}


class Whole:
    """The same as a batch."""

    seen: list

    def __init__(self, num_envs, seed):
        Whole.seen = []

    def reset(self, rows, out):
        out.obs[rows] = 0

    def step(self, action, out):
        Whole.seen += list(action.astype(np.float64))
        out.obs[:] = out.reward[:, None] = 0

    def close(self):
        pass


def recorded(kind):
    """A specification, and what reaches its environments."""
    if kind is Whole:
        return EnvSpec(name="whole", obs_space=Box(-1, 1, (1,)), action_space=ACTIONS, batch=Whole), lambda: Whole.seen
    made = []
    spec = env_spec(f"{__name__}:{kind.__name__}")

    def factory():
        made.append(kind())
        return made[-1]

    return replace(spec, factory=factory), lambda: [action for env in made for action in env.seen]


@pytest.mark.parametrize("kind", [Recorder, Parts, Team, Whole])
def test_actions_are_clipped_before_the_environment_and_nowhere_else(kind):
    spec, seen = recorded(kind)
    vec = vectorize(spec, num_envs=3)
    segment = vec.allocate(1)
    segment.obs[0] = vec.reset().obs
    action = np.tile(np.array([[-5, -5], [5, 5], [0.25, 0.5]], np.float32), (spec.agents, 1))
    given = action.copy()
    vec.step(action, out=(segment, 0))
    assert (action == given).all()
    assert (segment.action[0] == given).all()  # what was sampled, so that log-probabilities are its
    low, high = np.array([-0.1, -np.inf]), np.array([0.3, 0.7])
    came = np.array(seen())
    assert len(came) == 3 * spec.agents
    assert (came >= low).all()
    assert (came <= high).all()
    np.testing.assert_allclose(came, np.clip(given, low, high), rtol=1e-7)


@given(st.lists(st.tuples(st.floats(-1e30, 1e30), st.floats(0, 1e30)), min_size=1, max_size=4))
def test_bounds_in_float32_lie_inside(pairs):
    low = np.array([a for a, _ in pairs])
    high = low + np.array([b for _, b in pairs]) + np.abs(low) * 1e-6
    bounds = finite_bounds(Box(low, high, low.shape, "float64"))
    assert bounds is not None
    assert all(bound.dtype == np.float32 for bound in bounds)
    assert (low <= bounds[0]).all()
    assert (bounds[0] <= bounds[1]).all()
    assert ((bounds[1] <= high) | (bounds[1] == bounds[0])).all()
    assert (np.nextafter(bounds[0], np.float32(-np.inf)) < low).all()  # and no more inside than they must


def test_what_has_no_bounds_is_not_clipped():
    assert finite_bounds(Box(-np.inf, np.inf, (2,))) is None
    assert finite_bounds(Discrete(3)) is None


def test_native_environments_clamp_what_they_are_given():
    for name, bound in (("pendulum", 2.0), ("mountain_car_continuous", 1.0)):
        far, near = make_vec(name, num_envs=2), make_vec(name, num_envs=2)
        far.reset(), near.reset()
        for sign in (1, -1):
            a, b = (vec.step(np.full((2, 1), sign * x, np.float32)) for vec, x in ((far, 50.0), (near, bound)))
            assert (a.obs == b.obs).all()


def test_policies_say_what_happens_to_their_actions():
    continuous = PolicySpec(obs_space=Box(-1, 1, (1,)), action_space=ACTIONS, config=PolicyConfig())
    choices = replace(continuous, action_space=Discrete(3))
    squashed = replace(continuous, action_space=Box(-1, 2, (2,)), config=PolicyConfig(squash=True))
    for spec, told in ((continuous, "clip"), (choices, "none"), (squashed, "squash")):
        values = json.loads(json.dumps(spec.to_json()))
        assert values["postprocessing"] == told
        assert PolicySpec.from_json(values) == spec
        del values["postprocessing"]  # as earlier versions wrote it
        assert PolicySpec.from_json(values) == spec
    with pytest.raises(CheckpointError, match="postprocessing of its actions must be 'clip', got 'tanh'"):
        PolicySpec.from_json(continuous.to_json() | {"postprocessing": "tanh"})


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("limit", "ends"), [(4, 4), (None, 9), (0, 9)])  # nine are its own, kept within itself
def test_time_limits_by_setting(limit, ends, workers):
    vec = make_vec("envs_by_name:Line", num_envs=3, workers=workers, seed=1, max_episode_steps=limit)
    vec.reset()
    lengths, cut = [], 0
    for t in range(60):
        step = vec.step(np.full(3, t % 2, np.int32))
        assert not (step.terminated & step.truncated).any()
        lengths += step.log["episode_length"][step.truncated != 0].tolist()
        cut += step.truncated.sum()
    assert cut > 3
    assert set(lengths) == {ends}
    vec.close()


def test_time_limits_may_be_longer_than_gymnasiums():
    vec = make_vec("gymnasium:MountainCar-v0", num_envs=1, max_episode_steps=230)
    vec.reset()
    ends = [bool(vec.step(np.ones(1, np.int32)).truncated[0]) for _ in range(240)]
    assert ends.index(True) == 229


def test_runs_keep_their_time_limit(tmp_path):
    options = {"train": {"num_envs": 4, "max_episode_steps": 2}, "ppo": {"horizon": 16, "minibatch": 64}}
    run = train("envs_by_name:Line", timesteps=128, options=options, out=str(tmp_path))
    assert max(load_checkpoint(run.checkpoint).state["episodes"]["lengths"]) == 2
    assert evaluate("envs_by_name:Line", run.checkpoint, episodes=8)["episode_length_mean"] <= 2
    more = train(resume=run.checkpoint, timesteps=256, out=str(tmp_path))
    assert max(load_checkpoint(more.checkpoint).state["episodes"]["lengths"]) == 2


@pytest.mark.parametrize(
    ("name", "limit", "message"),
    [
        ("cartpole", 9, "cartpole is native, its limit is among its own settings"),
        ("envs_by_name:Line", -1, "a whole number from 0"),
    ],
)
def test_limits_that_do_not_fit(name, limit, message):
    with pytest.raises(ConfigError, match=message):
        make_vec(name, num_envs=1, max_episode_steps=limit)
    with pytest.raises(ConfigError, match="max_episode_steps"):
        train(name, options={"train.max_episode_steps": limit})


def test_the_policy_of_a_checkpoint_normalises_as_training_did(tmp_path):
    """Its outputs are those of the same network without a normaliser on observations that were normalised by hand."""
    options = {"train": {"num_envs": 8}, "ppo": {"horizon": 32, "minibatch": 64, "normalize_return": True},
               "policy": {"normalize_obs": True, "obs_clip": 1.5}}  # fmt: skip
    run = train("pendulum", timesteps=1024, options=options, out=str(tmp_path), seed=2)
    saved = load_checkpoint(run.checkpoint)
    assert saved.files["trainer"]["return_norm/var"][0] != 1.0
    policy = load_policy(run.checkpoint)
    without = replace(policy.spec, config=replace(policy.spec.config, normalize_obs=False))
    plain = get_backend("native", "infer").load_policy(without, saved.files["policy"])
    obs = np.random.default_rng(0).normal(size=(50, 3), scale=3).astype(np.float32)
    mean, var = (saved.files["policy"][f"obs_norm/{name}"] for name in ("mean", "var"))
    by_hand = np.clip((obs - mean) / np.sqrt(var + 1e-8), -1.5, 1.5).astype(np.float32)
    assert (abs(by_hand) == 1.5).any()
    for a, b in zip(policy.forward(obs), plain.forward(by_hand), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert abs(policy.forward(obs)[0] - plain.forward(obs)[0]).max() > 0.01


def test_stacks_of_frames_over_the_end_of_an_episode():
    """Gymnasium's wrapper: last observations hold frames of their own episode, the next one starts with its first."""
    vec = make_vec("states_by_name:stacked", num_envs=2, seed=4)
    assert vec.obs_space.shape == (3, 4)
    before = vec.reset().obs.copy()
    ended = 0
    for _ in range(40):
        step = vec.step(np.ones(2, np.int32))
        for i in range(2):
            if step.terminated[i] or step.truncated[i]:
                assert (step.final_obs[i, :2] == before[i, 1:]).all()
                assert (step.obs[i] == step.obs[i, 0]).all()
                ended += 1
            else:
                assert (step.obs[i, :2] == before[i, 1:]).all()
        before = step.obs.copy()
    assert ended > 4


def test_a_wrong_action_is_refused_before_it_is_clipped():
    vec = vectorize(recorded(Recorder)[0], num_envs=2)
    vec.reset()
    with pytest.raises(ShapeError, match="float32"):
        vec.step(np.zeros((2, 2)))
