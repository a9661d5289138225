"""Packing nested observations: `uv run python benchmarks/emulation.py`.

Native arrays of the parts into rows, beside a copy of as many bytes, for one space and for 500 random ones; and nested
observations of Python environments into rows, beside Gymnasium's `flatten`. Ratios of the same run.
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
from pufferlib_core.emulation import SpaceTree
from pufferlib_core.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Space, Tuple, to_gymnasium
from run import RESULTS, ROOT, processor

N = 1024
SPACE = Dict({"a": Box(-1, 1, (8,)), "b": Discrete(5), "c": Tuple([Box(-1, 1, (3, 3)), MultiDiscrete([3, 4])])})


def seconds(call: Callable[[], Any], budget: float = 0.05) -> float:
    """Least time of a call, of at least twenty."""
    call()
    times: list[float] = []
    end = time.perf_counter() + budget
    while len(times) < 20 or time.perf_counter() < end:
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


def over_memcpy(space: Space, budget: float) -> dict[str, float]:
    """Time of packing N rows, of features and of a copy of the rows."""
    tree = SpaceTree(space)
    rows = tree.empty(N)
    parts = _arrays(tree.unpack(rows))
    source = tree.plain(rows).copy()
    features = np.empty((N, tree.width), np.float32)
    target = tree.plain(rows)
    copy = seconds(lambda: np.copyto(target, source), budget)
    packed = seconds(tree.packer(parts, rows), budget)
    read = seconds(lambda: tree.features(rows, features), budget)
    return {"bytes": tree.row_bytes, "copy": copy, "pack": packed, "features": read}


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
    one = over_memcpy(SPACE, 0.5)
    rng = np.random.default_rng(0)
    many = [over_memcpy(random_space(rng), 0.003) for _ in range(500)]
    ratios = sorted(result["pack"] / result["copy"] for result in many if result["bytes"] * N > 1 << 14)
    python = python_observations()
    results = {"processor": processor(), "one": one, "ratios": ratios, "python": python}
    (RESULTS / "emulation.json").write_text(json.dumps(results) + "\n")
    rows = [
        (f"packing {N} rows of {one['bytes']} bytes, over copying them", f"{one['pack'] / one['copy']:.2f}"),
        ("features of the same, over copying the rows", f"{one['features'] / one['copy']:.2f}"),
        (f"packing {len(ratios)} random spaces (above 16 KiB), over copying: median", f"{np.median(ratios):.2f}"),
        ("... the worst", f"{ratios[-1]:.2f}"),
        ("a Python observation into a row, microseconds", f"{python['rows']:.2f}"),
        ("Gymnasium's `flatten` of it over that", f"{python['flatten'] / python['rows']:.1f}"),
    ]
    text = f"{processor()}, the best of repetitions.\n\n{table(('', 'measured'), rows)}"
    replace(ROOT / Path("docs/explanation/emulation.md"), text)
    print(text)


if __name__ == "__main__":
    main()
