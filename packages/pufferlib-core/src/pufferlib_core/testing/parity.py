"""How far back ends are from the formulas, and from each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pufferlib_core.native import Array
from pufferlib_core.testing.backends import cosine
from pufferlib_core.testing.trials import CASES, Oracle, Rows, Trial, make_rows

UPDATES = 100
RATE = 3e-4  # learning rate of the updates


@dataclass(frozen=True)
class Gaps:
    """Of one back end in one of `testing.trials.CASES`; numbers are relative to the largest one, or to 1 if that is larger."""

    backend: str
    case: str
    forward: float  # outputs and values, from float64 formulas
    logprob: float  # of sampled actions, likewise
    entropy: float  # mean of the rows, likewise
    loss: float  # likewise
    gradient: float  # 1 - cosine of the angle to central differences in float64
    one_update: float  # parameters after epochs of minibatches, from those of the first back end
    many_updates: float  # outputs of the policy after 100 of them, likewise


def parity(backends: Sequence[str], cases: Sequence[str] = tuple(CASES)) -> Iterator[Gaps]:
    """Compares back ends, case by case.

    Args:
        backends: names; the first one is what the updates of the others are compared with.
        cases: names of those to run.

    Yields:
        The gaps of each back end in each case.

    Raises:
        PufferError: if a back end is not installed or cannot train.
    """
    for key in cases:
        case = CASES[key]
        rows, oracle = make_rows(case), Oracle(case)
        config = case.whole()
        total, parts = oracle.loss(rows, config)
        slope = oracle.gradient(rows, config)
        first: tuple[Array, Array] | None = None
        for backend in backends:
            trial = Trial(backend, case)
            gradient, losses = trial.gradient(rows)
            weights = {"policy_loss": 1.0, "value_loss": config.value_coef, "entropy": -case.coefficients.entropy}
            weights["approx_kl"] = case.coefficients.kl
            loss = sum(weight * losses[part] for part, weight in weights.items())
            after = _updated(trial, rows)
            first = after if first is None else first
            yield Gaps(
                backend,
                key,
                *_outputs(trial, oracle),
                _gap(np.float64(parts["entropy"]), np.float64(losses["entropy"])),
                _gap(np.float64(total), np.float64(loss)),
                1 - cosine(slope, gradient),
                _gap(first[0], after[0]),
                _gap(first[1], after[1]),
            )


def _gap(ours: Array | np.float64, theirs: Array | np.float64) -> float:
    largest = max(1.0, float(np.max(np.abs(ours))))
    return float(np.max(np.abs(np.asarray(theirs, np.float64) - ours))) / largest


def _outputs(trial: Trial, oracle: Oracle) -> tuple[float, float]:
    """Gaps of outputs and values, and of log-probabilities."""
    engine, _ = trial.engine()
    segment = make_rows(trial.case, valid=1.0).segment
    carry = None if segment.carry is None else segment.carry[0]
    heads, value, _ = oracle.step(segment.features[0], None if carry is None else carry.astype(np.float64))
    outputs, values = engine.policy.forward(segment.features[0], carry=carry)
    mask = None if segment.action_mask is None else segment.action_mask[0]
    kept = None if carry is None else carry.copy()
    action, logprob, _ = engine.policy.act(segment.features[0], greedy=False, seed=5, action_mask=mask, carry=kept, raw=True)
    expected = oracle.evaluate(heads, action, mask)[0]
    return max(_gap(heads, outputs), _gap(value, values)), _gap(expected, logprob)


def _updated(trial: Trial, rows: Rows) -> tuple[Array, Array]:
    """Parameters after one update, and outputs of the policy after many."""
    engine, state = trial.engine()
    once = np.zeros(0)
    for update in range(UPDATES):
        trial.descend(engine, rows, update, rate=RATE)
        if update == 0:
            engine.pull()
            once = trial.joined(state)
    engine.pull()
    engine.load(state)
    segment = make_rows(trial.case, valid=1.0).segment
    outputs, values = engine.policy.forward(segment.features[0], carry=None if segment.carry is None else segment.carry[0])
    return once, np.concatenate([outputs, values[:, None]], axis=1)
