"""Networks of a `PolicySpec` as torch modules, and policies that act with them."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pufferlib_core.backends.acting import HostPolicy
from pufferlib_core.encoders import Encoder
from pufferlib_core.native import Array
from pufferlib_core.ops.normalize import Moments
from pufferlib_core.policies import PolicySpec

ACTIVATIONS = {"tanh": torch.tanh, "relu": torch.relu}
PRECISIONS = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Core(nn.Module):
    """A recurrent core, as `ops.cores` defines it, by torch's own cells.

    They give the same numbers within 2e-7, and a step of 64 rows with its gradient takes two thirds of the time.

    Args:
        kind: lstm or gru.
        read: numbers of an input.
        size: H.
    """

    def __init__(self, kind: str, read: int, size: int) -> None:
        super().__init__()
        self.size, self._gru = size, kind == "gru"
        rows = (3 if self._gru else 4) * size
        self.input = nn.Parameter(torch.empty(rows, read))
        self.state = nn.Parameter(torch.empty(rows, size))
        self.bias = nn.Parameter(torch.empty(rows))

    def forward(self, x: Tensor, carry: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs (N, H) and what is handed on."""
        weights = self.input, self.state, self.bias, None
        if self._gru:
            h = torch.gru_cell(x, carry, *weights)
            return h, h
        h, c = torch.lstm_cell(x, carry.chunk(2, 1), *weights)
        return h, torch.cat([h, c], 1)


def unroll(
    step: Callable[[Tensor, Tensor], tuple[Tensor, ...]], x: Tensor, carry: Tensor, ended: Tensor, valid: Tensor | None
) -> list[Tensor]:
    """What `step(x_t, carry)` gives for sequences, each output (T * N, ...); its last one is handed on as by `data.handed_on`.

    Args:
        step: gives outputs (N, ...) and what it makes of the carry.
        x: (T, N, ...).
        carry: (N, C) before the first row.
        ended: bool (T, N, 1), where an episode ended.
        valid: bool (T, N, 1), where a row counts; None: everywhere.
    """
    rows = []
    for t in range(len(x)):
        *outputs, after = step(x[t], carry)
        rows.append(outputs)
        if valid is not None:
            after = torch.where(valid[t], after, carry)
        carry = torch.where(ended[t], 0.0, after.float())  # a module may give it in another precision
    return [torch.cat(column) for column in zip(*rows, strict=True)]


class Tower(nn.Module):
    """Encoders, hidden layers and the core that lead to a head.

    Args:
        spec: the policy.
    """

    def __init__(self, spec: PolicySpec) -> None:
        super().__init__()
        config = spec.config
        self._act = ACTIVATIONS[config.activation]
        self._encoders = spec.encoders
        if self._encoders:
            self.encoder = nn.ModuleList(nn.ModuleList(_layers(encoder)) for encoder in self._encoders)
        widths = (spec.encoded, *config.hidden)
        self._hidden = [str(k) for k in range(len(config.hidden))]
        for name, (read, out) in zip(self._hidden, itertools.pairwise(widths), strict=True):
            self.add_module(name, nn.utils.skip_init(nn.Linear, read, out))
        self.core = Core(config.core, config.hidden[-1], config.core_size) if spec.gates else None

    def read(self, x: Tensor) -> Tensor:
        """What the last hidden layer gives, (N, H), for features (N, width)."""
        if self._encoders:
            parts = [self._encode(x, encoder, k) for k, encoder in enumerate(self._encoders)]
            x = torch.cat(parts, 1)
        for name in self._hidden:
            x = self._act(self.get_submodule(name)(x))
        return x

    def _encode(self, x: Tensor, encoder: Encoder, k: int) -> Tensor:
        x = x[:, encoder.first : encoder.first + encoder.size]
        if encoder.image is not None:
            x = x.unflatten(1, encoder.image).permute(0, 3, 1, 2)  # torch convolves (N, channels, height, width)
        for layer in self.encoder[k]:
            x = self._act(layer(x))
        return x if encoder.image is None else x.permute(0, 2, 3, 1).flatten(1)


def _layers(encoder: Encoder) -> list[nn.Module]:
    if encoder.image is None:
        return [nn.utils.skip_init(nn.Linear, read, out) for out, read in encoder.layers]
    shapes = zip(encoder.layers, encoder.convs, strict=True)
    return [nn.utils.skip_init(nn.Conv2d, read, out, size, conv.stride) for (out, read, size, _), conv in shapes]


