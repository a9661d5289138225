"""Policies in NumPy and float64, by the formulas of `ops`: slow, and what exports are measured against."""

from __future__ import annotations

from collections.abc import Mapping

import array_api_compat.numpy as xp
import numpy as np

from pufferlib_core.backends.acting import HostPolicy
from pufferlib_core.backends.params import join_params
from pufferlib_core.native import Array
from pufferlib_core.ops.network import step
from pufferlib_core.ops.normalize import Moments
from pufferlib_core.policies import PolicySpec


class PlainPolicy(HostPolicy):
    """Acts with the formulas of `ops.network`.

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
        x = features.astype(np.float64)
        if self._read is not None:
            mean, scale, bound = self._read
            x = np.clip((x - mean) * scale.astype(np.float64), -bound, bound)
        before = None if carry is None else carry.astype(np.float64)
        heads, value, after = step(x, before, self._tensors, self.spec, xp=xp)
        return heads.astype(np.float32), value.astype(np.float32), None if after is None else after.astype(np.float32)

    def log_std(self) -> Array | None:
        """See `HostPolicy`."""
        return self._tensors["log_std"].astype(np.float32) if self.spec.numbers else None
