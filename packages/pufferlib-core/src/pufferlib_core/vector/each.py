"""Environments with the interface of Gymnasium, one Python object each, as one batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pufferlib_core.emulation import ActionTree, SpaceTree, write
from pufferlib_core.errors import EnvError, SpaceError
from pufferlib_core.native import Array
from pufferlib_core.spaces import from_gymnasium as space_from_gymnasium
from pufferlib_core.traits import EnvSpec, Step


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
        obs_space = space_from_gymnasium(first.observation_space)
        SpaceTree(obs_space)
        action_space = ActionTree(space_from_gymnasium(first.action_space)).space
    except SpaceError as error:
        raise EnvError(f"{name}: {error}") from error
    close(first)
    return EnvSpec(
        name=name,
        obs_space=obs_space,
        action_space=action_space,
        factory=factory,
        description=(type(first).__doc__ or "").strip().partition("\n")[0],
    )


def close(env: Any) -> None:
    """Closes an environment that can be closed."""
    if hasattr(env, "close"):
        env.close()


def environment_seeds(count: int, first: int, words: tuple[int, ...]) -> list[int | None]:
    """Seeds of environments `first` onwards, each keyed by (words, its number); None takes their place once they are used."""
    sequences = (np.random.SeedSequence(words, spawn_key=(i,)) for i in range(first, first + count))
    return [int(sequence.generate_state(1)[0]) >> 1 for sequence in sequences]


class EachEnv:
    """A `BatchEnv` of separate environments, stepped one after the other.

    Args:
        factory: makes one.
        tree: layout of their observations.
        count: how many.
        first: number of the first one; environment i is seeded by (words, i) alone.
        words: what keys all seeds.
    """

    def __init__(self, factory: Callable[[], Any], tree: SpaceTree, count: int, first: int, words: tuple[int, ...]) -> None:
        self._envs = [factory() for _ in range(count)]
        self._seeds = environment_seeds(count, first, words)
        self._over = [False] * count
        self._tree = tree
        self._actions = ActionTree(space_from_gymnasium(self._envs[0].action_space))

    def reset(self, rows: Array, out: Step) -> None:
        """New episodes; the first one of each environment is seeded."""
        writers = self._tree.writers(out.obs)
        for i in rows.tolist():
            obs, _ = self._envs[i].reset(seed=self._seeds[i])
            self._seeds[i] = None
            self._over[i] = False
            write(writers, i, obs)

    def step(self, action: Array, out: Step) -> None:
        """One step of every environment whose episode goes on."""
        writers = self._tree.writers(out.obs)
        for i, env in enumerate(self._envs):
            if self._over[i]:
                continue
            obs, out.reward[i], terminated, truncated, info = env.step(self._actions.decode(action[i]))
            write(writers, i, obs)
            out.terminated[i], out.truncated[i] = bool(terminated), bool(truncated)
            out.cost[i] = info.get("cost", 0.0)
            self._over[i] = bool(terminated or truncated)

    def close(self) -> None:
        """Closes every environment."""
        for env in self._envs:
            close(env)
