"""Straight lines below and above an activation over an interval, which hold for the core's own float32 results."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from pufferlib_core.native import Array

from pufferlib_embedded.verify.intervals import Bounds
from pufferlib_embedded.verify.rounding import TANH, TANH_DOUBLE

HALVINGS = 8  # of the interval that holds the tangent point: whatever it is, the line is moved until it holds
FURTHEST = 8.0  # where tangents are looked for
FLAT = 2.0**-40  # slopes below are taken for 0


class Lines(NamedTuple):
    """low_slope * z + low_offset <= activation(z) <= high_slope * z + high_offset, (B, n)."""

    low_slope: Array
    low_offset: Array
    high_slope: Array
    high_offset: Array

    def size(self, z: Bounds) -> Array:
        """The largest |slope| |z| + |offset|."""
        slope = np.maximum(np.abs(self.low_slope), np.abs(self.high_slope))
        result: Array = slope * z.largest + np.maximum(np.abs(self.low_offset), np.abs(self.high_offset))
        return result


def lines(activation: str, z: Bounds) -> Lines:
    """The lines of an activation over z."""
    return _relu(z) if activation == "relu" else _tanh(z)


def _relu(z: Bounds) -> Lines:
    """Above: through both ends. Below: 0, or z where the interval reaches further above 0."""
    low, high = z
    crosses = (low < 0.0) & (high > 0.0)
    width = np.where(crosses, high - low, 1.0)
    slope = np.where(crosses, np.minimum(high / width, 1.0), np.where(low >= 0.0, 1.0, 0.0))
    # relu is convex: a line that is not below it at both ends is not below it between. Two roundings each, and one to spare.
    offset = np.where(crosses, np.maximum(high * (1.0 - slope), -low * slope) * (1.0 + 2.0**-50) + 1e-300, 0.0)
    below = np.where(crosses, np.where(high > -low, 1.0, 0.0), slope)
    return Lines(below, np.zeros_like(slope), slope, offset)


def _tanh(z: Bounds) -> Lines:
    """Any slopes do, because the offsets are the extremes of tanh(x) - slope * x, at the ends or where it is level."""
    low, high = z
    error = TANH * np.maximum(np.abs(np.tanh(low)), np.abs(np.tanh(high))) + TANH_DOUBLE
    above, below = _slope_above(low, high), _slope_above(-high, -low)  # tanh is odd
    return Lines(below, -_offset_above(below, -high, -low, error), above, _offset_above(above, low, high, error))


def _offset_above(slope: Array, low: Array, high: Array, error: Array) -> Array:
    """The largest tanh(x) - slope * x of an interval, and the error: what a line of this slope has to be lifted by."""
    level = np.arctanh(np.sqrt(1.0 - np.maximum(slope, FLAT)))
    best = np.full(np.shape(slope), -np.inf)
    for x in (low, high, np.clip(level, low, high), np.clip(-level, low, high)):
        best = np.maximum(best, np.tanh(x) - slope * x)
    result: Array = best + error + 2.0**-50 * slope * np.maximum(np.abs(low), np.abs(high))
    return result


def _slope_above(low: Array, high: Array) -> Array:
    """Slope of a line close above tanh: a tangent where it bends down, the chord where it bends up.

    Across 0 it is the tangent that begins at the lower end, if it touches before the upper one.
    """
    middle, width = 0.5 * (low + high), high - low
    wide = width > 1e-6
    chord = np.where(wide, (np.tanh(high) - np.tanh(low)) / np.where(wide, width, 1.0), _steepness(middle))
    across = (low < 0.0) & (high > 0.0) & (chord > _steepness(high))
    left, right = np.zeros_like(low), np.minimum(high, FURTHEST)
    start, base = np.where(across, low, -1.0), np.tanh(np.where(across, low, -1.0))
    for _ in range(HALVINGS):
        at = 0.5 * (left + right)
        touch = np.tanh(at)
        early = touch - base < (1.0 - touch * touch) * (at - start)  # the tangent at it passes above the lower end
        left, right = np.where(early, at, left), np.where(early, right, at)
    slope = np.where(low >= 0.0, _steepness(middle), np.where(across, _steepness(0.5 * (left + right)), chord))
    slope = np.clip(slope, 0.0, 1.0)
    result: Array = np.where(slope < FLAT, 0.0, slope)
    return result


def _steepness(x: Array) -> Array:
    """Of tanh."""
    result: Array = 1.0 - np.tanh(x) ** 2
    return result
