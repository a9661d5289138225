"""What would refute a policy in integers, as inequalities between its heads, and what intervals of integers say of them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from pufferlib_core.native import Array

from pufferlib_embedded.integer import HEAD, Matrix, Program, active, rescaled


class Escape(NamedTuple):
    """heads[plus] - heads[minus] >= least, where None stands for 0. Heads are whole numbers, so that nothing is nearly so."""

    plus: int | None
    minus: int | None
    least: int

    def most(self, low: Array, high: Array) -> int:
        """What the left side is at most, of heads within [low, high]."""
        return int(0 if self.plus is None else high[self.plus]) - int(0 if self.minus is None else low[self.minus])


def other_choices(nvec: tuple[int, ...], choices: Array) -> list[Escape]:
    """An option other than that of `choices` (K,) is taken: the first of the largest is.

    >>> other_choices((3,), np.array([1]))
    [Escape(plus=0, minus=1, least=0), Escape(plus=2, minus=1, least=1)]
    """
    found, first = [], 0
    for options, chosen in zip(nvec, choices.tolist(), strict=True):
        others = (k for k in range(options) if k != chosen)
        found += [Escape(first + k, first + chosen, 0 if k < chosen else 1) for k in others]
        first += options
    return found


def numbers_outside(program: Program, first: int, low: Array, high: Array, within: tuple[float, float]) -> list[Escape]:
    """A number of an action leaves a range.

    Args:
        program: the policy.
        first: the head of the first number; the others follow.
        low: float32 (A,), to which numbers are clipped from below.
        high: likewise, from above.
        within: the range.
    """
    found, (least, most) = [], within
    for k, (floor, ceiling) in enumerate(zip(low.tolist(), high.tolist(), strict=True), first):
        if ceiling < least or floor > most:
            found.append(Escape(None, None, 0))  # wherever the head is
            continue
        if floor < least:
            found.append(Escape(None, k, 1 - _limited(math.ceil(math.ldexp(least, program.point)))))
        if ceiling > most:
            found.append(Escape(k, None, 1 + _limited(math.floor(math.ldexp(most, program.point)))))
    return found


def _limited(head: int) -> int:
    """Of what no head is beyond."""
    return min(max(head, -2 * HEAD), 2 * HEAD)


class Reach(NamedTuple):
    """What a policy can reach in B boxes, from outside."""

    sums: list[tuple[Array, Array]]  # of each layer: int64 (B, rows), least and largest
    heads: tuple[Array, Array]  # int64 (B, L)


def reach(program: Program, low: Array, high: Array) -> Reach:
    """By intervals, from bytes (B, inputs): exact but for what numbers share."""
    sums = []
    for matrix, _ in program.layers:
        sums.append(_sums(matrix, low, high))
        low, high = (active(program, end, matrix) for end in sums[-1])
    ends = _sums(program.heads, low, high)
    return Reach(sums, (rescaled(ends[0], program.heads, HEAD), rescaled(ends[1], program.heads, HEAD)))


def _sums(matrix: Matrix, low: Array, high: Array) -> tuple[Array, Array]:
    rising, falling = np.maximum(matrix.weight, 0).T, np.minimum(matrix.weight, 0).T
    return low @ rising + high @ falling + matrix.bias, high @ rising + low @ falling + matrix.bias
