"""The torch back end, before torch is loaded."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from pufferlib_core.backends import BackendSpec
from pufferlib_core.config import option
from pufferlib_core.errors import require


@dataclass(frozen=True, kw_only=True)
class TorchConfig:
    """Settings of the torch back end."""

    device: str = option("cpu", "where networks run: cpu, cuda, cuda:1, ...")
    threads: int = option(1, "of torch on the CPU; small networks are slower with more", low=1)
    compile: bool = option(False, "torch.compile of the loss; the first update takes a minute")
    precision: str = option(
        "float32", "of the layers; parameters, the memory, the loss and the optimiser stay float32",
        choices=("float32", "bf16", "fp16"),
    )  # fmt: skip
    accumulate: int = option(
        0, "parts of a minibatch that are learnt from one after the other, to need less memory; 0: one, or on the CPU as many "
        "as keep dense layers in its cache", low=0,
    )  # fmt: skip


def _load() -> Any:
    require("torch", "torch")
    return importlib.import_module("pufferlib_core.backends.torch.engine")


SPEC = BackendSpec(
    name="torch",
    capabilities=frozenset({"infer", "ppo.update"}),
    load=_load,
    extra="torch",
    config=TorchConfig,
    description="PyTorch; CPU and CUDA",
)
