"""Runs the harnesses for proofs of exported policies: EVA of Frama-C, what it takes for granted, and KLEE's, compiled.

EVA has to prove everything about CartPole (choices, a normaliser; in floats and in int8), a number that is squashed, and a GRU;
and it has to find faults that are planted: an index that is one too large, and sums that overflow, of floats and of integers.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pufferlib_core import train
from pufferlib_embedded.export import export

TIMEOUT = 120  # seconds for one program
FLOATS, INT8 = "cartpole 8x8", "cartpole 8x8 int8"
POLICIES: dict[str, tuple[str, dict[str, Any]]] = {
    FLOATS: ("cartpole", {"policy.normalize_obs": True, "policy.hidden": [8, 8]}),
    "pendulum squashed": ("pendulum", {"policy.hidden": [8], "policy.squash": True}),
    INT8: ("cartpole", {"policy.normalize_obs": True, "policy.hidden": [8, 8]}),
    "cartpole gru": ("cartpole", {"policy.hidden": [6], "policy.core": "gru", "policy.core_size": 6, "ppo.minibatch": 512}),
}
FAULTS = {  # the policy that is broken, which file below src, and how
    "an index one too large": (FLOATS, "lean.c", "i < lean->net.obs_size; i++", "i <= lean->net.obs_size; i++"),
    "sums that overflow": (FLOATS, "policy.c", "PARAMS[130] = {\n    ", "PARAMS[130] = {\n    3e38f + 0.0f * "),
    "sums of integers that overflow": (INT8, "policy.c", "BIAS[18] = {\n    ", "BIAS[18] = {\n    2147483647 + 0 * "),
}


def run(command: list[str], cwd: Path) -> str:
    """Output of a command; ends the tool if it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    if done.returncode:
        raise SystemExit(f"$ {' '.join(command)}\n{done.stdout}{done.stderr}exit status {done.returncode}")
    return done.stdout


def exported(name: str, folder: Path) -> Path:
    """The C of a policy that has been trained a little."""
    env, options = POLICIES[name]
    done = train(env, options={"train.timesteps": 8192, **options}, out=str(folder / "runs"), seed=1)
    out = folder / name.replace(" ", "-")
    export(done.checkpoint, out, unverified=True, precision="int8" if name == INT8 else "float32", calibration_steps=512)
    return out


def faulty(original: Path, fault: str) -> Path:
    """A copy with a fault."""
    _, name, right, wrong = FAULTS[fault]
    folder = original.with_name(fault.replace(" ", "-"))
    shutil.copytree(original, folder)
    text = (folder / "src" / name).read_text()
    if text.count(right) != 1:
        raise SystemExit(f"the place in {name} that this tool breaks is not there any more: {right}")
    (folder / "src" / name).write_text(text.replace(right, wrong))
    return folder


def eva(folder: Path) -> tuple[int, bool]:
    """Alarms, and whether every property was proven, of the command that stands in eva.c."""
    command = re.search(r"\*   (frama-c .*?)\n \*\n", (folder / "verify/eva.c").read_text(), re.DOTALL)
    assert command is not None
    said = run(["sh", "-c", command[1].replace("\n *", "\n")], folder)
    alarms = re.search(r"(\d+) alarms? generated", said)
    if alarms is None:
        raise SystemExit(f"EVA did not end as it should:\n{said[-3000:]}")
    return int(alarms[1]), "100% of the logical properties reached have been proven." in said


def contracts(folder: Path) -> None:
    """What EVA takes for granted holds."""
    program = str(folder / "contracts")
    run(["cc", "-O2", "-ffp-contract=off", "-Isrc", "verify/contracts.c", "-o", program], folder)
    run([program], folder)


def klee(folder: Path) -> None:
    """The harness for KLEE compiles, against the declarations that stand in for KLEE's."""
    flags = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"]
    run(["cc", *flags, "-Isrc", "-Iverify", "verify/klee.c"], folder)


def main() -> int:
    began, failed = time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="puffer-proofs-") as name, ThreadPoolExecutor(2) as pool:
        folders = {policy: exported(policy, Path(name)) for policy in POLICIES}
        folders |= {fault: faulty(folders[policy], fault) for fault, (policy, *_) in FAULTS.items()}
        holding = pool.submit(contracts, folders[FLOATS])
        results = dict(zip(folders, pool.map(eva, folders.values()), strict=True))
        for policy in POLICIES:
            klee(folders[policy])
        holding.result()
    for case, (alarms, proven) in results.items():
        right = (alarms == 0 and proven) if case in POLICIES else alarms > 0
        failed += not right
        print(f"{'ok  ' if right else 'FAIL'}  {case}: {alarms} alarms, {'all' if proven else 'not all'} assertions proven")
    print(f"{len(results)} cases by EVA, its contracts tried, KLEE's harness compiled in {time.monotonic() - began:.0f} s")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
