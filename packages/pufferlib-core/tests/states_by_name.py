"""Environments that give and take their states; tests, their worker processes and their subprocesses import them by name."""

from __future__ import annotations

import gymnasium
import numpy as np
from envs_by_name import Batch, Doors, Line, Team
from gymnasium.envs.classic_control import CartPoleEnv
from gymnasium.wrappers import FrameStackObservation, TimeLimit
from pufferlib_core.spaces import Box, Discrete
from pufferlib_core.traits import EnvSpec


class SavedLine(Line):
    """Its state is a dict, with that of its generator."""

    def get_state(self):
        return {"at": self.at, "steps": self.steps, "rng": self.rng.bit_generator.state}

    def set_state(self, state):
        self.at, self.steps, self.rng.bit_generator.state = state["at"], state["steps"], state["rng"]


class Forgetful(SavedLine):
    """Leaves its generator out."""

    def get_state(self):
        return super().get_state() | {"rng": np.random.default_rng(0).bit_generator.state}


class Unsound(SavedLine):
    """Gives what no checkpoint can hold."""

    def get_state(self):
        return {"rng": self.rng}


class SavedDoors(Doors):
    """With action masks."""

    def get_state(self):
        return (self.last, self.time)

    def set_state(self, state):
        self.last, self.time = state


class SavedTeam(Team):
    """Several agents."""

    def get_state(self):
        return [self.time, self.agents]

    def set_state(self, state):
        self.time, self.agents = state


class SavedBatch(Batch):
    """A batch with a generator."""

    def __init__(self, num_envs, seed):
        super().__init__(num_envs, seed)
        self.rng = np.random.default_rng(seed)

    def step(self, action, out):
        super().step(action, out)
        out.reward[:] = self.rng.normal(size=len(action))

    def get_state(self):
        return {"start": self.start, "at": self.at, "rng": self.rng.bit_generator.state}

    def set_state(self, state):
        self.start, self.at, self.rng.bit_generator.state = state["start"], state["at"], state["rng"]


BATCH = EnvSpec(name="saved", obs_space=Box(0, 1e6, (1,)), action_space=Discrete(2), batch=SavedBatch, max_episode_steps=7)


class SavedCartPole(CartPoleEnv):
    """Gymnasium's, with the two methods."""

    def get_state(self):
        return {"state": self.state, "beyond": self.steps_beyond_terminated, "rng": self.np_random.bit_generator.state}

    def set_state(self, state):
        self.state, self.steps_beyond_terminated = state["state"], state["beyond"]
        self.np_random.bit_generator.state = state["rng"]


if "SavedCartPole-v0" not in gymnasium.registry:  # also where this module is imported twice
    gymnasium.register("SavedCartPole-v0", SavedCartPole, max_episode_steps=30)


def stacked():
    return FrameStackObservation(TimeLimit(SavedCartPole(), 12), 3)


class Skip(gymnasium.Wrapper):
    """A wrapper that nobody knows."""


def skipping():
    return Skip(SavedCartPole())
