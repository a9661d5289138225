"""The JAX back end, before JAX is loaded."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from pufferlib_core.backends import BackendSpec
from pufferlib_core.config import option
from pufferlib_core.errors import ConfigError, require
from pufferlib_core.traits import EnvSpec
from pufferlib_core.vector import env_names, env_spec


@dataclass(frozen=True, kw_only=True)
class JaxConfig:
    """Settings of the JAX back end."""

    device: str = option("cpu", "where networks run: cpu, gpu, gpu:1, tpu, ...")
    precision: str = option(
        "float32", "of the network's products; parameters, loss and Adam are float32", choices=("float32", "bfloat16")
    )
    device_envs: bool = option(False, "environments live on the device too, compiled with the policy; see how-to/device.md")


def _check(options: JaxConfig, env: EnvSpec) -> None:
    """Refuses environments on the device that have no form for one.

    Raises:
        ConfigError: naming those that have.
    """
    if options.device_envs and env.device is None:
        able = ", ".join(name for name in env_names() if env_spec(name).device is not None)
        raise ConfigError(f"jax.device_envs=true: {env.name} has no form for devices (`EnvSpec.device`); these have: {able}")


def _load() -> Any:
    for module in ("jax", "optax"):
        require(module, "jax")
    return importlib.import_module("pufferlib_core.backends.jax.engine")


SPEC = BackendSpec(
    name="jax",
    capabilities=frozenset({"infer", "ppo.update"}),
    load=_load,
    extra="jax",
    config=JaxConfig,
    check=_check,
    description="JAX; CPU, GPU and TPU, whole updates compiled",
)
