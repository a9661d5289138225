"""Parameters of a policy as one flat vector and as named tensors; their initial values, the same on every back end."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np

from pufferlib_core.data import aligned_zeros
from pufferlib_core.encoders import Encoder
from pufferlib_core.errors import ShapeError
from pufferlib_core.native import Array, check, ffi, lib
from pufferlib_core.policies import PolicySpec


def c_net(spec: PolicySpec) -> Any:
    """The `puf_net` of a policy."""
    spec.check_described()
    net = ffi.new("puf_net *")
    net.obs_size = spec.tree.width
    net.obs_number = lib.PUF_U8 if spec.tree.feature_dtype == np.uint8 else lib.PUF_F32
    net.layers = len(spec.config.hidden)
    if not 1 <= net.layers <= lib.PUF_MAX_LAYERS:
        raise ShapeError(f"policy.hidden has {net.layers} layers, the native back end takes 1 to {lib.PUF_MAX_LAYERS}")
    for k, width in enumerate(spec.config.hidden):
        net.width[k] = width
    if len(spec.encoders) > lib.PUF_MAX_ENCODERS:
        raise ShapeError(f"the native back end takes at most {lib.PUF_MAX_ENCODERS} encoders, got {len(spec.encoders)}")
    net.encoders = len(spec.encoders)
    for to, encoder in zip(net.encoder, spec.encoders, strict=False):
        _c_encoder(to, encoder)
    net.core = {"none": lib.PUF_NO_CORE, "lstm": lib.PUF_LSTM, "gru": lib.PUF_GRU}[spec.config.core]
    net.core_size = spec.config.core_size if spec.gates else 0
    net.activation = {"tanh": lib.PUF_TANH, "relu": lib.PUF_RELU}[spec.config.activation]
    net.separate = spec.config.separate
    net.action_size, net.action_numbers = spec.action_space.size, spec.numbers
    if net.action_size > lib.PUF_MAX_HEADS:
        raise ShapeError(f"the native back end takes at most {lib.PUF_MAX_HEADS} action components, got {net.action_size}")
    for k, n in enumerate(spec.nvec):
        net.action_n[k] = n
    net.action_squash = spec.config.squash
    return net


def _c_encoder(to: Any, encoder: Encoder) -> None:
    to.size = encoder.size
    if encoder.image is not None:
        to.height, to.width, to.channels = encoder.image
    to.layers = len(encoder.layers)
    if to.layers > lib.PUF_MAX_ENCODER_LAYERS:
        raise ShapeError(
            f"the native back end takes at most {lib.PUF_MAX_ENCODER_LAYERS} layers of an encoder, got {to.layers}"
        )
    for k, shape in enumerate(encoder.layers):
        to.out[k] = shape[0]
    for k, conv in enumerate(encoder.convs):
        to.kernel[k], to.stride[k] = conv.kernel, conv.stride


def initial_params(spec: PolicySpec, seed: int) -> Array:
    """Initial parameters, float32 (params,), the same on every machine (see puf_net_init)."""
    net = c_net(spec)
    params = aligned_zeros(lib.puf_net_params(net), np.float32)
    scratch = np.zeros(lib.puf_net_init_scratch(net), np.float32)
    status = lib.puf_net_init(
        net, seed, spec.config.log_std_init, ffi.from_buffer("float[]", params), ffi.from_buffer("float[]", scratch)
    )
    check(status, "initial parameters")
    return params


def join_params(spec: PolicySpec, tensors: Mapping[str, Array]) -> Array:
    """The flat vector of named tensors.

    Raises:
        ShapeError: if one is missing, or has the wrong shape or dtype.
    """
    arrays = [(t, tensor_of(tensors, t.name, t.shape)) for t in spec.tensors()]
    flat = aligned_zeros(spec.params, np.float32)  # only now: the sizes are those of tensors that exist
    for t, array in arrays:
        flat[t.offset : t.offset + t.size] = array.ravel()
    return flat


def tensor_of(tensors: Mapping[str, Array], name: str, shape: tuple[int, ...]) -> Array:
    """One of the named tensors.

    Raises:
        ShapeError: if it is missing, or has the wrong shape or dtype.
    """
    array = tensors.get(name)
    if array is None or array.shape != shape or array.dtype != np.float32:
        came = "it is missing" if array is None else f"got {array.dtype} {array.shape}"
        raise ShapeError(f"tensor {name} must be float32 {shape}; {came}")
    return array


def views(spec: PolicySpec, flat: Array) -> dict[str, Array]:
    """The named tensors of a flat vector, as views of its memory."""
    return {t.name: flat[t.offset : t.offset + t.size].reshape(t.shape) for t in spec.tensors()}


def served(spec: PolicySpec, optimizer: str) -> frozenset[str]:
    """Names of the tensors that Muon serves; the optimiser `adam` has none."""
    return frozenset(t.name for t in spec.tensors() if t.hidden) if optimizer == "muon" else frozenset()


def moments(name: str, served: Collection[str]) -> tuple[str, ...]:
    """Names of what an optimiser keeps of a tensor: its mean of gradients, and with Adam then that of their squares."""
    return (f"muon/momentum/{name}",) if name in served else (f"adam/m/{name}", f"adam/v/{name}")


def optimizer_of(names: Iterable[str]) -> str:
    """The optimiser whose moments are among the arrays of a state."""
    return "muon" if any(name.startswith("muon/") for name in names) else "adam"


def named(spec: PolicySpec, optimizer: str, params: Array, m: Array, v: Array, step: Array) -> dict[str, Array]:
    """What an engine's state holds: parameters, moments and the counter of gradient steps, as views.

    Args:
        spec: the policy.
        optimizer: `adam` or `muon`.
        params: float32 (spec.params,).
        m: likewise, means of gradients.
        v: of their squares, of the tensors that Adam serves, one after the other.
        step: int64 (1,).
    """
    muon, state, at = served(spec, optimizer), views(spec, params), 0
    for name, view in views(spec, m).items():
        first, *second = moments(name, muon)
        state[first] = view
        if second:
            state[second[0]] = v[at : at + view.size].reshape(view.shape)
            at += view.size
    return state | {"adam/step": step}
