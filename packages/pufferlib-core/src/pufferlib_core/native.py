"""The C core as Python sees it: one place that checks arrays, one that turns status codes into exceptions.

cffi reinterprets the bytes of a float64 array as float32 without a word; nothing is handed to C but through `pointer`.
"""

from __future__ import annotations

import functools
import os
from typing import Any

import numpy as np
import numpy.typing as npt

import pufferlib_core
from pufferlib_core._native import ffi, lib
from pufferlib_core.config import integer
from pufferlib_core.data import aligned_zeros
from pufferlib_core.errors import ConfigError, NativeError, ShapeError, suggest

MOST_ROWS = 2**31 - 1  # of all epochs together, as the core counts them
MOST_THREADS = int(lib.PUF_MAX_THREADS)
_VERSION = tuple(int(part) for part in pufferlib_core.__version__.split("."))
if lib.puf_version() != _VERSION[0] * 10000 + _VERSION[1] * 100 + _VERSION[2]:
    raise ImportError(
        f"pufferlib_core {pufferlib_core.__version__} found a C core of version {lib.puf_version()}: reinstall the package"
    )

_CTYPES = {
    "f4": "float[]",
    "i4": "int32_t[]",
    "u4": "uint32_t[]",
    "u1": "uint8_t[]",
    "i8": "int64_t[]",
    "V": "char[]",
    "?": "uint8_t[]",
    "q": "int64_t[]",
}
_CODES = {np.dtype(code).num: ffi.typeof(ctype) for code, ctype in _CTYPES.items()}

_from_buffer = ffi.from_buffer

Array = npt.NDArray[Any]

__all__ = [
    "Array", "Pool", "check", "default_threads", "ffi", "gae", "isa", "isa_names", "lib", "memory", "minibatches", "pointer",
    "prioritized", "vtrace",
]  # fmt: skip


def pointer(array: Array, name: str, dtype: Any, shape: tuple[int, ...] | None = None, *, out: bool = False) -> Any:
    """C pointer to the numbers of an array; the caller keeps the array alive.

    Raises:
        ShapeError: if dtype, shape, contiguity or (for `out`) writability is wrong.
    """
    try:
        kind = array.dtype
        if (kind is dtype or kind == dtype) and (shape is None or array.shape == shape):
            return _from_buffer(_CODES[kind.num], array, out)
    except (AttributeError, KeyError, TypeError, ValueError, BufferError):
        pass  # said in detail below
    raise ShapeError(_complaint(array, name, np.dtype(dtype), shape))


def _complaint(array: Any, name: str, dtype: np.dtype[Any], shape: tuple[int, ...] | None) -> str:
    if not isinstance(array, np.ndarray):
        return f"{name} must be a numpy array, got {type(array).__name__}"
    if array.dtype != dtype:
        return f"{name} must be {dtype}, got {array.dtype}"
    if shape is not None and array.shape != shape:
        return f"{name} must have shape {shape}, got {array.shape}"
    if not array.flags.c_contiguous:
        return f"{name} must be contiguous: pass np.ascontiguousarray({name})"
    if dtype.num not in _CODES:
        return f"{name} holds numbers that the core does not read: {dtype}"
    return f"{name} is read-only"


def check(status: int, where: str) -> int:
    """A status that is not an error, or the exception for it.

    Raises:
        NativeError: naming `where` and the reason.
    """
    if status < 0:
        raise NativeError(f"{where}: {ffi.string(lib.puf_status_text(status)).decode()}")
    return status


def isa_names() -> dict[str, int]:
    """Instruction sets that this build and this processor can use, by name."""
    return {ffi.string(lib.puf_isa_name(i)).decode(): i for i in range(lib.PUF_ISA_COUNT) if lib.puf_isa_usable(i)}


@functools.cache
def isa() -> int:
    """The instruction set to use: the best one, or the one that PUFFER_ISA names when it is first asked for.

    Raises:
        ConfigError: if PUFFER_ISA names one that is not usable here.
    """
    wanted = os.environ.get("PUFFER_ISA")
    if not wanted:
        return int(lib.puf_isa_best())
    usable = isa_names()
    if wanted not in usable:
        raise ConfigError(f"PUFFER_ISA={wanted} is not usable here{suggest(wanted, usable)}; usable: {', '.join(usable)}")
    return usable[wanted]


