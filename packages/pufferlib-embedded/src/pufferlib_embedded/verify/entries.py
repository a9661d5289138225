"""Boxes of observations as bytes, which is what a policy in integers reads of them, and back.

`entered` rises with each number of an observation or stays, so that the bytes of a box lie between those of its ends. Which
of them are reached is found by halving the floats, or bytes, of the box: where its numbers are coarser than bytes, some lack.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from pufferlib_core.native import Array

from pufferlib_embedded.integer import ZERO, Program, entered

BYTES = np.arange(-ZERO, ZERO + 1)  # and one above


class Entries(NamedTuple):
    """What enters of one box."""

    low: Array  # int64 (inputs,), the bytes of its ends
    high: Array
    reached: tuple[Array, ...]  # of each input: int64 bytes, in order
    first: Array  # int64 (257, inputs): `_ordered` of the least number of the box whose byte is at least that of `BYTES`

    def observation(self, q: Array, near: Array) -> Array:
        """Of those that enter as bytes q (inputs,), all reached, the one nearest to another (inputs,)."""
        at, every = q + ZERO, np.arange(len(q))
        wanted = np.clip(_ordered(near), self.first[at, every], self.first[at + 1, every] - 1)
        return _number(wanted, near.dtype)


def entries(program: Program, low: Array, high: Array) -> Entries:
    """What enters of a box.

    Args:
        program: the policy.
        low: lower ends (inputs,), float32 or uint8.
        high: upper ends, likewise.
    """
    least, most = _ordered(low), _ordered(high)
    below, first = np.broadcast_to(least - 1, (257, len(low))), np.broadcast_to(most + 1, (257, len(low)))
    while (first - below > 1).any():
        middle = np.clip((below + first) >> 1, least, most)
        enough = entered(program, _number(middle, low.dtype)) >= BYTES[:, None]
        open_ = first - below > 1
        below, first = np.where(open_ & ~enough, middle, below), np.where(open_ & enough, middle, first)
    held = first[1:] > first[:-1]
    reached = tuple(BYTES[:-1][held[:, i]] for i in range(len(low)))
    return Entries(np.array([q[0] for q in reached]), np.array([q[-1] for q in reached]), reached, first)


def _ordered(x: Array) -> Array:
    """Numbers as int64 in their order: neighbours differ by 1."""
    if x.dtype == np.uint8:
        return x.astype(np.int64)
    bits = np.ascontiguousarray(x, np.float32).view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def _number(k: Array, dtype: np.dtype[np.generic]) -> Array:
    """What `_ordered` makes k of."""
    if dtype == np.uint8:
        return k.astype(np.uint8)
    size: Array = np.abs(k).astype(np.int32).view(np.float32)
    return np.where(k < 0, -size, size)
