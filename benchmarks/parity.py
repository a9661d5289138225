"""How alike the back ends are, for docs/explanation/parity.md: `uv run --group peers benchmarks/parity.py` (some minutes).

Gaps to the formulas of `ops` in float64 (`pufferlib_core.testing.parity`), and learning curves of CartPole on ten seeds of each
back end: mean final return, and the steps to a mean of 475, compared by the test of Mann and Whitney. `--pages` only writes the
page again from benchmarks/results/parity.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import re
import statistics
import tempfile
from pathlib import Path
from typing import Any

from publish import table  # the file beside this one

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks/results/parity.json"
PAGE = ROOT / "docs/explanation/parity.md"
SEEDS = range(10)
STEPS, GOAL = 100_000, 475
BACKENDS = ("native", "torch", "jax")


def curve(backend: str, seed: int) -> dict[str, float]:
    """One run: the mean return of its last 100 episodes, and the steps after which that mean first reached the goal."""
    from pufferlib_core import train

    with tempfile.TemporaryDirectory() as folder:
        run = train("cartpole", backend=backend, seed=seed, timesteps=STEPS, out=folder)
        rows = [json.loads(line) for line in (run.run_dir / "metrics.jsonl").read_text().splitlines()]
    reached = [row["steps"] for row in rows if (row["episode/return_mean"] or 0.0) >= GOAL]
    return {"final": run.summary["episode_return_mean"], "steps": reached[0] if reached else math.inf}


def measure(backends: tuple[str, ...]) -> dict[str, Any]:
    """All gaps and curves."""
    from pufferlib_core.testing.parity import parity
    from scipy.stats import mannwhitneyu

    gaps = []
    for gap in parity(backends):
        print(gap, flush=True)
        gaps.append(dataclasses.asdict(gap))
    curves = {}
    for backend in backends:
        curves[backend] = [curve(backend, seed) for seed in SEEDS]
        print(backend, curves[backend], flush=True)
    steps = {backend: [run["steps"] for run in runs] for backend, runs in curves.items()}
    p = {backend: float(mannwhitneyu(steps[backends[0]], steps[backend]).pvalue) for backend in backends[1:]}
    return {"gaps": gaps, "curves": curves, "p": p}


def shown(value: float) -> str:
    """A gap, two digits."""
    return "0" if value == 0 else f"{value:.1e}"


def write(results: dict[str, Any]) -> None:
    """Puts the tables into the page, between its marks."""
    columns = ("forward", "logprob", "entropy", "loss", "gradient", "one_update", "many_updates")
    head = ("policy", "back end", "forward", "log-prob.", "entropy", "loss", "1 - cosine", "1 update", "100 updates")
    rows = [(gap["case"], gap["backend"], *(shown(gap[column]) for column in columns)) for gap in results["gaps"]]
    learnt = []
    for backend, runs in results["curves"].items():
        final, steps = ([run[key] for run in runs] for key in ("final", "steps"))
        p = results["p"].get(backend)
        learnt.append(
            (backend, f"{statistics.mean(final):.1f}", f"{statistics.median(steps):,.0f}", "" if p is None else f"{p:.2f}")
        )
    tables = {
        "gaps": table(head, rows),
        "curves": table(("back end", "mean final return", "median steps to 475", "p against the first"), learnt),
    }
    text = PAGE.read_text()
    for mark, made in tables.items():
        text = re.sub(
            rf"(?<=<!-- {mark} -->\n).*?(?=<!-- /{mark} -->)", lambda _, made=made: made + "\n", text, flags=re.DOTALL
        )
    PAGE.write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", action="store_true", help="only write the page")
    parser.add_argument("--backends", default=",".join(BACKENDS), help=f"default: {','.join(BACKENDS)}")
    options = parser.parse_args()
    if not options.pages:
        RESULTS.write_text(json.dumps(measure(tuple(options.backends.split(","))), indent=1) + "\n")
    write(json.loads(RESULTS.read_text()))


if __name__ == "__main__":
    main()
