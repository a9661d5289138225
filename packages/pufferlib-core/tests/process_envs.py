"""Environments that workers import by name; see test_process.py."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
import time

import numpy as np
from pufferlib_core.spaces import Box, Discrete
from pufferlib_core.traits import EnvSpec


class Line:
    """Walk to +3 (reward 1) or -3 (reward -1) from a random start, with random steps; cut off after nine."""

    observation_space = Box(-9, 9, (2,))
    action_space = Discrete(2)

    def reset(self, seed=None, options=None):
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self.at, self.steps = self.rng.normal(), 0
        return np.array([self.at, 0], np.float32), {}

    def step(self, action):
        self.at += (1 if action else -1) * self.rng.uniform(0.5, 1.5)
        self.steps += 1
        over = abs(self.at) > 3
        return [self.at, self.steps], float(np.sign(self.at)) * over, over, not over and self.steps == 9, {"cost": 0.5}


def exhaust():
    pages = int(open("/proc/self/statm").read().split()[0])  # noqa: SIM115
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (64 << 20),) * 2)
    np.ones(1 << 28)


FAILURES = {
    2: lambda: 1 // 0,
    3: lambda: os.kill(os.getpid(), signal.SIGKILL),
    4: lambda: time.sleep(60),
    5: exhaust,
    6: lambda: os._exit(3),
    7: lambda: sys.exit("enough"),
}


class Fragile(Line):
    """An action above 1 is the end of its process."""

    action_space = Discrete(8)

    def step(self, action):
        FAILURES.get(action, int)()
        return super().step(min(action, 1))


class FailsToClose(Line):
    """Once it was used, its end is not in order."""

    def close(self):
        if hasattr(self, "rng"):
            raise OSError("cannot close")


class FailsInWorkers(Line):
    """Made without trouble only where the tests run."""

    def __init__(self):
        assert multiprocessing.parent_process() is None, "no test here"


class HangsInWorkers(Line):
    """Takes its time to be made."""

    def __init__(self):
        if multiprocessing.parent_process():
            time.sleep(60)


class Batch:
    """Counts up; the first number is the one that its seed gives."""

    def __init__(self, num_envs, seed):
        self.start = np.random.default_rng(seed).integers(100)
        self.at = np.zeros(num_envs)

    def reset(self, rows, out):
        self.at[rows] = self.start
        out.obs[rows, 0] = self.at[rows]

    def step(self, action, out):
        self.at += action
        out.obs[:, 0] = self.at
        out.reward[:] = 1
        out.terminated[:] = action == 0

    def close(self):
        pass


BATCH = EnvSpec(name="counter", obs_space=Box(0, 1e6, (1,)), action_space=Discrete(2), batch=Batch)
