"""The contract of back ends."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from pufferlib_core.backends.acting import minibatch_order
from pufferlib_core.backends.params import initial_params, views
from pufferlib_core.errors import PufferError
from pufferlib_core.native import Array
from pufferlib_core.testing.trials import CASES, SEED, Case, N, Oracle, Rows, T, make_engine, make_rows

FORWARD = 1e-5  # of the largest output
COSINE = 0.99999  # between gradients
LOSS = 1e-4


def check_backend(name: str, cases: Iterable[str] = tuple(CASES)) -> None:
    """Runs a back end that trains against the contract of `backends.Engine`, for each of `testing.trials.CASES`.

    Initial parameters are those of every back end. Outputs, values and what is handed on agree with the formulas of `ops` in
    float64; actions are those that the core samples. Losses agree, and the gradient does with central differences; so does
    the step of Adam that follows from it. Nothing in rows that are not valid changes a bit. What `tensors` gives is what
    learning goes on from. A loss that is not finite is refused and the step not taken.

    Args:
        name: of the back end.
        cases: names of those to run; all unless told.

    Raises:
        PufferError: saying which rule was broken, and in which case.
    """
    for key in cases:
        case = CASES[key]
        for check in (
            _check_start,
            _check_forward,
            _check_acting,
            _check_gradient,
            _check_order,
            _check_absent,
            _check_restart,
        ):
            try:
                check(name, case)
            except AssertionError as error:
                rule = (check.__doc__ or "").splitlines()[0]
                raise PufferError(f"back end {name}, {key}: broken: {rule} {error}") from error


def gradient_of(backend: str, case: Case) -> tuple[Array, dict[str, float]]:
    """The gradient of the loss over all rows, float32 (params,), and its parts: by the first moment of a first step."""
    config = case.config(epochs=1, minibatch=case.config().minibatch * 4, max_grad_norm=0.0, weight_decay=0.0)
    engine, state = make_engine(backend, case, config)
    rows = make_rows(case)
    losses = _descend(engine, case, rows, importance=rows.importance)
    engine.pull()
    moments = [state[f"adam/m/{t.name}"].ravel() for t in case.spec.tensors()]
    return np.concatenate(moments) / np.float32(1 - config.beta1), losses


def _descend(engine: Any, case: Case, rows: Rows, update: int = 0, **options: Array) -> dict[str, float]:
    losses: dict[str, float] = engine.descend(
        rows.segment, rows.advantage, rows.target, coefficients=case.coefficients, update=update, **options
    )
    return losses


def cosine(a: Array, b: Array) -> float:
    """Of the angle between two vectors."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def _near(ours: Any, theirs: Any, bound: float, what: str) -> None:
    gap = float(np.max(np.abs(np.asarray(theirs, np.float64) - ours), initial=0.0))
    limit = bound * max(1.0, float(np.max(np.abs(ours), initial=0.0)))
    assert gap <= limit, f"{what} is off by {gap:.2g}, allowed are {limit:.2g}"


def _check_start(name: str, case: Case) -> None:
    """Initial parameters and names are the same on every back end."""
    _, state = make_engine(name, case, case.config())
    expected = views(case.spec, initial_params(case.spec, SEED))
    for tensor, values in expected.items():
        assert tensor in state, f"{tensor} is missing"
        assert np.array_equal(state[tensor], values), f"{tensor} differs"
        for moment in (f"adam/m/{tensor}", f"adam/v/{tensor}"):
            assert moment in state, f"{moment} is missing"
            assert state[moment].shape == values.shape, f"{moment} is {state[moment].shape}"
            assert not state[moment].any(), f"{moment} is not 0"
    assert state["adam/step"].tolist() == [0], f"adam/step is {state['adam/step']}"


def _check_forward(name: str, case: Case) -> None:
    """Outputs, values and what is handed on are those of the formulas."""
    engine, _ = make_engine(name, case, case.config())
    segment = make_rows(case, valid=1.0).segment
    carry = None if segment.carry is None else segment.carry[0]
    heads, value, after = Oracle(case).step(segment.features[0], None if carry is None else carry.astype(np.float64))
    outputs, values = engine.policy.forward(segment.features[0], carry=carry)
    _near(heads, outputs, FORWARD, "the action head")
    _near(value, values, FORWARD, "the value")
    if carry is not None:
        kept = carry.copy()
        engine.policy.act(segment.features[0], action_mask=_mask(segment, 0), carry=kept)
        _near(after, kept, FORWARD, "what is handed on")


def _mask(segment: Any, t: int) -> Array | None:
    return None if segment.action_mask is None else segment.action_mask[t]


