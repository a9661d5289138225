"""Environments with the interface of Gymnasium, one Python object each, as one batch."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from pufferlib_core.emulation import ActionTree, SpaceTree
from pufferlib_core.errors import EnvError, SpaceError
from pufferlib_core.native import Array
from pufferlib_core.spaces import Box, Dict, Flat, Space
from pufferlib_core.spaces import from_gymnasium as space_from_gymnasium
from pufferlib_core.traits import ActionSpace, EnvSpec, Step
from pufferlib_core.vector.states import Kept


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
    return made_by(name, first, lambda: reader_of(first.observation_space, first.action_space), factory=factory)


def made_by(name: str, first: Any, read: Callable[[], Any], **source: Any) -> EnvSpec:
    """The specification of an environment that was made once to look at it.

    Args:
        name: what to call it.
        first: the environment; it is closed.
        read: makes what turns its observations into rows.
        **source: the fields of `EnvSpec` that say how it is made.

    Raises:
        EnvError: if its spaces are not supported.
    """
    try:
        reader = read()
    except SpaceError as error:
        raise EnvError(f"{name}: {error}") from error
    close(first)
    return EnvSpec(
        name=name,
        obs_space=reader.tree.space,
        action_space=reader.action_space,
        masks=reader.masks,
        description=(type(first).__doc__ or "").strip().partition("\n")[0],
        **source,
    )


def close(env: Any) -> None:
    """Closes an environment that can be closed."""
    if hasattr(env, "close"):
        env.close()


class Reader:
    """How observations become rows.

    A part of a Dict that is called `action_mask`, with a number for each choice, says what is allowed (the convention of
    PettingZoo); the policy sees the other parts, or the one called `observation` alone.
    """

    def __init__(self, space: Space, action_space: ActionSpace) -> None:
        self.action_space = action_space
        parts = dict(space.children()) if isinstance(space, Dict) else {}
        mask = parts.pop("action_mask", None)
        choices = 0 if isinstance(action_space, Box) else sum(action_space.nvec)
        self.masks = bool(parts) and isinstance(mask, Flat) and mask.size == choices
        self._inner = "observation" if self.masks and set(parts) == {"observation"} else None
        seen = space if not self.masks else parts[self._inner] if self._inner else Dict(parts)
        self.tree = SpaceTree(seen)

    def write(self, out: Step, which: list[int] | None, values: list[Any]) -> None:
        """Puts observations, and masks where there are any, into rows; all rows if `which` is None."""
        if self.masks and values:
            assert out.action_mask is not None
            out.action_mask[slice(None) if which is None else which] = self.allowed(values)
        self.write_obs(out.obs, which, values)

    def allowed(self, values: list[Any]) -> list[Array]:
        """The masks of observations that have them."""
        return [np.ravel(value["action_mask"]) != 0 for value in values]

    def write_obs(self, obs: Array, which: list[int] | None, values: list[Any]) -> None:
        """Puts what the policy sees of observations into rows."""
        if self._inner:
            values = [value[self._inner] for value in values]
        self.tree.write(obs, which, values)

    def write_batch(self, out: Step, which: Array | slice, batch: Any) -> None:
        """The same from observations of all rows in the form of the space, each part (N, ...)."""
        if self.masks:
            assert out.action_mask is not None
            out.action_mask[which] = np.asarray(batch["action_mask"]).reshape(out.action_mask.shape)[which] != 0
        if self._inner:
            batch = batch[self._inner]
        for leaf in self.tree.leaves:
            part = batch
            for key in leaf.path:
                part = part[key]
            self.tree.view(out.obs, leaf.path)[which] = np.reshape(part, (len(out.obs), *leaf.shape))[which]


def reader_of(obs_space: Any, action_space: Any) -> Reader:
    """The reader of an environment with spaces of Gymnasium's kind.

    Raises:
        SpaceError: if they are not supported.
    """
    return Reader(space_from_gymnasium(obs_space), ActionTree(space_from_gymnasium(action_space)).space)


def environment_seeds(count: int, first: int, words: tuple[int, ...]) -> list[int | None]:
    """Seeds of environments `first` onwards, each keyed by (words, its number); None takes their place once they are used."""
    sequences = (np.random.SeedSequence(words, spawn_key=(i,)) for i in range(first, first + count))
    return [int(sequence.generate_state(1)[0]) >> 1 for sequence in sequences]


class Separate:
    """What batches of separate environments share: their seeds, states and end.

    Args:
        envs: of one kind.
        first: number of the first one; environment i is seeded by (words, i) alone.
        words: what keys all seeds.
    """

    def __init__(self, envs: list[Any], first: int, words: tuple[int, ...]) -> None:
        self._first, self._words = first, words
        self._envs = envs
        self._seeds = environment_seeds(len(envs), first, words)
        self._marks: Any = [False] * len(envs)  # what is known of an environment besides its own state
        self.missing = Kept(envs[0]).missing

    def states(self) -> list[Any]:
        """The state of every environment."""
        found = []
        for i, (env, mark) in enumerate(zip(self._envs, self._marks, strict=True)):
            with self._naming(i):
                found.append({"mark": mark, "own": Kept(env).get()})
        return found

    def set_states(self, states: list[Any]) -> None:
        """Restores what `states` returned."""
        for i, (env, state) in enumerate(zip(self._envs, states, strict=True)):
            with self._naming(i):
                Kept(env).set(state["own"])
            self._marks[i] = state["mark"]

    def fork(self, source: int, targets: list[int]) -> None:
        """Gives environments `targets` copies of environment `source`, made by `copy.deepcopy`.

        Raises:
            EnvError: if it cannot be copied.
        """
        for target in targets:
            try:
                made = copy.deepcopy(self._envs[source])
            except Exception as error:
                raise EnvError(f"{self.missing}, and it cannot be copied: {type(error).__name__}: {error}") from error
            close(self._envs[target])
            self._envs[target] = made
            self._marks[target], self._seeds[target] = self._marks[source], None

    @contextlib.contextmanager
    def _naming(self, i: int) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._name(i, error)
            raise

    def _name(self, i: int, error: Exception) -> None:
        number = self._first + i
        error.add_note(f"raised by environment {number}, whose seed is of SeedSequence({self._words}, spawn_key=({number},))")

    def close(self) -> None:
        """Closes every environment."""
        for env in self._envs:
            close(env)


class EachEnv(Separate):
    """A `BatchEnv` of separate environments, stepped one after the other; see `Separate`. Marked are those that are over."""

    def __init__(self, envs: list[Any], first: int, words: tuple[int, ...]) -> None:
        super().__init__(envs, first, words)
        self._actions = ActionTree(space_from_gymnasium(envs[0].action_space))
        self._reader = reader_of(envs[0].observation_space, envs[0].action_space)

    def reset(self, rows: Array, out: Step) -> None:
        """New episodes; the first one of each environment is seeded."""
        chosen, seen = rows.tolist(), []
        for i in chosen:
            with self._naming(i):
                came = self._envs[i].reset(seed=self._seeds[i])
                if not isinstance(came, tuple) or len(came) != 2:
                    raise EnvError(f"reset() must return (observation, info), got {type(came).__name__}")
                seen.append(came[0])
            self._seeds[i] = None
            self._marks[i] = False
        self._write(out, chosen, seen)

    def step(self, action: Array, out: Step) -> None:
        """One step of every environment whose episode goes on."""
        chosen = [i for i, over in enumerate(self._marks) if not over] if any(self._marks) else range(len(self._envs))
        decoded, reward, seen = self._actions.decode_all(action), out.reward, []
        for i in chosen:
            try:  # not `_naming`: a context manager costs more than many a step
                obs, reward[i], terminated, truncated, info = self._envs[i].step(decoded[i])
            except Exception as error:
                self._name(i, error)
                raise
            seen.append(obs)
            if info:
                out.cost[i] = info.get("cost", 0.0)
            if terminated or truncated:
                out.terminated[i], out.truncated[i], self._marks[i] = bool(terminated), bool(truncated), True
        self._write(out, chosen, seen)

    def _write(self, out: Step, chosen: Sequence[int], seen: list[Any]) -> None:
        try:
            self._reader.write(out, None if len(chosen) == len(self._envs) else list(chosen), seen)
        except Exception:
            for i, obs in zip(chosen, seen, strict=True):  # whose is wrong?
                with self._naming(i):
                    self._reader.write(out, [i], [obs])
            raise
