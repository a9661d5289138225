"""Memory of a segment: time-major planes, contiguous and 64-byte aligned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from pufferlib_core.traits import EPISODE, ByteArray, FloatArray, Step

Zeros = Callable[[int | tuple[int, ...], Any], npt.NDArray[Any]]  # makes a plane of a shape and dtype


def aligned_zeros(shape: int | tuple[int, ...], dtype: Any) -> npt.NDArray[Any]:
    """Zeros whose first byte lies on a 64-byte boundary, as the core's vector loads need."""
    kind = np.dtype(dtype)
    size = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
    raw = np.zeros(size + 64, np.uint8)
    offset = -raw.ctypes.data % 64
    aligned: npt.NDArray[Any] = raw[offset : offset + size].view(kind).reshape(shape)
    return aligned


Row = tuple[np.dtype[Any], tuple[int, ...]]  # dtype and shape


@dataclass(frozen=True)
class Segment:
    """T steps of N environments: row t holds what was seen and done at t and what that action caused.

    `obs` has T + 1 rows; row T becomes row 0 of the next segment, the only copy. `next_value[t]` is the value of the state
    after the action: of the final observation where truncated, 0 where terminated, else `value[t + 1]`.
    """

    obs: npt.NDArray[Any]  # (T + 1, N, *row), as the environments wrote them
    own_features: FloatArray | None  # (T + 1, N, width) where a network reads something else than obs; see `features`
    action: npt.NDArray[Any]  # (T, N), (T, N, K) int32, (T, N, A) float32, or (T, N) records of both
    logprob: FloatArray  # (T, N) of the policy that collected
    value: FloatArray  # (T, N)
    next_value: FloatArray  # (T, N)
    reward: FloatArray  # (T, N)
    cost: FloatArray  # (T, N)
    terminated: ByteArray  # (T, N)
    truncated: ByteArray  # (T, N)
    valid: ByteArray  # (T, N)
    log: npt.NDArray[Any]  # (T, N) EPISODE, meaningful where an episode ended
    final_obs: npt.NDArray[Any]  # (N, *row) last final observation of each environment
    action_mask: ByteArray | None  # (T + 1, N, logits) what the action of row t may be; None: anything
    version: npt.NDArray[np.int64]  # (T, N) updates that the policy had seen which chose the action
    carry: FloatArray | None = None  # (2, N, C) what a policy with a memory hands on: at row 0, and after the last row so far
    turns: bool = False  # agents wait for each other: rows that are not valid belong to the turn before, see `ops.turns`

    @classmethod
    def allocate(
        cls,
        steps: int,
        envs: int,
        obs_row: Row,
        features: int,
        action_row: Row,
        mask_size: int = 0,
        zeros: Zeros = aligned_zeros,
        turns: bool = False,
    ) -> Segment:
        """Zeroed memory for `steps` steps of `envs` environments.

        Args:
            steps: T.
            envs: N.
            obs_row: dtype and shape of an observation.
            features: numbers that a network reads of it where they are not the observation itself; 0: they are.
            action_row: dtype and shape of an action.
            mask_size: choices that action masks speak of; 0: no masks.
            zeros: makes each plane, 64-byte aligned.
            turns: whether agents wait for each other.
        """
        plane = (steps, envs)
        return cls(
            obs=zeros((steps + 1, envs, *obs_row[1]), obs_row[0]),
            own_features=zeros((steps + 1, envs, features), np.float32) if features else None,
            action=zeros((*plane, *action_row[1]), action_row[0]),
            **{name: zeros(plane, np.float32) for name in ("logprob", "value", "next_value", "reward", "cost")},
            **{name: zeros(plane, np.uint8) for name in ("terminated", "truncated")},
            valid=zeros(plane, np.uint8),
            log=zeros(plane, EPISODE),
            final_obs=zeros((envs, *obs_row[1]), obs_row[0]),
            action_mask=zeros((steps + 1, envs, mask_size), np.uint8) if mask_size else None,
            version=zeros(plane, np.int64),
            turns=turns,
        )  # fmt: skip

    @property
    def features(self) -> npt.NDArray[Any]:
        """What a network reads of `obs`, (T + 1, N, width): float32 made of them, or themselves, float32 or bytes."""
        if self.own_features is not None:
            return self.own_features
        plain: npt.NDArray[Any] = self.obs.reshape(self.steps + 1, self.envs, -1)
        return plain

    def row(self, t: int) -> Step:
        """What step t writes, as views."""
        return Step(
            self.obs[t + 1], self.reward[t], self.cost[t], self.terminated[t], self.truncated[t], self.valid[t],
            self.final_obs, self.log[t], None if self.action_mask is None else self.action_mask[t + 1], 0,
        )  # fmt: skip

    def part(self, rows: slice) -> Segment:
        """These environments at all times, as views."""
        others: dict[str, Any] = {"final_obs": self.final_obs[rows], "turns": self.turns}
        planes = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in others}
        others |= {name: plane if plane is None else plane[:, rows] for name, plane in planes.items()}
        return Segment(**others)

    @property
    def steps(self) -> int:
        """T."""
        return int(self.reward.shape[0])

    @property
    def envs(self) -> int:
        """N."""
        return int(self.reward.shape[1])

    @property
    def rows(self) -> int:
        """T * N."""
        return self.reward.size

    def roll(self, into: Segment | None = None) -> None:
        """Copies the last observation row (and its action mask) to the first of the next segment.

        Args:
            into: that segment, of the same form; None: this one, anew.
        """
        to = self if into is None else into
        for name in ("obs", "own_features", "action_mask", "carry"):
            plane = getattr(self, name)
            if plane is not None:
                getattr(to, name)[0] = plane[-1]


def handed_on(before: FloatArray, after: FloatArray, ended: npt.NDArray[Any], valid: npt.NDArray[Any]) -> FloatArray:
    """What a policy with a memory starts the next row with, (N, C).

    Nothing (zeros) where an episode ended; what it had before where the row is not valid, so that nothing of such a row
    is remembered; else what it made of the row. Values are selected: NaN does not pass.

    Args:
        before: the carry that the row was acted on with, (N, C).
        after: what the policy made of it, (N, C).
        ended: non-zero where an episode ended with this row, (N,).
        valid: non-zero where the row counts, (N,).
    """
    chosen: FloatArray = np.where((ended != 0)[:, None], np.float32(0), np.where((valid != 0)[:, None], after, before))
    return chosen
