"""Environments that tests and their worker processes import by name."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
import time
from pathlib import Path

import numpy as np
from pufferlib_core.spaces import Box, Dict, Discrete, Mixed, MultiBinary, MultiDiscrete, Tuple
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
    pages = int(Path("/proc/self/statm").read_text().split()[0])
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


class Team:
    """Agent a is done after two steps, b after four; c joins after one step and is cut off with b, without a flag.

    Each sees (its number, the time) and is paid for saying whether the time is 2 or more.
    """

    possible_agents = ("a", "b", "c")

    def observation_space(self, agent):
        return Box(0, 9, (2,))

    def action_space(self, agent):
        return Discrete(2)

    def reset(self, seed=None, options=None):
        self.seed, self.time, self.agents = seed, 0, ["a", "b"]
        return self.look(), {}

    def look(self):
        return {agent: np.array([1 + self.possible_agents.index(agent), self.time], np.float32) for agent in self.agents}

    def step(self, actions):
        assert set(actions) == set(self.agents)
        rewards = {agent: float(action == (self.time >= 2)) for agent, action in actions.items()}
        self.time += 1
        observations = self.look()
        ended = {agent: {"a": 2, "b": 4}.get(agent) == self.time for agent in self.agents}
        cut = dict.fromkeys(self.agents, False)
        costs = {agent: {"cost": 0.25} for agent in self.agents}
        self.agents = [agent for agent in self.agents if not ended[agent]]
        if self.time == 1:
            self.agents.append("c")
            observations["c"] = np.array([3, 1], np.float32)
        if self.time == 4:
            self.agents.remove("c")
        return observations, rewards, ended, cut, costs


class Fetch:
    """Nested observations and actions: name the colour of the picture and say whether the switch is on."""

    observation_space = Dict({
        "picture": Box(0, 255, (2, 3), "uint8"),
        "inventory": Tuple([Discrete(3, start=1), MultiBinary(2)]),
        "time": Box(0, 5, (), "float64"),
    })  # fmt: skip
    action_space = Dict({"colour": Discrete(2, start=4), "switch": MultiBinary(1)})

    def reset(self, seed=None, options=None):
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self.time = 0
        return self.look(), {}

    def look(self):
        self.colour, self.on = int(self.rng.integers(2)), int(self.rng.integers(2))
        picture = np.full((2, 3), 255 * self.colour, np.uint8)
        return {"picture": picture, "inventory": (2, np.array([self.on, 1 - self.on], np.int8)), "time": float(self.time)}

    def step(self, action):
        right = int(action["colour"] == 4 + self.colour) + int(action["switch"][0] == self.on)
        self.time += 1
        return self.look(), right / 2, False, self.time == 5, {}


class Doors:
    """Three doors, of which the last one opened is shut; door 0 pays, door 2 costs. PettingZoo's form of masks."""

    observation_space = Dict({"observation": Box(0, 3, (1,)), "action_mask": Box(0, 1, (3,), "int8")})
    action_space = Discrete(3)

    def reset(self, seed=None, options=None):
        self.last, self.time = 3, 0
        return self.look(), {}

    def look(self):
        mask = np.ones(4, np.int8)
        mask[self.last] = 0
        return {"observation": np.array([self.last], np.float32), "action_mask": mask[:3]}

    def step(self, action):
        assert action != self.last, "a shut door"
        self.last, self.time = action, self.time + 1
        return self.look(), {0: 1.0, 1: 0.0, 2: -1.0}[action], False, self.time == 8, {}


class Archer:
    """Shoot the right arrow (5, 6 or 7) at the right height: either alone earns nothing."""

    observation_space = Dict({"wanted": Discrete(3, start=5), "height": Box(-1, 1, (1,))})
    action_space = Dict({"arrow": Discrete(3, start=5), "bow": Tuple([Box(-1, 1, (), "float64"), MultiBinary(1)])})

    def reset(self, seed=None, options=None):
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self.time = 0
        return self.look(), {}

    def look(self):
        self.wanted, self.height = 5 + int(self.rng.integers(3)), self.rng.uniform(-1, 1)
        return {"wanted": self.wanted, "height": np.array([self.height], np.float32)}

    def step(self, action):
        height, string = action["bow"]
        assert -1 <= height <= 1
        hit = action["arrow"] == self.wanted and string[0] == 1
        reward = hit * max(0.0, 1 - abs(float(height) - self.height))
        self.time += 1
        return self.look(), reward, False, self.time == 8, {}


class ArcherBatch:
    """The same arrows as one batch, whose mask leaves two of them; a quiver without the right one is never given."""

    def __init__(self, num_envs, seed):
        self.rng = np.random.default_rng(seed)
        self.wanted, self.height = np.zeros(num_envs, np.int64), np.zeros(num_envs)

    def look(self, rows, out):
        self.wanted[rows], self.height[rows] = self.rng.integers(3, size=len(rows)), self.rng.uniform(-1, 1, len(rows))
        out.obs[rows, :3] = np.eye(3)[self.wanted[rows]]
        out.obs[rows, 3] = self.height[rows]
        out.action_mask[rows, (self.wanted[rows] + 1) % 3] = 0

    def reset(self, rows, out):
        out.action_mask[rows] = 1
        self.look(rows, out)

    def step(self, action, out):
        arrow, height = action["choices"][:, 0], action["numbers"][:, 0]
        assert (arrow != (self.wanted + 1) % 3).all(), "an arrow that is not there"
        out.reward[:] = (arrow == self.wanted) * np.maximum(0, 1 - np.abs(height - self.height))
        self.look(np.arange(len(arrow)), out)

    def close(self):
        pass


ARCHER = EnvSpec(
    name="archer", obs_space=Box(-1, 1, (4,)), action_space=Mixed(MultiDiscrete([3]), Box(-1, 1, (1,))), batch=ArcherBatch,
    max_episode_steps=8, masks=True,
)  # fmt: skip
