"""Nested observations as rows of memory, nested actions as heads of a policy (the idea of PufferLib's emulation).

A `SpaceTree` is a space compiled once: a row is a C struct with a field for each flat part, aligned as C aligns it.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from pufferlib_core.data import aligned_zeros
from pufferlib_core.errors import ShapeError, SpaceError
from pufferlib_core.native import Array, check, ffi, lib, pointer
from pufferlib_core.spaces import Box, Dict, Discrete, Flat, Mixed, MultiBinary, MultiDiscrete, Path, Space, Tuple, leaves
from pufferlib_core.traits import ActionSpace

_NUMBERS = {
    np.dtype(code): getattr(lib, name)
    for code, name in {
        "f4": "PUF_F32", "f8": "PUF_F64", "i1": "PUF_I8", "u1": "PUF_U8", "i2": "PUF_I16", "u2": "PUF_U16", "i4": "PUF_I32",
        "u4": "PUF_U32", "i8": "PUF_I64", "u8": "PUF_U64", "?": "PUF_U8",
    }.items()
}  # fmt: skip
JOINED = 4096  # bytes of a part up to which joining pays
MAX_CHOICES = 1 << 16  # of a choice that a network reads as so many numbers


class Leaf(NamedTuple):
    """A flat part of a space, and where it lies in a row."""

    path: Path
    space: Flat
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int  # bytes
    choices: tuple[int, ...]  # of each component; empty: numbers
    bytes: int  # in one row

    @property
    def width(self) -> int:
        """Numbers that a network reads."""
        return sum(self.choices) if self.choices else self.bytes // self.dtype.itemsize


class SpaceTree:
    """The layout of a space: rows, packing, views, and the numbers that a network reads.

    Rows of a flat space are plain arrays (N, *shape) of its dtype. Rows of a nested one have a structured dtype, whose
    fields are the names of a Dict and `f0`, `f1`, ... of a Tuple: `rows["units"]["f1"]` is a view.

    Raises:
        SpaceError: if a number has a dtype that rows cannot hold.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self.dtype, self.shape = _layout(space)
        self.row_bytes = self.dtype.itemsize * int(np.prod(self.shape, dtype=np.int64))
        self.leaves = [self._leaf(path, flat) for path, flat in leaves(space)]
        self.width = sum(leaf.width for leaf in self.leaves)
        # A row of float32 numbers, or of bytes, is what a network reads already.
        self.direct = isinstance(space, Box) and self.dtype in (np.float32, np.uint8)
        self.feature_dtype = self.dtype if self.direct else np.dtype(np.float32)

    def _leaf(self, path: Path, space: Flat) -> Leaf:
        dtype, offset = self.dtype, 0
        for key in path:
            assert dtype.fields is not None
            dtype, more = dtype.fields[_field(key)][:2]
            offset += more
        base, shape = (dtype.base, dtype.shape) if path else (self.dtype, self.shape)
        choices = () if isinstance(space, Box) else space.nvec
        return Leaf(path, space, base, shape, offset, choices, math.prod(shape) * base.itemsize)

    def empty(self, rows: int) -> Array:
        """Zeroed rows, 64-byte aligned."""
        return aligned_zeros((rows, *self.shape), self.dtype)

    def plain(self, rows: Array) -> Array:
        """Rows as files hold them, a view: themselves, or the bytes (N, row_bytes) of nested ones."""
        return rows if self.dtype.fields is None else rows.view(np.uint8).reshape(len(rows), self.row_bytes)

    def view(self, rows: Array, path: Path) -> Array:
        """One part of rows, without a copy: (N, *shape) of its own dtype."""
        for key in path:
            rows = rows[_field(key)]
        return rows

    def unpack(self, rows: Array) -> Any:
        """All parts of rows in the form of the space, each a view (N, *shape)."""
        return _build(self.space, lambda path: self.view(rows, path))

    def pack(self, values: Any, out: Array | None = None) -> Array:
        """Rows from the parts of all rows: arrays (N, *shape) in the form of the space.

        Args:
            values: contiguous arrays of the parts' own dtypes.
            out: rows to write into; new ones if None.

        Raises:
            ShapeError: if an array has the wrong shape, dtype or layout.
        """
        rows = self.empty(len(_follow(values, self.leaves[0].path))) if out is None else out
        self.packer(values, rows)()
        return rows

    def packer(self, values: Any, rows: Array) -> Callable[[], None]:
        """A function that packs the same arrays into the same rows whenever it is called: they are checked once.

        Raises:
            ShapeError: if an array has the wrong shape, dtype or layout.
        """
        n = len(rows)
        arrays = [_follow(values, leaf.path) for leaf in self.leaves]
        fields = ffi.new("puf_field[]", len(arrays))
        for field, leaf, array in zip(fields, self.leaves, arrays, strict=True):
            where = f"value{''.join(f'[{key!r}]' for key in leaf.path)}"
            if not isinstance(array, np.ndarray) or array.dtype != leaf.dtype or array.shape != (n, *leaf.shape):
                raise ShapeError(f"{where} must be {leaf.dtype} {(n, *leaf.shape)}, got {_kind(array)}")
            if not array.flags.c_contiguous:
                raise ShapeError(f"{where} must be contiguous: pass np.ascontiguousarray(...)")
            field.data, field.bytes, field.offset = ffi.cast("void *", array.ctypes.data), leaf.bytes, leaf.offset
        target, count, size, keep = self._bytes(rows, n), len(arrays), self.row_bytes, (arrays, rows)

        def call(_keep: Any = keep) -> None:  # the arrays live as long as the function
            check(lib.puf_pack(fields, count, n, target, size), "pack")

        return call

    def write(self, rows: Array, which: list[int] | None, values: list[Any]) -> None:
        """Puts nested observations into rows, part by part.

        Args:
            rows: written to.
            which: their numbers; all if None.
            values: as many observations; numbers are cast.
        """
        if not values:
            return
        where = slice(None) if which is None else which
        for leaf, parts in zip(self.leaves, _columns(self.space, values), strict=True):
            self.view(rows, leaf.path)[where] = _joined_bytes(parts, leaf)

    def features(self, rows: Array, out: Array | None = None) -> Array:
        """What a network reads: (N, width), numbers as they are, choices as 0 and 1, float32.

        Rows of float32 numbers or of bytes are read as they are, with `feature_dtype`: a view of them, unless there is `out`.

        Raises:
            SpaceError: if a choice is outside its space, saying where.
            ShapeError: if rows are not what environments write.
        """
        view = self.direct and out is None
        shapes = (self.shape, (self.width,)) if view else (self.shape,)
        if not isinstance(rows, np.ndarray) or rows.ndim == 0 or rows.dtype != self.dtype or rows.shape[1:] not in shapes:
            raise misfit(self, rows)
        n = len(rows)
        if view:
            return rows.reshape(n, self.width)
        result = np.empty((n, self.width), np.float32) if out is None else out
        target = pointer(result, "out", np.float32, (n, self.width), out=True)
        parts, data = self._c_leaves, self._bytes(rows, n)
        done = lib.puf_features(parts, len(parts), data, n, self.row_bytes, target, self.width)
        if check(done, "features") < n:
            self.validate(rows, "obs")
        return result

    @functools.cached_property
    def _c_leaves(self) -> Any:
        made = []
        for leaf in self.leaves:
            if any(n > MAX_CHOICES for n in leaf.choices):
                raise SpaceError(f"{leaf.space} has too many choices for a network to read; at most {MAX_CHOICES}")
            number = {"number": _NUMBERS[leaf.dtype]}
            if not leaf.choices:
                made.append(number | {"offset": leaf.offset, "count": leaf.width})
            start = leaf.space.start if isinstance(leaf.space, Discrete) else 0
            for k, n in enumerate(leaf.choices):
                place = {"offset": leaf.offset + k * leaf.dtype.itemsize, "count": 1, "choices": n, "start": start}
                made.append(number | place)
        return ffi.new("puf_leaf[]", made)

    def validate(self, rows: Array, where: str) -> None:
        """Raises SpaceError for the first part of a row outside its space, NaN included."""
        for leaf in self.leaves:
            values = self.view(rows, leaf.path).reshape(len(rows), int(np.prod(leaf.shape, dtype=np.int64)))
            if isinstance(leaf.space, Box):
                low, high = np.asarray(leaf.space.low), np.asarray(leaf.space.high)
                if leaf.dtype == np.float32:  # bounds are kept in float64; rounding may put a number an ulp beyond
                    low, high = low.astype(np.float32), high.astype(np.float32)
            else:
                start = leaf.space.start if isinstance(leaf.space, Discrete) else 0
                low, high = np.full(len(leaf.choices), start), np.asarray(leaf.choices) + start - 1
            wrong = np.argwhere(~((values >= low) & (values <= high)))
            if len(wrong):
                i, k = wrong[0]
                place = f"{where}[{i}]{''.join(f'[{key!r}]' for key in leaf.path)}"
                raise SpaceError(f"{place} holds {values[i, k]} (number {k}), outside [{low[k]}, {high[k]}]")

    def _bytes(self, rows: Array, n: int) -> Any:
        if rows.dtype != self.dtype or rows.shape != (n, *self.shape):
            raise ShapeError(f"rows must be {self.dtype} {(n, *self.shape)}, got {rows.dtype} {rows.shape}")
        if not rows.flags.c_contiguous:
            raise ShapeError("rows must be contiguous")
        return ffi.cast("void *", rows.ctypes.data)


