"""The loss of PPO (Schulman et al. 2017, arXiv 1707.06347), over rows; `xp` is an array namespace."""

from __future__ import annotations

from typing import Any, NamedTuple

Array = Any


class Coefficients(NamedTuple):
    """Settings of the loss and its descent that change from update to update."""

    rate: float  # of the optimiser
    clip: float
    entropy: float  # weight of the entropy bonus
    kl: float = 0.0  # weight of the penalty on moving away from the policy that collected


def _mean(x: Array, valid: Array | None, *, xp: Any) -> Array:
    """Mean over valid rows (None: all are), 0 if there are none; others are selected as 0, so that NaN in them cannot leak."""
    if valid is None:
        return xp.mean(x) if x.shape[0] else xp.sum(x)
    count = xp.sum(xp.where(valid != 0, xp.ones_like(x), xp.zeros_like(x)))
    return xp.sum(xp.where(valid != 0, x, xp.zeros_like(x))) / xp.maximum(count, xp.ones_like(count))


def normalize_advantage(advantage: Array, valid: Array | None, *, xp: Any) -> Array:
    """(a - mean) / (population deviation + 1e-8) over valid rows; unchanged for a single row."""
    centred = advantage - _mean(advantage, valid, xp=xp)
    scaled = centred / (xp.sqrt(_mean(centred * centred, valid, xp=xp)) + 1e-8)
    if valid is None:
        return scaled if advantage.shape[0] > 1 else advantage
    return xp.where(xp.sum(xp.where(valid != 0, 1, 0)) > 1, scaled, advantage)  # their number may be known only when compiled


def policy_loss(ratio: Array, advantage: Array, *, clip: float, dual_clip: float = 0.0, xp: Any) -> Array:
    """Loss of each row: -min(r A, clip(r) A); with dual_clip c > 1, where A < 0, -max(that, c A) (arXiv 1912.09729)."""
    objective = xp.minimum(ratio * advantage, xp.clip(ratio, 1 - clip, 1 + clip) * advantage)
    if dual_clip:
        objective = xp.where(advantage < 0, xp.maximum(objective, dual_clip * advantage), objective)
    return -objective


def value_loss(value: Array, old_value: Array, target: Array, *, value_clip: float = 0.0, xp: Any) -> Array:
    """Loss of each row: 0.5 (value - target)^2; with value_clip the larger of it and that of the clipped value."""
    error = (value - target) ** 2
    if value_clip:
        moved = old_value + xp.clip(value - old_value, -value_clip, value_clip)
        error = xp.maximum(error, (moved - target) ** 2)
    return 0.5 * error


def loss(
    logprob: Array, entropy: Array, value: Array, *, old_logprob: Array, advantage: Array, target: Array, old_value: Array,
    valid: Array | None, config: Any, coefficients: Coefficients, importance: Array | None = None, xp: Any,
) -> tuple[Array, dict[str, Array]]:  # fmt: skip
    """policy_loss + value_coef * value_loss - entropy * bonus + kl * penalty, means over valid rows.

    The penalty is (ratio - 1) - log ratio, an unbiased estimate of the divergence of the new policy from the old one (Schulman
    2020, "Approximating KL divergence"); its gradient is (ratio - 1) times that of the log-probability.

    Args:
        logprob: float (N,) of the stored actions under the policy to be learnt; `entropy` and `value` likewise.
        entropy: of that policy.
        value: of that policy.
        old_logprob: of the policy that collected.
        advantage: float (N,), normalised here if `config.normalize_advantage`.
        target: of the value.
        old_value: of the policy that collected.
        valid: bool or uint8 (N,); None: all rows are.
        config: a `PPOConfig`.
        coefficients: of this update.
        importance: factor of each advantage once it is normalised, float (N,); None: 1.
        xp: array namespace.

    Returns:
        The scalar loss, and its parts by name.
    """
    if config.normalize_advantage:
        advantage = normalize_advantage(advantage, valid, xp=xp)
    if importance is not None:
        advantage = advantage * importance
    log_ratio = logprob - old_logprob
    ratio = xp.exp(log_ratio)
    rows = {
        "policy_loss": policy_loss(ratio, advantage, clip=coefficients.clip, dual_clip=config.dual_clip, xp=xp),
        "value_loss": value_loss(value, old_value, target, value_clip=config.value_clip, xp=xp),
        "entropy": entropy,
        "approx_kl": (ratio - 1) - log_ratio,
        "clip_fraction": xp.where(xp.abs(ratio - 1) > coefficients.clip, xp.ones_like(ratio), xp.zeros_like(ratio)),
    }
    parts = {name: _mean(row, valid, xp=xp) for name, row in rows.items()}
    total = parts["policy_loss"] + config.value_coef * parts["value_loss"]
    if _counts(coefficients.entropy):
        total = total - coefficients.entropy * parts["entropy"]
    if _counts(coefficients.kl):
        total = total + coefficients.kl * parts["approx_kl"]
    return total, parts


def _counts(weight: Any) -> bool:
    """Whether a term has a gradient: not if its weight is the number 0, while an array is known only when it is computed."""
    return not isinstance(weight, float) or weight != 0
