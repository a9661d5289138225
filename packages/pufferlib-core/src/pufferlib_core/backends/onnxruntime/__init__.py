"""The onnxruntime back end, before onnx and onnxruntime are loaded."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from pufferlib_core.backends import BackendSpec
from pufferlib_core.config import option
from pufferlib_core.errors import require


@dataclass(frozen=True, kw_only=True)
class OnnxruntimeConfig:
    """Settings of the onnxruntime back end."""

    providers: tuple[str, ...] = option(
        ("cpu",), "what runs the graph, the first that can: cpu, cuda, tensorrt, coreml, ... as onnxruntime was built"
    )
    threads: int = option(1, "of onnxruntime on the CPU; small networks are slower with more", low=1)


def _load() -> Any:
    for module in ("onnx", "onnxruntime"):
        require(module, "onnx")
    return importlib.import_module("pufferlib_core.backends.onnxruntime.policy")


SPEC = BackendSpec(
    name="onnxruntime",
    capabilities=frozenset({"infer", "read-onnx", "export-onnx"}),
    load=_load,
    extra="onnx",
    config=OnnxruntimeConfig,
    description="inference of exported policies (ONNX)",
)