def misfit(tree: SpaceTree, rows: Any) -> ShapeError:
    """The error for observations that are not what environments write."""
    shape = str(("N", *tree.shape)).replace("'", "")
    return ShapeError(f"obs must be {tree.dtype} {shape}, as environments write it; got {_kind(rows)}")


def _kind(given: Any) -> str:
    """What messages say that came."""
    return f"{given.dtype} {given.shape}" if isinstance(given, np.ndarray) else type(given).__name__


def _columns(space: Space, values: list[Any]) -> Iterator[list[Any]]:
    """Every flat part of several observations, in the order of `leaves`."""
    if isinstance(space, Flat):
        yield values
        return
    for key, part in space.children():
        yield from _columns(part, [value[key] for value in values])


def _joined_bytes(parts: list[Any], leaf: Leaf) -> Any:
    """One part of several observations as an array, where joining their bytes makes one: the fastest way for small parts."""
    first = parts[0]
    if not isinstance(first, (np.ndarray, np.generic)) or first.shape != leaf.shape or leaf.bytes > JOINED:
        return parts
    same = _dtype_of if isinstance(first, np.ndarray) else type
    try:
        if [*map(same, parts)].count(same(first)) == len(parts):
            return np.frombuffer(b"".join(parts), first.dtype).reshape(len(parts), *leaf.shape)
    except (AttributeError, TypeError, ValueError, BufferError):
        pass  # not all arrays, not contiguous or not of this size: numpy decides
    return parts


