"""Exports policies as C for every target, runs them under QEMU, and shows what they take.

CartPole (choices, a normaliser), Pendulum (a number, clipped) and a GRU over 200 steps. Then the GRU is exported with a tanh
that is wrong by 1e-5, which its golden vectors must find on every target.
"""

from __future__ import annotations

import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pufferlib_core import train
from pufferlib_core.errors import RunError
from pufferlib_embedded import export as exporting
from pufferlib_embedded.export import export
from pufferlib_embedded.targets import TARGETS

POLICIES: dict[str, tuple[str, dict[str, Any]]] = {
    "cartpole 64x64": ("cartpole", {"train.timesteps": 40_000, "policy.normalize_obs": True}),
    "pendulum 64x64": ("pendulum", {"train.timesteps": 40_000, "policy.normalize_obs": True}),
    "cartpole gru": (
        "cartpole",
        {"train.timesteps": 20_000, "cartpole.velocities": False, "policy.hidden": [32], "policy.core": "gru",
         "policy.core_size": 32, "ppo.minibatch": 512},
    ),
}  # fmt: skip
COLUMNS = ("flash_bytes", "ram_bytes", "ram_stack_bytes", "macs", "instructions_measured", "begin_instructions", "slices",
           "slice_instructions", "golden_rows", "golden_worst")  # fmt: skip


def checkpoint(name: str, folder: Path) -> Path:
    """A policy that has been trained a little."""
    env, options = POLICIES[name]
    return train(env, options=options, out=str(folder / "runs"), seed=1).checkpoint


def row(name: str, target: str, report: dict[str, Any]) -> str:
    """Of the table in docs/how-to/embedded.md."""
    cells = [report.get(column) for column in COLUMNS]
    words = ["-" if x is None else (f"{x:.1e}" if isinstance(x, float) else f"{x:,}") for x in cells]
    return f"| {name} | {target} | {' | '.join(words)} |"


def finds_faults(path: Path, folder: Path) -> list[str]:
    """Targets on which a tanh that is wrong by 1e-5 is not found."""
    files = exporting.core_files
    text = files()
    lean = text["lean.c"].replace("return puf_tanh(x);", "return puf_tanh(x) * 1.00001f;")
    if lean == text["lean.c"]:
        raise SystemExit("the line of lean.c that this tool breaks is not there any more")
    exporting.core_files = lambda: text | {"lean.c": lean}
    unseen = []
    try:
        for target in TARGETS:
            try:
                export(path, folder / f"faulty-{target}", target=target)
                unseen.append(target)
            except RunError as error:
                if "failed" not in str(error):
                    raise
    finally:
        exporting.core_files = files
    return unseen


def main() -> int:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="puffer-embedded-") as name, ThreadPoolExecutor(2) as pool:
        folder = Path(name)
        paths = {policy: checkpoint(policy, folder) for policy in POLICIES}
        jobs = [(policy, target) for policy in POLICIES for target in TARGETS]
        work = [pool.submit(export, paths[p], folder / f"{p.replace(' ', '-')}-{t}", target=t) for p, t in jobs]
        print(f"| policy | target | {' | '.join(COLUMNS)} |")
        for (policy, target), done in zip(jobs, work, strict=True):
            print(row(policy, target, done.result()), flush=True)
        unseen = finds_faults(paths["cartpole gru"], folder)
    print(f"{len(jobs)} exports repeated their golden vectors in {time.monotonic() - began:.0f} s")
    if unseen:
        print(f"FAIL  a fault was not found on {', '.join(unseen)}")
    return int(bool(unseen))


if __name__ == "__main__":
    sys.exit(main())
