"""Networks of a `PolicySpec` as torch modules, and policies that act with them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pufferlib_core.backends.acting import HostPolicy
from pufferlib_core.native import Array
from pufferlib_core.ops.normalize import Moments
from pufferlib_core.policies import PolicySpec

ACTIVATIONS = {"tanh": torch.tanh, "relu": torch.relu}


class Network(nn.Module):
    """The network of a policy; names and shapes of its parameters are those of `PolicySpec.tensors`.

    Args:
        spec: the policy.
    """

    def __init__(self, spec: PolicySpec) -> None:
        super().__init__()
        config = spec.config
        self._act = ACTIVATIONS[config.activation]
        self._parts = ("actor", "critic") if config.separate else ("trunk",)
        for part in self._parts:
            widths = (spec.tree.width, *config.hidden)
            layers = [nn.utils.skip_init(nn.Linear, a, b) for a, b in itertools.pairwise(widths)]
            self.add_module(part, nn.ModuleList(layers))
        self.policy = nn.utils.skip_init(nn.Linear, config.hidden[-1], spec.logits)
        self.value = nn.utils.skip_init(nn.Linear, config.hidden[-1], 1)
        self.log_std = nn.Parameter(torch.empty(spec.numbers)) if spec.numbers else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs of the action head (N, logits) and values (N,) of normalised features (N, width)."""
        hidden = []
        for part in self._parts:
            h = x
            for layer in getattr(self, part):
                h = self._act(layer(h))
            hidden.append(h)
        return self.policy(hidden[0]), self.value(hidden[-1]).squeeze(1)


def build(spec: PolicySpec, tensors: Mapping[str, Array], device: torch.device) -> Network:
    """A network whose parameters are those arrays: on the CPU the very same memory, elsewhere copies."""
    network = Network(spec)
    if device.type != "cpu":
        network.to_empty(device=device)
    for name, parameter in network.named_parameters():
        if device.type == "cpu":
            parameter.data = torch.from_numpy(tensors[name])
        else:
            parameter.data.copy_(torch.from_numpy(tensors[name]))
    return network


class Normalizer:
    """clip((x - mean) * scale) of features, or nothing.

    Args:
        spec: the policy.
        device: of the network.
    """

    def __init__(self, spec: PolicySpec, device: torch.device) -> None:
        self._clip, self._device = spec.config.obs_clip, device
        self._mean: Tensor | None = None
        self._scale: Tensor | None = None

    def load(self, moments: Moments | None) -> None:
        """Takes over statistics."""
        if moments is not None:
            self._mean, self._scale = (
                torch.from_numpy(array.astype(np.float32)).to(self._device) for array in (moments.mean, moments.scale())
            )

    def __call__(self, x: Tensor) -> Tensor:
        """Normalised features."""
        if self._mean is None or self._scale is None:
            return x
        return ((x - self._mean) * self._scale).clamp(-self._clip, self._clip)


class TorchPolicy(HostPolicy):
    """Acts with a network.

    Args:
        spec: the policy.
        network: reads its features.
        device: of the network.
    """

    def __init__(self, spec: PolicySpec, network: Network, device: torch.device) -> None:
        super().__init__(spec)
        self.network, self.device = network, device
        self.normalizer = Normalizer(spec, device)

    def outputs(self, features: Array) -> tuple[Array, Array]:
        """See `HostPolicy`."""
        with torch.no_grad():
            heads, value = self.network(self.normalizer(torch.from_numpy(features).to(self.device)))
        return np.ascontiguousarray(heads.cpu().numpy()), np.ascontiguousarray(value.cpu().numpy())

    def log_std(self) -> Any:
        """See `HostPolicy`."""
        log_std = self.network.log_std
        return None if log_std is None else log_std.detach().cpu().numpy()
