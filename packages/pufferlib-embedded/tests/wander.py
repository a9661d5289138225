"""Environments of many spaces in which there is nothing to win; policies are trained in them to be exported."""

from __future__ import annotations

import numpy as np
from pufferlib_core.spaces import Box, Discrete, Mixed, MultiDiscrete
from pufferlib_core.traits import EnvSpec


class Wander:
    """A batch that shows numbers which come and go."""

    def __init__(self, num_envs, seeds):
        self.random, self.time = np.random.default_rng(seeds), np.zeros(num_envs)

    def look(self, rows, out):
        self.time[rows] += 1
        shape = out.obs[rows].shape
        seen = self.random.normal(size=shape) + np.sin(self.time[rows] / 9).reshape(-1, *[1] * (len(shape) - 1))
        out.obs[rows] = seen if out.obs.dtype == np.float32 else np.clip(60 * seen + 128, 0, 255)

    def reset(self, rows, out):
        self.time[rows] = 0
        self.look(rows, out)

    def step(self, action, out):
        self.look(np.arange(len(self.time)), out)
        out.reward[:] = self.time % 3

    def close(self):
        pass


def environment(name, obs, action):
    return EnvSpec(name=name, obs_space=obs, action_space=action, batch=Wander, max_episode_steps=60)


VECTOR = Box(-np.inf, np.inf, (5,))
NUMBERS = environment("numbers", VECTOR, Box([-1.0, -np.inf], [1.0, 0.5]))
BOUNDED = environment("bounded", VECTOR, Box(-2, 2, (2,)))
BOTH = environment("both", VECTOR, Mixed(MultiDiscrete([2, 4]), Box(-1, 1, (1,))))
CHOICE = environment("choice", VECTOR, Discrete(3))
IMAGE = environment("image", Box(0, 255, (6, 5, 2), "uint8"), Discrete(3))
FLOATS = environment("floats", Box(-np.inf, np.inf, (6, 5, 2)), Discrete(3))
BYTES = environment("bytes", Box(0, 255, (5,), "uint8"), Discrete(3))
