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


class Preprocessing:
    """clip((x - mean) * scale) of features, or nothing; see `PolicySpec.preprocessing`.

    Args:
        spec: the policy.
        device: of the network.
    """

    def __init__(self, spec: PolicySpec, device: torch.device) -> None:
        self._spec, self._device = spec, device
        self._read: tuple[Tensor, Tensor, float] | None = None
        self.load(None)

    def load(self, moments: Moments | None) -> None:
        """Takes over statistics of observations."""
        read = self._spec.preprocessing(moments)
        if read is None:
            self._read = None
        else:
            mean, scale = (torch.from_numpy(array).to(self._device) for array in read[:2])
            self._read = mean, scale, read[2]

    def __call__(self, x: Tensor) -> Tensor:
        """What the network reads."""
        if self._read is None:
            return x
        mean, scale, bound = self._read
        return ((x - mean) * scale).clamp(-bound, bound)


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
        self.preprocess = Preprocessing(spec, device)

    def outputs(self, features: Array, carry: Array | None) -> tuple[Array, Array, Array | None]:
        """See `HostPolicy`."""
        with torch.no_grad():
            heads, value = self.network(self.preprocess(torch.from_numpy(features).to(self.device)))
        return np.ascontiguousarray(heads.cpu().numpy()), np.ascontiguousarray(value.cpu().numpy()), None

    def log_std(self) -> Any:
        """See `HostPolicy`."""
        log_std = self.network.log_std
        return None if log_std is None else log_std.detach().cpu().numpy().copy()