class Network(nn.Module):
    """The network of a policy; names and shapes of its parameters are those of `PolicySpec.tensors`.

    Args:
        spec: the policy.
    """

    def __init__(self, spec: PolicySpec) -> None:
        super().__init__()
        config = spec.config
        self._parts = ("actor", "critic") if config.separate else ("trunk",)
        for part in self._parts:
            self.add_module(part, Tower(spec))
        read = config.core_size if spec.gates else config.hidden[-1]
        self.policy = nn.utils.skip_init(nn.Linear, read, spec.logits)
        self.value = nn.utils.skip_init(nn.Linear, read, 1)
        self.log_std = nn.Parameter(torch.empty(spec.numbers)) if spec.numbers else None

    def forward(self, features: Tensor, carry: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """One step of N rows.

        Args:
            features: preprocessed, (N, width).
            carry: what was handed on, (N, carry); None: there is no core.

        Returns:
            outputs of the action head (N, logits), values (N,), and what is handed on.
        """
        read = [tower.read(features) for tower in self._towers]
        if carry is None:
            return *self._heads(read), None
        with torch.autocast(features.device.type, enabled=False):
            steps = [
                tower.core(x.float(), before) for tower, x, before in zip(self._towers, read, self._split(carry), strict=True)
            ]
        return *self._heads([h for h, _ in steps]), torch.cat([after for _, after in steps], 1)

    def unroll(self, features: Tensor, carry: Tensor, ended: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        """Outputs of the action head (T * N, logits) and values (T * N,) of sequences, features (T, N, width); see `unroll`.

        The core computes in float32 in any case: what it hands on is a sum over many steps.
        """
        read = [tower.read(features.flatten(0, 1)) for tower in self._towers]
        with torch.autocast(features.device.type, enabled=False):
            remembered = [
                unroll(tower.core, x.float().unflatten(0, ended.shape[:2]), before, ended, valid)[0]
                for tower, x, before in zip(self._towers, read, self._split(carry), strict=True)
            ]
        return self._heads(remembered)

    @property
    def _towers(self) -> list[Any]:
        return [getattr(self, part) for part in self._parts]

    def _split(self, carry: Tensor) -> tuple[Tensor, ...]:
        """The carry of each tower."""
        carries: tuple[Tensor, ...] = carry.chunk(len(self._parts), 1)
        return carries

    def _heads(self, read: list[Tensor]) -> tuple[Tensor, Tensor]:
        return self.policy(read[0]), self.value(read[-1]).squeeze(1)


def place(network: nn.Module, tensors: Mapping[str, Array], device: torch.device) -> nn.Module:
    """The network on a device, with those arrays as parameters: on the CPU the very same memory, elsewhere copies."""
    if device.type != "cpu":
        network.to(device)
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
        """What the network reads of float32 numbers or of bytes."""
        if self._read is None:
            return x.float()
        mean, scale, bound = self._read
        return ((x - mean) * scale).clamp(-bound, bound)


class TorchPolicy(HostPolicy):
    """Acts with a network.

    Args:
        spec: the policy.
        network: reads its features.
        device: of the network.
        precision: of its layers, see `TorchConfig`.
    """

    def __init__(self, spec: PolicySpec, network: Any, device: torch.device, precision: str = "float32") -> None:
        super().__init__(spec)
        self.network, self.device, self._precision = network, device, PRECISIONS[precision]
        self.preprocess = Preprocessing(spec, device)

    def autocast(self) -> Any:
        """The context in which the network computes."""
        if self._precision == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self._precision)

    def sequences(self, features: Tensor, carry: Tensor, ended: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        """Outputs of the action head and values of sequences; see `unroll`."""
        if isinstance(self.network, Network):
            heads, value = self.network.unroll(features, carry, ended, valid)
        else:
            heads, value = unroll(self.network, features, carry, ended, valid)
        return heads, value

    def outputs(self, features: Array, carry: Array | None) -> tuple[Array, Array, Array | None]:
        """See `HostPolicy`."""
        with torch.no_grad(), self.autocast():
            before = None if carry is None else torch.from_numpy(carry).to(self.device)
            heads, value, after = self.network(self.preprocess(torch.from_numpy(features).to(self.device)), before)
        return _array(heads), _array(value), None if after is None else _array(after)

    def log_std(self) -> Any:
        """See `HostPolicy`."""
        return _array(self.network.log_std.detach()).copy() if self.spec.numbers else None  # an update writes in place


def _array(tensor: Tensor) -> Array:
    """A tensor as a float32 array of the host."""
    array: Array = np.ascontiguousarray(tensor.float().cpu().numpy())
    return array
