"""The integers of a policy: scales from what was seen in calibration, each sum proven to fit.

A row of a matrix that reads x_i = step_i (q_i - zero) + offset_i from bytes q_i is kept as

    unit   = max(max_i |w_i step_i| / 127, |start| / 2^30, the largest of the matrix / 2^12)
    start  = bias + sum_i w_i offset_i
    w_q    = round(w_i step_i / unit),    bias_q = round(start / unit) - zero sum_i w_q

so that unit * (bias_q + sum_i w_q q_i) is what the row gives; the multiplier takes it from there to the next unit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from pufferlib_core.errors import ConfigError
from pufferlib_core.native import Array
from pufferlib_core.ops.network import convolve

from pufferlib_embedded.integer import BYTE, FAR, HEAD, LARGEST_SUM, ONE, UNIT_BITS, WORD, ZERO, Matrix, Program, Window
from pufferlib_embedded.model import Model

UNIT = 2.0**-UNIT_BITS
FINEST = 20  # bits after the point of heads, at most: differences of logits below 1e-6 mean nothing
FINER = 2.0**12  # of two rows: a multiplier keeps 18 bits
LEAST_RANGE = 2.0**-100
CHUNK = 64  # rows that pass through the formulas at once


class Read(NamedTuple):
    """What bytes q stand for: step * (q - zero) + offset, in numbers of the network."""

    step: Array  # float64 (columns,) or ()
    offset: Array  # likewise
    zero: int


def quantize(model: Model, obs: Array, cell: float) -> Program:
    """A policy as integers.

    Args:
        model: the policy.
        obs: observations of calibration, (N, inputs), as the network reads them; their least and largest numbers are the range
            of each input (of an image: of all), and what they lead to that of each relu.
        cell: the largest size of c of an LSTM in calibration, which keeps room for twice that.

    Raises:
        ConfigError: if a sum of some layer could leave 32 bits.
    """
    middle, rate, read = _inputs(model, obs)
    layers: list[tuple[Matrix, Window | None]] = []
    relu = model.spec.config.activation == "relu"
    largest = _largest(model, obs) if relu else []
    for k, (name, weight, bias, window) in enumerate(_layers(model)):
        unit = (largest[k] or 1.0) / 255 if relu else UNIT
        layers.append((matrix_of(name, weight, bias, read, unit), window))
        read = _same(unit, -ZERO) if relu else _same(1 / BYTE, 0)
    part, tensors = _tower(model), model.tensors
    core: dict[str, Matrix] = {}
    if model.carry:
        given, kept, bias = (tensors[f"{part}.core.{name}"].astype(np.float64) for name in ("input", "state", "bias"))
        core["read"] = matrix_of(f"{part}.core.input", given, bias, read, UNIT)
        read = _same(1 / BYTE, 0)
        core["state"] = matrix_of(f"{part}.core.state", kept, np.zeros(len(kept)), read, UNIT)
    heads, point = _heads(tensors["policy.weight"].astype(np.float64), tensors["policy.bias"].astype(np.float64), read)
    bits = math.floor(math.log2(WORD / max(2 * cell, 1e-9)))
    return Program(
        middle=middle, rate=rate, relu=relu, layers=tuple(layers), core=model.spec.config.core, heads=heads, point=point,
        cell=min(max(bits, 1), UNIT_BITS), **core,
    )  # fmt: skip


def _tower(model: Model) -> str:
    return "actor" if model.spec.config.separate else "trunk"


def _same(step: float, zero: int) -> Read:
    return Read(np.asarray(step), np.asarray(0.0), zero)


def _layers(model: Model) -> Iterator[tuple[str, Array, Array, Window | None]]:
    """Names, weights (rows, columns), biases and what they read as a convolution, in float64; convolutions channels last."""
    part, tensors = _tower(model), model.tensors
    for encoder in model.spec.encoders:
        for k, (conv, shape) in enumerate(zip(encoder.convs, encoder.shapes, strict=False)):
            name = f"{part}.encoder.0.{k}"
            weight = np.moveaxis(tensors[f"{name}.weight"].astype(np.float64), 1, 3).reshape(conv.filters, -1)
            yield name, weight, tensors[f"{name}.bias"].astype(np.float64), Window(shape, conv.kernel, conv.stride)
    for k in range(len(model.spec.config.hidden)):
        name = f"{part}.{k}"
        yield name, tensors[f"{name}.weight"].astype(np.float64), tensors[f"{name}.bias"].astype(np.float64), None


def _inputs(model: Model, obs: Array) -> tuple[Array | None, Array | None, Read]:
    """Middle and rate of the inputs, and what their bytes stand for; None of observations that are bytes already."""
    width = model.spec.tree.width
    mean, scale, bound = model.read or (np.zeros(width), np.ones(width), math.inf)
    mean, scale = mean.astype(np.float64), scale.astype(np.float64)
    if obs.dtype == np.uint8 and np.abs((np.array([[0], [255]]) - mean) * scale).max() <= bound:
        image = bool(model.spec.encoders)  # all its numbers are scaled alike
        step, offset = scale, (ZERO - mean) * scale
        return None, None, Read(step[0] if image else step, offset[0] if image else offset, 0)
    seen = np.clip((obs - mean) * scale, -bound, bound)
    axis = None if model.spec.encoders else 0
    low, high = seen.min(axis), seen.max(axis)
    # What never changed keeps room for one deviation; so does what changed so little that the rate would leave float32.
    half = np.where(high - low > LEAST_RANGE, (high - low) / 2, 1.0)
    middle = np.broadcast_to(mean + (low + high) / 2 / scale, width).astype(np.float32)
    rate = np.broadcast_to(BYTE * scale / half, width).astype(np.float32)
    step, offset = scale / rate, (middle - mean) * scale
    return middle, rate, Read(step[0], offset[0], 0) if model.spec.encoders else Read(step, offset, 0)


def _largest(model: Model, obs: Array) -> list[float]:
    """Of what each layer gives for these observations, by the formulas in float64."""
    found = np.zeros(len(list(_layers(model))))
    for first in range(0, len(obs), CHUNK):
        x = obs[first : first + CHUNK].astype(np.float64)
        if model.read is not None:
            mean, scale, bound = model.read
            x = np.clip((x - mean) * scale, -bound, bound)
        for k, (_, weight, bias, window) in enumerate(_layers(model)):
            if window is None:
                x = x @ weight.T + bias
            else:
                (height, width, channels), kernel, stride = window
                filters = np.moveaxis(weight.reshape(-1, kernel, kernel, channels), 3, 1)
                x = convolve(x.reshape(-1, height, width, channels), filters, bias, stride, xp=np)
            x = np.maximum(x, 0).reshape(len(x), -1)
            found[k] = max(found[k], x.max())
    return [float(x) for x in found]


def matrix_of(name: str, weight: Array, bias: Array, read: Read, unit_out: float) -> Matrix:
    """A layer whose sums go on in units of `unit_out`."""
    units, rows, start = _rows(weight, bias, read)
    return checked(name, rows, start, units, unit_out)


def _rows(weight: Array, bias: Array, read: Read) -> tuple[Array, Array, Array]:
    """Units (rows,) float64, weights and biases, int64."""
    scaled = weight * read.step
    start = bias + (weight * read.offset).sum(axis=1)
    units = np.maximum(np.abs(scaled).max(axis=1) / BYTE, np.abs(start) / 2.0**30)
    units = np.maximum(units, units.max() / FINER) if units.any() else np.ones(len(units))
    rows = np.rint(scaled / units[:, None]).astype(np.int64)
    return units, rows, np.rint(start / units).astype(np.int64) - read.zero * rows.sum(axis=1)


def checked(name: str, rows: Array, bias: Array, units: Array, unit_out: float) -> Matrix:
    """With multipliers from the units of rows to the next one; the largest multiplier has 31 bits.

    Raises:
        ConfigError: if a sum could leave 32 bits.
    """
    ratio = units / unit_out
    shift = min(max(30 - math.floor(math.log2(ratio.max())), 1), 62)
    multiplier = np.minimum(np.rint(ratio * 2.0**shift), 2**31 - 1).astype(np.int64)
    matrix = Matrix(name, rows, bias, multiplier, shift, unit_out)
    if matrix.largest_sum > LARGEST_SUM:
        raise ConfigError(
            f"{name} reads {rows.shape[1]:,} numbers, and its sums in int8 could reach {matrix.largest_sum:,}, "
            "which is more than 32 bits hold: train with narrower layers, or export float32"
        )
    return matrix


def _heads(weight: Array, bias: Array, read: Read) -> tuple[Matrix, int]:
    """The matrix of the heads, and the bits after their point: as many as keep all that can come below 2^24."""
    units, rows, start = _rows(weight, bias, read)
    reach = float(((np.abs(start) + ZERO * np.abs(rows).sum(axis=1)) * units).max())
    point = min(max(math.floor(math.log2(HEAD / max(reach, 1.0))), 0), FINEST)
    return checked("policy", rows, start, units, 2.0**-point), point


assert FAR * ONE + ONE // 2 < 2**31  # the largest product of a gate fits
