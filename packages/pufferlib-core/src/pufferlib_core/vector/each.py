"""Environments with the interface of Gymnasium, one Python object each, as one batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pufferlib_core.errors import EnvError, SpaceError
from pufferlib_core.native import Array
from pufferlib_core.spaces import Box, Discrete
from pufferlib_core.spaces import from_gymnasium as space_from_gymnasium
from pufferlib_core.traits import ActionSpace, EnvSpec, Step


def is_gymnasium(value: Any) -> bool:
    """Whether an object has what Gymnasium's environments have; the package itself is not needed."""
    return all(hasattr(value, name) for name in ("reset", "step", "observation_space", "action_space"))


def from_gymnasium(name: str, factory: Callable[[], Any], first: Any) -> EnvSpec:
    """The environment that a factory of Gymnasium's kind makes.

    Args:
        name: what to call it.
        factory: makes one environment.
        first: one that was made to look at its spaces; it is closed.

    Raises:
        EnvError: if its spaces are of kinds that are not supported.
    """
    try:
        obs_space, action_space = (space_from_gymnasium(space) for space in (first.observation_space, first.action_space))
        if not isinstance(obs_space, Box):
            raise SpaceError(f"observations must be a Box, got {type(obs_space).__name__}")
    except SpaceError as error:
        raise EnvError(f"{name}: {error}") from error
    _close(first)
    return EnvSpec(
        name=name,
        obs_space=obs_space,
        action_space=action_space,
        factory=factory,
        description=(type(first).__doc__ or "").strip().partition("\n")[0],
    )


def _close(env: Any) -> None:
    if hasattr(env, "close"):
        env.close()


class EachEnv:
    """A `BatchEnv` of separate environments, stepped one after the other.

    Args:
        factory: makes one.
        action_space: of the rows that `step` receives.
        count: how many.
        first: number of the first one; environment i is seeded by (words, i) alone.
        words: what keys all seeds.
    """

    def __init__(
        self, factory: Callable[[], Any], action_space: ActionSpace, count: int, first: int, words: tuple[int, ...]
    ) -> None:
        self._first, self._words = first, words
        self._envs = [factory() for _ in range(count)]
        sequences = (np.random.SeedSequence(words, spawn_key=(i,)) for i in range(first, first + count))
        self._seeds: list[int | None] = [int(sequence.generate_state(1)[0]) >> 1 for sequence in sequences]
        self._over = [False] * count
        self._single = isinstance(action_space, Discrete)

    def reset(self, rows: Array, out: Step) -> None:
        """New episodes; the first one of each environment is seeded."""
        for i in rows.tolist():
            try:
                obs, _ = self._envs[i].reset(seed=self._seeds[i])
                out.obs[i] = obs
            except Exception as error:
                self._name(i, error)
                raise
            self._seeds[i] = None
            self._over[i] = False

    def step(self, action: Array, out: Step) -> None:
        """One step of every environment whose episode goes on."""
        obs, reward, over = out.obs, out.reward, self._over
        for i, (env, chosen) in enumerate(zip(self._envs, action.tolist() if self._single else action, strict=True)):
            if over[i]:
                continue
            try:
                obs[i], reward[i], terminated, truncated, info = env.step(chosen)
                if info:
                    out.cost[i] = info.get("cost", 0.0)
            except Exception as error:
                self._name(i, error)
                raise
            if terminated or truncated:
                out.terminated[i], out.truncated[i], over[i] = bool(terminated), bool(truncated), True

    def _name(self, i: int, error: Exception) -> None:
        number = self._first + i
        error.add_note(f"raised by environment {number}, whose seed is of SeedSequence({self._words}, spawn_key=({number},))")

    def close(self) -> None:
        """Closes every environment."""
        for env in self._envs:
            _close(env)