_dtype_of = operator.attrgetter("dtype")


class ActionTree:
    """A nested action as heads of a policy: choices (`space` is discrete), numbers (a Box), or both together (`Mixed`).

    Choices keep the order of the leaves, depth first (names of a Dict sorted), and so do numbers.

    Raises:
        SpaceError: if it has numbers that are not floating.
    """

    def __init__(self, space: Space) -> None:
        self.nested = space
        self._parts = dict(leaves(space))
        parts = list(self._parts.values())
        boxes = [part for part in parts if isinstance(part, Box)]
        if any(np.dtype(box.dtype).kind != "f" for box in boxes):
            raise SpaceError(f"actions of whole numbers in a Box are not supported: {boxes}")
        self.space = _joined(space, parts)

    def decode_all(self, action: Array) -> list[Any]:
        """The nested action of every row of an action plane."""
        if isinstance(self.nested, Discrete):
            return [chosen + self.nested.start for chosen in action.tolist()]
        parts = self.decode_batch(action)
        return list(parts) if isinstance(self.nested, Box) else [self._row(parts, i) for i in range(len(action))]

    def decode(self, action: Array) -> Any:
        """The nested action of one row of an action plane."""
        return self._row(self.decode_batch(np.asarray(action)[None]), 0)

    def _row(self, parts: Any, i: int) -> Any:
        def one(path: Path) -> Any:
            value = _follow(parts, path)[i, ...]  # an array, even without axes
            return int(value) if isinstance(self._parts[path], Discrete) else value

        return _build(self.nested, one)

    def decode_batch(self, action: Array) -> Any:
        """The actions of an action plane in the form of the nested space, each part (N, ...)."""
        if isinstance(self.space, Mixed):
            left = {False: action["choices"], True: action["numbers"]}
        else:
            left = dict.fromkeys((False, True), action.reshape(len(action), -1))

        def take(path: Path) -> Any:
            part = self._parts[path]
            number = isinstance(part, Box)
            values, left[number] = left[number][:, : part.size], left[number][:, part.size :]
            if isinstance(part, Discrete):
                return values[:, 0].astype(np.int64) + part.start
            if isinstance(part, Box):
                return values.reshape(-1, *part.shape).astype(part.dtype)
            return values.astype(np.int8 if isinstance(part, MultiBinary) else np.int64)

        return _build(self.nested, take)


def _joined(space: Space, parts: list[Flat]) -> ActionSpace:
    if isinstance(space, Discrete):
        return Discrete(space.n)  # heads count from 0
    if isinstance(space, Flat):
        return space
    nvec = [n for part in parts if not isinstance(part, Box) for n in part.nvec]
    boxes = [part for part in parts if isinstance(part, Box)]
    low, high = ([bound for box in boxes for bound in getattr(box, name)] for name in ("low", "high"))
    if nvec and low:
        return Mixed(MultiDiscrete(nvec), Box(low, high))
    return Box(low, high) if low else MultiDiscrete(nvec)


def _field(key: str | int) -> str:
    return f"f{key}" if isinstance(key, int) else key


def _layout(space: Space) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Dtype and shape of a row."""
    if isinstance(space, Flat):
        dtype = np.dtype(np.int8 if isinstance(space, MultiBinary) else space.dtype)
        if dtype not in _NUMBERS:
            raise SpaceError(f"rows cannot hold numbers of dtype {dtype}")
        return dtype, space.shape
    fields: list[tuple[Any, ...]] = [(_field(key), *_layout(part)) for key, part in space.children()]
    return np.dtype(fields, align=True), ()


def _follow(value: Any, path: Path) -> Any:
    for key in path:
        if isinstance(key, str) and not (isinstance(value, Mapping) and key in value):
            raise ShapeError(f"value has no part {key!r}")
        value = value[key]
    return value


def _build(space: Space, leaf: Any, path: Path = ()) -> Any:
    """The form of a space with leaf(path) at every flat part."""
    if isinstance(space, Dict):
        return {key: _build(part, leaf, (*path, key)) for key, part in space.children()}
    if isinstance(space, Tuple):
        return tuple(_build(part, leaf, (*path, key)) for key, part in space.children())
    return leaf(path)
