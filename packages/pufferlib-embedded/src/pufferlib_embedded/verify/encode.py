"""A policy in integers over a box, as constraints of z3: exactly the program of `integer.py`, no more and no less inputs.

A byte between layers is a step function of its sum that never falls, so it is known by where it rises: byte >= q if and only if
sum >= t(q). Those places are found by halving, with the arithmetic of the oracle itself. Constraints are then linear over
integers, with one Boolean for each place, which z3 decides faster than shifts and tables in bit-vectors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pufferlib_core.errors import require
from pufferlib_core.native import Array

from pufferlib_embedded.integer import HEAD, Matrix, Program, active
from pufferlib_embedded.verify.entries import Entries
from pufferlib_embedded.verify.escapes import Escape, Reach

Z3 = Any  # its terms and modules have no types here


def z3_module() -> Z3:
    """The solver.

    Raises:
        MissingExtra: if it is not installed.
    """
    return require("z3", "verify", "pufferlib-embedded")


def find(program: Program, box: Entries, reached: Reach, escapes: list[Escape], seconds: float) -> Array | None:
    """Bytes (inputs,) of a box that lead to one of the escapes; None: there are none, which is proven.

    Args:
        program: a policy of dense layers.
        box: what enters.
        reached: by intervals, of this one box.
        escapes: of which one is asked for.
        seconds: that the solver may take.

    Raises:
        TimeoutError: if it does not know by then.
        KeyboardInterrupt: if Ctrl-C ended the solver.
    """
    z3 = z3_module()
    solver = z3.SolverFor("QF_LIA")
    solver.set("timeout", max(1, round(1000 * seconds)))
    inputs = [_input(z3, solver, i, q) for i, q in enumerate(box.reached)]
    x = inputs
    for k, ((matrix, _), (low, high)) in enumerate(zip(program.layers, reached.sums, strict=True)):
        sums = _sums(z3, matrix, x)
        places = [rises(program, matrix, r, int(low[0, r]), int(high[0, r])) for r in range(len(sums))]
        x = [_byte(z3, solver, f"{k}.{r}", *pair) for r, pair in enumerate(zip(sums, places, strict=True))]
    heads = [_head(z3, program.heads, r, total) for r, total in enumerate(_sums(z3, program.heads, x))]
    solver.add(z3.Or([_term(escape, heads) >= escape.least for escape in escapes]))
    answer = solver.check()
    if answer == z3.unknown:
        if "interrupt" in solver.reason_unknown():
            raise KeyboardInterrupt
        raise TimeoutError
    if answer == z3.unsat:
        return None
    model = solver.model()
    return np.array([model.eval(variable, model_completion=True).as_long() for variable in inputs])


def rises(program: Program, matrix: Matrix, row: int, low: int, high: int) -> tuple[int, Array]:
    """Where the byte of a row rises as its sum goes from `low` to `high`.

    Returns:
        The byte at `low`, and for each one above it until that at `high` the least sum (int64) that gives it or more.
    """
    own = matrix._replace(multiplier=matrix.multiplier[row])
    begin, end = active(program, np.array([low, high]), own).tolist()
    q = np.arange(begin + 1, end + 1)
    below, first = np.full(len(q), low), np.full(len(q), high)
    while (first - below > 1).any():
        middle = (below + first) >> 1
        enough = active(program, middle, own) >= q
        below, first = np.where(enough, below, middle), np.where(enough, middle, first)
    return begin, first


def _input(z3: Z3, solver: Z3, i: int, bytes_: Array) -> Z3:
    """A variable that is one of the bytes."""
    x, low, high = z3.Int(f"x{i}"), int(bytes_[0]), int(bytes_[-1])
    solver.add(low <= x, x <= high)
    if len(bytes_) < high - low + 1:
        solver.add(z3.Or([x == q for q in bytes_.tolist()]))
    return x


def _sums(z3: Z3, matrix: Matrix, x: list[Z3]) -> list[Z3]:
    return [
        z3.Sum([z3.IntVal(bias), *(weight * number for weight, number in zip(row, x, strict=True) if weight)])
        for row, bias in zip(matrix.weight.tolist(), matrix.bias.tolist(), strict=True)
    ]


def _byte(z3: Z3, solver: Z3, name: str, total: Z3, places: tuple[int, Array]) -> Z3:
    """What the activation makes of a sum."""
    begin, first = places
    if not len(first):
        return z3.IntVal(begin)
    at, y = z3.Int(f"s{name}"), z3.Int(f"y{name}")
    solver.add(at == total, begin <= y, y <= begin + len(first))
    before = None
    for step, place in enumerate(first.tolist(), 1):
        risen = z3.Bool(f"r{name}.{step}")
        solver.add(risen == (at >= place), risen == (y >= begin + step))
        if before is not None:
            solver.add(z3.Implies(risen, before))
        before = risen
    return y


def _head(z3: Z3, matrix: Matrix, row: int, total: Z3) -> Z3:
    """`rescaled`: z3 divides as >> does, downwards."""
    multiplier, shift = int(matrix.multiplier[row]), matrix.shift
    scaled = (total * multiplier + (1 << (shift - 1))) / (1 << shift)
    return z3.If(scaled > HEAD, HEAD, z3.If(scaled < -HEAD, -HEAD, scaled))


def _term(escape: Escape, heads: list[Z3]) -> Z3:
    """The left side of an escape."""
    plus, minus = (0 if k is None else heads[k] for k in (escape.plus, escape.minus))
    return plus - minus
