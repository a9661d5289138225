"""Dense networks as the verifier reads them: the numbers of `lean.c`, in float64, where each float32 is exact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from pufferlib_core.errors import CheckpointError, ConfigError, ShapeError
from pufferlib_core.native import Array

from pufferlib_embedded.model import Model

NUMBERS = 1 << 22  # of the largest array, about: 32 MiB


class Layer(NamedTuple):
    """A dense layer; networks of one shape may lie side by side, B of them."""

    weight: Array  # (out, in) or (B, out, in)
    bias: Array  # (out,) or (B, out)


@dataclass(frozen=True)
class Network:
    """Dense layers with one activation between them and none after the last."""

    layers: tuple[Layer, ...]
    activation: str  # relu or tanh

    @property
    def reads(self) -> int:
        """Numbers that it reads."""
        return int(self.layers[0].weight.shape[-1])

    @property
    def heads(self) -> int:
        """Numbers that it gives."""
        return int(self.layers[-1].weight.shape[-2])

    @property
    def widest(self) -> int:
        """Numbers of its widest layer, what it reads included."""
        return max(self.reads, *(int(layer.weight.shape[-2]) for layer in self.layers))

    @property
    def together(self) -> int:
        """Boxes that are worked on at once."""
        return max(1, NUMBERS // (2 * self.widest**2))


def network(layers: Sequence[tuple[Any, Any]], activation: str) -> Network:
    """A network of weights and biases.

    Args:
        layers: weight (out, in) and bias (out,) of each, or (B, out, in) and (B, out) of B networks side by side; rounded to
            float32, which is what runs.
        activation: `relu` or `tanh`, after every layer but the last.

    Raises:
        ConfigError: if there is no layer, or the activation is another.
        ShapeError: if a layer does not read what the one before gives.
        CheckpointError: if a number is not finite.
    """
    if activation not in ("relu", "tanh") or not layers:
        raise ConfigError(f"verify takes layers with relu or tanh, got {len(layers)} layers with {activation}")
    made = [Layer(*(np.asarray(part, np.float32).astype(np.float64) for part in layer)) for layer in layers]
    reads = made[0].weight.shape[-1]
    for k, (weight, bias) in enumerate(made):
        if weight.shape != (*bias.shape, reads):
            raise ShapeError(f"layer {k}: weight {weight.shape} and bias {bias.shape} must be (out, {reads}) and (out,)")
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise CheckpointError(f"layer {k} holds NaN or infinity: nothing can be certified; take an earlier checkpoint")
        reads = bias.shape[-1]
    return Network(tuple(made), activation)


def network_of(model: Model) -> Network:
    """The dense layers from what the policy reads to its heads.

    Raises:
        ConfigError: if the policy has a memory, convolutions or encoders.
    """
    check_dense(model)
    arrays = [model.tensors[tensor.name] for tensor in model.exported]
    return network(list(zip(arrays[::2], arrays[1::2], strict=True)), model.spec.config.activation)


def check_dense(model: Model) -> None:
    """Refuses what is no MLP.

    Raises:
        ConfigError: if the policy has a memory, convolutions or encoders.
    """
    spec = model.spec
    if spec.gates or spec.encoders:
        what = f"a memory ({spec.config.core})" if spec.gates else "encoders (policy.conv, policy.encoder)"
        raise ConfigError(f"verify takes policies of dense layers alone, and this one has {what}: train one without")
