"""A policy in integers, as puffer/lean8.h runs it: the program as data, and its arithmetic in NumPy, which is the oracle.

Everything is int64 here; nothing in it may leave 32 bits but the product in `rescaled`, which stays below 2^63. Numbers between
layers are bytes q: inputs stand for what `Program.middle` and `rate` say, tanh for q / 127, relu for (q + 128) times the unit
of its layer. What enters tanh or the logistic function is in units of 2^-12, what they give in units of 2^-15.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

Integers = Any  # int64 arrays; Python's integers and what has their operators serve as well

BYTE = 127
ONE = 1 << 15
UNIT_BITS = 12
FAR = 65535
WORD = 32767
HEAD = 1 << 24
ZERO = 128  # of a relu: the byte -128 stands for 0
LARGEST_SUM = 2**31 - 1
TANH = np.array([round(math.tanh(k / 32) * ONE) for k in range(257)], np.int64)


class Matrix(NamedTuple):
    """Rows of weights, and what takes their sums on. `name` and `unit` are for reports alone."""

    name: str
    weight: Integers  # (rows, columns) in [-127, 127]; of a convolution the columns are (row, column, channel)
    bias: Integers  # (rows,)
    multiplier: Integers  # (rows,) in [0, 2^31)
    shift: int  # 1 .. 62
    unit: float  # of what the multipliers lead to; of the sums it is unit * multiplier / 2^shift

    @property
    def largest_sum(self) -> int:
        """Bound of the size of every sum, and of every part of one, whatever the bytes that are read."""
        return int((np.abs(self.bias) + ZERO * np.abs(self.weight).sum(axis=1)).max())


class Window(NamedTuple):
    """What a convolution reads: kernels over an image."""

    shape: tuple[int, int, int]  # height, width, channels
    kernel: int
    stride: int


@dataclass(frozen=True, kw_only=True)
class Program:
    """A policy without a critic."""

    middle: Any = None  # float32 (inputs,): bytes are (x - middle) * rate, rounded; None: x - 128 of observations in bytes
    rate: Any = None
    relu: bool
    layers: tuple[tuple[Matrix, Window | None], ...]  # convolutions and then dense layers
    core: str = "none"  # or lstm, gru
    read: Matrix | None = None  # of a core, from the last layer
    state: Matrix | None = None  # from h; biases are 0
    cell: int = UNIT_BITS  # c is in units of 2^-cell
    heads: Matrix
    point: int  # heads are in units of 2^-point

    def matrices(self) -> Iterator[Matrix]:
        """In the order of the flat vector (puffer/net.h)."""
        yield from (matrix for matrix, _ in self.layers)
        yield from (matrix for matrix in (self.read, self.state) if matrix is not None)
        yield self.heads

    def flat(self) -> dict[str, Any]:
        """The arrays of `puf_lean8`, one matrix after the other."""
        matrices = list(self.matrices())
        return {
            "weight": np.concatenate([matrix.weight.ravel() for matrix in matrices]).astype(np.int8),
            "bias": np.concatenate([matrix.bias for matrix in matrices]).astype(np.int32),
            "multiplier": np.concatenate([matrix.multiplier for matrix in matrices]).astype(np.int32),
            "shift": np.array([matrix.shift for matrix in matrices], np.uint8),
        }


# --- arithmetic ---


def limited(x: Integers, least: int, most: int) -> Integers:
    """A number within [least, most]."""
    return np.minimum(np.maximum(x, least), most)


def rounded(x: Integers, bits: int) -> Integers:
    """To the nearest of x / 2^bits, ties upwards; >> rounds down."""
    return (x + (1 << (bits - 1))) >> bits


def rescaled(sums: Integers, matrix: Matrix, most: int) -> Integers:
    """Sums (..., rows) in the units of their rows -> those of the multipliers, within [-most, most]."""
    return limited(rounded(sums * matrix.multiplier, matrix.shift), -most, most)


def from_table(x: Integers, bits: int) -> Integers:
    """tanh(x / 2^bits / 32) in units of 1 / ONE: between two entries of the table."""
    at = np.minimum(np.abs(x), (256 << bits) - 1)
    k = at >> bits
    y = TANH[k] + rounded((TANH[k + 1] - TANH[k]) * (at - (k << bits)), bits)
    return np.where(x < 0, -y, y)


def hyperbolic(x: Integers) -> Integers:
    """Of x in units of 2^-12: tanh, in units of 1 / ONE."""
    return from_table(x, UNIT_BITS - 5)


def logistic(x: Integers) -> Integers:
    """1 / (1 + e^-x) = (tanh(x / 2) + 1) / 2, of which the last half is rounded down."""
    return (from_table(x, UNIT_BITS - 4) + ONE) >> 1


def byte_of(x: Integers) -> Integers:
    """Of a number in units of 1 / ONE."""
    return rounded(x * BYTE, 15)


# --- a row ---


def entered(program: Program, obs: Any) -> Integers:
    """Bytes of observations (N, inputs), uint8 or finite float32: the only arithmetic that is not of integers."""
    if program.middle is None:
        return obs.astype(np.int64) - ZERO
    with np.errstate(over="ignore"):  # far beyond what was seen in calibration; infinities are clipped as well
        scaled = (obs.astype(np.float32) - program.middle) * program.rate
    clipped = np.minimum(np.maximum(scaled, np.float32(-BYTE)), np.float32(BYTE))
    return np.floor(clipped + np.float32(128.5)).astype(np.int64) - 128


def run(program: Program, x: Integers, carry: Integers) -> tuple[Integers, Integers]:
    """One step of N rows.

    Args:
        program: of a policy.
        x: bytes (N, inputs).
        carry: h (N, H) and then c (N, H) of an LSTM, zeros where an episode begins; (N, 0) without a core.

    Returns:
        Heads (N, L) in units of 2^-point, and what is handed on.
    """
    for matrix, window in program.layers:
        sums = (x if window is None else patches(x, window)) @ matrix.weight.T + matrix.bias
        x = active(program, sums, matrix)
        x = x.reshape(len(x), -1)
    if program.read is not None and program.state is not None:
        carry = recur(program, program.read, program.state, x, carry)
        x = byte_of(carry[:, : program.state.weight.shape[1]])
    return rescaled(x @ program.heads.weight.T + program.heads.bias, program.heads, HEAD), carry


def active(program: Program, sums: Integers, matrix: Matrix) -> Integers:
    """Sums (..., rows) of a layer as bytes, after the activation: what rises with them or stays."""
    before = rescaled(sums, matrix, FAR)
    return limited(before, 0, 255) - ZERO if program.relu else byte_of(hyperbolic(before))


def patches(x: Integers, window: Window) -> Integers:
    """What each place of a convolution reads of images (N, height * width * channels): (N, places, columns of the matrix)."""
    (height, width, channels), kernel, stride = window
    image = x.reshape(len(x), height, width, channels)
    places = [
        image[:, top : top + kernel, left : left + kernel].reshape(len(x), -1)
        for top in range(0, height - kernel + 1, stride)
        for left in range(0, width - kernel + 1, stride)
    ]
    return np.stack(places, axis=1)


def recur(program: Program, read: Matrix, state: Matrix, x: Integers, carry: Integers) -> Integers:
    """What a core hands on."""
    size = state.weight.shape[1]
    h, c = carry[:, :size], carry[:, size:]
    from_x = np.split(rescaled(x @ read.weight.T + read.bias, read, FAR), len(read.weight) // size, axis=1)
    from_h = np.split(rescaled(byte_of(h) @ state.weight.T, state, FAR), len(from_x), axis=1)
    if program.core == "lstm":
        i, f, o = (logistic(from_x[k] + from_h[k]) for k in (0, 1, 3))
        g = hyperbolic(from_x[2] + from_h[2])
        c = limited(rounded(f * c, 15) + rounded(i * g, 30 - program.cell), -WORD, WORD)
        h = rounded(o * hyperbolic(c * (1 << (UNIT_BITS - program.cell))), 15)
    else:
        r, z = (logistic(from_x[k] + from_h[k]) for k in range(2))
        n = hyperbolic(from_x[2] + rounded(r * from_h[2], 15))
        h = n + rounded(z * (h - n), 15)
    return np.concatenate([limited(h, -WORD, WORD), c], axis=1)
