"""How evenly threads share environments whose steps cost 1 to 100: `uv run python benchmarks/uneven.py`.

A figure is the speed of all threads over that of one thread times their number, both measured in turn in one run: 1 is
perfect. The bar is what even environments reach.
"""

from __future__ import annotations

import argparse
import os
import statistics
from pathlib import Path
from typing import Any

import numpy as np
from process import steps_per_second  # the file beside this one
from publish import replace, table
from pufferlib_core.c_env import c_env
from pufferlib_core.spaces import Box, Discrete
from pufferlib_core.vector import vectorize
from run import ROOT, processor

STEPS = 8


def costs(num_envs: int) -> dict[str, Any]:
    """Costs of a step of each environment (STEPS, num_envs), by what they are called."""
    rng = np.random.default_rng(0)
    drawn = (100.0 ** rng.random((STEPS, num_envs))).astype(np.int32)
    neighbours = np.ones((STEPS, num_envs), np.int32)
    neighbours[:, : num_envs // 8] = 100
    return {
        "the same everywhere": np.full((STEPS, num_envs), 20, np.int32),
        "drawn from 1 to 100 at each step": drawn,
        "100 in the first eighth, 1 elsewhere": neighbours,
    }


def measure(num_envs: int, threads: int, args: argparse.Namespace) -> list[tuple[str, ...]]:
    """Rows of the table."""
    config: Any = None
    spec = c_env(
        Path(__file__).with_suffix(".c"),
        config=config,
        shape=lambda _: {"obs_space": Box(0, 1, (1,)), "action_space": Discrete(101)},
    )
    many, one = (vectorize(spec, num_envs=num_envs, threads=n) for n in (threads, 1))
    many.reset(), one.reset()
    rows = []
    for name, actions in costs(num_envs).items():
        ratios = []
        for _ in range(args.rounds):
            pair = [steps_per_second(vec.step, actions, args.budget) for vec in (many, one)]
            ratios.append(pair[0] / pair[1] / threads)
        rows.append((f"{num_envs} environments, cost {name}", f"{statistics.median(ratios):.2f}",
                     f"{min(ratios):.2f} to {max(ratios):.2f}"))  # fmt: skip
        print(*rows[-1], sep=", ", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=float, default=0.3, help="seconds of each measurement")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    rows = [row for num_envs in (8, 64, 1024) for row in measure(num_envs, args.threads, args)]
    figures = table((f"{args.threads} threads", "part of perfect scaling", "range"), rows)
    replace(ROOT / "docs/explanation/c-core.md", f"{processor()}, rounds in turn.\n\n{figures}")


if __name__ == "__main__":
    main()