def _check_acting(name: str, case: Case) -> None:
    """Actions are those that the core samples from the outputs, with their log-probabilities, whatever rows come together."""
    engine, _ = make_engine(name, case, case.config())
    segment = make_rows(case, valid=1.0).segment
    oracle = Oracle(case)
    for t in range(2):
        carry = None if segment.carry is None else segment.carry[0]
        heads, _, _ = oracle.step(segment.features[t], None if carry is None else carry.astype(np.float64))
        how: dict[str, Any] = {"greedy": t == 1, "seed": 5, "step": 7}
        kept = None if carry is None else carry.copy()
        action, logprob, _ = engine.policy.act(segment.features[t], action_mask=_mask(segment, t), carry=kept, **how)
        _near(oracle.evaluate(heads, action, _mask(segment, t))[0], logprob, LOSS, "a log-probability")
        some = slice(N // 2, N)
        mask = None if segment.action_mask is None else segment.action_mask[t, some]
        kept = None if carry is None else carry[some].copy()
        half, _, _ = engine.policy.act(segment.features[t, some], action_mask=mask, carry=kept, first=N // 2, **how)
        if case.spec.nvec and not case.spec.numbers:
            assert np.array_equal(half, action[some]), "an action depends on the rows that come with it"


def _check_gradient(name: str, case: Case) -> None:
    """Losses and the gradient are those of the formulas, and so is the first step of Adam."""
    config = case.config(epochs=1, minibatch=case.config().minibatch * 4, max_grad_norm=0.0, weight_decay=0.0)
    oracle, rows = Oracle(case), make_rows(case)
    expected = oracle.gradient(rows, config)
    found, losses = gradient_of(name, case)
    _, parts = oracle.loss(rows, config)
    for part, value in parts.items():
        _near(value, losses[part], LOSS, part)
    _near(np.linalg.norm(expected), losses["grad_norm"], LOSS, "grad_norm")
    angle = cosine(expected, found)
    assert angle > COSINE, f"the cosine between the gradient and central differences is {angle:.7f}"
    engine, state = make_engine(name, case, config)
    _descend(engine, case, rows, importance=rows.importance)
    engine.pull()
    moved = np.concatenate([state[t.name].ravel() for t in case.spec.tensors()]) - initial_params(case.spec, SEED)
    _near(-1e-3 * found / (np.abs(found) + config.epsilon), moved, 1e-6, "the first step")


def _check_order(name: str, case: Case) -> None:
    """Minibatches take what they are told to take, else the order of every back end."""
    config, rows = case.config(), make_rows(case)
    taken = N if case.spec.carry else T * N
    size = config.minibatch * taken // (T * N)
    order = np.stack([minibatch_order(SEED, 5, epoch, taken, size) for epoch in range(config.epochs)])
    results = []
    for options in ({}, {"order": order}, {"order": order[:, ::-1].copy()}):
        engine, state = make_engine(name, case, config)
        _descend(engine, case, rows, 5, **options)
        engine.pull()
        results.append(np.concatenate([state[t.name].ravel() for t in case.spec.tensors()]))
    assert np.array_equal(results[0], results[1]), "the order is another one"
    assert not np.array_equal(results[1], results[2]), "an order that is given is not kept"


def _learn(name: str, case: Case, rows: Any, updates: int = 2) -> dict[str, bytes]:
    engine, state = make_engine(name, case, case.config())
    for update in range(updates):
        _descend(engine, case, rows, update)
    engine.pull()
    return {key: array.tobytes() for key, array in state.items()}


def _check_absent(name: str, case: Case) -> None:
    """What rows that are not valid hold changes nothing."""
    rows = make_rows(case)
    with_nan = _learn(name, case, rows)
    absent = rows.segment.valid == 0
    rng = np.random.default_rng(1)
    for plane in (rows.segment.logprob, rows.segment.value, rows.advantage, rows.target):
        plane[absent] = rng.normal(size=absent.sum())
    rows.segment.features[:-1][absent] = rng.normal(size=(absent.sum(), case.spec.tree.width))
    for key, values in _learn(name, case, rows).items():
        assert values == with_nan[key], f"{key} depends on them"


def _check_restart(name: str, case: Case) -> None:
    """Learning goes on from the arrays of `tensors`, after `push` in another engine."""
    rows, whole = make_rows(case), {}
    engine, state = make_engine(name, case, case.config())
    other, taken = make_engine(name, case, case.config())
    for update in range(2):
        _descend(engine, case, rows, update)
        engine.pull()
        if update == 0:
            whole = {key: array.copy() for key, array in state.items()}
    for key, array in taken.items():
        array[...] = whole[key]
    other.push()
    other.load(taken)
    _descend(other, case, rows, 1)
    other.pull()
    for key, array in state.items():
        _near(array, taken[key], LOSS, key)


CHECKS = (_check_start, _check_forward, _check_acting, _check_gradient, _check_order, _check_absent, _check_restart)
