"""Whether the choices of a policy can change: margins of the options chosen, and observations that break them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from pufferlib_core.native import Array

from pufferlib_embedded.model import Model
from pufferlib_embedded.verify.boxes import as_read
from pufferlib_embedded.verify.intervals import forward
from pufferlib_embedded.verify.network import NUMBERS, Network

POINTS, TRIED = 384, 8  # observations guessed at in a box, and those of them that the policy itself runs on


class Question(NamedTuple):
    """A box of observations, and what the policy chooses at one of them: does it choose that everywhere?"""

    low: Array  # (obs_size,)
    high: Array
    rows: Array  # (m, logits): margins of what is chosen
    choices: Array  # int32 (K,)


class Change(NamedTuple):
    """An observation on which the policy chose otherwise."""

    obs: Array  # (obs_size,)
    choices: Array  # int32 (K,)


def act(model: Model, obs: Array) -> tuple[Array, Array, Array]:
    """Heads, choices and numbers of the C policy on an observation (obs_size,)."""
    return model.act(np.ascontiguousarray(obs), np.zeros(0, np.float32))


def margins(nvec: tuple[int, ...], logits: int, choices: Array) -> Array:
    """Rows that give, of heads, how far each option chosen is above each other option of its choice.

    Args:
        nvec: options of each choice.
        logits: numbers of the heads.
        choices: int (B, K), what was chosen.

    Returns:
        (B, sum(nvec) - K, logits).

    >>> margins((3,), 3, np.array([[1]]))[0].tolist()
    [[0.0, 1.0, -1.0], [-1.0, 1.0, 0.0]]
    """
    rows = np.zeros((len(choices), sum(nvec) - len(nvec), logits))
    every, at, first = np.arange(len(choices)), 0, 0
    for k, options in enumerate(nvec):
        for step in range(1, options):
            rows[every, at, first + choices[:, k]] = 1.0
            rows[every, at, first + (choices[:, k] + step) % options] = -1.0
            at += 1
        first += options
    return rows


def points(low: Array, high: Array, count: int, seed: int) -> Array:
    """Observations (count, obs_size) of a box, fewer of large ones: half of them anywhere in it, half corners."""
    rng, count = np.random.default_rng(seed), max(2, min(count, NUMBERS // len(low)))
    inside = low + rng.random((count // 2, len(low))) * (high.astype(np.float64) - low)
    corners = np.where(rng.random((count - count // 2, len(low))) < 0.5, low, high)
    drawn = np.concatenate([np.rint(inside) if low.dtype == np.uint8 else inside, corners])
    result: Array = np.clip(drawn, low, high).astype(low.dtype)
    return result


def attack(model: Model, network: Network, asked: Question, guesses: Array) -> Change | None:
    """An observation of a box on which the C policy chooses otherwise, if one is found.

    Args:
        model: the policy.
        network: its layers.
        asked: the box, and what is chosen in it.
        guesses: observations (G, obs_size) of the box to look at first.
    """
    return _change(model, network, asked, guesses) or _change(model, network, asked, points(asked.low, asked.high, POINTS, 0))


def _change(model: Model, network: Network, asked: Question, tried: Array) -> Change | None:
    """The first change among those of the observations whose margins are least."""
    margin = (forward(network, as_read(model, tried)) @ asked.rows.T).min(axis=-1)
    for k in np.argsort(margin, kind="stable")[:TRIED]:
        _, chosen, _ = act(model, tried[k])
        if (chosen != asked.choices).any():
            return Change(tried[k], chosen)
    return None
