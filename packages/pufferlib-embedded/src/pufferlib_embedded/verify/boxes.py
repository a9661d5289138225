"""Boxes of observations, and of what the network reads of them: the normaliser is part of what is verified."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pufferlib_core.errors import ConfigError, ShapeError
from pufferlib_core.native import Array

from pufferlib_embedded.model import LARGEST, Model
from pufferlib_embedded.verify.intervals import Bounds
from pufferlib_embedded.verify.rounding import TANH, TANH_DOUBLE, single_above, single_below


def as_read(model: Model, obs: Array) -> Array:
    """What the network reads of observations (..., obs_size), in float64: the operations of lean.c, to the bit."""
    x = obs.astype(np.float32)
    if model.read is not None:
        mean, scale, clip = model.read
        with np.errstate(over="ignore"):  # infinity is clipped
            x = np.clip((x - mean) * scale, np.float32(-clip), np.float32(clip))
    return x.astype(np.float64)


def box_read(model: Model, low: Array, high: Array) -> Bounds:
    """The box (B, obs_size) that the network reads of a box of observations: every step of it rises with what it reads."""
    return Bounds(as_read(model, low), as_read(model, high))


def observed(model: Model, x: Array, low: Array, high: Array) -> Array:
    """Observations of a box that are read as x, or nearly so: (..., obs_size)."""
    if model.read is not None:
        mean, scale, _ = model.read
        x = mean + x / scale.astype(np.float64)
    if low.dtype == np.uint8:
        x = np.rint(x)
    result: Array = np.clip(x, low, high).astype(low.dtype)
    return result


def rows_of(model: Model, observations: Any, where: str) -> Array:
    """Observations as rows (N, obs_size), of the dtype that the network reads.

    Raises:
        ShapeError: if their shape is another, or they are not numbers.
        ConfigError: if there is none, or one is not finite, or no byte where bytes are read.
    """
    given, space, dtype = np.asarray(observations), model.spec.obs_space, model.spec.tree.feature_dtype
    width = model.spec.tree.width
    if given.dtype.kind not in "fiub" or given.shape[1:] not in ((width,), getattr(space, "shape", ())):
        raise ShapeError(f"{where}: observations must be numbers of shape (N, {width}), got {given.dtype} {given.shape}")
    rows = given.reshape(len(given), width)
    if len(rows) == 0:
        raise ConfigError(f"{where}: there is no observation in it")
    with np.errstate(over="ignore"):
        made: Array = rows.astype(dtype)
    wrong = ~np.isfinite(made.astype(np.float32)).all(axis=1)
    if dtype == np.uint8:
        wrong |= (made != rows).any(axis=1)
    if wrong.any():
        kind = "a byte" if dtype == np.uint8 else "a finite float32"
        raise ConfigError(f"{where}: row {int(wrong.argmax())} holds a number that is not {kind}")
    return made


def read_file(model: Model, path: str | Path) -> Array:
    """Observations (N, obs_size) of a .npy file.

    Raises:
        ConfigError: if it cannot be read.
        ShapeError: if it holds something else.
    """
    try:
        given = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ConfigError(f"{path}: no array of NumPy can be read from it ({error}): numpy.save writes one") from error
    if not isinstance(given, np.ndarray):
        raise ConfigError(f"{path} holds several arrays (.npz): save the observations alone, by numpy.save")
    return rows_of(model, given, str(path))


def around(model: Model, obs: Array, epsilon: float, relative: bool) -> tuple[Array, Array]:
    """Boxes of +-epsilon around observations (N, obs_size): low and high.

    The ends are rounded to the nearest float32, as are all observations between them: none is lost. Bytes are whole.

    Raises:
        ConfigError: if epsilon is not a finite number from 0, or relative without a normaliser.
    """
    if not 0.0 <= epsilon < np.inf:
        raise ConfigError(f"--epsilon {epsilon:g} must be a finite number from 0")
    radius = np.full(obs.shape[1], float(epsilon))
    if relative:
        if model.read is None:
            raise ConfigError("--relative scales --epsilon by the normaliser's deviations, and this policy has no normaliser")
        radius = radius / model.read[1].astype(np.float64)
    low, high = obs - radius, obs + radius
    if obs.dtype == np.uint8:
        return np.ceil(np.maximum(low, 0)).astype(np.uint8), np.floor(np.minimum(high, 255)).astype(np.uint8)
    return _single(low), _single(high)


def given_box(model: Model, low: Any, high: Any) -> tuple[Array, Array]:
    """The box (obs_size,) of given ends, one number for all or one for each; infinite ones where the normaliser clips.

    Raises:
        ConfigError: if it is empty, or holds NaN, infinity that nothing clips, or no byte where bytes are read.
        ShapeError: if the numbers are not as many as those of an observation.
    """
    width, dtype = model.spec.tree.width, model.spec.tree.feature_dtype
    ends = []
    for name, numbers in (("--low", low), ("--high", high)):
        end = np.asarray(numbers, np.float64).ravel()
        if len(end) not in (1, width):
            raise ShapeError(f"{name} has {len(end)} numbers, an observation of {model.env} has {width}")
        clipped = model.read is not None and np.isfinite(model.read[2])
        if np.isnan(end).any() or (np.isinf(end).any() and not clipped):
            what = "numbers" if clipped else "finite numbers"
            raise ConfigError(f"{name}: the ends of a box must be {what}, got {end.tolist()}")
        if dtype == np.uint8 and ((end != np.rint(end)) | (end < 0) | (end > 255)).any():
            raise ConfigError(f"{name}: observations of {model.env} are bytes, whole numbers from 0 to 255")
        ends.append(np.broadcast_to(end, (width,)))
    if (ends[0] > ends[1]).any():
        at = int((ends[0] > ends[1]).argmax())
        raise ConfigError(f"the box is empty: --low {ends[0][at]:g} is above --high {ends[1][at]:g} in number {at}")
    if dtype == np.uint8:
        return ends[0].astype(np.uint8), ends[1].astype(np.uint8)
    return _single(ends[0]), _single(ends[1])


def _single(x: Array) -> Array:
    """The nearest finite float32."""
    return np.clip(x, -LARGEST, LARGEST).astype(np.float32)


def numbers_reached(model: Model, means: Bounds) -> Bounds:
    """What the numbers of an action (B, A) can be, clipped or squashed as lean.c does it, by the bounds of their heads."""
    low, high = model.low, model.high
    if not model.spec.config.squash:
        return Bounds(np.clip(means.low, low, high), np.clip(means.high, low, high))
    half = np.float32(0.5)
    middle, reach = half * low + half * high, half * high - half * low
    ends = []
    for end, away in ((means.low, single_below), (means.high, single_above)):
        sign = -1.0 if away is single_below else 1.0
        t = np.tanh(end)
        t = np.clip(away(t + sign * (TANH * np.abs(t) + TANH_DOUBLE)), np.float32(-1), np.float32(1))
        ends.append(np.clip(middle + reach * t, low, high).astype(np.float64))
    return Bounds(*ends)
