"""Vector environments of Gymnasium that tests and their worker processes import by name."""

from __future__ import annotations

import functools

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import SyncVectorEnv


class Walk(gymnasium.Env):
    """From 0 to 3 (terminated) or -2 (truncated), with nested observations, masks and costs; counts its episodes."""

    observation_space = spaces.Dict({
        "observation": spaces.Dict({"at": spaces.Box(-3, 3, (2, 1), np.float64), "side": spaces.Discrete(3, start=-1)}),
        "action_mask": spaces.Box(0, 1, (3,), np.int8),
    })  # fmt: skip
    action_space = spaces.Discrete(3, start=2)

    def __init__(self):
        self.episode = 0

    def look(self):
        at = np.array([[self.at], [self.episode / 100]], np.float64)
        mask = np.array([1, 1, self.at < 2], np.int8)
        return {"observation": {"at": at, "side": int(np.sign(self.at))}, "action_mask": mask}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at, self.episode = 0, self.episode + 1
        return self.look(), {"cost": 9.0}  # of no step

    def step(self, action):
        assert -2 < self.at < 3, "the episode is over"
        self.at += action - 3
        return self.look(), float(self.at) / 3, self.at == 3, self.at == -2, {"cost": abs(self.at) / 2}


class Uncounted(Walk):
    """Episodes all look alike."""

    def look(self):
        self.episode = 0
        return super().look()


def sync(num_envs, mode, kind=Walk):
    return SyncVectorEnv([kind] * num_envs, autoreset_mode=mode)


NextStep, SameStep, Disabled = (functools.partial(sync, mode=mode) for mode in ("NextStep", "SameStep", "Disabled"))
Waits = functools.partial(sync, mode="Disabled", kind=Uncounted)


def cartpole(num_envs):
    return gymnasium.make_vec("CartPole-v1", num_envs=num_envs, vectorization_mode="vector_entry_point")


def three(num_envs):
    return NextStep(3)


def unsaid(num_envs):
    made = NextStep(num_envs)
    del made.metadata["autoreset_mode"]
    return made


def always_two():
    return NextStep(2)


def single(num_envs):
    return Walk()


class NoFinal(gymnasium.vector.VectorWrapper):
    """Keeps last observations to itself."""

    def step(self, actions):
        *rest, info = self.env.step(actions)
        info.pop("final_obs", None)
        return *rest, info


def no_final(num_envs):
    return NoFinal(SameStep(num_envs))


class Saved(SyncVectorEnv):
    """Gives its whole state."""

    def get_state(self):
        return [(env.at, env.episode) for env in self.envs]

    def set_state(self, state):
        for env, (at, episode) in zip(self.envs, state, strict=True):
            env.at, env.episode = at, episode


def saved(num_envs):
    return Saved([Walk] * num_envs, autoreset_mode="Disabled")
