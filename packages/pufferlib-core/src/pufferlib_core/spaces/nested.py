"""Spaces of several parts, nested to any depth. Immutable, hashable and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from pufferlib_core.errors import SpaceError
from pufferlib_core.spaces.flat import Flat

MAX_DEPTH = 32

Space: TypeAlias = "Flat | Dict | Tuple"
Path: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, init=False)
class Dict:
    """Named parts, kept in the order of their names, so that equal spaces have equal layouts."""

    parts: tuple[tuple[str, Space], ...]

    def __init__(self, spaces: Mapping[str, Space]) -> None:
        if not spaces:
            raise SpaceError("Dict: has no parts")
        if wrong := [name for name in spaces if not isinstance(name, str) or not name]:
            raise SpaceError(f"Dict: names must be texts, got {wrong[0]!r}")
        object.__setattr__(self, "parts", tuple((name, _part(spaces[name])) for name in sorted(spaces)))

    def children(self) -> Iterator[tuple[str, Space]]:
        """Names and parts."""
        return iter(self.parts)

    def validate(self, value: Any, where: str = "value") -> None:
        """Raises SpaceError, naming the first place that breaks the rule."""
        if not isinstance(value, Mapping):
            raise SpaceError(f"{where} must be a mapping, got {type(value).__name__}")
        known = {name for name, _ in self.parts}
        for name in sorted({*value} ^ known, key=str):
            raise SpaceError(f"{where}[{name!r}] {'is missing' if name in known else 'does not belong to the space'}")
        for name, space in self.parts:
            space.validate(value[name], f"{where}[{name!r}]")

    def sample(self, rng: np.random.Generator) -> dict[str, Any]:
        """Each part by itself."""
        return {name: space.sample(rng) for name, space in self.parts}

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"type": "Dict", "spaces": {name: space.to_json() for name, space in self.parts}}


@dataclass(frozen=True, init=False)
class Tuple:
    """Numbered parts."""

    parts: tuple[Space, ...]

    def __init__(self, spaces: Iterable[Space]) -> None:
        parts = tuple(_part(space) for space in spaces)
        if not parts:
            raise SpaceError("Tuple: has no parts")
        object.__setattr__(self, "parts", parts)

    def children(self) -> Iterator[tuple[int, Space]]:
        """Numbers and parts."""
        return enumerate(self.parts)

    def validate(self, value: Any, where: str = "value") -> None:
        """Raises SpaceError, naming the first place that breaks the rule."""
        if not isinstance(value, (tuple, list)) or len(value) != len(self.parts):
            came = f"{len(value)} parts" if isinstance(value, (tuple, list)) else type(value).__name__
            raise SpaceError(f"{where} must be a tuple of {len(self.parts)} parts, got {came}")
        for k, space in enumerate(self.parts):
            space.validate(value[k], f"{where}[{k}]")

    def sample(self, rng: np.random.Generator) -> tuple[Any, ...]:
        """Each part by itself."""
        return tuple(space.sample(rng) for space in self.parts)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"type": "Tuple", "spaces": [space.to_json() for space in self.parts]}


def leaves(space: Space, path: Path = ()) -> Iterator[tuple[Path, Flat]]:
    """Paths and flat parts, depth first."""
    if isinstance(space, Flat):
        yield path, space
        return
    for key, part in space.children():
        yield from leaves(part, (*path, key))


def _part(space: Any) -> Space:
    if not isinstance(space, (Flat, Dict, Tuple)):
        raise SpaceError(f"{space!r} is not a space")
    if _depth(space) >= MAX_DEPTH:
        raise SpaceError(f"spaces may be nested {MAX_DEPTH} deep")
    return space


def _depth(space: Space) -> int:
    return 1 if isinstance(space, Flat) else 1 + max(_depth(part) for _, part in space.children())
