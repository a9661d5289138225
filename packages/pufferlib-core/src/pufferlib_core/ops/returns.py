"""Advantages and returns of a segment, time-major (T, N); see the row convention in ARCHITECTURE.md.

`xp` is an array namespace. Run with numpy on float32 the order of operations is that of the core, bit for bit.
"""

from __future__ import annotations

from typing import Any

Array = Any


def _ended(xp: Any, terminated: Array, truncated: Array) -> Array:
    return (terminated != 0) | (truncated != 0)


def gae(
    reward: Array, value: Array, next_value: Array, terminated: Array, truncated: Array, *, gamma: Any, lam: Any, xp: Any
) -> Array:
    """Generalised advantage estimates (Schulman et al. 2015, equation 16).

    delta_t = (reward_t + gamma * next_value_t) - value_t        (next_value selected as 0 where terminated)
    adv_t   = delta_t + (gamma * lam) * adv_tp1                  (delta_t alone in the last row and where an episode ended)

    Args:
        reward: float (T, N), like `value` and `next_value` (of final_obs where truncated).
        value: before the action.
        next_value: after it.
        terminated: bool or uint8 (T, N), caused by the action of the same row; wins over `truncated`.
        truncated: likewise.
        gamma: discount, a scalar of the arrays' dtype.
        lam: trace decay, likewise.
        xp: array namespace.

    Returns:
        float (T, N).
    """
    rows: list[Array] = []
    later = xp.zeros_like(reward[0])
    for t in range(reward.shape[0] - 1, -1, -1):
        row = (plane[t] for plane in (reward, value, next_value, terminated, truncated))
        later = gae_row(later, *row, gamma=gamma, lam=lam, xp=xp)
        rows.append(later)
    return xp.stack(rows[::-1])


def gae_row(
    later: Array, reward: Array, value: Array, next_value: Array, terminated: Array, truncated: Array, *, gamma: Any, lam: Any,
    xp: Any,
) -> Array:  # fmt: skip
    """A row of `gae`, (N,) each, from the advantages of the row after it."""
    after = xp.where(terminated != 0, xp.zeros_like(next_value), next_value)
    delta = (reward + gamma * after) - value
    return xp.where(_ended(xp, terminated, truncated), delta, delta + (gamma * lam) * later)


def discounted_row(running: Array, reward: Array, ended: Array, gamma: Any, *, xp: Any) -> tuple[Array, Array]:
    """Discounted sums of past rewards with a row's own, (N,), and what the next row goes on from."""
    total = running * gamma + reward
    return total, xp.where(ended, xp.zeros_like(total), total)


def vtrace(
    behaviour_logprob: Array, target_logprob: Array, reward: Array, value: Array, next_value: Array, terminated: Array,
    truncated: Array, *, gamma: Any, lam: Any = 1.0, rho_clip: Any = 1.0, c_clip: Any = 1.0, xp: Any,
) -> tuple[Array, Array]:  # fmt: skip
    """V-trace targets and policy advantages (Espeholt et al. 2018, equation 1); arguments as `pufferlib_core.vtrace`.

    diff_t   = rho_t * ((reward_t + gamma * next_value_t) - value_t) + gamma * c_t * diff_tp1
    target_t = value_t + diff_t
    adv_t    = rho_t * ((reward_t + gamma * target_tp1) - value_t)     (next_value_t where the episode or the segment ends)

    Returns:
        (target, advantage), float (T, N).
    """
    zero = xp.zeros_like(reward[0])
    ended = _ended(xp, terminated, truncated)
    last = reward.shape[0] - 1
    targets: list[Array] = []
    advantages: list[Array] = []
    for t in range(last, -1, -1):
        ratio = xp.exp(target_logprob[t] - behaviour_logprob[t])
        rho, c = xp.minimum(ratio, zero + rho_clip), lam * xp.minimum(ratio, zero + c_clip)
        after = xp.where(terminated[t] != 0, zero, next_value[t])
        delta = rho * ((reward[t] + gamma * after) - value[t])
        inside = zero if t == last else xp.where(ended[t], zero, targets[-1] - value[t + 1])
        bootstrap = after if t == last else xp.where(ended[t], after, targets[-1])
        targets.append(value[t] + (delta + (gamma * c) * inside))
        advantages.append(rho * ((reward[t] + gamma * bootstrap) - value[t]))
    return xp.stack(targets[::-1]), xp.stack(advantages[::-1])


def lambda_returns(
    reward: Array, next_value: Array, terminated: Array, truncated: Array, *, gamma: Any, lam: Any, xp: Any
) -> Array:
    """ret_t = reward_t + gamma * ((1 - lam) * next_value_t + lam * ret_tp1).

    Where the episode or the segment ends, next_value_t takes the place of the mixture.

    Sutton and Barto 2018, equation 12.20. lam = 1 gives discounted returns.

    Returns:
        float (T, N).
    """
    zero = xp.zeros_like(reward[0])
    ended = _ended(xp, terminated, truncated)
    rows: list[Array] = []
    for t in range(reward.shape[0] - 1, -1, -1):
        after = xp.where(terminated[t] != 0, zero, next_value[t])
        if rows:
            after = xp.where(ended[t], after, (1 - lam) * after + lam * rows[-1])
        rows.append(reward[t] + gamma * after)
    return xp.stack(rows[::-1])


def discounted_returns(reward: Array, next_value: Array, terminated: Array, truncated: Array, *, gamma: Any, xp: Any) -> Array:
    """ret_t = reward_t + gamma * ret_tp1 inside an episode, gamma * next_value_t where it or the segment ends; float (T, N)."""
    return lambda_returns(reward, next_value, terminated, truncated, gamma=gamma, lam=1, xp=xp)
