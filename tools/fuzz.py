"""Fuzzes what reads foreign data: `tools/fuzz.py [target ...] [--seconds 20]`; an hour each with `--seconds 3600 --seed 0`.

atheris (libFuzzer) chooses inputs of tools/fuzzing/targets.py by the code that they reach. Those that reached something
new stay in build/fuzz/<target>; one that broke a promise is saved there as `crash-...` and runs again with `--input FILE`.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "tools/fuzzing/targets.py"
CORPUS = ROOT / "build/fuzz"
TARGETS = ("bundle", "config", "manifest", "safetensors", "spaces", "state")
ENV = os.environ | {"PYTHONHASHSEED": "0"}  # the same inputs reach the same code each time
LENGTH = 4096  # bytes of the longest input


def start_corpus(folder: Path) -> None:
    """A few long inputs to begin with: a short one ends before hypothesis has drawn a whole value from it."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(0)
    for k in range(32):
        (folder / f"start-{k:02}").write_bytes(rng.randbytes(rng.randint(64, LENGTH)))


def fuzz(name: str, options: list[str]) -> bool:
    """Runs one target in a process of its own; prints how it ended, with its output if a promise was broken."""
    start_corpus(CORPUS / name)
    command = [sys.executable, str(PROGRAM), name, "-timeout=60", "-rss_limit_mb=4096", f"-max_len={LENGTH}"]
    command += ["-len_control=0", "-print_final_stats=1", f"-artifact_prefix={CORPUS / name}{os.sep}", *options]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False, env=ENV
    )
    lines = done.stdout.splitlines()
    runs = next((line.split()[-1] for line in lines if "number_of_executed_units" in line), "1")
    print(f"{'FAIL' if done.returncode else 'ok  '}  {name}: {runs} inputs", flush=True)
    if done.returncode:
        print("\n".join(lines[-60:]))
    return done.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", nargs="*", help=f"only these: {', '.join(TARGETS)}")
    parser.add_argument("--seconds", type=int, default=20, help="time for each target (default 20)")
    parser.add_argument("--seed", type=int, default=1, help="of the choice of inputs (default 1); 0: another each time")
    parser.add_argument("--input", type=Path, help="run one target on this file alone")
    options = parser.parse_args()
    names = options.target or list(TARGETS)
    if unknown := sorted(set(names) - set(TARGETS)):
        parser.error(f"no such target: {', '.join(unknown)}; known: {', '.join(TARGETS)}")
    if options.input and len(names) != 1:
        parser.error("--input needs one target")
    chosen = {
        name: [str(options.input or CORPUS / name), f"-max_total_time={options.seconds}", f"-seed={options.seed}"]
        for name in names
    }
    passed = [fuzz(name, arguments) for name, arguments in chosen.items()]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
