"""The JAX back end, before JAX is loaded."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from pufferlib_core.backends import BackendSpec
from pufferlib_core.config import option
from pufferlib_core.errors import require


@dataclass(frozen=True, kw_only=True)
class JaxConfig:
    """Settings of the JAX back end."""

    device: str = option("cpu", "where networks run: cpu, gpu, gpu:1, tpu, ...")
    precision: str = option(
        "float32", "of the network's products; parameters, loss and Adam are float32", choices=("float32", "bfloat16")
    )


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
    description="JAX; CPU, GPU and TPU, whole updates compiled",
)
