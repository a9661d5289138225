"""Environments written in Python: a batch that writes whole rows, and the bookkeeping around it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pufferlib_core.errors import ShapeError
from pufferlib_core.native import Array
from pufferlib_core.spaces import Box
from pufferlib_core.traits import EnvSpec, Step
from pufferlib_core.vector.base import VecEnv


class PythonVec(VecEnv):
    """N environments of a `BatchEnv`: time limit, statistics, final observations and autoreset around it.

    A state holds no episode: `set_state` starts new ones, from streams that were not used before.
    """

    def __init__(self, spec: EnvSpec, num_envs: int, autoreset: str, seed: int, first_stream: int) -> None:
        super().__init__(spec, num_envs, autoreset, seed, first_stream, 0)
        self._closed = False
        self._times_restored = 0
        self._make()

    def _make(self) -> None:
        assert self.spec.batch is not None
        words = [self.seed, self._first_stream, self._times_restored]
        self._batch = self.spec.batch(self.num_envs, np.random.SeedSequence(words))
        self._return = np.zeros(self.num_envs)
        self._length = np.zeros(self.num_envs, np.int32)
        self._over = np.zeros(self.num_envs, bool)  # waiting for a reset; never under same_step

    def _restart(self) -> None:
        self._batch.close()
        self._make()

    def _reset(self, mask: Array | None) -> None:
        self._check_open()
        self._begin(np.arange(self.num_envs) if mask is None else np.flatnonzero(mask), self._step)

    def _begin(self, rows: Array, out: Step) -> None:
        if len(rows) == 0:
            return
        self._batch.reset(rows, out)
        self._return[rows], self._length[rows], self._over[rows] = 0.0, 0, False

    def _advance(self, action: Array, rows: Step) -> int:
        self._check_open()
        self._pointer(action)
        if not isinstance(self.action_space, Box) and ((action < 0) | (action >= np.asarray(self._choices))).any():
            self._refuse(action)
        for plane in (rows.cost, rows.terminated, rows.truncated):
            plane.fill(0)
        rows.valid[...] = ~self._over
        idle = np.flatnonzero(self._over)
        self._batch.step(action, rows)
        for plane in (rows.reward, rows.cost, rows.terminated, rows.truncated):
            plane[idle] = 0
        self._return += rows.reward
        self._length += rows.valid
        if self.spec.max_episode_steps:
            rows.truncated[(self._length >= self.spec.max_episode_steps) & (rows.valid != 0) & (rows.terminated == 0)] = 1
        ended = np.flatnonzero(rows.terminated | rows.truncated)
        for final_obs in (rows.final_obs, self._step.final_obs):
            final_obs[ended] = rows.obs[ended]
        rows.log["episode_return"][ended], rows.log["episode_length"][ended] = self._return[ended], self._length[ended]
        if self.autoreset == "same_step":
            self._begin(ended, rows)
            return len(ended)
        if self.autoreset == "next_step":
            self._begin(idle, rows)
        else:
            rows.obs[idle] = self._step.final_obs[idle]
        self._over[ended] = True
        return len(ended)

    @property
    def _choices(self) -> Array | int:
        space = self.action_space
        assert not isinstance(space, Box)
        return np.asarray(space.nvec) if space.shape else space.nvec[0]

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

    def _check_open(self) -> None:
        if self._closed:
            raise self._is_closed()

    def close(self) -> None:
        """Closes the batch; calling it again does nothing."""
        if not self._closed:
            self._batch.close()
        self._closed = True
