"""Environments written in Python: the bookkeeping around them, and a vector of them on the calling thread."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pufferlib_core.data import Segment
from pufferlib_core.errors import ShapeError
from pufferlib_core.native import Array
from pufferlib_core.spaces import Box
from pufferlib_core.traits import EnvSpec, Step
from pufferlib_core.vector.base import VecEnv
from pufferlib_core.vector.each import EachEnv


class PythonRows:
    """Environments `first` to `first + count - 1`: time limit, statistics, final observations and autoreset around them.

    Args:
        spec: the environment, with a factory or a batch.
        count: rows that it writes.
        first: number of the first environment, which seeds it.
        autoreset: see `VecEnv`.
        words: what keys all seeds.
    """

    def __init__(self, spec: EnvSpec, count: int, first: int, autoreset: str, words: tuple[int, ...]) -> None:
        self.spec, self.autoreset = spec, autoreset
        self.count = count
        if spec.batch is not None:
            self._batch = spec.batch(count, np.random.SeedSequence([*words, first]))
        else:
            assert spec.factory is not None
            self._batch = EachEnv(spec.factory, spec.action_space, count, first, words)
        self._return = np.zeros(count)
        self._length = np.zeros(count, np.int32)
        self._over = np.zeros(count, bool)  # waiting for a reset; never under same_step
        self._last = np.zeros((count, *spec.obs_space.shape), np.float32)  # observations that `disabled` repeats

    def reset(self, rows: Array, out: Step) -> None:
        """New episodes in these rows."""
        if len(rows) == 0:
            return
        self._batch.reset(rows, out)
        self._return[rows], self._length[rows], self._over[rows] = 0.0, 0, False

    def step(self, action: Array, out: Step) -> int:
        """One step of every row; returns how many episodes ended."""
        for plane in (out.cost, out.terminated, out.truncated):
            plane.fill(0)
        out.valid.fill(1)
        idle = self._over.nonzero()[0]
        self._batch.step(action, out)
        if len(idle):
            for plane in (out.reward, out.cost, out.terminated, out.truncated, out.valid):
                plane[idle] = 0
        self._return += out.reward
        self._length += out.valid
        if self.spec.max_episode_steps:
            out.truncated[(self._length >= self.spec.max_episode_steps) & (out.valid != 0) & (out.terminated == 0)] = 1
        ended = (out.terminated | out.truncated).nonzero()[0]
        if len(ended):
            out.final_obs[ended] = out.obs[ended]
            out.log["episode_return"][ended], out.log["episode_length"][ended] = self._return[ended], self._length[ended]
        if self.autoreset == "same_step":
            self.reset(ended, out)
            return len(ended)
        if self.autoreset == "next_step":
            self.reset(idle, out)
        else:
            out.obs[idle] = self._last[idle]
            self._last[ended] = out.obs[ended]
        self._over[ended] = True
        return len(ended)

    def close(self) -> None:
        """Closes the environments."""
        self._batch.close()


class PythonVecs(VecEnv):
    """What both kinds of vectors of environments written in Python share.

    A state holds no episode: `set_state` starts new ones, from streams that were not used before.
    """

    def __init__(self, spec: EnvSpec, num_envs: int, autoreset: str, seed: int, first_stream: int) -> None:
        super().__init__(spec, num_envs, autoreset, seed, first_stream, 0)
        self._times_restored = 0
        space = spec.action_space  # negative actions are above every limit when taken as unsigned
        self._limit = None if isinstance(space, Box) else np.asarray(space.nvec, np.uint32).reshape(space.shape)

    @property
    def _words(self) -> tuple[int, ...]:
        """What keys all seeds."""
        return (self.seed, self._first_stream, self._times_restored)

    def _check_action(self, action: Array) -> None:
        self._pointer(action)
        if self._limit is not None and (action.view(np.uint32) >= self._limit).any():
            self._refuse(action)

    def state(self) -> dict[str, Array]:
        """`obs`, and how often such a state was restored, which keys the next streams."""
        return {"obs": self._step.obs.copy(), "times_restored": np.array([self._times_restored], np.int64)}

    def set_state(self, state: Mapping[str, Array]) -> None:
        """Starts new episodes from streams of their own.

        Raises:
            ShapeError: if the state is of another kind or number.
        """
        if state["obs"].shape != self._step.obs.shape:
            raise ShapeError(f"obs must have shape {self._step.obs.shape}, got {state['obs'].shape}")
        self._times_restored = int(state["times_restored"][0]) + 1
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
        self._rows_of.reset(np.arange(self.num_envs) if mask is None else np.flatnonzero(mask), self._step)

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
