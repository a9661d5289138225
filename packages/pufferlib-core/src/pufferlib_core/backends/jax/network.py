"""Networks of a `PolicySpec` as pure functions of their named tensors, and policies that act with them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from pufferlib_core.backends.acting import HostPolicy
from pufferlib_core.backends.params import initial_params, join_params, views
from pufferlib_core.encoders import Encoder
from pufferlib_core.native import Array
from pufferlib_core.ops import cores
from pufferlib_core.ops.normalize import Moments
from pufferlib_core.policies import PolicySpec

Traced = Any  # an array of JAX
Params = dict[str, Traced]  # parameters by name
Read = tuple[Traced, Traced, Traced] | None  # mean, scale and bound of `PolicySpec.preprocessing`

ACTIVATIONS = {"tanh": jnp.tanh, "relu": jax.nn.relu}
CORES = {"lstm": cores.lstm, "gru": cores.gru}


class Net(Protocol):
    """A network without its parameters."""

    def initial(self, seed: int) -> dict[str, Array]:
        """Initial parameters by name, float32."""

    def checked(self, tensors: Mapping[str, Array]) -> dict[str, Array]:
        """The parameters among tensors.

        Raises:
            ShapeError: if one is missing, or has the wrong shape or dtype.
        """

    def log_std(self, params: Params) -> Any:
        """Logarithms of the deviations of continuous actions, (A,); None: there are none."""

    def step(self, params: Params, features: Traced, carry: Traced | None) -> tuple[Traced, Traced, Traced | None]:
        """Outputs of the action head (N, logits), values (N,) and what is handed on (N, C) of features (N, width)."""

    def unroll(
        self, params: Params, features: Traced, carry: Traced | None, ended: Traced, valid: Traced
    ) -> tuple[Traced, Traced]:
        """Outputs (L * N, logits) and values (L * N,) of N sequences of L rows.

        Args:
            params: by name.
            features: (L, N, width).
            carry: that of their first rows, (N, C); None: there is no memory, and L is 1.
            ended: bool (L, N), an episode ended with the row.
            valid: bool (L, N), the row counts.
        """


class Network:
    """The network of a policy; see `Net`. Its parameters are those of `PolicySpec.tensors`.

    Args:
        spec: the policy.
        precision: dtype of products.
    """

    def __init__(self, spec: PolicySpec, precision: str) -> None:
        self._spec, self._dtype = spec, jnp.dtype(precision)
        self._act = ACTIVATIONS[spec.config.activation]
        self._parts = ("actor", "critic") if spec.config.separate else ("trunk",)

    def initial(self, seed: int) -> dict[str, Array]:
        """See `Net`."""
        return views(self._spec, initial_params(self._spec, seed))

    def checked(self, tensors: Mapping[str, Array]) -> dict[str, Array]:
        """See `Net`."""
        return views(self._spec, join_params(self._spec, tensors))

    def log_std(self, params: Params) -> Any:
        """See `Net`."""
        return params.get("log_std")

    def step(self, params: Params, features: Traced, carry: Traced | None) -> tuple[Traced, Traced, Traced | None]:
        """See `Net`."""
        params = self._cast(params)
        hidden = self._read(params, features)
        if carry is not None:
            carry = self._remember(params, hidden, carry)
            hidden = self._seen(carry)
        return *self._heads(params, hidden), carry

    def unroll(
        self, params: Params, features: Traced, carry: Traced | None, ended: Traced, valid: Traced
    ) -> tuple[Traced, Traced]:
        """See `Net`. Only the core goes from row to row; all before and after it takes the rows at once."""
        params = self._cast(params)
        rows = features.shape[:2]
        hidden = self._read(params, features.reshape(-1, features.shape[-1]))
        if carry is not None:
            shaped = [part.reshape(*rows, -1) for part in hidden]
            memory = functools.partial(self._remember, params)
            made = unrolled(lambda x, before: (memory(x, before),) * 2, shaped, carry, ended, valid)
            hidden = self._seen(made.reshape(-1, self._spec.carry))
        return self._heads(params, hidden)

    def _cast(self, params: Params) -> Params:
        return {name: array.astype(self._dtype) for name, array in params.items()}

    def _read(self, params: Params, features: Traced) -> list[Traced]:
        """What the hidden layers of each tower make of features (R, width)."""
        features = features.astype(self._dtype)
        hidden = []
        for part in self._parts:
            x = features
            if self._spec.encoders:
                read = [self._encode(params, f"{part}.encoder.{e}", enc, x) for e, enc in enumerate(self._spec.encoders)]
                x = jnp.concatenate(read, axis=1)
            for k in range(len(self._spec.config.hidden)):
                x = self._act(_dense(params, f"{part}.{k}", x))
            hidden.append(x)
        return hidden

    def _encode(self, params: Params, name: str, encoder: Encoder, features: Traced) -> Traced:
        x = features[:, encoder.first : encoder.first + encoder.size]
        if encoder.image is None:
            for k in range(len(encoder.layers)):
                x = self._act(_dense(params, f"{name}.{k}", x))
            return x
        x = x.reshape(-1, *encoder.image)
        for k, conv in enumerate(encoder.convs):
            x = lax.conv_general_dilated(
                x, params[f"{name}.{k}.weight"], (conv.stride, conv.stride), "VALID",
                dimension_numbers=("NHWC", "OIHW", "NHWC"),
            )  # fmt: skip
            x = self._act(x + params[f"{name}.{k}.bias"])
        return x.reshape(len(features), -1)

    def _remember(self, params: Params, hidden: list[Traced], carry: Traced) -> Traced:
        """What the cores hand on, (N, C)."""
        core = CORES[self._spec.config.core]
        before = jnp.split(carry, len(self._parts), axis=1)
        after = [
            core(x, kept, *(params[f"{part}.core.{name}"] for name in ("input", "state", "bias")), xp=jnp)
            for part, x, kept in zip(self._parts, hidden, before, strict=True)
        ]
        return jnp.concatenate(after, axis=1)

    def _seen(self, carry: Traced) -> list[Traced]:
        """Outputs of the cores: the first numbers of what each hands on."""
        return [part[:, : self._spec.config.core_size] for part in jnp.split(carry, len(self._parts), axis=1)]

    def _heads(self, params: Params, hidden: list[Traced]) -> tuple[Traced, Traced]:
        heads, value = _dense(params, "policy", hidden[0]), _dense(params, "value", hidden[-1])
        return heads.astype(jnp.float32), value[:, 0].astype(jnp.float32)


def _dense(params: Params, name: str, x: Traced) -> Traced:
    return x @ params[f"{name}.weight"].T + params[f"{name}.bias"]


def unrolled(
    step: Callable[[Any, Traced], tuple[Any, Traced]], inputs: Any, carry: Traced, ended: Traced, valid: Traced
) -> Any:
    """What a step with a memory makes of L rows of N sequences, as `data.handed_on` says what it remembers.

    Args:
        step: of inputs of a row and a carry (N, C) makes outputs and the next carry.
        inputs: a tree of arrays (L, N, ...).
        carry: that of the first row.
        ended: bool (L, N).
        valid: bool (L, N).

    Returns:
        Its outputs, (L, N, ...).
    """

    def row(before: Traced, at: tuple[Any, Traced, Traced]) -> tuple[Traced, Any]:
        given, stops, counts = at
        made, after = step(given, before)
        return jnp.where(stops[:, None], 0.0, jnp.where(counts[:, None], after, before)), made

    return lax.scan(row, carry, (inputs, ended, valid))[1]


def preprocess(read: Read, features: Traced) -> Traced:
    """What the network reads of features, float32 or bytes: clip((x - mean) * scale)."""
    if read is None:
        return features.astype(jnp.float32)
    mean, scale, bound = read
    return jnp.clip((features - mean) * scale, -bound, bound)


class JaxPolicy(HostPolicy):
    """Acts with a network.

    Args:
        spec: the policy.
        network: reads its features.
        device: where it runs.
    """

    def __init__(self, spec: PolicySpec, network: Net, device: Any) -> None:
        super().__init__(spec)
        self.network, self.device = network, device
        self.params: Params = {}
        self.read: Read = None

        def outputs(params: Params, read: Read, features: Traced, carry: Traced | None) -> Any:
            with jax.default_matmul_precision("float32"):  # some devices would round to fewer bits
                return network.step(params, preprocess(read, features), carry)

        self._outputs_of = jax.jit(outputs)

    def load(self, moments: Moments | None) -> None:
        """Takes over statistics of observations."""
        read = self.spec.preprocessing(moments)
        self.read = None if read is None else jax.device_put((*read[:2], np.float32(read[2])), self.device)

    def outputs(self, features: Array, carry: Array | None) -> tuple[Array, Array, Array | None]:
        """See `HostPolicy`. Rows are filled up to a power of two, so that few numbers of rows have to be compiled."""
        rows = len(features)
        missing = (1 << max(rows - 1, 0).bit_length()) - rows
        if missing:
            features = _filled(features, missing)
            carry = None if carry is None else _filled(carry, missing)
        heads, value, after = self._outputs_of(self.params, self.read, features, carry)
        return np.array(heads)[:rows], np.array(value)[:rows], None if after is None else np.asarray(after)[:rows]

    def log_std(self) -> Array | None:
        """See `HostPolicy`."""
        log_std = self.network.log_std(self.params)
        return None if log_std is None else np.asarray(log_std)


def _filled(rows: Array, missing: int) -> Array:
    return np.concatenate([rows, np.zeros((missing, rows.shape[1]), rows.dtype)])
