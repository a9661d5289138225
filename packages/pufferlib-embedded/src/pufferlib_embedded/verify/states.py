"""Many small boxes: whether the greedy action can change within +-epsilon of observations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from pufferlib_core.native import Array

from pufferlib_embedded.model import Model
from pufferlib_embedded.verify.boxes import box_read, numbers_reached, observed
from pufferlib_embedded.verify.choices import Change, Question, act, attack, margins
from pufferlib_embedded.verify.crown import Lowest, heads, lowest, reach
from pufferlib_embedded.verify.intervals import Bounds, interval
from pufferlib_embedded.verify.network import Network
from pufferlib_embedded.verify.search import search

UNKNOWN, ROBUST, CHANGES = "unknown", "certified", "counterexample"

Progress = Callable[[int, int], None]  # boxes decided, of how many


@dataclass
class Verdicts:
    """What is known of each box; filled as it becomes known, so that an interrupt leaves the rest."""

    verdict: list[str]
    changes: dict[int, Change] = field(default_factory=dict)
    by: dict[str, int] = field(default_factory=lambda: {"ibp": 0, "crown": 0, "splitting": 0})
    boxes: int = 0
    reached: list[Bounds] = field(default_factory=list)  # of the numbers of actions, by chunks of boxes

    def count(self, verdict: str) -> int:
        """Boxes of a verdict."""
        return self.verdict.count(verdict)


def decide(
    model: Model, network: Network, obs: Array, low: Array, high: Array, known: Verdicts, limit: int, progress: Progress
) -> None:
    """Fills in what the policy does in each box.

    Args:
        model: the policy.
        network: its layers.
        obs: (N, obs_size), an observation in each box, whose action is to stay.
        low: (N, obs_size), lower ends of the boxes.
        high: likewise, upper ends.
        known: of N boxes, of which nothing is known.
        limit: boxes to look at where splitting has to decide.
        progress: called after each chunk and each box that was split.

    Raises:
        ConfigError: if a sum may leave the range of float32.
    """
    decided = 0
    for first in range(0, len(obs), network.together):
        part = slice(first, first + network.together)
        box = box_read(model, low[part], high[part])
        if model.spec.numbers:
            known.reached.append(numbers_reached(model, _means(model, heads(network, box))))
        chosen = np.stack([act(model, row)[1] for row in obs[part]])
        rows = margins(model.spec.nvec, model.spec.logits, chosen)
        found, sure = _by_bounds(network, box, rows, known)
        known.boxes += len(sure)
        for k in np.flatnonzero(sure):
            known.verdict[first + k] = ROBUST
        decided += int(sure.sum())
        progress(decided, len(obs))
        for k in np.flatnonzero(~sure):
            asked = Question(low[first + k], high[first + k], rows[k], chosen[k])
            _by_points_and_parts(model, network, asked, found.slope[k], first + int(k), known, limit)
            decided += 1
            progress(decided, len(obs))


def _means(model: Model, bounds: Bounds) -> Bounds:
    """Of the heads, those of the numbers of actions."""
    first = sum(model.spec.nvec)
    return Bounds(bounds.low[:, first:], bounds.high[:, first:])


def _by_bounds(network: Network, box: Bounds, rows: Array, known: Verdicts) -> tuple[Lowest, Array]:
    """CROWN's bounds of the margins, and bool (B,): none can fall to 0."""
    by_intervals = interval(network, box)[-1].bounds
    positive, negative = np.maximum(rows, 0.0), np.minimum(rows, 0.0)
    # A difference of two numbers in float64 has the right sign.
    simple = (positive @ by_intervals.low[..., None] + negative @ by_intervals.high[..., None] > 0.0).all(axis=(1, 2))
    hidden, last = reach(network, box)
    found = lowest(network, hidden, last, box, rows)
    sure = simple | (found.bound > 0.0).all(axis=1)
    known.by["ibp"] += int(simple.sum())
    known.by["crown"] += int((sure & ~simple).sum())
    return found, sure


def _by_points_and_parts(
    model: Model, network: Network, asked: Question, slope: Array, at: int, known: Verdicts, limit: int
) -> None:
    """Looks for a change; without one, splits the box.

    Args:
        model: the policy.
        network: its layers.
        asked: the box, and what is chosen in it.
        slope: CROWN's of the margins, (m, reads).
        at: which box this is.
        known: where the answer goes.
        limit: boxes to look at.
    """
    low, high = asked.low, asked.high
    change = attack(model, network, asked, np.where(slope > 0.0, low, high).astype(low.dtype))
    if change is None:
        box = box_read(model, low[None], high[None])
        found = search(network, box, asked.rows, lambda bound, seen: bound > 0.0 or seen <= 0.0, limit)
        known.boxes += found.boxes
        if found.bound > 0.0:
            known.verdict[at] = ROBUST
            known.by["splitting"] += 1
            return
        change = attack(model, network, asked, observed(model, found.point, low, high)[None])
    if change is not None:
        known.verdict[at] = CHANGES
        known.changes[at] = change
