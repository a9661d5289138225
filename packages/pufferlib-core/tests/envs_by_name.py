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


REPORTS = [  # an action of `Fragile` in environment 4 of 7, of two workers and seed 9, and what is said then
    (2, r"worker 1 \(environments 3 to 6, seed words \(9, 0, 0\)\) failed:\n(.|\n)*ZeroDivisionError(.|\n)*"
        r"raised by environment 4, whose seed is of SeedSequence\(\(9, 0, 0\), spawn_key=\(4,\)\)"),
    (3, r"worker 1 \(environments 3 to 6, .*was killed by signal 9 \(Killed\)"),
    (4, r"worker 1 \(environments 3 to 6, .*did not answer within 1 seconds"),
    (5, r"MemoryError(.|\n)*raised by environment 4"),
    (6, "worker 1 .* ended with exit code 3"),
    (7, "SystemExit: enough"),
]  # fmt: skip


class Uneven(Line):
    """Some steps wait for up to 3 ms; which ones is the affair of the clock, not of the seed."""

    def step(self, action):
        time.sleep(3e-3 * (time.perf_counter_ns() // 1000 % 7 == 0) + 2e-4 * (time.perf_counter_ns() % 5))
        return super().step(action)


class Slow(Line):
    """An action above 1 takes that many tenths of a second."""

    action_space = Discrete(8)

    def step(self, action):
        if action > 1:
            time.sleep(action / 10)
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


class UnevenTeam(Team):
    """The same of several agents."""

    def step(self, actions):
        time.sleep(2e-4 * (time.perf_counter_ns() % 7))
        return super().step(actions)


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


class Cycle:
    """What turn-based environments of PettingZoo share; `play(agent, action)` is the game, `look(agent)` what is seen."""

    def agent_iter(self):
        while self.agents:
            yield self.agent_selection

    def last(self):
        agent = self.agent_selection
        flags = self.terminations[agent], self.truncations[agent]
        return self.observe(agent), self._cumulative_rewards[agent], *flags, self.infos[agent]

    def reset(self, seed=None, options=None):
        self.agents = list(self.possible_agents)
        self.rewards, self._cumulative_rewards = (dict.fromkeys(self.agents, 0.0) for _ in range(2))
        self.terminations, self.truncations = (dict.fromkeys(self.agents, False) for _ in range(2))
        self.infos = {agent: {} for agent in self.agents}
        self.agent_selection, self.next_one = self.agents[0], None
        self.begin(seed)

    def step(self, action):
        agent = self.agent_selection
        if self.terminations[agent] or self.truncations[agent]:
            assert action is None, "the dead do nothing"
            self.agents.remove(agent)
            for book in (self.rewards, self._cumulative_rewards, self.terminations, self.truncations, self.infos):
                del book[agent]
            self.rewards = dict.fromkeys(self.agents, 0.0)
        else:
            self.rewards = dict.fromkeys(self.agents, 0.0)
            self._cumulative_rewards[agent] = 0.0
            self.next_one = self.play(agent, action)
            for name, reward in self.rewards.items():
                self._cumulative_rewards[name] += reward
        dead = [name for name in self.agents if self.terminations[name] or self.truncations[name]]
        self.agent_selection = dead[0] if dead else self.next_one

    def observe(self, agent):
        return self.look(agent)


class Knockout(Cycle):
    """Agents a, b, c in turn, each sees (its number, turns played). Who moves is paid its action, the others 10 of it.

    b is out at c's first turn, which costs it 5; the others are cut off at c's second one.
    """

    possible_agents = ("a", "b", "c")

    def observation_space(self, agent):
        return Box(0, 99, (2,))

    def action_space(self, agent):
        return Discrete(3)

    def begin(self, seed):
        self.time = 0

    def look(self, agent):
        return np.array([1 + self.possible_agents.index(agent), self.time], np.float32)

    def play(self, agent, action):
        self.time += 1
        for name in self.agents:
            self.rewards[name] = float(action if name == agent else 10 * action)
        self.infos[agent] = {"cost": 0.5}
        if self.time == 3:
            self.terminations["b"] = True
            self.rewards["b"] -= 5.0
        if self.time == 5:
            self.truncations |= dict.fromkeys(self.agents, True)
        order = "abcac"
        return order[self.time % 5]


class Answer(Cycle):
    """Three rounds: `asker` names colour 0 or 1, `answerer` must name the other one; both are paid then.

    The asker gets one more if it named 1. Masks are zeros for whoever waits, as in PettingZoo's classic games.
    """

    possible_agents = ("asker", "answerer")

    def observation_space(self, agent):
        return Dict({"observation": Box(-1, 3, (3,)), "action_mask": Box(0, 1, (3,), "int8")})

    def action_space(self, agent):
        return Discrete(3)

    def begin(self, seed):
        self.round, self.asked = 0, -1

    def look(self, agent):
        mask = np.array([1, 1, 0], np.int8) * (agent == self.agent_selection)
        seen = [self.possible_agents.index(agent), self.round, self.asked]
        return {"observation": np.array(seen, np.float32), "action_mask": mask}

    def play(self, agent, action):
        assert action < 2, "masked"
        if agent == "asker":
            self.asked = action
            return "answerer"
        right = float(action != self.asked)
        self.rewards = {"answerer": right, "asker": right + (self.asked == 1)}
        self.round, self.asked = self.round + 1, -1
        if self.round == 3:
            self.terminations = dict.fromkeys(self.agents, True)
        return "asker"


class Court:
    """Parallel, two roles: two guards say which of two doors to shut; a thief picks one of three windows and a pace.

    Guards see the thief's number in bytes, the thief a nested observation with a mask. Guards are paid for shutting the
    door given to them, the thief for the window given to it and pace 1.
    """

    possible_agents = ("guard0", "thief", "guard1")

    def observation_space(self, agent):
        if agent == "thief":
            return Dict({"window": Discrete(3, start=1), "height": Box(0.5, 2, ()), "action_mask": Box(0, 1, (5,), "int8")})
        return Box(2, 9, (2,), "uint8")

    def action_space(self, agent):
        return Dict({"at": Discrete(3), "pace": MultiBinary(1)}) if agent == "thief" else Discrete(2, start=3)

    def reset(self, seed=None, options=None):
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self.time, self.agents = 0, list(self.possible_agents)
        return self.look(), {}

    def look(self):
        self.door, self.window = int(self.rng.integers(2)), int(self.rng.integers(3))
        self.mask = np.array([1, 1, 1, 1, 1], np.int8)
        self.mask[(self.window + 1) % 3] = 0
        guard = np.array([2 + self.door, 9], np.uint8)
        thief = {"window": self.window + 1, "height": 1.5, "action_mask": self.mask}
        return {agent: thief if agent == "thief" else guard for agent in self.agents}

    def step(self, actions):
        assert list(actions) == self.agents
        rewards = {}
        for agent, action in actions.items():
            if agent == "thief":
                assert self.mask[int(action["at"])], "a shut window"
                rewards[agent] = (float(action["at"] == self.window) + float(action["pace"][0])) / 2
            else:
                assert action in (3, 4)
                rewards[agent] = float(action == 3 + self.door)
        self.time += 1
        over = dict.fromkeys(self.agents, self.time == 4)
        seen = self.look()
        self.agents = [] if self.time == 4 else self.agents
        return seen, rewards, over, dict.fromkeys(over, False), {agent: {} for agent in over}


class CourtInTurns(Cycle, Court):
    """The same court, one after the other."""

    def begin(self, seed):
        Court.reset(self, seed)
        self.said = {}

    def look(self, agent=None):
        if agent is None:
            self.seen = Court.look(self)
            return self.seen
        return self.seen[agent]

    def play(self, agent, action):
        self.said[agent] = action
        if agent == "guard1":
            agents = self.agents
            _, self.rewards, self.terminations, _, _ = Court.step(self, self.said)
            self.agents, self.said = agents, {}
        order = self.possible_agents
        return order[(order.index(agent) + 1) % 3]


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
