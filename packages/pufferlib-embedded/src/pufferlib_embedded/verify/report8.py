"""What `puffer verify --precision int8` answers, as plain values."""

from __future__ import annotations

from typing import Any

import numpy as np
from pufferlib_core.errors import ConfigError
from pufferlib_core.native import Array

from pufferlib_embedded.model8 import Model8
from pufferlib_embedded.verify.boxes import around, given_box, rows_of
from pufferlib_embedded.verify.choices import act
from pufferlib_embedded.verify.encode import z3_module
from pufferlib_embedded.verify.entries import entries
from pufferlib_embedded.verify.escapes import reach
from pufferlib_embedded.verify.exact import Asked, settle
from pufferlib_embedded.verify.network import check_dense
from pufferlib_embedded.verify.replay import replay
from pufferlib_embedded.verify.report import Report, about_model, action_of, answer, quiet, until_interrupted
from pufferlib_embedded.verify.states import UNKNOWN, Progress, Verdicts

SECONDS = 10.0

Within = tuple[float, float]


def verify_states8(
    model: Model8, observations: Any, *, epsilon: float, relative: bool = False, within: Within | None = None,
    seconds: float = SECONDS, progress: Progress = quiet,
) -> Report:  # fmt: skip
    """Whether the greedy action can change within +-epsilon of observations, or a number of it leave a range.

    Args:
        model: the policy.
        observations: (N, obs_size).
        epsilon: reach of each box in every direction.
        relative: epsilon is in the normaliser's deviations.
        within: the range in which every number of an action has to stay; None: only choices are asked about.
        seconds: that z3 may take for each box; then it is unknown.
        progress: called with the observations decided, and all.

    Returns:
        The object of `puffer verify --json`; `verify_states` says what an interrupt does.

    Raises:
        ConfigError: if the policy is no MLP, or a number is out of range.
        MissingExtra: if z3 is not installed.
        RunError: if a counterexample is none for the oracle, the core or the exported C.
        ShapeError: if the observations have another shape.
    """
    _check(model, within, seconds)
    obs = rows_of(model, observations, "observations")
    low, high = around(model, obs, epsilon, relative)
    about = {"question": "states", "epsilon": epsilon, "relative": relative, "states": len(obs)}
    return about_model(model) | about | _settled(model, obs, (low, high), Asked(within, seconds), progress)


def verify_box8(
    model: Model8, low: Any, high: Any, *, within: Within | None = None, seconds: float = SECONDS, progress: Progress = quiet
) -> Report:
    """Whether the greedy action is always the same in one box, or a number of it can leave a range.

    Args:
        model: the policy.
        low: lower ends of the box, one number for all or one for each.
        high: its upper ends, likewise.
        within: as `verify_states8` takes it.
        seconds: likewise.
        progress: called with the questions answered, and all.

    Returns:
        The object of `puffer verify --json`; `heads` are bounds by intervals.

    Raises:
        ConfigError: if the policy is no MLP, the box is empty, or a number is out of range.
        MissingExtra: if z3 is not installed.
        RunError: if a counterexample is none for the oracle, the core or the exported C.
        ShapeError: if the box has another number of ends.
    """
    _check(model, within, seconds)
    ends = given_box(model, low, high)
    middle = _middle(*ends)
    box = entries(model.program, *ends)
    heads = (end[0] * 2.0**-model.program.point for end in reach(model.program, box.low[None], box.high[None]).heads)
    about = {"question": "box", "low": ends[0].tolist(), "high": ends[1].tolist()}
    about["heads"] = [{"intervals": list(pair)} for pair in zip(*(end.tolist() for end in heads), strict=True)]
    about["at_the_middle"] = action_of(*act(model, middle)[1:])
    boxes = (ends[0][None], ends[1][None])
    return about_model(model) | about | _settled(model, middle[None], boxes, Asked(within, seconds), progress)


def _middle(low: Array, high: Array) -> Array:
    middle: Array = (0.5 * low + 0.5 * high.astype(np.float64)).astype(low.dtype)
    return np.clip(middle, low, high)


def _settled(model: Model8, obs: Array, box: tuple[Array, Array], asked: Asked, progress: Progress) -> Report:
    known = Verdicts([UNKNOWN] * len(obs), by={"intervals": 0, "points": 0, "z3": 0})
    interrupted = until_interrupted(lambda: settle(model, obs, *box, asked, known, progress))
    if known.changes:
        replay(model, np.stack([change.obs for change in known.changes.values()]))
    found: Report = {"interrupted": interrupted, "within": asked.within, "seconds": asked.seconds}
    return found | answer(model, obs, known, asked=bool(model.spec.nvec) or asked.within is not None)


def _check(model: Model8, within: Within | None, seconds: float) -> None:
    """Refuses what cannot be asked.

    Raises:
        ConfigError: says what, and what to do.
        MissingExtra: if z3 is not installed.
    """
    check_dense(model)
    if not 0.0 < seconds < 1e6:
        raise ConfigError(f"--seconds {seconds:g} must be above 0 and below a million")
    if within is not None:
        if not model.spec.numbers:
            raise ConfigError(f"--within bounds the numbers of an action, and those of {model.env} have none: leave it out")
        if model.spec.config.squash:
            raise ConfigError(
                "--within takes numbers that are clipped; policy.squash makes them by a tanh of floats: leave it out"
            )
        if not -np.inf < within[0] <= within[1] < np.inf:
            raise ConfigError(f"--within {within[0]:g},{within[1]:g} must be two finite numbers, the smaller one first")
    z3_module()
