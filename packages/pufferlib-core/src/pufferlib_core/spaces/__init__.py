"""Spaces: what observations and actions may be. A space is immutable, hashable and JSON."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

from pufferlib_core.errors import SpaceError
from pufferlib_core.spaces.convert import from_gymnasium, to_gymnasium
from pufferlib_core.spaces.flat import Box, Discrete, Flat, MultiBinary, MultiDiscrete
from pufferlib_core.spaces.mixed import Mixed, sample_allowed
from pufferlib_core.spaces.nested import MAX_DEPTH, Dict, Path, Space, Tuple, leaves

__all__ = [
    "Box", "Dict", "Discrete", "Flat", "Mixed", "MultiBinary", "MultiDiscrete", "Path", "Space", "Tuple", "fingerprint",
    "from_gymnasium", "from_json", "leaves", "sample_allowed", "to_gymnasium",
]  # fmt: skip


def from_json(values: dict[str, Any], depth: int = 1) -> Space:
    """The space that `to_json` described.

    Raises:
        SpaceError: if it describes none.
    """
    if depth > MAX_DEPTH:
        raise SpaceError(f"not the description of a space: nested deeper than {MAX_DEPTH}")
    try:
        kind = values["type"]
        if kind == "Box":
            low, high = ([float(x) for x in values[name]] for name in ("low", "high"))
            shape = tuple(values["shape"])
            return Box(np.reshape(low, shape), np.reshape(high, shape), shape, values["dtype"])
        if kind == "Discrete":
            return Discrete(int(values["n"]), int(values.get("start", 0)))
        if kind == "MultiBinary":
            return MultiBinary(int(values["n"]))
        if kind == "MultiDiscrete":
            return MultiDiscrete(values["nvec"])
        if kind == "Mixed":
            choices, numbers = (from_json(values[name], depth + 1) for name in ("choices", "numbers"))
            return Mixed(choices, numbers)  # type: ignore[arg-type]  # it refuses parts of other kinds
        if kind == "Dict":
            return Dict({name: from_json(part, depth + 1) for name, part in values["spaces"].items()})
        if kind == "Tuple":
            return Tuple(from_json(part, depth + 1) for part in values["spaces"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SpaceError(f"not the description of a space: {values!r} ({error})") from error
    raise SpaceError(f"not the description of a space: unknown type {kind!r}")


def fingerprint(*spaces: Space) -> str:
    """SHA-256 of the spaces' canonical JSON: equal exactly if the spaces are."""
    text = json.dumps([space.to_json() for space in spaces], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
