"""Settings from flags and environment variables."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from pufferlib_core.algorithms import get_algorithm
from pufferlib_core.config import nest, parse_value
from pufferlib_core.errors import ConfigError, suggest
from pufferlib_core.loops.settings import option_types
from pufferlib_core.traits import EnvSpec

PREFIX = "PUFFER_"
NOT_SETTINGS = {"PUFFER_ISA", "PUFFER_WERROR"}  # read elsewhere


def whole(text: str, where: str) -> int:
    """A whole number from a flag; `1e6` and `1_000_000` are fine."""
    number = parse_value(text, int, where)
    return int(number)


def sections(rest: Sequence[str], algorithm: str, env: EnvSpec | None = None) -> dict[str, Any]:
    """Nested settings from `--section.option VALUE` and `--section.option=VALUE`.

    Raises:
        ConfigError: for what is not a setting, with the closest name.
    """
    types = option_types(get_algorithm(algorithm), env)
    return _flags(rest, {name: kind for name, (kind, _, _) in types.items()}, "train")


def backend_options(rest: Sequence[str], backend: str, command: str) -> dict[str, Any]:
    """Settings of one back end from `--backend.option VALUE`.

    Raises:
        ConfigError: for what is not one, with the closest name.
    """
    types = option_types(get_algorithm("ppo"))
    own = {name: kind for name, (kind, _, _) in types.items() if name.startswith(f"{backend}.")}
    found: dict[str, Any] = _flags(rest, own, command).get(backend, {})
    return found


def _flags(rest: Sequence[str], types: Mapping[str, Any], command: str) -> dict[str, Any]:
    """Nested values of flags whose names and types are known."""
    flat: dict[str, Any] = {}
    arguments = list(rest)
    while arguments:
        flag = arguments.pop(0)
        name, equals, value = flag.removeprefix("--").partition("=")
        if not flag.startswith("--"):
            raise ConfigError(f"unexpected argument {flag!r}")
        name = name.replace("-", "_")
        if name not in types:
            close = suggest(name, types).replace("did you mean ", "did you mean --")
            raise ConfigError(f"unknown option --{name}{close or f'; see puffer {command} --help'}")
        if not equals:
            if not arguments:
                raise ConfigError(f"--{name} needs a value")
            value = arguments.pop(0)
        flat[name] = parse_value(value, types[name], f"--{name}")
    return nest(flat)


def environment(
    algorithm: str, env: EnvSpec | None = None, variables: Mapping[str, str] | None = None
) -> dict[str, Any]:  # fmt: skip
    """Nested settings from variables: PUFFER_SEED, PUFFER_PPO__GAMMA.

    Raises:
        ConfigError: for one that is not a setting, with the closest name.
    """
    types = option_types(get_algorithm(algorithm), env)
    top = {"algorithm": str, "backend": str, "seed": int, "out": str}
    flat: dict[str, Any] = {}
    for variable, text in (os.environ if variables is None else variables).items():
        if not variable.startswith(PREFIX) or variable in NOT_SETTINGS:
            continue
        name = variable.removeprefix(PREFIX).lower().replace("__", ".")
        known = {key: kind for key, (kind, _, _) in types.items()} | top
        if name not in known:
            raise ConfigError(f"environment variable {variable} is not a setting{suggest(name, known)}")
        flat[name] = parse_value(text, known[name], variable)
    return nest(flat)
