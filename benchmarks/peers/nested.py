"""Nested observations that this framework and a peer both make: spaces as plain data, and values by arithmetic alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Part(NamedTuple):
    """A flat space: a Box of `dtype` and shape `sizes`, one choice among sizes[0], many choices, or sizes[0] flags."""

    kind: str  # box, discrete, multi_discrete, multi_binary
    sizes: tuple[int, ...]
    dtype: str = "int64"


SPACES: dict[str, Any] = {
    "numbers": {"position": Part("box", (3,), "float32"), "speed": Part("box", (), "float32")},
    "picture": {"picture": Part("box", (8, 8, 3), "uint8"), "speed": Part("box", (2,), "float32")},
    "padding": (Part("box", (3,), "uint8"), Part("box", (2,), "float64"), Part("box", (1,), "int16")),
    "flags": {"keys": Part("multi_binary", (5,)), "inner": (Part("box", (2, 2), "float32"), {"x": Part("box", (), "int32")})},
    "unsorted": {"z": Part("box", (2,), "float32"), "a": Part("box", (1,), "uint8")},
    "choice": {"a": Part("discrete", (5,)), "b": Part("box", (3,), "float32")},
    "choices": (Part("multi_discrete", (3, 4)), Part("box", (2,), "float64")),
    "mixed": {
        "a": Part("box", (8,), "float32"),
        "b": Part("discrete", (5,)),
        "c": (Part("box", (3, 3), "float32"), Part("multi_discrete", (3, 4))),
    },
}


def build(spec: Any, make: Callable[[Part], Any], of_dict: Callable[[Any], Any], of_tuple: Callable[[Any], Any]) -> Any:
    """A specification with each of its three forms replaced."""
    if isinstance(spec, dict):
        return of_dict({key: build(part, make, of_dict, of_tuple) for key, part in spec.items()})
    if isinstance(spec, Part):
        return make(spec)
    return of_tuple(tuple(build(part, make, of_dict, of_tuple) for part in spec))


def observation(spec: Any, number: int) -> Any:
    """An observation as Gymnasium's spaces would sample it; different numbers give different ones."""

    def value(part: Part) -> Any:
        if part.kind == "discrete":
            return np.int64(number % part.sizes[0])
        if part.kind == "multi_discrete":
            return np.array([(number + k) % n for k, n in enumerate(part.sizes)])
        count = math.prod(part.sizes)
        numbers = (np.arange(count) * 7 + number * 3) % (2 if part.kind == "multi_binary" else 101)
        return numbers.astype("int8" if part.kind == "multi_binary" else part.dtype).reshape(part.sizes)

    return build(spec, value, dict, tuple)
