"""Whether a policy in integers acts otherwise somewhere in a box: by intervals, by trying some inputs, and by z3, exactly."""

from __future__ import annotations

import contextlib
from typing import NamedTuple

import numpy as np
from pufferlib_core.errors import RunError
from pufferlib_core.native import Array

from pufferlib_embedded.integer import Program, entered, run
from pufferlib_embedded.model8 import Model8
from pufferlib_embedded.verify.boxes import numbers_reached
from pufferlib_embedded.verify.choices import Change, act
from pufferlib_embedded.verify.encode import find
from pufferlib_embedded.verify.entries import Entries, entries
from pufferlib_embedded.verify.escapes import Escape, Reach, numbers_outside, other_choices, reach
from pufferlib_embedded.verify.intervals import Bounds
from pufferlib_embedded.verify.states import CHANGES, ROBUST, Progress, Verdicts

GUESSES = 1024  # inputs that are tried of a box that intervals leave open


class Asked(NamedTuple):
    """What is asked of each box."""

    within: tuple[float, float] | None  # where numbers of actions have to stay; None: that is not asked
    seconds: float  # for each query to z3


def settle(model: Model8, obs: Array, low: Array, high: Array, asked: Asked, known: Verdicts, progress: Progress) -> None:
    """Fills in what the policy does in each box.

    Args:
        model: the policy, of dense layers.
        obs: (N, obs_size), an observation in each box, whose choices are to stay.
        low: (N, obs_size), lower ends of the boxes.
        high: likewise, upper ends.
        asked: the question.
        known: of N boxes, of which nothing is known.
        progress: called after each box.

    Raises:
        RunError: if a counterexample is none for the oracle or the core.
    """
    program, first = model.program, sum(model.spec.nvec)
    outside = [] if asked.within is None else numbers_outside(program, first, model.low, model.high, asked.within)
    for k in range(len(obs)):
        box = entries(program, low[k], high[k])
        reached = reach(program, box.low[None], box.high[None])
        means = Bounds(*(end[:, first:] * 2.0**-program.point for end in reached.heads))
        known.reached.append(numbers_reached(model, means))
        known.boxes += 1
        escapes = [*other_choices(model.spec.nvec, act(model, obs[k])[1]), *outside]
        escapes = [escape for escape in escapes if escape.most(reached.heads[0][0], reached.heads[1][0]) >= escape.least]
        with contextlib.suppress(TimeoutError):
            by, q = _answered(program, box, reached, escapes, asked.seconds)
            known.by[by] += 1
            known.verdict[k] = ROBUST if q is None else CHANGES
            if q is not None:
                known.changes[k] = _repeated(model, box, box.observation(q, obs[k]), q, escapes)
        progress(k + 1, len(obs))


def _answered(
    program: Program, box: Entries, reached: Reach, escapes: list[Escape], seconds: float
) -> tuple[str, Array | None]:
    """What decided, and bytes that lead to one of the escapes, which intervals leave open; None: there are none.

    Raises:
        TimeoutError: if nothing decides.
    """
    if not escapes:
        return "intervals", None
    guessed = _guess(program, box, escapes)
    if guessed is not None:
        return "points", guessed
    return "z3", find(program, box, reached, escapes, seconds)


def _heads(program: Program, q: Array) -> Array:
    heads: Array = run(program, q, np.zeros((len(q), 0), np.int64))[0]
    return heads


def _escaped(heads: Array, escapes: list[Escape]) -> Array:
    """Rows (N,) of heads (N, L) for which one of the inequalities holds."""
    found = np.zeros(len(heads), bool)
    for plus, minus, least in escapes:
        found |= (0 if plus is None else heads[:, plus]) - (0 if minus is None else heads[:, minus]) >= least
    return found


def _guess(program: Program, box: Entries, escapes: list[Escape]) -> Array | None:
    """Bytes of the box, half of them of its corners, that lead to one of the escapes, if some of a few do."""
    rng = np.random.default_rng(0)
    inside = np.stack([rng.choice(q, GUESSES // 2) for q in box.reached], axis=1)
    corners = np.stack([rng.choice(q[[0, -1]], GUESSES // 2) for q in box.reached], axis=1)
    tried = np.concatenate([inside, corners])
    found = _escaped(_heads(program, tried), escapes)
    return tried[found.argmax()] if found.any() else None


def _repeated(model: Model8, box: Entries, obs: Array, q: Array, escapes: list[Escape]) -> Change:
    """A counterexample, after the oracle and the core have run on it.

    Raises:
        RunError: if one of them does something else.
    """
    program = model.program
    x = entered(program, obs[None])
    heads = _heads(program, x)
    values, choices, _ = act(model, obs)
    if (x[0] != q).any() or not _escaped(heads, escapes)[0] or (values != heads[0] * 2.0**-program.point).any():
        raise RunError(
            f"the proof is wrong, not the policy: {obs.tolist()} should refute it as bytes {q.tolist()}; it enters as "
            f"{x[0].tolist()}, with heads {heads[0].tolist()} by the oracle and {values.tolist()} by the core: report this"
        )
    return Change(obs, choices)
