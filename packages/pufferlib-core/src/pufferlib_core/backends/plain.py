"""Policies in plain NumPy and float64: slow, short, and what other back ends are measured against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import array_api_compat.numpy as xp
import numpy as np

from pufferlib_core.backends.acting import HostPolicy
from pufferlib_core.backends.params import join_params
from pufferlib_core.encoders import Encoder
from pufferlib_core.native import Array
from pufferlib_core.ops.cores import gru, lstm
from pufferlib_core.ops.normalize import Moments
from pufferlib_core.policies import PolicySpec


class PlainPolicy(HostPolicy):
    """Acts with the formulas of puffer/net.h, written once more.

    Args:
        spec: the policy.
        tensors: of a checkpoint, by name.

    Raises:
        ShapeError: if a tensor is missing or has the wrong shape.
    """

    def __init__(self, spec: PolicySpec, tensors: Mapping[str, Array]) -> None:
        super().__init__(spec)
        join_params(spec, tensors)  # checks them
        self._tensors = {t.name: np.asarray(tensors[t.name], np.float64) for t in spec.tensors()}
        self._read = spec.preprocessing(Moments.of(tensors, "obs_norm/") if spec.config.normalize_obs else None)

    def outputs(self, features: Array, carry: Array | None) -> tuple[Array, Array, Array | None]:
        """See `HostPolicy`; rounded to float32 at the end."""
        spec, x = self.spec, features.astype(np.float64)
        if self._read is not None:
            mean, scale, bound = self._read
            x = np.clip((x - mean.astype(np.float64)) * scale, -bound, bound)
        parts = ("actor", "critic") if spec.config.separate else ("trunk",)
        carries = [None] if carry is None else np.split(carry.astype(np.float64), len(parts), axis=1)
        towers = [self._tower(part, x, c) for part, c in zip(parts, carries * (len(parts) // len(carries)), strict=True)]
        heads, value = self._dense("policy", towers[0][0]), self._dense("value", towers[-1][0])[:, 0]
        after = None if carry is None else np.concatenate([c for _, c in towers], axis=1).astype(np.float32)
        return heads.astype(np.float32), value.astype(np.float32), after

    def log_std(self) -> Array | None:
        """See `HostPolicy`."""
        return self._tensors["log_std"].astype(np.float32) if self.spec.numbers else None

    def _tower(self, part: str, x: Array, carry: Any) -> tuple[Array, Any]:
        spec = self.spec
        if spec.encoders:
            read = [(f"{part}.encoder.{k}", e, x[:, e.first : e.first + e.size]) for k, e in enumerate(spec.encoders)]
            x = np.concatenate([self._encoded(*one) for one in read], axis=1)
        for k in range(len(spec.config.hidden)):
            x = self._act(self._dense(f"{part}.{k}", x))
        if not spec.gates:
            return x, None
        step = {"lstm": lstm, "gru": gru}[spec.config.core]
        after = step(x, carry, *(self._tensors[f"{part}.core.{name}"] for name in ("input", "state", "bias")), xp=xp)
        return after[:, : spec.config.core_size], after

    def _dense(self, name: str, x: Array) -> Array:
        return x @ self._tensors[f"{name}.weight"].T + self._tensors[f"{name}.bias"]

    def _act(self, x: Array) -> Array:
        return np.tanh(x) if self.spec.config.activation == "tanh" else np.maximum(x, 0.0)

    def _encoded(self, name: str, encoder: Encoder, x: Array) -> Array:
        """What an encoder gives, (N, width)."""
        if encoder.image is None:
            for k in range(len(encoder.layers)):
                x = self._act(self._dense(f"{name}.{k}", x))
            return x
        x = x.reshape(len(x), *encoder.image)
        for k, conv in enumerate(encoder.convs):
            windows = np.lib.stride_tricks.sliding_window_view(x, (conv.kernel, conv.kernel), axis=(1, 2))
            windows = windows[:, :: conv.stride, :: conv.stride]  # (N, H, W, C, kernel, kernel)
            weight, bias = (self._tensors[f"{name}.{k}.{kind}"] for kind in ("weight", "bias"))
            x = self._act(np.tensordot(windows, weight, axes=([3, 4, 5], [1, 2, 3])) + bias)
        return x.reshape(len(x), -1)
