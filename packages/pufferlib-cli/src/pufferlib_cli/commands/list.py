"""`puffer list`."""

from __future__ import annotations

import argparse
import json
from typing import Any

from pufferlib_core.algorithms import algorithm_specs
from pufferlib_core.backends import backend_specs
from pufferlib_core.loops.settings import option_types
from pufferlib_core.vector import env_names, env_spec


def run(args: argparse.Namespace, rest: list[str]) -> int:
    """Lists what is installed."""
    algorithms, backends = algorithm_specs(), backend_specs()
    found: dict[str, Any] = {
        "environments": {name: env_spec(name).description for name in env_names()},
        "algorithms": {name: spec.description for name, spec in algorithms.items()},
        "backends": {name: spec.description for name, spec in backends.items()},
    }
    if args.options:
        found["options"] = {
            name: f"{help} (default {default})"
            for spec in algorithms.values()
            for env in env_names()
            for name, (_, default, help) in option_types(spec, env_spec(env)).items()
        }
    if args.json:
        print(json.dumps(found))
        return 0
    for kind, entries in found.items():
        print(kind)
        width = max(map(len, entries)) + 2
        for name, description in entries.items():
            print(f"  {name:<{width}}{description}")
    return 0
