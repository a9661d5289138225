"""Spaces from and to those of Gymnasium."""

from __future__ import annotations

from typing import Any

import numpy as np

from pufferlib_core.errors import SpaceError, require
from pufferlib_core.spaces.flat import Array, Box, Discrete, Flat, MultiBinary, MultiDiscrete
from pufferlib_core.spaces.nested import Dict, Space, Tuple


def from_gymnasium(space: Any) -> Space:
    """The space that a space of Gymnasium describes, told by its attributes: the package itself is not needed.

    Raises:
        SpaceError: if it, or a part of it, is of another kind; a MultiDiscrete must start at 0.
    """
    if isinstance(space, (Flat, Dict, Tuple)):
        return space
    kind = type(space).__name__
    if kind == "Box":
        return Box(space.low, space.high, space.shape, space.dtype)
    if kind == "Discrete":
        return Discrete(int(space.n), int(getattr(space, "start", 0)))
    if kind == "MultiDiscrete" and not np.any(getattr(space, "start", 0)):
        return MultiDiscrete(np.asarray(space.nvec).ravel().tolist())
    if kind == "MultiBinary":
        return MultiBinary(int(np.prod(space.n)))
    if kind == "Dict":
        return Dict({name: from_gymnasium(part) for name, part in space.spaces.items()})
    if kind == "Tuple":
        return Tuple(from_gymnasium(part) for part in space.spaces)
    raise SpaceError(f"spaces of kind {space} are not supported")


def to_gymnasium(space: Space) -> Any:
    """The same space for Gymnasium, which counts choices in int64 (switches in int8) where we use int32.

    Raises:
        MissingExtra: if Gymnasium is not installed.
    """
    spaces = require("gymnasium", "gymnasium").spaces
    if isinstance(space, Dict):
        return spaces.Dict({name: to_gymnasium(part) for name, part in space.parts})
    if isinstance(space, Tuple):
        return spaces.Tuple([to_gymnasium(part) for part in space.parts])
    if isinstance(space, Box):
        bounds = (_bound(values, space) for values in (space.low, space.high))
        return spaces.Box(*bounds, dtype=np.dtype(space.dtype).type)
    if isinstance(space, MultiDiscrete):
        return spaces.MultiDiscrete(list(space.nvec))
    return spaces.MultiBinary(space.n) if isinstance(space, MultiBinary) else spaces.Discrete(space.n, start=space.start)


def _bound(values: tuple[float, ...], space: Box) -> Array:
    """Bounds in the space's own dtype; whole numbers have no infinity, so theirs end at the dtype's limits."""
    if np.dtype(space.dtype).kind == "f":
        return np.array(values, space.dtype).reshape(space.shape)
    limits = np.iinfo(space.dtype)
    return np.array([int(min(max(x, limits.min), limits.max)) for x in values], space.dtype).reshape(space.shape)
