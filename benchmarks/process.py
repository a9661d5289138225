"""Worker processes against Gymnasium's, and against perfect scaling: `uv run python benchmarks/process.py`.

Every figure is a ratio of rates that were measured in turn in one run; the median of all rounds is printed, with the
least and the greatest. Bars: CartPole-v1 with two workers at least 5 times as fast as `AsyncVectorEnv`; an environment of
1 ms a step at least at 95 % of two calling threads.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from publish import replace, table  # the file beside this one
from pufferlib_core import make_vec
from pufferlib_core.spaces import Box, Discrete
from run import ROOT, processor

WORKERS = 2
MS = 1e-3


class Slow:
    """An environment whose step waits 1 ms."""

    observation_space = Box(-1, 1, (4,))
    action_space = Discrete(2)

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Zeros."""
        return np.zeros(4, np.float32), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Zeros, after 1 ms."""
        time.sleep(MS)
        return np.zeros(4, np.float32), 0.0, False, False, {}


class Busy(Slow):
    """An environment whose step computes for 1 ms, by the processor's own clock."""

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Zeros, after 1 ms."""
        end = time.process_time() + MS
        while time.process_time() < end:
            pass
        return np.zeros(4, np.float32), 0.0, False, False, {}


def steps_per_second(step: Callable[[Any], Any], actions: Any, budget: float) -> float:
    """Calls of `step` a second."""
    begin, calls = time.perf_counter(), 0
    while (spent := time.perf_counter() - begin) < budget:
        for action in actions:
            step(action)
        calls += len(actions)
    return calls / spent


def compare(
    what: str, ours: Callable[[Any], Any], theirs: Callable[[Any], Any], actions: Any, args: Any, scale: float
) -> tuple[str, ...]:
    """A row of the table: scale * (our rate / theirs) over all rounds."""
    ratios, rates = [], []
    for _ in range(args.rounds):
        pair = [steps_per_second(step, actions, args.budget) for step in (ours, theirs)]
        ratios.append(scale * pair[0] / pair[1])
        rates.append(pair[0])
    middle, rate = statistics.median(ratios), statistics.median(rates)
    row = what, f"{middle:.2f}", f"{min(ratios):.2f} to {max(ratios):.2f}", f"{1e6 / rate:,.0f}"
    print(*row, sep=", ", flush=True)
    return row


def against_gymnasium(num_envs: int, args: Any) -> list[tuple[str, ...]]:
    """CartPole-v1 beside AsyncVectorEnv, which has a process for each environment, and beside the calling thread."""
    actions = np.random.default_rng(0).integers(0, 2, (32, num_envs)).astype(np.int32)
    theirs = gymnasium.vector.AsyncVectorEnv([lambda: gymnasium.make("CartPole-v1")] * num_envs)
    theirs.reset(seed=0)
    many = make_vec("gymnasium:CartPole-v1", num_envs=num_envs, workers=WORKERS)
    one = make_vec("gymnasium:CartPole-v1", num_envs=num_envs)
    many.reset(), one.reset()
    what = f"Gymnasium's CartPole-v1, {num_envs} environments"
    rows = [
        compare(f"{what} / AsyncVectorEnv", many.step, theirs.step, actions, args, 1.0),
        compare(f"{what} / no workers", many.step, one.step, actions, args, 1.0),
    ]
    theirs.close(), many.close()
    return rows


def scaling(name: str, num_envs: int, args: Any) -> list[tuple[str, ...]]:
    """An environment of 1 ms a step: part of the speed of WORKERS calling threads that would not meet."""
    many, one = (make_vec(f"__main__:{name}", num_envs=num_envs, workers=workers) for workers in (WORKERS, 0))
    many.reset(), one.reset()
    actions = np.zeros((2, num_envs), np.int32)
    what = {"Slow": "waits for", "Busy": "computes"}[name]
    title = f"an environment that {what} 1 ms, {num_envs} of them / perfect scaling"
    row = compare(title, many.step, one.step, actions, args, 1 / WORKERS)
    many.close()
    return [row]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--budget", type=float, default=0.3, help="seconds of each measurement")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    rows = [row for num_envs in (8, 16, 64) for row in against_gymnasium(num_envs, args)]
    rows += [row for name in ("Slow", "Busy") for num_envs in (8, 32) for row in scaling(name, num_envs, args)]
    figures = table((f"{WORKERS} workers", "median", "range", "us a step of all"), rows)
    replace(ROOT / "docs/explanation/vectorization.md", f"{processor()}, rounds in turn.\n\n{figures}")


if __name__ == "__main__":
    main()
