"""When collecting while learning pays: `uv run --group peers python benchmarks/overlap.py`.

A figure is the time of a synchronous run over that of the same run with `train.lag=1`, both in turn, the least of each: above 1
the thread pays. Both take the targets of V-trace.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from typing import Any

import numpy as np
import pufferlib_core as puffer
from publish import replace, table  # the file beside this one
from pufferlib_core.spaces import Box, Discrete
from run import ROOT, processor

SECONDS = 5e-4  # of a step
UPDATES = 8


class Waits:
    """An environment whose steps wait for something else: a simulator, a network."""

    observation_space, action_space = Box(-1, 1, (16,)), Discrete(4)

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """As Gymnasium says."""
        return np.zeros(16, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Likewise."""
        self.spend()
        return np.zeros(16, np.float32), float(action), False, False, {}

    def spend(self) -> None:
        """Takes the time of a step."""
        time.sleep(SECONDS)


class Computes(Waits):
    """An environment whose steps compute, in Python."""

    def spend(self) -> None:
        """Takes the time of a step."""
        end = time.thread_time() + SECONDS
        while time.thread_time() < end:
            pass


def cases() -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Environment, back end and settings by what they are called."""
    python = {"train.num_envs": 16, "ppo.horizon": 32, "ppo.minibatch": 64, "policy.hidden": (256, 256)}
    worker = python | {"train.workers": 1}
    return {
        "native environments and learner, two threads": ("cartpole", "native", {"train.threads": 2}),
        "native environments, torch learns": ("cartpole", "torch", {"train.threads": 2}),
        "steps that wait, torch learns": ("overlap:Waits", "torch", python),
        "steps that wait, in a worker, torch learns": ("overlap:Waits", "torch", worker),
        "steps that compute in Python, torch learns": ("overlap:Computes", "torch", python),
        "steps that compute in Python, in a worker, torch learns": ("overlap:Computes", "torch", worker),
        "steps that compute in Python, in a worker, native learns": ("overlap:Computes", "native", worker),
    }


def seconds(env: str, backend: str, options: dict[str, Any], lag: int | None) -> tuple[float, float, float]:
    """Of a run, without its first update, and what it spent on collecting and learning."""
    times: list[Any] = []
    rows = options.get("train.num_envs", 64) * options.get("ppo.horizon", 32)
    with tempfile.TemporaryDirectory() as out:
        puffer.train(
            env, backend=backend, timesteps=UPDATES * rows, out=out, callbacks=[lambda p: times.append(p.metrics)],
            options=options | {"ppo.advantage": "vtrace", "train.lag": lag},
        )  # fmt: skip
    kept = times[1:-1]  # in the last update nothing is collected ahead
    parts = (sum(row[f"time/{name}"] for row in kept) for name in ("collect", "update"))
    return kept[-1]["time/elapsed"] - times[0]["time/elapsed"], *parts


def measure(rounds: int) -> list[tuple[str, ...]]:
    """Rows of the table."""
    rows = []
    for name, case in cases().items():
        pairs = [[seconds(*case, lag) for lag in (None, 1)] for _ in range(rounds)]
        (turn, collect, update), (overlap, _, _) = (min(run) for run in zip(*pairs, strict=True))
        ratios = [pair[0][0] / pair[1][0] for pair in pairs]
        rows.append(
            (name, f"{collect / (collect + update):.0%}", f"{turn / overlap:.2f}", f"{min(ratios):.2f} to {max(ratios):.2f}")
        )
        print(*rows[-1], sep=", ", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    load = os.getloadavg()[0]
    figures = table(("", "collecting, of a synchronous run", "faster by", "range of pairs"), measure(args.rounds))
    heading = f"{processor()}, {os.cpu_count()} processors, load {load:.0f} by others, {args.rounds} pairs in turn"
    replace(ROOT / "docs/how-to/asynchronous.md", f"{heading}.\n\n{figures}")


if __name__ == "__main__":
    main()
