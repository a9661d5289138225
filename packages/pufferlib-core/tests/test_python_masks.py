"""Action masks of environments written in Python: from a batch, and from a part `action_mask` of the observation."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from envs_by_name import Doors
from pufferlib_core import check_env, evaluate, make_vec, train
from pufferlib_core.errors import EnvError, PufferError
from pufferlib_core.spaces import Box, Discrete
from pufferlib_core.traits import EnvSpec
from pufferlib_core.vector import env_spec


class DoorsBatch:
    """The same doors as one batch."""

    def __init__(self, num_envs, seed):
        self.last = np.full(num_envs, 3)

    def reset(self, rows, out):
        self.last[rows] = 3
        self.look(out, rows)

    def look(self, out, rows):
        assert out.action_mask[rows].all()
        out.obs[rows, 0] = self.last[rows]
        shut = rows[self.last[rows] < 3]
        out.action_mask[shut, self.last[shut]] = 0

    def step(self, action, out):
        assert (action != self.last).all(), "a shut door"
        self.last[:] = action
        self.look(out, np.arange(len(self.last)))
        out.reward[:] = 1 - action

    def close(self):
        """Nothing."""


DOORS = EnvSpec(
    name="doors", obs_space=Box(0, 3, (1,)), action_space=Discrete(3), max_episode_steps=8, batch=DoorsBatch, masks=True
)


@pytest.fixture
def user_module(monkeypatch):
    module = type(sys)("user_module")
    monkeypatch.setitem(sys.modules, "user_module", module)
    return module


@pytest.mark.parametrize("env", ["envs_by_name:Doors", "user_module:DOORS"])
def test_masks_of_python_environments_reach_the_policy(tmp_path, user_module, env):
    user_module.DOORS = DOORS
    spec = env_spec(env)
    check_env(spec, steps=40, num_envs=3)  # with allowed actions only
    assert spec.masks
    assert spec.obs_space == Box(0, 3, (1,))
    vec = make_vec(env, num_envs=3, seed=0)
    step = vec.reset()
    assert step.action_mask.tolist() == [[1, 1, 1]] * 3
    step = vec.step(np.array([0, 1, 2], np.int32))
    assert step.action_mask.tolist() == [[0, 1, 1], [1, 0, 1], [1, 1, 0]]
    options = {"train": {"num_envs": 16}, "ppo": {"horizon": 32, "minibatch": 128, "learning_rate": 3e-3}}
    run = train(env, timesteps=16_384, options=options, out=str(tmp_path))  # a shut door would raise
    assert evaluate(env, run.checkpoint, episodes=16)["episode_return_mean"] == 4.0  # 0 and 1 in turn
    if env == "envs_by_name:Doors":
        many = make_vec(env, num_envs=3, seed=0, workers=2)
        many.reset()
        segment = many.allocate(2)
        assert many.step(np.array([0, 1, 2], np.int32), out=(segment, 0)).action_mask.tolist() == step.action_mask.tolist()
        assert segment.action_mask[1].tolist() == step.action_mask.tolist()
        many.close()


def test_masks_need_choices_and_a_mask_that_allows_nothing_is_named(tmp_path, user_module):
    with pytest.raises(EnvError, match="masks=True is for choices"):
        replace(DOORS, action_space=Box(-1, 1, (1,)))

    class Shut(Doors):
        """In the end no door is left."""

        def look(self):
            seen = super().look()
            seen["action_mask"] = seen["action_mask"] * (self.time < 5)
            return seen

    user_module.Shut = Shut
    options = {"train": {"num_envs": 4}, "ppo": {"horizon": 16, "minibatch": 64}}
    with pytest.raises(PufferError, match="empty"):
        train("user_module:Shut", timesteps=512, options=options, out=str(tmp_path))
