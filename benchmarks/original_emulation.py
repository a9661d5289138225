"""Packed rows beside those of the original PufferLib: `uv run --group dev python benchmarks/original_emulation.py`.

The original (2.0.2, the last one with a wheel) is installed into build/compare. Both pack the same observations; where
layouts are equal the bytes must be, elsewhere every part must hold the same numbers; status 1 if one does not.
Times of both are taken in turn; writes docs/explanation/emulation.md.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from compare import ROUNDS, install_one, script
from emulation import seconds  # the file beside this one
from peers import nested
from publish import replace, table
from pufferlib_core.emulation import SpaceTree
from pufferlib_core.spaces import Box, Dict, Discrete, Flat, MultiBinary, MultiDiscrete, Tuple
from run import ROOT, processor

N = 256


def to_space(part: nested.Part) -> Flat:
    """Its space here."""
    if part.kind == "box":
        return Box(0, 100, part.sizes, part.dtype)
    if part.kind == "discrete":
        return Discrete(part.sizes[0])
    return MultiDiscrete(part.sizes) if part.kind == "multi_discrete" else MultiBinary(part.sizes[0])


def pack(spec: Any) -> tuple[SpaceTree, np.ndarray, float]:
    """Layout, rows and seconds an observation."""
    tree = SpaceTree(nested.build(spec, to_space, Dict, Tuple))
    rows, observations = tree.empty(N), [nested.observation(spec, i) for i in range(N)]
    return tree, rows, seconds(lambda: tree.write(rows, None, observations), 0.2) / N


def differences(tree: SpaceTree, rows: np.ndarray, theirs: dict[str, Any]) -> list[str]:
    """What is laid out otherwise there.

    Raises:
        SystemExit: if bytes or numbers differ where they must not.
    """
    packed = np.frombuffer(bytes.fromhex(theirs["rows"]), np.uint8).reshape(N, theirs["layout"]["bytes"])
    found = []
    for leaf in tree.leaves:
        name = ".".join(f"f{key}" if isinstance(key, int) else key for key in leaf.path)
        code, shape, offset = theirs["layout"]["parts"][name]
        dtype = np.dtype((code, tuple(shape)))
        part = packed[:, offset : offset + dtype.itemsize].copy().view(dtype.base).reshape(N, *shape)
        if not np.array_equal(part, tree.view(rows, leaf.path)):
            raise SystemExit(f"{name} holds other numbers there")
        if dtype.base != leaf.dtype:
            found.append(f"`{name}` {leaf.dtype} here, {dtype.base} there")
        elif offset != leaf.offset:
            found.append(f"`{name}` at byte {leaf.offset} here, {offset} there")
    if theirs["layout"]["bytes"] != tree.row_bytes:
        found.append(f"{tree.row_bytes} bytes here, {theirs['layout']['bytes']} there")
    if not found and packed.tobytes() != rows.tobytes():
        raise SystemExit("rows of equal layout hold other bytes")
    return found


def main() -> None:
    python = install_one("pufferlib")
    if python is None:
        sys.exit("pufferlib==2.0.2 does not install here")
    ratios: dict[str, list[tuple[float, float]]] = {name: [] for name in nested.SPACES}
    said = {}
    for _ in range(ROUNDS):
        theirs = script(python, "original.py", "emulate", {"count": N}, 1)
        for name, spec in nested.SPACES.items():
            tree, rows, time = pack(spec)
            said[name] = "; ".join(differences(tree, rows, theirs[name])) or "equal bytes"
            ratios[name].append((time, theirs[name]["seconds"]))
    lines = []
    for name, times in ratios.items():
        here, there = (f"{np.median([pair[k] for pair in times]) * 1e6:.2f}" for k in (0, 1))
        lines.append((f"`{name}`", said[name], here, there, f"{np.median([b / a for a, b in times]):.1f}"))
    head = ("space", "packed rows", "here, µs", "there, µs", "ratio")
    text = f"{processor()}, PufferLib 2.0.2, medians of {ROUNDS} runs.\n\n{table(head, lines)}"
    replace(ROOT / "docs/explanation/emulation.md", text, mark="original")
    print(text)


if __name__ == "__main__":
    main()
