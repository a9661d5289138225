"""The smallest of some weighted sums of heads over a box, by splitting: branch and bound on CROWN.

Where the bounds of a box do not decide, it is halved, and so on with the parts that are worst. Bounds of small parts are
tight: of relu they are exact, but for rounding, once no sum crosses 0, of tanh their error falls with the square of the width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from pufferlib_core.native import Array

from pufferlib_embedded.verify.crown import Hidden, lowest, reach
from pufferlib_embedded.verify.intervals import Bounds, forward
from pufferlib_embedded.verify.network import NUMBERS, Network

AT_ONCE = 128  # parts that are halved together, where they are not large


class Found(NamedTuple):
    """What a search knows."""

    bound: float  # no input of the box gives less
    seen: float  # what `point` gives, as float64 rounds: a guess, which the policy itself has to repeat
    point: Array  # (reads,)
    boxes: int  # looked at


class _Parts(NamedTuple):
    """Parts of the box that together cover it."""

    low: Array  # (F, reads)
    high: Array
    bound: Array  # (F,)
    axis: Array  # (F,): where to halve it
    open: Array  # bool (F,): halving may help


def search(network: Network, box: Bounds, rows: Array, done: Callable[[float, float], bool], limit: int) -> Found:
    """The smallest of rows @ heads.

    Args:
        network: a single one.
        box: (1, reads), of what the network reads.
        rows: (m, heads).
        done: tells by (bound, seen) whether they are close enough.
        limit: boxes to look at; fewer, where inputs are so many that they would take too much memory.

    Raises:
        ConfigError: if a sum may leave the range of float32.
    """
    parts, seen, point = _looked_at(network, box, rows)
    boxes, limit = 1, min(limit, 4 * NUMBERS // network.reads)
    while not done(float(parts.bound.min()), seen) and boxes < limit:
        order = parts.bound.argsort(kind="stable")[: min(AT_ONCE, network.together)]
        if not parts.open[order[0]]:
            break
        order = order[[bool(parts.open[k]) and not done(float(parts.bound[k]), seen) for k in order]]
        halves = _halves(parts, order)
        found, value, at = _looked_at(network, halves, rows)
        found = found._replace(bound=np.maximum(found.bound, np.tile(parts.bound[order], 2)))
        if value < seen:
            seen, point = value, at
        rest = np.delete(np.arange(len(parts.bound)), order)
        parts = _Parts(*(np.concatenate([old[rest], new]) for old, new in zip(parts, found, strict=True)))
        boxes += len(found.bound)
    return Found(float(parts.bound.min()), seen, point, boxes)


def _halves(parts: _Parts, chosen: Array) -> Bounds:
    """The lower halves, then the upper ones."""
    low, high, at = parts.low[chosen], parts.high[chosen], (np.arange(len(chosen)), parts.axis[chosen])
    middle = 0.5 * (low[at] + high[at])
    left, right = high.copy(), low.copy()
    left[at] = right[at] = middle
    return Bounds(np.concatenate([low, right]), np.concatenate([left, high]))


def _looked_at(network: Network, box: Bounds, rows: Array) -> tuple[_Parts, float, Array]:
    """Bounds of boxes; the smallest value seen, in their middles and where linear bounds are smallest; and its place."""
    hidden, last = reach(network, box)
    found = lowest(network, hidden, last, box, rows)
    worst = found.bound.argmin(axis=1)
    every = np.arange(len(worst))
    slope = found.slope[every, worst]
    points = np.stack([0.5 * (box.low + box.high), np.where(slope > 0.0, box.low, box.high)], axis=1)
    values = (forward(network, points) @ rows.T).min(axis=-1)
    best = np.unravel_index(values.argmin(), values.shape)
    spread = _influence(network, hidden, rows[worst]) * (box.high - box.low)
    axis = spread.argmax(axis=1)
    # Next to each other: halving gives the same box again.
    room = box.high[every, axis] - box.low[every, axis] > 2.0**-30 * box.largest[every, axis]
    parts = _Parts(box.low, box.high, found.bound[every, worst], axis, room & (spread[every, axis] > 0.0))
    return parts, float(values[best]), points[best]


def _influence(network: Network, hidden: list[Hidden], rows: Array) -> Array:
    """How much a row (B, heads) can change with each input, at most: (B, reads)."""
    change = np.abs(rows) @ np.abs(network.layers[-1].weight)
    for layer, (sums, _) in zip(network.layers[-2::-1], hidden[::-1], strict=True):
        low, high = sums.bounds
        steepest = high > 0.0 if network.activation == "relu" else 1.0 - np.tanh(np.clip(0.0, low, high)) ** 2
        change = (change * steepest) @ np.abs(layer.weight)
    return change
