"""Bounds by CROWN: linear functions of the box below the heads, made from the last layer back to the first.

After Zhang, Weng, Chen, Hsieh and Daniel, "Efficient Neural Network Robustness Certification with General Activation
Functions" (NeurIPS 2018). A weighted sum of a layer's results is at least the same sum of lines of its inputs, low lines for
positive weights and high ones for negative; layer by layer that becomes a linear function of the box, smallest in a corner.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from pufferlib_core.native import Array

from pufferlib_embedded.verify.intervals import Bounds, Sums, activated, affine, times
from pufferlib_embedded.verify.lines import Lines, lines
from pufferlib_embedded.verify.network import Network
from pufferlib_embedded.verify.rounding import DOUBLE, gamma


class Hidden(NamedTuple):
    """What is known of a hidden layer: its sums, and the lines of its activation."""

    sums: Sums
    lines: Lines


class Lowest(NamedTuple):
    """Bounds from below of weighted sums of a layer, and the linear function of the box that gave them."""

    bound: Array  # (B, m)
    slope: Array  # (B, m, reads)


def reach(network: Network, box: Bounds) -> tuple[list[Hidden], Sums]:
    """The hidden layers, by the tighter of IBP and CROWN, and the heads, by IBP from those.

    Args:
        network: one for all boxes, or one for each.
        box: (B, reads), of what the network reads.

    Raises:
        ConfigError: if a sum may leave the range of float32.
    """
    hidden: list[Hidden] = []
    x = box
    for k, layer in enumerate(network.layers[:-1]):
        sums = affine(layer, x)
        if k > 0:
            sums = sums._replace(bounds=sums.bounds.within(_both(network, hidden, sums, box)))
        hidden.append(Hidden(sums, lines(network.activation, sums.bounds)))
        x = activated(network.activation, sums.bounds)
    return hidden, affine(network.layers[-1], x)


def heads(network: Network, box: Bounds) -> Bounds:
    """Bounds of the heads (B, heads), by the tighter of IBP and CROWN.

    Raises:
        ConfigError: if a sum may leave the range of float32.
    """
    hidden, last = reach(network, box)
    return last.bounds.within(_both(network, hidden, last, box))


def _both(network: Network, hidden: Sequence[Hidden], last: Sums, box: Bounds) -> Bounds:
    """Bounds of every sum of a layer, from below and above."""
    width = last.error.shape[-1]
    one = np.eye(width)
    found = lowest(network, hidden, last, box, np.concatenate([one, -one])).bound
    return Bounds(found[..., :width], -found[..., width:])


def lowest(network: Network, hidden: Sequence[Hidden], last: Sums, box: Bounds, rows: Array) -> Lowest:
    """Bounds from below of rows @ sums: the sums as float32 gives them, what the rows make of them exact.

    Args:
        network: one for all boxes, or one for each.
        hidden: the layers before.
        last: the sums of the layer that follows them, the heads for instance.
        box: (B, reads).
        rows: (m, n) or (B, m, n).

    `constant` is the value; `error` bounds the float32 program's own rounding, and that of float64, which is at most `double`
    times the magnitudes of all that it multiplied or added.
    """
    double = gamma(network.widest + 6 * len(network.layers) + 16, DOUBLE)  # more than operations in the longest chain
    a, constant, error = rows, np.zeros(()), np.zeros(())
    for k in range(len(hidden), -1, -1):
        sums = last
        if k < len(hidden):
            sums, line = hidden[k]
            positive, negative = np.maximum(a, 0.0), np.minimum(a, 0.0)
            constant = constant + times(positive, line.low_offset) + times(negative, line.high_offset)
            error = error + times(positive - negative, double * line.size(sums.bounds))
            a = positive * line.low_slope[:, None] + negative * line.high_slope[:, None]
        weight, bias = network.layers[k]
        constant = constant + times(a, bias)
        error = error + times(np.abs(a), sums.error + double * sums.size)
        a = a @ weight
    positive, negative = np.maximum(a, 0.0), np.minimum(a, 0.0)
    error = error + times(positive - negative, double * box.largest)
    bound = constant + times(positive, box.low) + times(negative, box.high)
    bound = np.nextafter(bound - error * (1.0 + 2.0**-10) - 1e-300, -np.inf)
    slope = np.broadcast_to(a, (*bound.shape, a.shape[-1]))
    return Lowest(np.where(np.isnan(bound), -np.inf, bound), slope)
