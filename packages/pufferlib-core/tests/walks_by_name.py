"""A walk on a line that goes wrong when it is told to; worker processes import it, too."""

from __future__ import annotations

import time

import numpy as np
from pufferlib_core.spaces import Box, Discrete


class Walk:
    """Ends 20 from its start. It has no get_state, so that its runs are not exact."""

    observation_space, action_space = Box(-1e9, 1e9, (2,)), Discrete(2)
    fails_at = nan_at = 0  # steps of all walks; 0: never
    slow = 0.0  # seconds
    steps = 0  # of all walks of this process

    def reset(self, *, seed=None, options=None):
        self.at = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        Walk.steps += 1
        if self.fails_at and Walk.steps >= self.fails_at:
            raise RuntimeError("the path is blocked")
        time.sleep(self.slow)
        self.at += 2 * int(action) - 1
        seen = np.nan if self.nan_at and Walk.steps > self.nan_at else self.at
        return np.array([seen, 1], np.float32), float(action), abs(self.at) > 20, False, {}


class Blocked(Walk):
    """Fails in its second segment, by the test's sizes and with two workers."""

    fails_at = 350


class Marked(Walk):
    """Shows NaN after a number of steps of its own, and gives its state."""

    at_step = 0

    def __init__(self):
        self.taken = 0

    def step(self, action):
        self.taken += 1
        seen, *others = super().step(action)
        return np.where(self.taken < self.at_step, seen, np.float32(np.nan)), *others

    def get_state(self):
        return {"at": self.at, "taken": self.taken}

    def set_state(self, state):
        self.at, self.taken = state["at"], state["taken"]
