"""Recurrent cores: one step of an LSTM or a GRU, as puffer/net.h defines them."""

from __future__ import annotations

from typing import Any


def logistic(x: Any, *, xp: Any) -> Any:
    """1 / (1 + exp(-x)), without overflow."""
    return 0.5 * (xp.tanh(0.5 * x) + 1.0)


def lstm(x: Any, carry: Any, read: Any, state: Any, bias: Any, *, xp: Any) -> Any:
    """What an LSTM hands on, (N, 2 H): its output h, (N, H), and then c (Hochreiter and Schmidhuber 1997, with forget gates).

    Args:
        x: inputs, (N, I).
        carry: what it handed on before, (N, 2 H); zeros at first.
        read: weights of the inputs, (4 H, I), gates in the order i, f, g, o.
        state: weights of h, (4 H, H).
        bias: (4 H,).
        xp: array namespace.
    """
    size = state.shape[1]
    h, c = carry[:, :size], carry[:, size:]
    gates = x @ read.T + h @ state.T + bias
    i, f, g, o = (gates[:, k * size : (k + 1) * size] for k in range(4))
    c = logistic(f, xp=xp) * c + logistic(i, xp=xp) * xp.tanh(g)
    return xp.concat([logistic(o, xp=xp) * xp.tanh(c), c], axis=1)


def gru(x: Any, carry: Any, read: Any, state: Any, bias: Any, *, xp: Any) -> Any:
    """What a GRU hands on, its output h, (N, H) (Cho et al. 2014, arXiv 1406.1078; the reset gate after the product).

    Args:
        x: inputs, (N, I).
        carry: h before, (N, H); zeros at first.
        read: weights of the inputs, (3 H, I), gates in the order r, z, n.
        state: weights of h, (3 H, H).
        bias: (3 H,), of the inputs.
        xp: array namespace.
    """
    size = state.shape[1]
    given, kept = x @ read.T + bias, carry @ state.T
    r, z = (logistic(given[:, k * size : (k + 1) * size] + kept[:, k * size : (k + 1) * size], xp=xp) for k in range(2))
    n = xp.tanh(given[:, 2 * size :] + r * kept[:, 2 * size :])
    return (1.0 - z) * n + z * carry
