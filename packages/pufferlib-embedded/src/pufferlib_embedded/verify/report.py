"""What `puffer verify` answers, as plain values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from pufferlib_core.errors import ConfigError
from pufferlib_core.native import Array

from pufferlib_embedded.model import Model
from pufferlib_embedded.verify.boxes import around, as_read, box_read, given_box, numbers_reached, observed, rows_of
from pufferlib_embedded.verify.choices import act, points
from pufferlib_embedded.verify.crown import heads
from pufferlib_embedded.verify.intervals import Bounds, forward, interval
from pufferlib_embedded.verify.network import Network, network_of
from pufferlib_embedded.verify.search import search
from pufferlib_embedded.verify.states import CHANGES, ROBUST, UNKNOWN, Progress, Verdicts, decide

BOUNDED = "bounded"  # there is no choice that could change: the bounds are the answer
SHOWN = 10  # counterexamples in a report
SAMPLED = 2048  # observations of a box of which the range of each head is estimated

Report = dict[str, Any]


def quiet(done: int, total: int) -> None:
    """Shows no progress."""


def verify_states(
    model: Model, observations: Any, *, epsilon: float, relative: bool = False, boxes: int = 4096, progress: Progress = quiet
) -> Report:
    """Whether the greedy action can change within +-epsilon of observations, and how far numbers of actions reach.

    Args:
        model: the policy.
        observations: (N, obs_size).
        epsilon: reach of each box in every direction.
        relative: epsilon is in the normaliser's deviations.
        boxes: that splitting may look at for each observation.
        progress: called with the observations decided, and all.

    Returns:
        The object of `puffer verify --json`. An interrupt ends the work, not the report: what was not decided is unknown.

    Raises:
        ConfigError: if the policy is no MLP, or a number is out of range.
        ShapeError: if the observations have another shape.
    """
    network, obs = network_of(model), rows_of(model, observations, "observations")
    _check_boxes(boxes)
    low, high = around(model, obs, epsilon, relative)
    known = Verdicts([UNKNOWN] * len(obs))
    interrupted = until_interrupted(lambda: decide(model, network, obs, low, high, known, boxes, progress))
    about = {"question": "states", "epsilon": epsilon, "relative": relative, "states": len(obs), "interrupted": interrupted}
    return about_model(model) | about | answer(model, obs, known, asked=bool(model.spec.nvec))


def verify_box(
    model: Model, low: Any, high: Any, *, tolerance: float = 0.02, boxes: int = 4096, progress: Progress = quiet
) -> Report:
    """Bounds of every head over one box, whether the action is always the same in it, and how far its numbers reach.

    Args:
        model: the policy.
        low: lower ends of the box, one number for all or one for each.
        high: its upper ends, likewise.
        tolerance: how far a bound of a head may be from a value that was seen, as part of the range seen, for splitting to end.
        boxes: that splitting may look at for each bound.
        progress: called with the questions answered, and all.

    Returns:
        The object of `puffer verify --json`; `verify_states` says what an interrupt does.

    Raises:
        ConfigError: if the policy is no MLP, the box is empty, or a number is out of range.
        ShapeError: if the box has another number of ends.
    """
    network = network_of(model)
    _check_boxes(boxes)
    if not 0.0 < tolerance < np.inf:
        raise ConfigError(f"--tolerance {tolerance:g} must be a finite number above 0")
    ends = given_box(model, low, high)
    box = box_read(model, *(end[None] for end in ends))
    simple, tight = interval(network, box)[-1].bounds, heads(network, box)
    known, rows = Verdicts([UNKNOWN]), _Heads(model, network, ends, simple, tight)
    middle = observed(model, 0.5 * (box.low + box.high), *ends)
    total = 2 * model.spec.logits + 1

    def work() -> None:
        decide(model, network, middle, ends[0][None], ends[1][None], known, boxes, quiet)
        progress(1, total)
        for k in range(2 * model.spec.logits):
            known.boxes += rows.tighten(k // 2, k % 2 == 1, tolerance, boxes)
            progress(k + 2, total)

    interrupted = until_interrupted(work)
    known.reached = [_numbers(model, rows.bounds)]
    about = {"question": "box", "low": ends[0].tolist(), "high": ends[1].tolist(), "tolerance": tolerance}
    about |= {"interrupted": interrupted, "heads": rows.table(), "at_the_middle": action_of(*act(model, middle[0])[1:])}
    return about_model(model) | about | answer(model, middle, known, asked=bool(model.spec.nvec))


class _Heads:
    """The range of each head over a box: certified from outside, seen from inside."""

    def __init__(
        self, model: Model, network: Network, ends: tuple[Array, Array], by_intervals: Bounds, by_lines: Bounds
    ) -> None:
        self._model, self._network, self._ends = model, network, ends
        self._by_intervals, self._by_lines = by_intervals, by_lines
        self._box = box_read(model, *(end[None] for end in ends))
        self.bounds = Bounds(by_lines.low.copy(), by_lines.high.copy())
        sample = points(*ends, SAMPLED, 0)
        values = forward(network, as_read(model, sample))
        found = [[sample[values[:, k].argmin()], sample[values[:, k].argmax()]] for k in range(network.heads)]
        self._seen = [[float(act(model, obs)[0][k]) for obs in pair] for k, pair in enumerate(found)]

    def tighten(self, k: int, upper: bool, tolerance: float, limit: int) -> int:
        """Splits until the bound is close to what was seen; returns the boxes that it took."""
        sign = -1.0 if upper else 1.0
        row = np.zeros((1, self._network.heads))
        row[0, k] = sign
        allowed = tolerance * (self._seen[k][1] - self._seen[k][0])
        inside = sign * self._seen[k][upper]
        found = search(self._network, self._box, row, lambda bound, seen: min(seen, inside) - bound <= allowed, limit)
        value = float(act(self._model, observed(self._model, found.point, *self._ends))[0][k])
        if upper:
            self.bounds.high[0, k] = min(self.bounds.high[0, k], -found.bound)
            self._seen[k][1] = max(self._seen[k][1], value)
        else:
            self.bounds.low[0, k] = max(self.bounds.low[0, k], found.bound)
            self._seen[k][0] = min(self._seen[k][0], value)
        return found.boxes

    def table(self) -> list[Report]:
        """One line for each head; `excess` is the part of the certified range that was not seen, of what was seen."""
        lines = []
        for k, (least, most) in enumerate(self._seen):
            low, high = (float(end[0, k]) for end in self.bounds)
            excess = (high - low) / (most - least) - 1.0 if most > least else None
            line: Report = {
                "ibp": _pair(self._by_intervals, k),
                "crown": _pair(self._by_lines, k),
                "certified": [low, high],
            } | {"seen": [least, most], "excess": excess}
            lines.append(line)
        return lines


def _pair(bounds: Bounds, k: int) -> list[float]:
    return [float(bounds.low[0, k]), float(bounds.high[0, k])]


def _numbers(model: Model, bounds: Bounds) -> Bounds:
    first = sum(model.spec.nvec)
    return numbers_reached(model, Bounds(bounds.low[:, first:], bounds.high[:, first:]))


def until_interrupted(work: Callable[[], None]) -> bool:
    """Whether Ctrl-C ended it."""
    try:
        work()
    except KeyboardInterrupt:
        return True
    return False


def _check_boxes(boxes: int) -> None:
    if boxes < 1:
        raise ConfigError(f"--boxes {boxes} must be at least 1")


def about_model(model: Model) -> Report:
    """Which policy it is."""
    return {"env": model.env, "checkpoint": {"step": int(model.step), "sha256": model.digest}, "precision": model.precision}


def action_of(choices: Array, numbers: Array) -> list[Any]:
    """Choices, then numbers."""
    return [*choices.tolist(), *(float(number) for number in numbers)]


def answer(model: Model, obs: Array, known: Verdicts, *, asked: bool) -> Report:
    """The verdict, and what it stands on.

    Args:
        model: the policy.
        obs: (N, obs_size), an observation in each box.
        known: of N boxes.
        asked: there was a question that could be refuted.
    """
    counts = {verdict: known.count(verdict) for verdict in (ROBUST, CHANGES, UNKNOWN)}
    verdict = CHANGES if counts[CHANGES] else (UNKNOWN if counts[UNKNOWN] else ROBUST)
    report: Report = {"verdict": verdict if asked or verdict == UNKNOWN else BOUNDED}
    if asked:
        report |= {"counts": counts, "certified_fraction": counts[ROBUST] / len(obs), "by": known.by}
        report["unknown_states"] = [k for k, verdict in enumerate(known.verdict) if verdict == UNKNOWN]
        shown = list(known.changes.items())[:SHOWN]
        report["counterexamples"] = [{"state": k} | _example(model, obs[k], change.obs) for k, change in shown]
    if model.spec.numbers and known.reached:
        low, high = (np.concatenate(ends) for ends in zip(*known.reached, strict=True))
        report["numbers"] = [
            {"low": float(low[:, a].min()), "high": float(high[:, a].max()), "widest": float((high - low)[:, a].max())}
            for a in range(model.spec.numbers)
        ]
    return report | {"boxes": known.boxes}


def _example(model: Model, obs: Array, changed: Array) -> Report:
    """What the policy does at an observation, and at one of its box that refutes it."""
    report: Report = {}
    for prefix, x in (("", obs), ("changed_", changed)):
        _, choices, numbers = act(model, x)
        report |= {f"{prefix}observation": x.tolist(), f"{prefix}choices": choices.tolist()}
        if model.spec.numbers:
            report[f"{prefix}numbers"] = [float(number) for number in numbers]
    return report
