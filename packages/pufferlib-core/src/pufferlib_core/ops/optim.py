"""Steps of the optimisers, over arrays of one tensor; `xp` is an array namespace."""

from __future__ import annotations

import math
from typing import Any

Array = Any

NEWTON_SCHULZ = 5  # steps; the coefficients of their polynomial are those of Jordan et al.
LINEAR, CUBIC, QUINTIC = 3.4445, -4.7750, 2.0315


def adam(
    param: Array, grad: Array, m: Array, v: Array, *, step: int, rate: float, beta1: float, beta2: float, epsilon: float,
    weight_decay: float = 0.0, xp: Any,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """A step of Adam (Kingma and Ba 2015), with a decoupled weight decay AdamW (Loshchilov and Hutter 2019).

    Args:
        param: of any shape, like `grad` and the moments.
        grad: of the loss, clipped.
        m: mean of the gradients.
        v: mean of their squares.
        step: counted from 1.
        rate: learning rate.
        beta1: decay of m.
        beta2: decay of v.
        epsilon: added to the root of the second moment.
        weight_decay: parameters shrink by rate * weight_decay.
        xp: array namespace.

    Returns:
        The parameter and its moments.
    """
    m = beta1 * m + (1 - beta1) * grad
    v = beta2 * v + (1 - beta2) * grad * grad
    move = m / (1 - beta1**step) / (xp.sqrt(v / (1 - beta2**step)) + epsilon)
    return param * (1 - rate * weight_decay) - rate * move, m, v


def orthogonalized(x: Array, *, xp: Any) -> Array:
    """A matrix (rows, cols) with its singular values brought near 1: 0.68 to 1.21, from 1/500 of its norm on.

    Five steps y <- LINEAR y + (CUBIC y y' + QUINTIC (y y')^2) y, which act on the singular values alone, from y = x / |x|: the
    iteration of Newton and Schulz with the coefficients of Jordan et al. 2024, kellerjordan.github.io/posts/muon.
    """
    upright = x.shape[0] > x.shape[1]
    y = x.T if upright else x  # products of the shorter side
    y = y / (xp.sqrt(xp.sum(y * y)) + 1e-7)
    for _ in range(NEWTON_SCHULZ):
        gram = y @ y.T
        y = LINEAR * y + (CUBIC * gram + QUINTIC * (gram @ gram)) @ y
    return y.T if upright else y


def muon(
    param: Array, grad: Array, momentum: Array, *, rate: float, decay: float, weight_decay: float = 0.0, xp: Any
) -> tuple[Array, Array]:
    """A step of Muon (Jordan et al. 2024), for a weight of a hidden layer.

    The direction is `orthogonalized`, so of root mean square 1 / sqrt(the longer side); 0.2 sqrt(the longer side) makes that of
    a step 0.2 rate, about what Adam's is (Liu et al. 2025, arXiv 2502.16982): one learning rate serves both.

    Args:
        param: (rows, ...), taken as a matrix of that many rows, like `grad` and `momentum`.
        grad: of the loss, clipped.
        momentum: mean of the gradients.
        rate: learning rate.
        decay: of that mean, which is taken a step ahead (Nesterov).
        weight_decay: parameters shrink by rate * weight_decay.
        xp: array namespace.

    Returns:
        The parameter and its momentum.
    """
    momentum = decay * momentum + (1 - decay) * grad
    ahead = decay * momentum + (1 - decay) * grad
    matrix = xp.reshape(ahead, (ahead.shape[0], -1))
    scale = 0.2 * math.sqrt(max(matrix.shape))
    move = scale * xp.reshape(orthogonalized(matrix, xp=xp), param.shape)
    return param * (1 - rate * weight_decay) - rate * move, momentum
