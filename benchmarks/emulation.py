"""Packing nested observations: `uv run python benchmarks/emulation.py`.

Native arrays of the parts into rows, beside a copy of as many bytes, for one space and for 500 random ones; and nested
observations of Python environments into rows, beside Gymnasium's `flatten`. The copy is the C library's memmove, called from
Python as packing is, between buffers as warm as those of packing; a ratio is the median of rounds in which each has its turn.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from publish import replace, table  # the file beside this one
from pufferlib_core.data import aligned_zeros
from pufferlib_core.emulation import SpaceTree
from pufferlib_core.native import ffi
from pufferlib_core.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Space, Tuple, to_gymnasium
from run import RESULTS, ROOT, processor

N, MANY = 1024, 1 << 19  # rows: in the second cache, and beyond all caches
ROUNDS = 5
SPACE = Dict({"a": Box(-1, 1, (8,)), "b": Discrete(5), "c": Tuple([Box(-1, 1, (3, 3)), MultiDiscrete([3, 4])])})


def seconds(call: Callable[[], Any], budget: float = 0.05) -> float:
    """Least time of a call, of at least five."""
    call()
    times: list[float] = []
    end = time.perf_counter() + budget
    while len(times) < 5 or time.perf_counter() < end:
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return min(times)


def random_space(rng: np.random.Generator, depth: int = 0) -> Space:
    """A nested space with up to four parts at every level, three levels deep."""
    kind = int(rng.integers(6 if depth < 3 else 4))
    if kind >= 4:
        parts = [random_space(rng, depth + 1) for _ in range(int(rng.integers(1, 5)))]
        return Tuple(parts) if kind == 4 else Dict({f"part{k}": part for k, part in enumerate(parts)})
    if kind == 0:
        shape = tuple(map(int, rng.integers(1, 9, int(rng.integers(3)))))
        return Box(0, 100, shape, str(rng.choice(["float32", "float64", "uint8", "int16"])))
    if kind == 1:
        return Discrete(int(rng.integers(1, 20)))
    if kind == 2:
        return MultiDiscrete(rng.integers(1, 9, int(rng.integers(1, 5))).tolist())
    return MultiBinary(int(rng.integers(1, 20)))


def over_memcpy(space: Space, budget: float, n: int = N) -> dict[str, float]:
    """Seconds of a copy of n rows; packing and features over that; `moved`: bytes that features move over the copy's."""
    tree = SpaceTree(space)
    rows, size = tree.empty(n), tree.row_bytes * n
    parts, source = _arrays(tree.unpack(rows)), aligned_zeros(size, np.uint8)
    features = np.empty((n, tree.width), np.float32)
    to, of = (ffi.cast("void *", array.ctypes.data) for array in (rows, source))
    calls = (lambda: ffi.memmove(to, of, size), tree.packer(parts, rows), lambda: tree.features(rows, features))
    times = np.array([[seconds(call, budget / ROUNDS) for call in calls] for _ in range(ROUNDS)])
    packed, read = np.median(times[:, 1:] / times[:, :1], axis=0)
    moved = (tree.row_bytes + 4 * tree.width) / (2 * tree.row_bytes)
    return {"bytes": tree.row_bytes, "copy": float(np.median(times[:, 0])), "pack": packed, "features": read, "moved": moved}


def _arrays(views: Any) -> Any:
    if isinstance(views, dict):
        return {key: _arrays(part) for key, part in views.items()}
    return tuple(map(_arrays, views)) if isinstance(views, tuple) else np.ascontiguousarray(views)


def python_observations() -> dict[str, float]:
    """Microseconds for each environment: nested observations into rows, and Gymnasium's flatten of them."""
    tree = SpaceTree(SPACE)
    theirs = to_gymnasium(SPACE)
    theirs.seed(0)
    samples = [theirs.sample() for _ in range(256)]
    rows = tree.empty(len(samples))

    def ours() -> None:
        tree.write(rows, None, samples)

    def flatten() -> None:
        for sample in samples:
            gymnasium.spaces.flatten(theirs, sample)

    return {name: seconds(call, 0.5) / len(samples) * 1e6 for name, call in (("rows", ours), ("flatten", flatten))}


def main() -> None:
    one, large = over_memcpy(SPACE, 0.5), over_memcpy(SPACE, 0.5, MANY)
    rng = np.random.default_rng(0)
    many = [over_memcpy(random_space(rng), 0.003) for _ in range(500)]
    ratios = sorted(result["pack"] for result in many if result["bytes"] * N > 1 << 14)
    python = python_observations()
    results = {"processor": processor(), "one": one, "large": large, "ratios": ratios, "python": python}
    (RESULTS / "emulation.json").write_text(json.dumps(results) + "\n")
    rows = [
        (f"packing {N} rows of {one['bytes']} bytes, over copying them", f"{one['pack']:.2f}"),
        (f"... {MANY} rows, {MANY * large['bytes'] >> 20} MiB", f"{large['pack']:.2f}"),
        ("... the rate of that copy, reads and writes, GB/s", f"{2e-9 * MANY * large['bytes'] / large['copy']:.1f}"),
        (f"features of {N} rows, over copying as many bytes as they move", f"{one['features'] / one['moved']:.2f}"),
        (f"... of {MANY} rows", f"{large['features'] / large['moved']:.2f}"),
        (f"packing {len(ratios)} random spaces (above 16 KiB), over copying: median", f"{np.median(ratios):.2f}"),
        ("... the worst", f"{ratios[-1]:.2f}"),
        ("a Python observation into a row, microseconds", f"{python['rows']:.2f}"),
        ("Gymnasium's `flatten` of it over that", f"{python['flatten'] / python['rows']:.1f}"),
    ]
    text = f"{processor()}, medians of rounds.\n\n{table(('', 'measured'), rows)}"
    replace(ROOT / Path("docs/explanation/emulation.md"), text)
    print(text)


if __name__ == "__main__":
    main()
