"""Bounds by interval arithmetic (IBP): each layer's numbers from the bounds of the numbers before."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from pufferlib_core.errors import ConfigError
from pufferlib_core.native import Array

from pufferlib_embedded.verify.network import Layer, Network
from pufferlib_embedded.verify.rounding import TANH, TANH_DOUBLE, layer_error

LARGEST = float(np.finfo(np.float32).max)


class Bounds(NamedTuple):
    """Intervals, float64 (B, n), ends included."""

    low: Array
    high: Array

    @property
    def largest(self) -> Array:
        """The largest magnitude in each."""
        return np.maximum(np.abs(self.low), np.abs(self.high))

    def within(self, other: Bounds) -> Bounds:
        """What both hold."""
        return Bounds(np.maximum(self.low, other.low), np.minimum(self.high, other.high))


class Sums(NamedTuple):
    """A layer before its activation."""

    bounds: Bounds  # (B, out), of what the float32 program calculates
    size: Array  # (B, out): |bias| + |weight| |x|
    error: Array  # (B, out): of the float32 program, see `layer_error`


def times(matrix: Array, vector: Array) -> Array:
    """(..., m, n) by (..., n) -> (..., m)."""
    result: Array = (matrix @ vector[..., None])[..., 0]
    return result


def affine(layer: Layer, x: Bounds) -> Sums:
    """The sums of a layer.

    Args:
        layer: its weights.
        x: (B, in), of the float32 numbers that it reads.

    Raises:
        ConfigError: if a sum may leave the range of float32.
    """
    weight, bias = layer
    size = times(np.abs(weight), x.largest) + np.abs(bias)
    error = layer_error(size, weight.shape[-1])
    if not (size + error < LARGEST).all():
        raise ConfigError(f"a sum of a layer may reach {float(np.max(size)):.2g}, beyond float32: choose a smaller box")
    positive, negative = np.maximum(weight, 0.0), np.minimum(weight, 0.0)
    low = times(positive, x.low) + times(negative, x.high) + bias - error
    high = times(positive, x.high) + times(negative, x.low) + bias + error
    return Sums(Bounds(np.nextafter(low, -np.inf), np.nextafter(high, np.inf)), size, error)


def activated(activation: str, z: Bounds) -> Bounds:
    """What an activation makes of sums, as the core calculates it."""
    if activation == "relu":
        return Bounds(np.maximum(z.low, 0.0), np.maximum(z.high, 0.0))
    low, high = np.tanh(z.low), np.tanh(z.high)
    low, high = low - TANH * np.abs(low) - TANH_DOUBLE, high + TANH * np.abs(high) + TANH_DOUBLE
    return Bounds(np.maximum(low, -1.0), np.minimum(high, 1.0))


def interval(network: Network, box: Bounds) -> list[Sums]:
    """The sums of every layer; the last are the heads.

    Args:
        network: one for all boxes, or one for each.
        box: (B, reads), of what the network reads.

    Raises:
        ConfigError: if a sum may leave the range of float32.
    """
    found, x = [], box
    for layer in network.layers:
        found.append(affine(layer, x))
        x = activated(network.activation, found[-1].bounds)
    return found


def forward(network: Network, x: Array) -> Array:
    """Heads of inputs (B, reads) or (B, P, reads), float64 (..., heads), rounded as float64 rounds: for guesses alone."""
    for k, (weight, bias) in enumerate(network.layers):
        side = np.swapaxes(weight, -1, -2)
        if weight.ndim == 2:
            x = x @ side + bias
        else:
            x = x @ side + bias[:, None] if x.ndim == 3 else (x[:, None] @ side)[:, 0] + bias
        if k + 1 < len(network.layers):
            x = np.maximum(x, 0.0) if network.activation == "relu" else np.tanh(x)
    return x
