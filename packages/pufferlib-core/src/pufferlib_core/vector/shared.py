"""Memory that a vector environment shares with its worker processes."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np

from pufferlib_core.data import Zeros
from pufferlib_core.native import Array
from pufferlib_core.traits import EnvSpec, Step
from pufferlib_core.vector.base import action_dtype, step_planes

T = TypeVar("T")
LINE = 64  # bytes; planes start on such a boundary, and words that are waited for lie on lines of their own

STEP, RESET, COMMAND = range(3)  # kinds of orders; a command comes over the connection
SPARE = -1  # in place of the number of a segment: the spare rows


class Board(NamedTuple):
    """What parent and workers share besides segments.

    The parent writes orders and counts `go` of each worker up; the worker does its part and counts `left` down.
    """

    step: Step  # rows of all environments
    spare: Step  # likewise, on their way into a segment that the workers do not share
    action: Array  # (N, ...)
    chosen: Array  # (N,) uint8; not 0: RESET starts a new episode
    order: Array  # (workers, 8) int64; of each line: kind, segment and row that STEP writes (0: `step`), and the
    # worker's answer: episodes that ended, or bytes of a letter
    go: Array  # (workers, 16) uint32; of each line: number of the last order, and of the last one that was done
    left: Array  # (16,) uint32: orders that are not done, and how many of them the parent waits for (see park.h)


def board_planes(spec: EnvSpec, num_envs: int, workers: int, zeros: Zeros) -> Board:
    """Memory for a board."""
    return Board(
        step_planes(spec, num_envs, spec.mask_size, zeros),
        step_planes(spec, num_envs, spec.mask_size, zeros),
        zeros((num_envs * spec.agents, *spec.action_space.shape), action_dtype(spec.action_space)),
        zeros(num_envs * spec.agents, np.uint8),
        zeros((workers, LINE // 8), np.int64),
        zeros((workers, LINE // 4), np.uint32),
        zeros(LINE // 4, np.uint32),
    )


def letters(sizes: list[int], zeros: Zeros) -> list[Array]:
    """Memory for bytes from or for each worker, and a byte more, because a mapping cannot be empty."""
    return [zeros(size, np.uint8) for size in (*sizes, 1)]


class _Planes:
    """Hands out one plane of a block after the other; without a block it only counts their bytes."""

    def __init__(self, block: mmap.mmap | None) -> None:
        self.block, self.size = block, 0

    def zeros(self, shape: int | tuple[int, ...], dtype: Any) -> Array:
        kind, begin = np.dtype(dtype), self.size
        count = int(np.prod(shape, dtype=np.int64))
        self.size += -(-count * kind.itemsize // LINE) * LINE
        if self.block is None:
            return np.broadcast_to(np.zeros((), kind), shape)
        return np.frombuffer(self.block, kind, count, begin).reshape(shape)


def share(layout: Callable[[Zeros], T]) -> tuple[int, T]:
    """Zeroed memory for what `layout` makes, and the descriptor by which others map it; the caller closes that.

    The memory has no name, so nothing can be left behind: it goes with the last mapping and descriptor.
    """
    planes = _Planes(None)
    layout(planes.zeros)
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("pufferlib")
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, planes.size)
    return fd, attach(fd, layout)


def attach(fd: int, layout: Callable[[Zeros], T]) -> T:
    """The same planes in a process that received the descriptor; they keep the mapping."""
    return layout(_Planes(mmap.mmap(fd, 0)).zeros)
