"""Spaces of one array: what an observation, an action or a part of one may be. Immutable, hashable and JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from pufferlib_core.errors import SpaceError

Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True, init=False)
class Box:
    """Numbers between bounds; `low` and `high` broadcast to `shape`."""

    low: tuple[float, ...]  # flattened
    high: tuple[float, ...]
    shape: tuple[int, ...]
    dtype: str

    def __init__(self, low: Any, high: Any, shape: tuple[int, ...] | None = None, dtype: Any = "float32") -> None:
        kind = np.dtype(dtype)
        if kind.kind not in "fiub":
            raise SpaceError(f"Box: dtype {kind} is not a number")
        size = tuple(int(n) for n in (shape if shape is not None else np.broadcast(low, high).shape))
        if any(n < 1 for n in size):
            raise SpaceError(f"Box: shape {size} has an empty axis")
        try:
            bounds = [np.broadcast_to(np.asarray(bound, np.float64), size) for bound in (low, high)]
        except ValueError:
            raise SpaceError(f"Box: bounds do not broadcast to shape {size}") from None
        if np.isnan(bounds).any() or (bounds[0] > bounds[1]).any():
            raise SpaceError("Box: every low must be a number at most its high")
        object.__setattr__(self, "low", tuple(bounds[0].ravel().tolist()))
        object.__setattr__(self, "high", tuple(bounds[1].ravel().tolist()))
        object.__setattr__(self, "shape", size)
        object.__setattr__(self, "dtype", kind.name)

    @property
    def size(self) -> int:
        """Numbers in one value."""
        return int(np.prod(self.shape, dtype=np.int64))

    def validate(self, value: Any, where: str = "value") -> None:
        """Raises SpaceError, naming the first place that breaks the rule."""
        array = _shaped(value, self.shape, where)
        if not np.can_cast(array.dtype, self.dtype, "same_kind"):
            raise SpaceError(f"{where} must be {self.dtype}, got {array.dtype}")
        flat = array.astype(np.float64).ravel()
        wrong = np.flatnonzero(~((flat >= np.asarray(self.low)) & (flat <= np.asarray(self.high))))
        if wrong.size:
            i = int(wrong[0])
            at = list(map(int, np.unravel_index(i, self.shape))) if self.shape else []
            raise SpaceError(f"{where}{at or ''} is {flat[i]}, outside [{self.low[i]}, {self.high[i]}]")

    def sample(self, rng: np.random.Generator) -> Array:
        """Uniform between finite bounds; exponential or normal where one or both are infinite."""
        low, high = np.asarray(self.low), np.asarray(self.high)
        below, above = np.isfinite(low), np.isfinite(high)
        value = rng.normal(size=self.size)
        value = np.where(below & ~above, np.where(below, low, 0) + rng.exponential(size=self.size), value)
        value = np.where(~below & above, np.where(above, high, 0) - rng.exponential(size=self.size), value)
        both = below & above
        edge = 1.0 if np.dtype(self.dtype).kind in "iub" else 0.0
        spread = np.where(both, high, 0) - np.where(both, low, 0)
        uniform = np.where(both, low, 0) + rng.random(self.size) * (spread + edge)
        value = np.where(both, np.minimum(np.floor(uniform) if edge else uniform, high), value)
        return value.reshape(self.shape).astype(self.dtype)

    def to_json(self) -> dict[str, Any]:
        """Plain values; infinite bounds as strings."""
        return {
            "type": "Box",
            "low": [_finite_json(x) for x in self.low],
            "high": [_finite_json(x) for x in self.high],
            "shape": list(self.shape),
            "dtype": self.dtype,
        }


@dataclass(frozen=True)
class Discrete:
    """One of n choices: start .. start + n - 1. Policies and action planes count from 0."""

    n: int
    start: int = 0

    def __post_init__(self) -> None:
        _positive("Discrete: n", self.n)
        if isinstance(self.start, bool) or not isinstance(self.start, int) or not -(1 << 30) <= self.start <= 1 << 30:
            raise SpaceError(f"Discrete: start={self.start!r} must be a whole number in [-2^30, 2^30]")

    shape = ()
    dtype = "int32"
    size = 1

    @property
    def nvec(self) -> tuple[int, ...]:
        """Choices of each component."""
        return (self.n,)

    def validate(self, value: Any, where: str = "value") -> None:
        """Raises SpaceError, naming the first place that breaks the rule."""
        _validate_choices(value, (), (self.n,), where, self.start)

    def sample(self, rng: np.random.Generator) -> Array:
        """Uniform."""
        return np.asarray(self.start + rng.integers(self.n), np.int32)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"type": "Discrete", "n": self.n} | ({"start": self.start} if self.start else {})


@dataclass(frozen=True, init=False)
class MultiDiscrete:
    """K choices at once; component k is 0 .. nvec[k] - 1."""

    nvec: tuple[int, ...]

    def __init__(self, nvec: Any) -> None:
        values = tuple(int(n) for n in nvec)
        if not values:
            raise SpaceError("MultiDiscrete: nvec is empty")
        for k, n in enumerate(values):
            _positive(f"MultiDiscrete: nvec[{k}]", n)
        object.__setattr__(self, "nvec", values)

    dtype = "int32"

    @property
    def shape(self) -> tuple[int, ...]:
        """(K,)."""
        return (len(self.nvec),)

    @property
    def size(self) -> int:
        """Numbers in one value."""
        return len(self.nvec)

    def validate(self, value: Any, where: str = "value") -> None:
        """Raises SpaceError, naming the first place that breaks the rule."""
        _validate_choices(value, self.shape, self.nvec, where)

    def sample(self, rng: np.random.Generator) -> Array:
        """Uniform."""
        return rng.integers(self.nvec).astype(np.int32)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"type": "MultiDiscrete", "nvec": list(self.nvec)}


@dataclass(frozen=True)
class MultiBinary:
    """n switches, each 0 or 1."""

    n: int

    def __post_init__(self) -> None:
        _positive("MultiBinary: n", self.n, 20)

    dtype = "int32"

    @property
    def shape(self) -> tuple[int, ...]:
        """(n,)."""
        return (self.n,)

    @property
    def size(self) -> int:
        """Numbers in one value."""
        return self.n

    @property
    def nvec(self) -> tuple[int, ...]:
        """Choices of each component."""
        return (2,) * self.n

    def validate(self, value: Any, where: str = "value") -> None:
        """Raises SpaceError, naming the first place that breaks the rule."""
        _validate_choices(value, self.shape, self.nvec, where)

    def sample(self, rng: np.random.Generator) -> Array:
        """Uniform."""
        return rng.integers(2, size=self.n).astype(np.int32)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"type": "MultiBinary", "n": self.n}


Flat: TypeAlias = Box | Discrete | MultiDiscrete | MultiBinary


def _positive(where: str, n: int, bits: int = 31) -> None:
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n < 1 << bits:
        raise SpaceError(f"{where}={n!r} must be a whole number in [1, 2^{bits})")


def _finite_json(x: float) -> float | str:
    return x if np.isfinite(x) else str(x)


def _shaped(value: Any, shape: tuple[int, ...], where: str) -> Array:
    array = np.asarray(value)
    if array.shape != shape:
        raise SpaceError(f"{where} must have shape {shape}, got {array.shape}")
    if array.dtype.kind not in "fiub":
        raise SpaceError(f"{where} must be numbers, got {array.dtype}")
    return array


def _validate_choices(value: Any, shape: tuple[int, ...], nvec: tuple[int, ...], where: str, start: int = 0) -> None:
    array = _shaped(value, shape, where)
    if array.dtype.kind not in "iu":
        raise SpaceError(f"{where} must be whole numbers, got {array.dtype}")
    for k, (chosen, n) in enumerate(zip(array.ravel().tolist(), nvec, strict=True)):
        if not start <= chosen < start + n:
            raise SpaceError(f"{where}{[k] if shape else ''} is {chosen}, outside [{start}, {start + n})")