def memory(size: int, where: str) -> Array:
    """Zeroed, aligned memory of `size` bytes, as `puf_x_bytes` asked for; 0 means that the core refused the sizes."""
    if size == 0:
        raise NativeError(f"{where}: sizes are not legal")
    return aligned_zeros(size, np.uint8)


class Pool:
    """Threads of the core. Used by one Python thread at a time; ends with the object.

    Raises:
        ConfigError: if `threads` is not in [1, MOST_THREADS].
    """

    def __init__(self, threads: int) -> None:
        number = integer(threads)
        if number is None or not 1 <= number <= MOST_THREADS:
            raise ConfigError(f"threads={threads!r} must be a whole number in [1, {MOST_THREADS}]")
        self.threads = number
        self._memory = memory(lib.puf_pool_bytes(number), "pool")
        handle = ffi.new("puf_pool **")
        check(lib.puf_pool_start(handle, ffi.from_buffer(self._memory), self._memory.nbytes, number), "pool")
        # The collector runs puf_pool_stop before the memory goes: the closure holds it.
        keep = self._memory
        self._handle = ffi.gc(handle[0], lambda pool, _keep=keep: lib.puf_pool_stop(pool))
        self.exec = lib.puf_pool_exec(self._handle) if number > 1 else ffi.NULL

    def close(self) -> None:
        """Ends the threads now."""
        ffi.release(self._handle)
        self.exec = ffi.NULL


