"""Measures other frameworks beside this one on this machine: `uv run python benchmarks/compare.py`.

Each peer is installed into an environment of its own below build/compare (their versions of numpy exclude each other); one that
does not install is skipped, and its rows say so. Every measurement is a process of its own, and one of this framework precedes
each one of a peer. Writes benchmarks/results/compare-<machine>.json and the figures of docs/explanation/comparison.md.

`uv run python benchmarks/compare.py benchmarks/results/compare-<machine>.json` writes the figures of a saved file.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from peers.page import figures
from publish import replace  # the file beside this one
from run import RESULTS, ROOT, processor

SCRIPTS = ROOT / "benchmarks/peers"
ROUNDS, SEEDS = 3, 3
CORES = os.cpu_count() or 1
ENVIRONMENTS = {  # what each environment installs, the peer first
    "gymnasium": ("gymnasium",),
    "envpool": ("envpool",),
    "jax": ("jax", "optax"),
    "torch": ("torch", "stable-baselines3", "gymnasium"),
    "pufferlib": ("pufferlib==2.0.2", "gymnasium"),  # the last one with a wheel
}
OWN = {"ours": ("pufferlib-core",), "backends": ("pufferlib-core", "torch", "jax", "flax", "optax")}
IMPORTS = {
    "Gymnasium": ("gymnasium", "import gymnasium"),
    "EnvPool": ("envpool", "import envpool"),
    "JAX and Optax": ("jax", "import jax, jax.numpy, optax"),
    "PyTorch": ("torch", "import torch"),
    "Stable-Baselines3": ("torch", "from stable_baselines3 import PPO"),
    "PufferLib 2.0.2": ("pufferlib", "import pufferlib.vector, pufferlib.emulation"),
}
OUR_IMPORT = "from pufferlib_core import make_vec, train"
MEMORY = "int(open('/proc/self/statm').read().split()[1]) * __import__('resource').getpagesize()"
SMALL = {"num_envs": 8, "horizon": 128, "epochs": 4, "minibatch": 256, "learning_rate": 3e-4, "gamma": 0.99, "lam": 0.95,
         "timesteps": 100_000_000}  # fmt: skip
LARGE = SMALL | {"num_envs": 1024, "horizon": 32, "minibatch": 4096}
ZOO = {"num_envs": 8, "horizon": 32, "epochs": 20, "minibatch": 256, "learning_rate": 1e-3, "gamma": 0.98, "lam": 0.8,
       "timesteps": 100_000}  # fmt: skip
PPO_PEERS: dict[str, tuple[str, str, dict[str, Any]]] = {  # by title: environment, script, what it is given beside the settings
    "this framework, back end torch": ("backends", "native.py", {"backend": "torch"}),
    "this framework, back end jax": ("backends", "native.py", {"backend": "jax"}),
    "this framework, back end jax, environments on the device": (
        "backends", "native.py", {"backend": "jax", "backend_options": {"jax.device_envs": True}},
    ),
    "Stable-Baselines3": ("torch", "sb3.py", {}),
    "PyTorch, in the manner of CleanRL": ("torch", "torch_ppo.py", {}),
    "JAX, in the manner of PureJaxRL": ("jax", "jax_ppo.py", {}),
}  # fmt: skip
Result = dict[str, Any]


class Simulator(NamedTuple):
    """A peer that steps CartPole."""

    title: str
    environment: str
    script: str
    settings: dict[str, Any]
    parallel: bool  # whether it uses more than one core


SIMULATORS = (
    Simulator("Gymnasium, its vectorized CartPole", "gymnasium", "gymnasium_envs.py",
              {"num_envs": 4096, "mode": "vector_entry_point"}, False),
    Simulator("Gymnasium, SyncVectorEnv", "gymnasium", "gymnasium_envs.py", {"num_envs": 8, "mode": "sync"}, False),
    Simulator("EnvPool", "envpool", "envpool_envs.py", {"num_envs": 4096}, True),
    Simulator("PufferLib 2.0.2, Serial", "pufferlib", "original.py", {"num_envs": 8}, False),
    Simulator("JAX, 32 steps a call", "jax", "jax_cartpole.py", {"num_envs": 4096}, True),
    Simulator("this framework, 32 steps a call", "ours", "native.py", {"num_envs": 4096, "steps_per_call": 32}, True),
    Simulator("this framework, 8 environments", "ours", "native.py", {"num_envs": 8, "steps_per_call": 1}, False),
)  # fmt: skip


def install_one(name: str) -> str | None:
    """Interpreter of the environment `name`; None if it does not install."""
    folder = ROOT / "build/compare" / name
    subprocess.run(["uv", "venv", "-q", "--allow-existing", "--python", sys.executable, str(folder)], check=True)
    done = subprocess.run(["uv", "pip", "install", "-q", "--python", str(folder), *ENVIRONMENTS[name]])
    return str(folder / "bin/python") if done.returncode == 0 else None


def install_backends() -> str:
    """Interpreter of an environment with this framework and all of its back ends, that of the tests."""
    folder = ROOT / "build/peers"
    command = ["uv", "sync", "-q", "--group", "dev", "--group", "peers"]
    subprocess.run(command, check=True, cwd=ROOT, env=os.environ | {"UV_PROJECT_ENVIRONMENT": str(folder)})
    return str(folder / "bin/python")


def install() -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """Interpreter and versions of each environment that installs; ours is the one that runs this."""
    pythons, versions = {"ours": sys.executable, "backends": install_backends()}, {}
    for name in ENVIRONMENTS:
        if python := install_one(name):
            pythons[name] = python
    for name, python in pythons.items():
        wanted = [package.split("==")[0] for package in (ENVIRONMENTS | OWN)[name]]
        code = (
            "import json, sys; from importlib.metadata import version as v; print(json.dumps({n: v(n) for n in sys.argv[1:]}))"
        )
        versions[name] = json.loads(subprocess.check_output([python, "-c", code, *wanted, "numpy"]))
    return pythons, versions


def child(command: list[str], cores: int) -> Result:
    """The JSON object a process on the first `cores` cores prints last, with `wall`: seconds from its start to its exit."""
    chosen = sorted(os.sched_getaffinity(0))[:cores]
    begin = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | {"PYTHONWARNINGS": "ignore"},
                          preexec_fn=lambda: os.sched_setaffinity(0, chosen))  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1]) | {"wall": time.perf_counter() - begin}


def script(python: str, name: str, task: str, settings: dict[str, Any], cores: int) -> Result:
    """Answer of a peer's script."""
    return child([python, str(SCRIPTS / name), task, json.dumps(settings | {"cores": cores})], cores)


