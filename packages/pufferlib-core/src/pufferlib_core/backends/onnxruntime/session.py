"""Graphs in onnxruntime: which provider runs them, and what they are given."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime

from pufferlib_core.backends.onnxruntime import OnnxruntimeConfig
from pufferlib_core.backends.onnxruntime.contract import leaf_name
from pufferlib_core.errors import CheckpointError, ConfigError, suggest
from pufferlib_core.native import Array
from pufferlib_core.policies import PolicySpec


def chosen_providers(names: tuple[str, ...]) -> list[str]:
    """What onnxruntime calls them: `cuda` is `CUDAExecutionProvider`.

    Raises:
        ConfigError: if this build of onnxruntime lacks one, naming what it has.
    """
    available = {name.removesuffix("ExecutionProvider").lower(): name for name in onnxruntime.get_available_providers()}
    found = []
    for name in names:
        short = name.removesuffix("ExecutionProvider").lower()
        if short not in available:
            raise ConfigError(
                f"onnxruntime.providers: {name!r} is not in this build of onnxruntime{suggest(short, available)} "
                f"(available: {', '.join(sorted(available))})"
            )
        found.append(available[short])
    if not found:
        raise ConfigError(f"onnxruntime.providers is empty; available: {', '.join(sorted(available))}")
    return found


def session(model: bytes, options: OnnxruntimeConfig) -> Any:
    """A session of onnxruntime.

    Raises:
        ConfigError: if a provider is unknown, or does not start on this machine.
        CheckpointError: if the bytes are no model.
    """
    providers = chosen_providers(options.providers)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.inter_op_num_threads = options.threads, 1
    settings.log_severity_level = 4  # what matters comes as an exception
    try:
        made = onnxruntime.InferenceSession(model, settings, providers=providers)
    except Exception as error:  # its classes are many, and derive from nothing narrower
        first = str(error).splitlines()[0]
        raise CheckpointError(f"onnxruntime refuses the model: {first}") from error
    if absent := [name for name in providers if name not in made.get_providers()]:
        raise ConfigError(
            f"onnxruntime.providers: {absent[0]} is in this build but does not start on this machine (driver or libraries "
            f"missing?); running: {', '.join(made.get_providers())}"
        )
    return made


def feed(spec: PolicySpec, rows: Array, action_mask: Array | None, carry: Array | None) -> dict[str, Array]:
    """The inputs of a graph by name.

    Args:
        spec: the policy.
        rows: observations as environments write them, (N, ...).
        action_mask: uint8 (N, choices); None: the graph reads none.
        carry: float32 (N, carry); None: the policy has no memory.
    """
    named = {leaf_name(leaf): np.ascontiguousarray(spec.tree.view(rows, leaf.path)) for leaf in spec.tree.leaves}
    more = {"action_mask": action_mask, "carry": carry}
    return named | {name: array for name, array in more.items() if array is not None}


def ports(running: Any) -> list[tuple[str, str, tuple[str | int, ...]]]:
    """Name, dtype and shape of what a session reads and then of what it gives, as `contract.Port` has them."""
    dtypes = {"float": "float32", "double": "float64"}
    found = []
    for port in (*running.get_inputs(), *running.get_outputs()):
        dtype = port.type.removeprefix("tensor(").removesuffix(")")
        found.append((port.name, dtypes.get(dtype, dtype), tuple(port.shape)))
    return found
