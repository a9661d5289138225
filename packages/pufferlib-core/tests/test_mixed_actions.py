"""Actions that mix choices and numbers, end to end: environments of every kind, training, checkpoints, refusals."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
from envs_by_name import ARCHER, Team
from pufferlib_core import check_env, evaluate, make_vec, train
from pufferlib_core.adapters._common import resolve
from pufferlib_core.checkpoint import load_checkpoint
from pufferlib_core.errors import ConfigError, EnvError, ShapeError
from pufferlib_core.loops.evaluate import policy_of
from pufferlib_core.policies import PolicySpec
from pufferlib_core.spaces import Box, Discrete, Mixed, MultiDiscrete, Tuple
from pufferlib_core.vector import env_spec

OPTIONS = {
    "train": {"num_envs": 32},
    "ppo": {"horizon": 32, "minibatch": 256, "learning_rate": 3e-3, "gamma": 0.5, "entropy_coef": 0.0},
    "policy": {"log_std_init": -0.5},
}


def plane(vec, choices, numbers):
    """The same action in every row."""
    action = np.zeros(vec.action_shape, vec.action_dtype)
    action["choices"], action["numbers"] = choices, numbers
    return action


def test_the_space_of_a_nested_mixture():
    spec = env_spec("envs_by_name:Archer")
    assert spec.action_space == Mixed(MultiDiscrete([3, 2]), Box([-1], [1]))  # arrow, string; height
    assert json.loads(json.dumps(spec.action_space.to_json()))["type"] == "Mixed"


@pytest.mark.parametrize("env", ["envs_by_name:Archer", "envs_by_name:ARCHER"])
def test_they_keep_the_contract(env):
    check_env(env_spec(env), steps=40, num_envs=5)


@pytest.mark.parametrize("workers", [0, 2])
def test_actions_reach_the_environments_as_they_are(workers):
    vec = make_vec("envs_by_name:Archer", num_envs=4, seed=1, workers=workers)
    first = vec.reset().obs.copy()
    action = np.zeros(4, vec.action_dtype)
    action["choices"][:, 0] = first["wanted"] - 5
    action["choices"][:, 1] = [1, 1, 0, 1]
    action["numbers"] = first["height"]
    action["numbers"][1] = 77  # clipped to 1
    segment = vec.allocate(2)
    step = vec.step(action, out=(segment, 0))
    np.testing.assert_allclose(step.reward, [1, max(0, first["height"][1, 0]), 0, 1], atol=1e-6)
    assert segment.action[0].tobytes() == action.tobytes()
    vec.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_choices_out_of_range_are_named(workers):
    vec = make_vec("envs_by_name:Archer", num_envs=4, seed=1, workers=workers)
    vec.reset()
    for wrong in (-1, 2):
        action = plane(vec, [2, 1], [0.5])
        action["choices"][3, 1] = wrong
        with pytest.raises(EnvError, match=rf"action\[3, 1\] = {wrong} is outside its space \(3, 2\)"):
            vec.step(action)
    with pytest.raises(ShapeError, match="action must be "):
        vec.step(np.zeros((4, 3), np.int32))
    with pytest.raises(ShapeError, match="contiguous"):
        vec.step(np.zeros(8, vec.action_dtype)[::2])
    vec.step(plane(vec, [2, 1], [0.5]))  # nothing was stepped before
    vec.close()


@pytest.mark.parametrize("env", ["envs_by_name:Archer", "envs_by_name:ARCHER"])
def test_both_parts_are_learnt_and_the_run_continues(tmp_path, env):
    run = train(env, timesteps=32_768, options=OPTIONS, out=str(tmp_path))
    assert evaluate(env, run.checkpoint, episodes=64)["episode_return_mean"] > 7.0  # of 8; choices alone earn 4
    more = train(resume=run.checkpoint, timesteps=32_768 + 2048, out=str(tmp_path))
    assert more.summary["steps"] == 32_768 + 2048
    assert evaluate(env, more.checkpoint, episodes=64)["episode_return_mean"] > 7.0


def test_checkpoints_hold_the_space_and_the_same_actions(tmp_path):
    run = train("envs_by_name:Archer", timesteps=2048, options=OPTIONS, out=str(tmp_path))
    saved = load_checkpoint(run.checkpoint)
    policy = policy_of(saved)
    assert isinstance(policy.spec, PolicySpec)
    assert policy.spec.action_space == env_spec("envs_by_name:Archer").action_space
    obs = policy.spec.tree.empty(3)
    obs["wanted"] = [5, 6, 7]
    action, logprob, _ = policy.act(obs, greedy=False, seed=3)
    assert action.dtype == policy.spec.action_space.dtype
    again, same, _ = policy_of(saved).act(obs, greedy=False, seed=3)
    assert (again.tobytes(), same.tobytes()) == (action.tobytes(), logprob.tobytes())
    heads, _ = policy.forward(obs)
    greedy, _, _ = policy.act(obs)
    assert greedy["numbers"].tolist() == heads[:, 5:].tolist()  # the means stand behind the logits
    assert greedy["choices"].tolist() == np.stack([heads[:, :3].argmax(1), heads[:, 3:5].argmax(1)], 1).tolist()


def test_workers_and_threads_change_no_bit(tmp_path):
    saved = []
    for k, options in enumerate(({}, {"workers": 2, "threads": 2})):
        chosen = OPTIONS | {"train": OPTIONS["train"] | options}
        run = train("envs_by_name:Archer", timesteps=4096, options=chosen, out=str(tmp_path / str(k)))
        saved.append((run.checkpoint / "policy.safetensors").read_bytes())
    assert saved[0] == saved[1]


class Choir(Team):
    """Agents say a number and whether to listen."""

    heard: ClassVar[list[dict[str, tuple[int, np.ndarray]]]] = []

    def action_space(self, agent):
        return Tuple([Box(-1, 1, (1,)), Discrete(2)])

    def step(self, actions):
        self.heard.append(actions)
        return super().step({agent: listen for agent, (_, listen) in actions.items()})


def test_agents_get_their_own_form(monkeypatch):
    monkeypatch.setattr(sys.modules["envs_by_name"], "Choir", Choir, raising=False)
    vec = make_vec("envs_by_name:Choir", num_envs=1)
    vec.reset()
    action = np.zeros(3, vec.action_dtype)
    action["choices"][:, 0], action["numbers"][:, 0] = [1, 0, 0], [-0.5, 3, 0]
    vec.step(action)
    assert {agent: (number.tolist(), listen) for agent, (number, listen) in Choir.heard[-1].items()} == {
        "a": ([-0.5], 1), "b": ([1.0], 0),
    }  # fmt: skip


def test_c_tables_and_adapters_take_one_kind():
    with pytest.raises(EnvError, match="choices or numbers, not both"):
        replace(ARCHER, batch=None, masks=False, table=lambda isa: 0)
    with pytest.raises(ConfigError, match="archer: adapters do not take actions that mix choices and numbers"):
        resolve(ARCHER, None)
