"""`puffer doctor`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, distributions, version
from typing import Any

from pufferlib_core.algorithms import algorithm_specs
from pufferlib_core.backends import backend_specs
from pufferlib_core.errors import MissingExtra, PufferError
from pufferlib_core.native import default_threads, ffi, isa, isa_names, lib
from pufferlib_core.vector import env_names, env_spec

PARTS = (
    "numpy", "cffi", "safetensors", "rich", "gymnasium", "pettingzoo", "stable-baselines3", "torch", "jax", "flax", "optax",
    "onnx", "onnxruntime",
)  # fmt: skip


def versions() -> dict[str, str | None]:
    """Installed versions of our packages and of what they use; None where a part is not installed."""
    ours = sorted({dist.name for dist in distributions() if dist.name.startswith("pufferlib-")})
    found: dict[str, str | None] = {}
    for name in (*ours, *PARTS):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def machine() -> dict[str, Any]:
    """Processor, instruction sets and threads."""
    names = isa_names()
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "threads for large batches": default_threads(1 << 20),
        "instruction sets": list(names),
        "in use": next(name for name, number in names.items() if number == isa()),
        "C core": f"{lib.puf_version() // 10000}.{lib.puf_version() // 100 % 100}.{lib.puf_version() % 100}",
        "compiler": ffi.string(lib.puf_compiler()).decode(),
    }


def plugins() -> tuple[dict[str, str], list[str]]:
    """State of every plug-in, and what is wrong."""
    states: dict[str, str] = {}
    wrong: list[str] = []
    for kind, names, load in (
        ("environment", env_names(), env_spec),
        ("back end", list(backend_specs()), lambda name: backend_specs()[name].load()),
        ("algorithm", list(algorithm_specs()), lambda name: algorithm_specs()[name]),
    ):
        for name in names:
            try:
                load(name)
                states[f"{kind} {name}"] = "ok"
            except MissingExtra as error:  # what nobody asked for is not wrong
                states[f"{kind} {name}"] = str(error)
            except (PufferError, ImportError) as error:
                states[f"{kind} {name}"] = str(error)
                wrong.append(f"{kind} {name}: {error}")
    return states, wrong


def run(args: argparse.Namespace, rest: list[str]) -> int:
    """Prints the findings; exit code 1 if something is wrong."""
    states, wrong = plugins()
    settings = {name: value for name, value in sorted(os.environ.items()) if name.startswith("PUFFER_")}
    report = {"versions": versions(), "machine": machine(), "plugins": states, "variables": settings, "problems": wrong}
    if args.json:
        print(json.dumps(report))
        return int(bool(wrong))
    for section, entries in report.items():
        print(section)
        pairs = entries.items() if isinstance(entries, dict) else ((str(entry), "") for entry in entries)
        for name, value in pairs:
            shown = "not installed" if value is None else ", ".join(value) if isinstance(value, list) else value
            print(f"  {name:<40}{shown}")
        if not entries:
            print("  none")
    return int(bool(wrong))
