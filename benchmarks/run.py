"""Measures this machine: `uv run python benchmarks/run.py`.

Writes benchmarks/results/<machine>.json and the figures of README.md and docs/explanation/performance.md. Every figure
stands beside a yardstick of the same run: a copy of the same bytes, the serial variant, or Gymnasium.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pufferlib_core
from publish import publish  # the file beside this one
from pufferlib_core import evaluate, train
from pufferlib_core.native import isa_names

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks/results"


def processor() -> str:
    """Name of the processor, as the system gives it."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", info.read_text()) if info.exists() else None
    return found[1].strip() if found else platform.processor() or platform.machine()


def bench(threads: int, mode: str, isa: str = "") -> list[dict[str, Any]]:
    """Results of `puffer bench` in a process of its own."""
    command = [sys.executable, "-m", "pufferlib_cli", "bench", "--mode", mode, "--threads", str(threads), "--json"]
    env = os.environ | ({"PUFFER_ISA": isa} if isa else {})
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout)["results"]


def gymnasium_cartpole(num_envs: int) -> dict[str, Any]:
    """Gymnasium's own vectorized CartPole, random actions that change every step."""
    envs = gymnasium.make_vec("CartPole-v1", num_envs=num_envs, vectorization_mode="vector_entry_point")
    envs.reset(seed=0)
    actions = np.random.default_rng(0).integers(0, 2, (32, num_envs))
    least = float("inf")
    for _ in range(10):
        begin = time.perf_counter()
        for action in actions:
            envs.step(action)
        least = min(least, time.perf_counter() - begin)
    return {"name": "sim.gymnasium", "value": 32 * num_envs / least, "unit": "steps/s", "settings": {"num_envs": num_envs}}


def command_seconds(*command: str) -> float:
    """Least wall time of five runs of a command."""
    least = float("inf")
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(5):
            begin = time.perf_counter()
            subprocess.run([sys.executable, *command], check=True, capture_output=True, cwd=folder)
            least = min(least, time.perf_counter() - begin)
    return least


def core_program(folder: Path, name: str, *more: str) -> Path:
    """benchmarks/core.c with the sources of core and environments, compiled with the flags of the packages."""
    core, environments = Path(pufferlib_core.source_dir()), ROOT / "packages/pufferlib-envs/src/pufferlib_envs/csrc"
    sources = [str(path) for tree in (core, environments) for path in sorted(tree.glob("*.c"))]
    flags = ["-O3", "-std=gnu11", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fno-wrapv", "-pthread", *more]
    includes = [f"-I{path}" for path in (pufferlib_core.include_dir(), core, environments)]
    program = folder / name
    command = [os.environ.get("CC", "cc"), *flags, *includes, str(Path(__file__).parent / "core.c"), *sources]
    subprocess.run([*command, "-o", str(program)], check=True)
    return program


def core_figures(cores: int) -> list[dict[str, Any]]:
    """The C core without Python; and its simulation with fused multiply-adds, which bit equality forbids."""
    with tempfile.TemporaryDirectory() as folder:
        programs = {
            "": core_program(Path(folder), "core"),
            "_with_fma": core_program(Path(folder), "fma", "-ffp-contract=fast"),
        }
        results = []
        for suffix, program in programs.items():
            for threads in sorted({1, cores}):
                lines = subprocess.run([program, str(threads)], check=True, capture_output=True, text=True).stdout.splitlines()
                found = [json.loads(line) for line in lines]
                if suffix:
                    found = [result | {"name": result["name"] + suffix} for result in found if result["name"] == "core.sim"]
                results += found
        return results


def memory_of_import() -> dict[str, Any]:
    """Resident memory of a process that has imported pufferlib_core, and of one that has not."""
    code = "print(int(open('/proc/self/statm').read().split()[1]) * __import__('resource').getpagesize())"
    sizes = [int(subprocess.run([sys.executable, "-c", f"{more}{code}"], check=True, capture_output=True).stdout)
             for more in ("", "import pufferlib_core; ")]  # fmt: skip
    return {"name": "start.import_memory", "value": sizes[1], "unit": "bytes", "settings": {"python_alone": sizes[0]}}


def solving() -> list[dict[str, Any]]:
    """Training time of the CartPole preset to its stop return, on five seeds."""
    results = []
    with tempfile.TemporaryDirectory() as out:
        for seed in range(5):
            result = train("cartpole", seed=seed, out=out)
            score = evaluate("cartpole", result.checkpoint)["episode_return_mean"]
            settings = {"seed": seed, "steps": result.summary["steps"], "evaluation": score}
            results.append({"name": "solve.cartpole", "value": result.summary["seconds"], "unit": "s", "settings": settings})
    return results


def main() -> None:
    cores = os.cpu_count() or 1
    results = [gymnasium_cartpole(4096), *core_figures(cores), memory_of_import()]
    for threads in sorted({1, cores}):
        results += [result for mode in ("sim", "infer", "train") for result in bench(threads, mode)]
    for isa in isa_names():
        results += [result for mode in ("sim", "infer", "kernels") for result in bench(1, mode, isa)]
    results += solving()
    for name, command in {
        "start.import": ["-c", "import pufferlib_core"],
        "start.help": ["-m", "pufferlib_cli", "--help"],
        "start.train_cartpole": ["-m", "pufferlib_cli", "train", "cartpole", "--json"],
    }.items():
        results.append({"name": name, "value": command_seconds(*command), "unit": "s", "settings": {}})
    machine = {"processor": processor(), "cores": cores, "system": platform.platform(), "python": platform.python_version()}
    RESULTS.mkdir(exist_ok=True)
    name = re.sub(r"[^a-z0-9]+", "-", f"{machine['processor']} {cores} cores".lower()).strip("-")
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine, "results": results}, indent=1) + "\n")
    publish(path)
    for result in results:
        print(f"{result['name']:<24}{result['value']:>18,.4g} {result['unit']:<10} {result['settings']}")


if __name__ == "__main__":
    main()
