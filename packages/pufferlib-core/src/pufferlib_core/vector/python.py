"""Environments written in Python: the bookkeeping around them, and a vector of them on the calling thread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pufferlib_core.data import Segment
from pufferlib_core.emulation import SpaceTree
from pufferlib_core.errors import ShapeError
from pufferlib_core.native import Array
from pufferlib_core.spaces import Box
from pufferlib_core.traits import EnvSpec, Step
from pufferlib_core.vector.base import VecEnv, choices_of
from pufferlib_core.vector.each import EachEnv
from pufferlib_core.vector.parallel import EachParallel


class PythonRows:
    """Environments `first` to `first + count - 1`: time limit, statistics, final observations and autoreset around them.

    Args:
        spec: the environment, with a factory or a batch.
        count: environments; each has `spec.agents` rows.
        first: number of the first environment, which seeds it.
        autoreset: see `VecEnv`.
        words: what keys all seeds.
    """

    def __init__(self, spec: EnvSpec, count: int, first: int, autoreset: str, words: tuple[int, ...]) -> None:
        self.spec, self.autoreset = spec, autoreset
        self._batch = _batch(spec, count, first, words)
        self._agents = spec.agents
        rows = count * spec.agents
        self._return = np.zeros(rows)
        self._length = np.zeros(rows, np.int32)
        self._present = np.zeros(rows, bool)  # whose episode goes on
        self._waiting = np.zeros(rows, bool)  # whose environment is over and not reset; never under same_step
        repeated = rows if autoreset == "disabled" else 0
        self._last = SpaceTree(spec.obs_space).empty(repeated)  # observations that `disabled` repeats

    def reset(self, rows: Array, out: Step) -> None:
        """New episodes in these rows: all of an environment, or none."""
        if len(rows) == 0:
            return
        if out.action_mask is not None:
            out.action_mask[rows] = 1
        self._batch.reset(rows, out)
        self._return[rows], self._length[rows], self._waiting[rows] = 0.0, 0, False
        self._present[rows] = True if self._agents == 1 else self._batch.present[rows]

    def step(self, action: Array, out: Step) -> int:
        """One step of every row; returns how many episodes ended."""
        for plane in (out.cost, out.terminated, out.truncated):
            plane.fill(0)
        if out.action_mask is not None:
            out.action_mask.fill(1)
        out.valid[...] = self._present
        self._batch.step(action, out)
        idle = (~self._present).nonzero()[0]
        if len(idle):
            for plane in (out.reward, out.cost, out.terminated, out.truncated):
                plane[idle] = 0
        ended = self._account(out)
        waiting = self._waiting.nonzero()[0]
        over = self._over(ended)
        if self.autoreset == "same_step":
            self.reset(over, out)
            self._clear(out)
            return len(ended)
        self._waiting[over] = True
        if self.autoreset == "next_step":
            self.reset(waiting, out)
            self._clear(out, ended)
            return len(ended)
        self._clear(out, ended)
        out.obs[waiting] = self._last[waiting]
        self._last[over] = out.obs[over]
        return len(ended)

    def _account(self, out: Step) -> Array:
        """Time limit, statistics, final observations; the rows whose episode ended."""
        self._return += out.reward
        self._length += out.valid
        if self.spec.max_episode_steps:
            out.truncated[(self._length >= self.spec.max_episode_steps) & (out.valid != 0) & (out.terminated == 0)] = 1
        ended = (out.terminated | out.truncated).nonzero()[0]
        if len(ended):
            out.final_obs[ended] = out.obs[ended]
            out.log["episode_return"][ended], out.log["episode_length"][ended] = self._return[ended], self._length[ended]
        return ended

    def _over(self, ended: Array) -> Array:
        """Takes the agents out that have left; the rows of environments that are over since this step."""
        if self._agents == 1:
            self._present[ended] = False
            return ended
        there = self._batch.present & ~self._waiting
        joined = there & ~self._present
        self._return[joined], self._length[joined] = 0.0, 0
        self._present[...] = there
        self._present[ended] = False
        empty = ~self._present.reshape(-1, self._agents).any(axis=1)
        return np.flatnonzero(np.repeat(empty, self._agents) & ~self._waiting)

    def _clear(self, out: Step, ended: Array | None = None) -> None:
        """Zeros in the rows of agents that are not there, but for last observations of environments that wait."""
        if self._agents == 1:
            return
        absent = ~self._present
        if ended is not None:
            absent[ended[self._waiting[ended]]] = False
        out.obs[absent] = np.zeros((), out.obs.dtype)

    def close(self) -> None:
        """Closes the environments."""
        self._batch.close()


def _batch(spec: EnvSpec, count: int, first: int, words: tuple[int, ...]) -> Any:
    """A `BatchEnv`, with several agents a `PopulationEnv`."""
    if spec.batch is not None:
        return spec.batch(count, np.random.SeedSequence([*words, first]))
    assert spec.factory is not None
    kind = EachEnv if spec.agents == 1 else EachParallel
    return kind(spec.factory, count, first, words)


class PythonVecs(VecEnv):
    """What both kinds of vectors of environments written in Python share.

    A state holds no episode: `set_state` starts new ones, from streams that were not used before.
    """

    def __init__(self, spec: EnvSpec, num_envs: int, autoreset: str, seed: int, first_stream: int) -> None:
        super().__init__(spec, num_envs, autoreset, seed, first_stream, spec.mask_size)
        self._times_restored = 0
        space = spec.action_space  # negative actions are above every limit when taken as unsigned
        self._limit = None if isinstance(space, Box) else np.asarray(space.nvec, np.uint32)

    @property
    def _words(self) -> tuple[int, ...]:
        """What keys all seeds."""
        return (self.seed, self._first_stream, self._times_restored)

    def _whole(self, mask: Array | None) -> Array:
        """uint8 (rows,): where an environment is reset, all its rows are."""
        if mask is None:
            return np.ones(self.rows, np.uint8)
        return mask if self.spec.agents == 1 else np.repeat(mask.reshape(self.num_envs, -1).max(axis=1), self.spec.agents)

    def _check_action(self, action: Array) -> None:
        self._pointer(action)
        if self._limit is not None and (choices_of(action).view(np.uint32) >= self._limit).any():
            self._refuse(action)

    def state(self) -> dict[str, Array]:
        """`obs`, and how often such a state was restored, which keys the next streams."""
        return {"obs": self.tree.plain(self._step.obs).copy(), "times_restored": np.array([self._times_restored], np.int64)}

    def set_state(self, state: Mapping[str, Array]) -> None:
        """Starts new episodes from streams of their own.

        Raises:
            ShapeError: if the state is of another kind or number.
        """
        expected = self.tree.plain(self._step.obs).shape
        if state["obs"].shape != expected:
            raise ShapeError(f"obs must have shape {expected}, got {state['obs'].shape}")
        self._times_restored = int(self._saved(state, "times_restored", np.int64, (1,))[0]) + 1
        self._restart()
        self.reset()


class PythonVec(PythonVecs):
    """N environments written in Python, on the calling thread."""

    def __init__(self, spec: EnvSpec, num_envs: int, autoreset: str, seed: int, first_stream: int) -> None:
        super().__init__(spec, num_envs, autoreset, seed, first_stream)
        self._closed = False
        self._make()

    def _make(self) -> None:
        self._rows_of = PythonRows(self.spec, self.num_envs, 0, self.autoreset, self._words)

    def _restart(self) -> None:
        self._rows_of.close()
        self._make()

    def _reset(self, mask: Array | None) -> None:
        self._check_open()
        self._rows_of.reset(np.flatnonzero(self._whole(mask)), self._step)

    def _advance(self, action: Array, rows: Step, out: tuple[Segment, int] | None) -> int:
        self._check_open()
        self._check_action(action)
        return self._rows_of.step(action, rows)

    def _check_open(self) -> None:
        if self._closed:
            raise self._is_closed()

    def close(self) -> None:
        """Closes the environments; calling it again does nothing."""
        if not self._closed:
            self._rows_of.close()
        self._closed = True
