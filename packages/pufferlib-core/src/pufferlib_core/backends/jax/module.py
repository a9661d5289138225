"""Networks of one's own: modules of flax nnx, made by a factory."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from pufferlib_core.backends.jax.network import Params, Traced, unrolled
from pufferlib_core.errors import ConfigError, ShapeError
from pufferlib_core.native import Array
from pufferlib_core.policies import OWN, PolicySpec


class ModuleNetwork:
    """The module of a factory as a `Net`; parameters are named `module.` and then as the module names them.

    Args:
        spec: the policy.
        where: `package.module:factory`; called with (spec, rngs) it makes a module, which is called with (features, carry).
        precision: dtype of features and parameters while the module computes.

    Raises:
        ConfigError: if there is no such factory, or its module holds other variables than parameters, or lacks `log_std`.
    """

    def __init__(self, spec: PolicySpec, where: str, precision: str) -> None:
        self._spec, self._where, self._dtype = spec, where, jnp.dtype(precision)
        package, _, name = where.partition(":")
        try:
            self._factory = getattr(importlib.import_module(package), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigError(
                f"policy.module={where!r} must be package.module:factory of what can be imported: {error}"
            ) from error
        self._graph, params, self._rest = nnx.split(self._made(0), nnx.Param, ...)
        others = {type(variable).__name__ for _, variable in nnx.to_flat_state(self._rest) if not _random(variable)}
        if others:
            raise ConfigError(
                f"policy.module={where}: {', '.join(sorted(others))} would be neither learnt nor saved; use nnx.Param"
            )
        self._paths = {OWN + ".".join(map(str, path)): path for path, _ in nnx.to_flat_state(params)}
        self._shapes = {name: array.shape for name, array in self.initial(0).items()}
        if spec.numbers and self._shapes.get(f"{OWN}log_std") != (spec.numbers,):
            raise ConfigError(
                f"policy.module={where}: actions hold numbers, so it needs log_std, an nnx.Param ({spec.numbers},)"
            )

    def _made(self, seed: int) -> Any:
        module = self._factory(self._spec, nnx.Rngs(seed % 2**32))
        if not isinstance(module, nnx.Module):
            raise ConfigError(f"policy.module={self._where} must give a module of flax nnx, got {type(module).__name__}")
        return module

    def initial(self, seed: int) -> dict[str, Array]:
        """See `Net`."""
        flat = dict(nnx.to_flat_state(nnx.state(self._made(seed), nnx.Param)))
        return {name: np.array(flat[path][...], np.float32) for name, path in self._paths.items()}

    def checked(self, tensors: Mapping[str, Array]) -> dict[str, Array]:
        """See `Net`."""
        for name, shape in self._shapes.items():
            array = tensors.get(name)
            if array is None or array.shape != shape or array.dtype != np.float32:
                came = "it is missing" if array is None else f"got {array.dtype} {array.shape}"
                raise ShapeError(f"tensor {name} of policy.module={self._where} must be float32 {shape}; {came}")
        return {name: tensors[name] for name in self._shapes}

    def log_std(self, params: Params) -> Any:
        """See `Net`."""
        return params[f"{OWN}log_std"] if self._spec.numbers else None

    def step(self, params: Params, features: Traced, carry: Traced | None) -> tuple[Traced, Traced, Traced | None]:
        """See `Net`.

        Raises:
            ShapeError: if what the module gives does not fit the policy.
        """
        state = nnx.from_flat_state({path: nnx.Param(params[name].astype(self._dtype)) for name, path in self._paths.items()})
        made = nnx.merge(self._graph, state, self._rest)(features.astype(self._dtype), carry)
        rows = len(features)
        wanted = [(rows, self._spec.logits), (rows,), (rows, self._spec.carry) if self._spec.carry else None]
        came = [None if part is None else jnp.shape(part) for part in made]
        if came != wanted:
            raise ShapeError(f"policy.module={self._where}: heads, value and carry of {rows} rows must be {wanted}, got {came}")
        heads, value, after = (None if part is None else part.astype(jnp.float32) for part in made)
        return heads, value, after

    def unroll(
        self, params: Params, features: Traced, carry: Traced | None, ended: Traced, valid: Traced
    ) -> tuple[Traced, Traced]:
        """See `Net`. With a memory the whole module goes from row to row."""
        if carry is None:
            return self.step(params, features.reshape(-1, features.shape[-1]), None)[:2]

        def step(x: Traced, before: Traced) -> tuple[tuple[Traced, Traced], Traced]:
            heads, value, after = self.step(params, x, before)
            return (heads, value), after

        made = unrolled(step, features, carry, ended, valid)
        heads, value = jax.tree.map(lambda part: part.reshape(-1, *part.shape[2:]), made)
        return heads, value


def _random(variable: Any) -> bool:
    return isinstance(variable, nnx.RngState)  # of layers that keep their streams; nothing is drawn while learning
