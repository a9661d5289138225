"""Has anything become slower? `uv run python benchmarks/regression.py`; `--store` keeps the figures of this machine.

Every figure is a ratio of our speed to a yardstick of the same run (numpy's copy or its matrix product), so that clocks
and other guests matter less. They are compared with the lowest stored for the same class of machine (processor, cores,
instruction set): between runs of one build they spread by 10 to 30 %, as memory and the other guests allow. Exit status 1
only if a ratio is more than 25 % below that three times in a row, with a pause before each new try.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
from publish import find, table  # the file beside this one
from pufferlib_cli.commands.bench import best_seconds, inference, kernels, simulation, training
from pufferlib_core.native import isa, isa_names
from run import processor

STORED = Path(__file__).resolve().parent / "results/ratios.json"
LOSS = 0.25
TIMES = 3
PAUSE = 20  # seconds before another try: what other guests do lasts some seconds
N = 4096


def machine_class() -> str:
    """Machines whose ratios can be compared."""
    name = next(key for key, value in isa_names().items() if value == isa())
    return f"{processor()}, {os.cpu_count()} cores, {name}"


def matrix_product_rate(budget: float) -> float:
    """Operations a second of numpy's float32 matrix product, 64 x 64, one thread (such small ones are not shared out)."""
    a, b = (np.random.default_rng(k).normal(size=(64, 64, 64)).astype(np.float32) for k in (0, 1))
    out = np.empty_like(a)
    return 2 * 64**4 / best_seconds(lambda: np.matmul(a, b, out=out), budget)


def measure(budget: float) -> dict[str, float]:
    """Ratios by name, higher is better; one core; medians of three rounds.

    Args:
        budget: seconds of each measurement.
    """
    rounds = [one_round(budget) for _ in range(3)]
    return {name: float(np.median([found[name] for found in rounds])) for name in rounds[0]}


def one_round(budget: float) -> dict[str, float]:
    """Ratios of one round. Clocks change within seconds, so yardsticks stand directly before and after what they measure."""
    sim = {result["name"]: result["value"] for result in simulation("cartpole", N, 1, budget)}
    products = [matrix_product_rate(budget)]
    networks = inference("cartpole", N, 1, budget)
    products.append(matrix_product_rate(budget))
    ppo = {result["name"]: result["value"] for result in training("cartpole", N, 1, budget)}
    products.append(matrix_product_rate(budget))
    advantages = kernels(budget)
    flops = next(result["settings"]["flops"] for result in networks if result["name"] == "infer.forward")
    acting, learning = (2 * flops / (products[k] + products[k + 1]) for k in (0, 1))
    return {
        "CartPole by `step` / copying its rows": sim["sim.step"] / sim["sim.memcpy_limit"],
        "CartPole by `run` / copying its rows": sim["sim.run"] / sim["sim.memcpy_limit"],
        "forward / matrix product": find(networks, "infer.forward") * acting,
        "policy and CartPole / matrix product": find(networks, "infer.sim") * acting,
        # Forward once to collect; forward and twice as much backward in an epoch.
        "PPO, 1 epoch / matrix product": ppo["train.ppo_1_epochs"] * 4 * learning,
        "PPO, 4 epochs / matrix product": ppo["train.ppo_4_epochs"] * 13 * learning,
        # Not 2048 x 8: where its arrays happen to lie in memory moves it by a factor of 2.
        "advantages 128 x 4096 / copying as many bytes": 1 / find(advantages, "kernels.gae_over_memcpy", t=128),
    }


def store(budget: float) -> None:
    """Keeps the lowest of ten runs for this class of machine."""
    runs = [measure(budget) for _ in range(10)]
    known = json.loads(STORED.read_text()) if STORED.exists() else {}
    known[machine_class()] = {name: round(min(run[name] for run in runs), 4) for name in runs[0]}
    STORED.write_text(json.dumps(known, indent=1) + "\n")


def compare(budget: float) -> int:
    """Prints the table; 1 if a ratio stays below its bound."""
    stored = json.loads(STORED.read_text()).get(machine_class())
    now = measure(budget)
    if stored is None:
        print(table(("ratio", "now"), [(name, f"{value:.3f}") for name, value in now.items()]))
        print(f"nothing stored for {machine_class()}: nothing to compare with (--store keeps these)")
        return 0
    best, slow = dict(now), [name for name in now if now[name] < (1 - LOSS) * stored[name]]
    for _ in range(TIMES - 1):
        if not slow:
            break
        time.sleep(PAUSE)
        now = measure(budget)
        slow = [name for name in slow if now[name] < (1 - LOSS) * stored[name]]
        best = {name: max(best[name], now[name]) for name in best}
    rows = [(name, f"{stored[name]:.3f}", f"{best[name]:.3f}", f"{best[name] / stored[name] - 1:+.0%}") for name in best]
    print(table(("ratio, one core", "lowest stored", "now", "change"), rows))
    for name in slow:
        print(f"FAIL  {name} has lost more than {LOSS:.0%}, {TIMES} times in a row")
    return int(bool(slow))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", action="store_true", help="keep the lowest of ten runs for this class of machine")
    parser.add_argument("--seconds", type=float, default=0.3, help="of each measurement (default 0.3)")
    options = parser.parse_args()
    if options.store:
        store(options.seconds)
    return compare(options.seconds)


if __name__ == "__main__":
    sys.exit(main())