def default_threads(rows: int) -> int:
    """Threads worth starting for batches of `rows` rows: one for each 128, at most one for each processor."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(processors, rows // 128, MOST_THREADS))


_F4, _U1, _BOOL = np.dtype(np.float32), np.dtype(np.uint8), np.dtype(np.bool_)


def _flags(array: Array, name: str, shape: tuple[int, ...]) -> Any:
    return pointer(array, name, _BOOL if getattr(array, "dtype", None) == _BOOL else _U1, shape)


def _time_major(array: Array, where: str) -> tuple[int, int]:
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.size == 0:
        raise ShapeError(f"{where} must be a (T, N) array with T, N >= 1, got {np.shape(array)}")
    t, n = array.shape
    return t, n


def gae(
    reward: Array, value: Array, next_value: Array, terminated: Array, truncated: Array, *, gamma: float, lam: float,
    out: Array | None = None, pool: Pool | None = None,
) -> Array:  # fmt: skip
    """Generalised advantage estimates of one segment (Schulman et al. 2015, equation 16).

    delta_t = reward_t + gamma * next_value_t * live_t - value_t        (live_t: not terminated)
    adv_t   = delta_t + gamma * lam * inside_t * adv_tp1                (inside_t: the episode goes on in this row)

    Args:
        reward: float32 (T, N), like `value` and `next_value`.
        value: value of the state before the action.
        next_value: value of the state after the action; of the final observation where truncated.
        terminated: bool or uint8 (T, N), caused by the action of the same row; wins over `truncated`.
        truncated: likewise.
        gamma: discount.
        lam: trace decay.
        out: float32 (T, N) to write to; must not overlap the inputs.
        pool: threads to use; the result does not depend on them.

    Returns:
        float32 (T, N).

    Raises:
        ShapeError: if the arrays do not share (T, N), or have the wrong dtype or layout.

    >>> import numpy as np
    >>> one = np.ones((3, 1), np.float32); no = np.zeros((3, 1), bool)
    >>> gae(one, one * 0, one * 0, no, no, gamma=1.0, lam=1.0).ravel().tolist()
    [3.0, 2.0, 1.0]
    """
    t, n = shape = _time_major(reward, "gae: reward")
    if out is None:
        out = np.empty(shape, np.float32)
    status = lib.puf_gae(
        isa(), ffi.NULL if pool is None else pool.exec, pointer(out, "gae: out", _F4, shape, out=True),
        pointer(reward, "gae: reward", _F4, shape), pointer(value, "gae: value", _F4, shape),
        pointer(next_value, "gae: next_value", _F4, shape), _flags(terminated, "gae: terminated", shape),
        _flags(truncated, "gae: truncated", shape), t, n, gamma, lam,
    )  # fmt: skip
    check(status, "gae")
    return out


def minibatches(rows: int, size: int, *, seed: int, update: int, epoch: int = 0) -> Array:
    """The rows of one epoch in the order in which every back end takes them.

    Blocks of 16 rows (or the largest power of two below that divides `size`) are shuffled by the stream
    (seed, SHUFFLE), counter (epoch, update): a minibatch is gathered in runs of whole cache lines.

    Returns:
        int32 (rows / size, size), each row number once.

    Raises:
        NativeError: if `size` does not divide `rows`.

    >>> sorted(minibatches(6, 3, seed=0, update=0).ravel().tolist())
    [0, 1, 2, 3, 4, 5]
    """
    order = np.empty(rows, np.int32)
    status = lib.puf_minibatch_order(seed, update, epoch, rows, size, ffi.from_buffer("int32_t[]", order))
    check(status, f"minibatches of {size} from {rows} rows")
    return order.reshape(-1, size)


def prioritized(
    advantage: Array, valid: Array, *, alpha: float, beta: float, epochs: int, minibatch: int, memory: bool, seed: int,
    update: int,
) -> tuple[Array, Array]:  # fmt: skip
    """Minibatches of environments that are drawn by priority, with replacement; see `ops.priorities`.

    Args:
        advantage: float32 (T, N).
        valid: uint8 (T, N).
        alpha: power of the advantages, above 0.
        beta: how far `importance` corrects for the draw, in [0, 1].
        epochs: in each of which N environments are drawn.
        minibatch: rows; a multiple of T that divides T * N.
        memory: whether minibatches take environments instead of rows.
        seed: of the stream of the draws.
        update: its number, likewise.

    Returns:
        order, int32 (epochs, T * N), or (epochs, N) with a memory; and importance, float32 (T, N).

    Raises:
        ShapeError: if an array has the wrong shape, dtype or layout.
        NativeError: if the sizes do not fit each other.
    """
    t, n = shape = _time_major(advantage, "prioritized: advantage")
    if not 1 <= epochs <= MOST_ROWS // (t * n):
        raise NativeError(f"prioritized: epochs={epochs} of {t * n} rows must be in [1, {MOST_ROWS // (t * n)}]")
    order = np.empty((epochs, n if memory else t * n), np.int32)
    importance, below = np.empty(shape, np.float32), np.empty(n)
    config = ffi.new("puf_priorities *", [t, n, epochs, minibatch, memory, alpha, beta])
    status = lib.puf_prioritize(
        config, pointer(advantage, "prioritized: advantage", _F4, shape), _flags(valid, "prioritized: valid", shape), seed,
        update, ffi.from_buffer("double[]", below), ffi.from_buffer("float[]", importance), ffi.from_buffer("int32_t[]", order),
    )  # fmt: skip
    check(status, "prioritized")
    return order, importance


def vtrace(
    behaviour_logprob: Array, target_logprob: Array, reward: Array, value: Array, next_value: Array, terminated: Array,
    truncated: Array, *, gamma: float, lam: float = 1.0, rho_clip: float = 1.0, c_clip: float = 1.0,
) -> tuple[Array, Array]:  # fmt: skip
    """V-trace targets and policy advantages of one segment (Espeholt et al. 2018, arXiv 1802.01561, equation 1).

    Arguments are those of `gae`, and the log-probabilities of the actions under the policy that acted (behaviour) and
    the one to be learnt (target), float32 (T, N). `rho_clip` limits the temporal difference, `c_clip` the trace, and
    `lam` multiplies the trace.

    Returns:
        (target, advantage), float32 (T, N).

    Raises:
        ShapeError: if the arrays do not share (T, N), or have the wrong dtype or layout.
    """
    t, n = shape = _time_major(reward, "vtrace: reward")
    target, adv = np.empty(shape, np.float32), np.empty(shape, np.float32)
    status = lib.puf_vtrace(
        isa(), ffi.NULL, pointer(target, "target", _F4, shape, out=True), pointer(adv, "advantage", _F4, shape, out=True),
        pointer(behaviour_logprob, "vtrace: behaviour_logprob", _F4, shape),
        pointer(target_logprob, "vtrace: target_logprob", _F4, shape), pointer(reward, "vtrace: reward", _F4, shape),
        pointer(value, "vtrace: value", _F4, shape), pointer(next_value, "vtrace: next_value", _F4, shape),
        _flags(terminated, "vtrace: terminated", shape), _flags(truncated, "vtrace: truncated", shape), t, n,
        gamma, lam, rho_clip, c_clip,
    )  # fmt: skip
    check(status, "vtrace")
    return target, adv