def pairs(pythons: dict[str, str], environment: str, ours: Any, theirs: Any, count: int) -> dict[str, list[Result]]:
    """Answers of this framework and of a peer in turn, printed as they come; none where the peer is not installed.

    Args:
        pythons: interpreter of each environment.
        environment: that of the peer.
        ours: answers round i for this framework.
        theirs: answers round i for the peer.
        count: rounds.
    """
    answers: dict[str, list[Result]] = {"ours": [], "theirs": []}
    for i in range(count if environment in pythons else 0):
        answers["ours"].append(ours(i))
        answers["theirs"].append(theirs(i))
        print(environment, *(f"{side}: {found[-1]}" for side, found in answers.items()), flush=True)
    return answers


def simulation(pythons: dict[str, str]) -> list[Result]:
    """Steps a second under random actions, on one core and, where a peer uses them, on all."""
    results = []
    one_call = {"num_envs": 4096, "steps_per_call": 1}
    for peer in SIMULATORS:
        for cores in (1, CORES) if peer.parallel else (1,):
            found = pairs(
                pythons, peer.environment,
                lambda _, n=cores: script(sys.executable, "native.py", "simulate", one_call, n),
                lambda _, n=cores, p=peer: script(pythons[p.environment], p.script, "simulate", p.settings, n),
                ROUNDS,
            )  # fmt: skip
            results.append({"name": "sim", "peer": peer.title, "cores": cores, "settings": peer.settings} | found)
    return results


def training(pythons: dict[str, str], name: str, settings: dict[str, Any], cores: int, seconds: float) -> list[Result]:
    """PPO runs of all peers with the same settings; `name` is solve (until the goal) or train (until the time is up)."""
    results = []
    for title, (environment, file, more) in PPO_PEERS.items():

        def run(python: str, which: str, seed: int, more: dict[str, Any]) -> Result:
            given = {"settings": settings, "seed": seed, "seconds": seconds, "to_goal": name == "solve"}
            return script(python, which, "ppo", given | more, cores)

        found = pairs(
            pythons, environment,
            lambda seed: run(sys.executable, "native.py", seed, {}),
            lambda seed, e=environment, f=file, m=more: run(pythons[e], f, seed, m),
            SEEDS if name == "solve" else ROUNDS,
        )  # fmt: skip
        results.append({"name": name, "peer": title, "cores": cores, "settings": settings} | found)
    return results


def preset() -> Result:
    """Solving with this framework's preset."""
    given = {"settings": None, "seconds": 180, "to_goal": True}
    runs = [script(sys.executable, "native.py", "ppo", given | {"seed": seed}, 1) for seed in range(SEEDS)]
    return {"name": "preset", "peer": "this framework", "cores": 1, "settings": {}, "ours": runs, "theirs": []}


def importing(pythons: dict[str, str]) -> list[Result]:
    """Seconds and resident bytes of an import."""

    def answer(python: str, line: str) -> Result:
        code = f"import json, time; b = time.perf_counter(); {line}; s = time.perf_counter() - b\n"
        return child([python, "-c", f"{code}print(json.dumps({{'seconds': s, 'bytes': {MEMORY}}}))"], CORES)

    results = []
    for title, (environment, line) in IMPORTS.items():
        found = pairs(
            pythons, environment,
            lambda _: answer(sys.executable, OUR_IMPORT),
            lambda _, e=environment, code=line: answer(pythons[e], code),
            ROUNDS,
        )  # fmt: skip
        results.append({"name": "import", "peer": title, "cores": CORES, "settings": {"code": line}} | found)
    return results


def measure() -> Path:
    """Measures everything; the file with the results."""
    pythons, versions = install()
    results = importing(pythons) + simulation(pythons)
    for settings, cores in ((SMALL, 1), (LARGE, 1), (LARGE, CORES)):
        results += training(pythons, "train", settings, cores, 4)
    results += [*training(pythons, "solve", ZOO, 1, 180), preset()]
    machine = {"processor": processor(), "cores": CORES, "system": platform.platform(), "python": platform.python_version()}
    name = re.sub(r"[^a-z0-9]+", "-", f"compare {machine['processor']} {CORES} cores".lower()).strip("-")
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine, "versions": versions, "results": results}, indent=1) + "\n")
    return path


def main() -> None:
    path = Path(sys.argv[1]) if sys.argv[1:] else measure()
    text = figures(json.loads(path.read_text()))
    replace(ROOT / "docs/explanation/comparison.md", text)
    print(text)


if __name__ == "__main__":
    main()
