"""The network of a policy as formulas over an array namespace `xp`: what every back end must compute (see puffer/net.h)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pufferlib_core.ops.cores import gru, lstm

if TYPE_CHECKING:
    from pufferlib_core.encoders import Encoder
    from pufferlib_core.policies import PolicySpec

Array = Any


def convolve(images: Array, weight: Array, bias: Array, stride: int, *, xp: Any) -> Array:
    """Convolution without padding: images (N, H, W, C), weight (O, C, k, k), gives (N, H', W', O)."""
    kernel = weight.shape[2]
    height, width = ((side - kernel) // stride + 1 for side in images.shape[1:3])
    total = bias
    for y in range(kernel):
        for x in range(kernel):
            part = images[:, y : y + stride * (height - 1) + 1 : stride, x : x + stride * (width - 1) + 1 : stride, :]
            total = total + part @ weight[:, :, y, x].T
    return total


def step(features: Array, carry: Array | None, tensors: Mapping[str, Array], spec: PolicySpec, *, xp: Any) -> Any:
    """One step of N rows.

    Args:
        features: preprocessed, (N, width).
        carry: what the policy has handed on, (N, spec.carry); None: it has no memory.
        tensors: parameters by name, see `PolicySpec.tensors`.
        spec: the policy.
        xp: array namespace.

    Returns:
        Outputs of the action head (N, logits), values (N,), and what the policy hands on, or None.
    """
    hidden, handed = [], []
    parts = ("actor", "critic") if spec.config.separate else ("trunk",)
    own = spec.carry // len(parts)
    for k, part in enumerate(parts):
        before = None if carry is None else carry[:, k * own : (k + 1) * own]
        out, after = _tower(features, before, tensors, part, spec, xp=xp)
        hidden.append(out)
        handed.append(after)
    heads = hidden[0] @ tensors["policy.weight"].T + tensors["policy.bias"]
    value = (hidden[-1] @ tensors["value.weight"].T + tensors["value.bias"])[:, 0]
    return heads, value, None if carry is None else xp.concat(handed, axis=1)


def unroll(
    features: Array, carry: Array, ended: Array, valid: Array, tensors: Mapping[str, Array], spec: PolicySpec, *, xp: Any
) -> tuple[Array, Array]:
    """T steps of N rows of a policy with a memory; see `data.handed_on` for what it starts each step with.

    Args:
        features: preprocessed, (T, N, width); zeros in rows that are not valid.
        carry: at the first step, (N, spec.carry).
        ended: whether an episode ended with the row, bool (T, N).
        valid: whether the row counts, bool (T, N).
        tensors: parameters by name.
        spec: the policy.
        xp: array namespace.

    Returns:
        Outputs of the action head (T, N, logits) and values (T, N).
    """
    outputs, values = [], []
    for t in range(features.shape[0]):
        heads, value, after = step(features[t], carry, tensors, spec, xp=xp)
        kept = xp.where(valid[t][:, None], after, carry)
        carry = xp.where(ended[t][:, None], xp.zeros_like(kept), kept)
        outputs.append(heads)
        values.append(value)
    return xp.stack(outputs), xp.stack(values)


def _tower(
    features: Array, carry: Array | None, tensors: Mapping[str, Array], part: str, spec: PolicySpec, *, xp: Any
) -> tuple[Array, Array | None]:
    def active(x: Array) -> Array:
        return xp.tanh(x) if spec.config.activation == "tanh" else xp.where(x > 0, x, xp.zeros_like(x))

    hidden = features
    if spec.encoders:
        read = [
            _encode(features, tensors, f"{part}.encoder.{e}", encoder, active, xp) for e, encoder in enumerate(spec.encoders)
        ]
        hidden = xp.concat(read, axis=1)
    for k in range(len(spec.config.hidden)):
        hidden = active(hidden @ tensors[f"{part}.{k}.weight"].T + tensors[f"{part}.{k}.bias"])
    if carry is None:
        return hidden, None
    weights = (tensors[f"{part}.core.{name}"] for name in ("input", "state", "bias"))
    after = (lstm if spec.config.core == "lstm" else gru)(hidden, carry, *weights, xp=xp)
    return after[:, : spec.config.core_size], after


def _encode(features: Array, tensors: Mapping[str, Array], name: str, encoder: Encoder, active: Any, xp: Any) -> Array:
    x = features[:, encoder.first : encoder.first + encoder.size]
    if encoder.image is not None:
        x = xp.reshape(x, (x.shape[0], *encoder.image))
        for k, conv in enumerate(encoder.convs):
            x = active(convolve(x, tensors[f"{name}.{k}.weight"], tensors[f"{name}.{k}.bias"], conv.stride, xp=xp))
        return xp.reshape(x, (x.shape[0], -1))
    for k in range(len(encoder.layers)):
        x = active(x @ tensors[f"{name}.{k}.weight"].T + tensors[f"{name}.{k}.bias"])
    return x
