"""States of environments written in Python: what one may hold, as bytes, and how wrappers' states join it."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from pufferlib_core.errors import EnvError, ShapeError
from pufferlib_core.native import Array

KINDS = "biufcmMSU"  # of numpy's dtypes
INNER = ("sizes", "bytes")  # names of what `joined` returns
ACCEPTED = "None, bool, int, float, str, bytes, arrays of numbers or text, and dicts (with str keys), lists and tuples of these"
# Gymnasium's own wrappers whose state is known: the attributes that hold it. Others must offer their states themselves.
HELD: Mapping[str, tuple[str, ...]] = {
    "TimeLimit": ("_elapsed_steps",),
    "FrameStackObservation": ("obs_queue", "padding_value"),
} | dict.fromkeys(
    ("PassiveEnvChecker", "OrderEnforcing", "ClipAction", "RescaleAction", "ClipReward", "FlattenObservation",
     "FilterObservation", "GrayscaleObservation", "ResizeObservation", "ReshapeObservation", "RescaleObservation",
     "DtypeObservation", "RecordEpisodeStatistics"),
    (),
)  # fmt: skip


def pack_state(value: Any) -> bytes:
    """A state as bytes, equal for equal states: a line of JSON in which arrays are places in the bytes after it.

    Args:
        value: None, bool, int (of any size), float, str, bytes, arrays of numbers or text, and dicts (with str keys),
            lists and tuples of these.

    Raises:
        EnvError: if it holds something else, saying where.
    """
    parts: list[bytes] = []

    def place(data: bytes) -> int:
        parts.append(data)
        return len(data)

    def encode(node: Any, where: str) -> Any:
        if node is None or type(node) in (bool, int, float, str):
            return node
        if isinstance(node, bytes):
            return {"bytes": place(node)}
        if isinstance(node, (np.ndarray, np.generic)) and node.dtype.kind in KINDS:
            kind = "array" if isinstance(node, np.ndarray) else "number"
            place(node.tobytes())
            return {kind: [node.dtype.str, list(node.shape)]}
        if type(node) is dict and all(isinstance(key, str) for key in node):
            return {"dict": {key: encode(part, f"{where}[{key!r}]") for key, part in node.items()}}
        if type(node) in (list, tuple):
            return {type(node).__name__: [encode(part, f"{where}[{k}]") for k, part in enumerate(node)]}
        hint = "; of a Generator give .bit_generator.state" if isinstance(node, np.random.Generator) else ""
        raise EnvError(f"{where} is a {type(node).__name__}, a state may hold {ACCEPTED}{hint}")

    header = json.dumps(encode(value, "state"), separators=(",", ":")).encode()
    return b"\n".join([header, b"".join(parts)])


def unpack_state(data: bytes) -> Any:
    """The state that `pack_state` packed; its arrays are copies.

    Raises:
        ShapeError: if the bytes are something else.
    """
    header, _, body = data.partition(b"\n")
    at = 0

    def take(size: int) -> bytes:
        nonlocal at
        at += size
        return body[at - size : at]

    def decode(node: Any) -> Any:
        if not isinstance(node, dict):
            return node
        [(kind, inner)] = node.items()
        if kind == "bytes":
            return take(inner)
        if kind in ("array", "number"):
            dtype, shape = np.dtype(inner[0]), tuple(inner[1])
            array = np.frombuffer(take(dtype.itemsize * int(np.prod(shape, dtype=np.int64))), dtype).reshape(shape).copy()
            return array if kind == "array" else array[()]
        if kind == "dict":
            return {key: decode(part) for key, part in inner.items()}
        return {"list": list, "tuple": tuple}[kind](decode(part) for part in inner)

    try:
        value = decode(json.loads(header))
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ShapeError(f"not the bytes of a state: {error}") from error
    if at != len(body):
        raise ShapeError(f"not the bytes of a state: {len(body)} bytes of arrays, {at} expected")
    return value


def joined(packed: list[bytes]) -> dict[str, Array]:
    """Packed states as arrays of a checkpoint: their `sizes` and, one after the other, their `bytes`."""
    return {"sizes": np.array([len(data) for data in packed], np.int64), "bytes": np.frombuffer(b"".join(packed), np.uint8)}


def parted(state: Mapping[str, Array]) -> list[bytes]:
    """The packed states that `joined` joined."""
    ends = np.cumsum(state["sizes"]).tolist()
    data = state["bytes"].tobytes()
    return [data[end - size : end] for size, end in zip(state["sizes"].tolist(), ends, strict=True)]


def offers(value: Any) -> bool:
    """Whether an object's class has `get_state` and `set_state`; what it forwards from an inner one does not count."""
    return all(hasattr(type(value), name) for name in ("get_state", "set_state"))


class Kept:
    """Reads and restores the state of an environment, with that of Gymnasium's wrappers around it.

    `missing` says what keeps the state from being whole; empty: nothing.
    """

    def __init__(self, env: Any) -> None:
        self._held: list[tuple[Any, str]] = []
        self.missing = ""
        while not offers(env):
            kind = type(env)
            names = HELD.get(kind.__name__) if kind.__module__.startswith("gymnasium.wrappers.") else None
            if names is None or not all(hasattr(env, name) for name in names):
                what = "wrapper" if hasattr(env, "env") else "environment"
                self.missing = f"the {what} {kind.__name__} has no get_state and set_state"
                return
            self._held += [(env, name) for name in names]
            env = env.env
        self._env = env

    def get(self) -> Any:
        """The whole state, as `pack_state` takes it."""
        held = [getattr(wrapper, name) for wrapper, name in self._held]
        return {"env": self._env.get_state(), "held": [list(value) if isinstance(value, deque) else value for value in held]}

    def set(self, state: Any) -> None:
        """Restores what `get` returned, after a reset."""
        self._env.set_state(state["env"])
        for (wrapper, name), value in zip(self._held, state["held"], strict=True):
            was = getattr(wrapper, name)
            setattr(wrapper, name, deque(value, was.maxlen) if isinstance(was, deque) else value)
