"""The contract of back ends."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import array_api_compat.numpy as xp
import numpy as np

from pufferlib_core.algorithms.ppo import PPOConfig
from pufferlib_core.backends.acting import minibatch_order
from pufferlib_core.backends.params import initial_params, moments, served, views
from pufferlib_core.errors import PufferError
from pufferlib_core.native import Array, Pool
from pufferlib_core.ops.optim import adam, muon
from pufferlib_core.testing.trials import CASES, SEED, Case, N, Oracle, Rows, T, Trial, fill, make_rows

FORWARD = 1e-5  # of the largest output
COSINE = 0.99999  # between gradients
SLOPE = float(np.sqrt(2 * (1 - COSINE)))  # of the length of a gradient: an error across it that the cosine allows
DIRECTIONS = 4  # for each tensor; central differences along every parameter alone would take seconds
LOSS = 1e-4


def check_backend(name: str, cases: Iterable[str] = tuple(CASES)) -> None:
    """Runs a back end that trains against the contract of `backends.Engine`, for each of `testing.trials.CASES`.

    Initial parameters are those of every back end. Outputs, values and what is handed on agree with the formulas of `ops` in
    float64; actions are those that the core samples. Losses agree, and the gradient does with central differences; so does
    the optimiser's step that follows from it. Nothing in rows that are not valid changes a bit. What `tensors` gives is what
    learning goes on from. A loss that is not finite is refused and the step not taken.

    Args:
        name: of the back end.
        cases: names of those to run; all unless told.

    Raises:
        PufferError: saying which rule was broken, and in which case.
    """
    for key in cases:
        trial = Trial(name, CASES[key])
        for check in CHECKS:
            try:
                check(trial)
            except AssertionError as error:
                rule = (check.__doc__ or "").splitlines()[0]
                raise PufferError(f"back end {name}, {key}: broken: {rule} {error}") from error


def cosine(a: Array, b: Array) -> float:
    """Of the angle between two vectors."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def _near(ours: Any, theirs: Any, bound: float, what: str) -> None:
    gap = float(np.max(np.abs(np.asarray(theirs, np.float64) - ours), initial=0.0))
    limit = bound * max(1.0, float(np.max(np.abs(ours), initial=0.0)))
    assert gap <= limit, f"{what} is off by {gap:.2g}, allowed are {limit:.2g}"


def _check_start(trial: Trial) -> None:
    """Initial parameters and names are the same on every back end."""
    case = trial.case
    _, state = trial.new_engine(case.config())
    expected, muon = views(case.spec, initial_params(case.spec, SEED)), served(case.spec, case.config().optimizer)
    for tensor, values in expected.items():
        assert tensor in state, f"{tensor} is missing"
        assert np.array_equal(state[tensor], values), f"{tensor} differs"
        for moment in moments(tensor, muon):
            assert moment in state, f"{moment} is missing"
            assert state[moment].shape == values.shape, f"{moment} is {state[moment].shape}"
            assert not state[moment].any(), f"{moment} is not 0"
    assert state["adam/step"].tolist() == [0], f"adam/step is {state['adam/step']}"
    named = {*expected, "adam/step"}.union(*(moments(tensor, muon) for tensor in expected))
    assert set(state) == named, f"{', '.join(sorted(set(state) - named))} is nobody's"


def _check_forward(trial: Trial) -> None:
    """Outputs, values and what is handed on are those of the formulas."""
    case = trial.case
    engine, _ = trial.engine()
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


def _check_acting(trial: Trial) -> None:
    """Actions are those that the core samples from the outputs, with their log-probabilities, whatever rows come together."""
    case = trial.case
    engine, _ = trial.engine()
    segment = make_rows(case, valid=1.0).segment
    oracle = Oracle(case)
    for t in range(2):
        carry = None if segment.carry is None else segment.carry[0]
        heads, _, _ = oracle.step(segment.features[t], None if carry is None else carry.astype(np.float64))
        how: dict[str, Any] = {"greedy": t == 1, "seed": 5, "step": 7, "raw": True}
        kept = None if carry is None else carry.copy()
        action, logprob, _ = engine.policy.act(segment.features[t], action_mask=_mask(segment, t), carry=kept, **how)
        _near(oracle.evaluate(heads, action, _mask(segment, t))[0], logprob, LOSS, "a log-probability")
        kept = None if carry is None else carry.copy()
        given, _, _ = engine.policy.act(segment.features[t], action_mask=_mask(segment, t), carry=kept, **how | {"raw": False})
        assert given.tobytes() == case.spec.postprocess(action).tobytes(), "environments do not get what was sampled"
        some = slice(N // 2, N)
        mask = None if segment.action_mask is None else segment.action_mask[t, some]
        kept = None if carry is None else carry[some].copy()
        half, _, _ = engine.policy.act(segment.features[t, some], action_mask=mask, carry=kept, first=N // 2, **how)
        if case.spec.nvec and not case.spec.numbers:
            assert np.array_equal(half, action[some]), "an action depends on the rows that come with it"


def _check_actor(trial: Trial) -> None:
    """An actor does what `act` does, call by call."""
    engine, _ = trial.engine()
    segment = make_rows(trial.case, valid=1.0).segment
    for greedy in (False, True):
        actor = engine.policy.actor(N, greedy=greedy, seed=5, masked=trial.case.masked)
        carry = None if actor.carry is None else actor.carry.copy()
        for t in range(2):
            actor.obs[...], mask = segment.obs[t], _mask(segment, t)
            if mask is not None:
                actor.action_mask[...] = mask
            expected = engine.policy.act(segment.obs[t], greedy=greedy, seed=5, step=t, action_mask=mask, carry=carry)
            found = actor(), actor.logprob, actor.value
            for what, theirs, ours in zip(("action", "log-probability", "value"), expected, found, strict=True):
                assert theirs.tobytes() == ours.tobytes(), f"the {what} of an actor differs from that of act in step {t}"
            assert carry is None or np.array_equal(carry, actor.carry), "what an actor hands on differs from that of act"


def _check_gradient(trial: Trial) -> None:
    """Losses and the gradient are those of the formulas, and so is the first step of the optimiser."""
    case, config = trial.case, trial.case.whole()
    oracle, rows = Oracle(case), make_rows(case)
    found, losses = trial.gradient(rows)
    _, parts = oracle.loss(rows, config)
    for part, value in parts.items():
        _near(value, losses[part], LOSS, part)
    _near(np.linalg.norm(found), losses["grad_norm"], LOSS, "grad_norm")
    _check_slopes(oracle, found, rows)
    engine, state = trial.engine(config)
    trial.descend(engine, rows, importance=rows.importance)
    engine.pull()
    moved = trial.joined(state) - initial_params(case.spec, SEED)
    _near(_first_step(case, config, found), moved, 1e-6, "the first step")


def _first_step(case: Case, config: PPOConfig, gradient: Array) -> Array:
    """How a step from zero moves the parameters (params,)."""
    muon_serves, rate = served(case.spec, config.optimizer), case.coefficients.rate
    moved = np.zeros(len(gradient))
    to, start = views(case.spec, moved), np.zeros(len(gradient))
    for name, grad in views(case.spec, gradient.astype(np.float64)).items():
        zero = views(case.spec, start)[name]
        if name in muon_serves:
            to[name][...] = muon(zero, grad, zero, rate=rate, decay=config.momentum, xp=xp)[0]
        else:
            rest = {"beta1": config.beta1, "beta2": config.beta2, "epsilon": config.epsilon}
            to[name][...] = adam(zero, grad, zero, zero, step=1, rate=rate, **rest, xp=xp)[0]
    return moved


def _check_slopes(oracle: Oracle, found: Array, rows: Rows) -> None:
    """Along normal directions the mean square of an error is the square of its length, tensor by tensor."""
    rng, config, first, squares = np.random.default_rng(2), oracle.case.whole(), 0, 0.0
    for tensor in oracle.spec.tensors():
        part = slice(first, first + int(np.prod(tensor.shape)))
        first = part.stop
        for _ in range(DIRECTIONS):
            direction = np.zeros_like(oracle.params)
            direction[part] = rng.normal(size=part.stop - part.start)
            squares += (oracle.slope(direction, rows, config) - float(found @ direction)) ** 2 / DIRECTIONS
    error = float(np.sqrt(squares) / np.linalg.norm(found))
    assert error < SLOPE, f"the gradient is off central differences by {error:.2g} of its length, allowed are {SLOPE:.2g}"


def _check_order(trial: Trial) -> None:
    """Minibatches take what they are told to take, else the order of every back end."""
    config, rows = trial.case.config(), make_rows(trial.case)
    taken = N if trial.case.spec.carry else T * N
    size = config.minibatch * taken // (T * N)
    order = np.stack([minibatch_order(SEED, 5, epoch, taken, size) for epoch in range(config.epochs)])
    results = []
    for given in (None, order, order[:, ::-1].copy()):
        engine, state = trial.engine()
        trial.descend(engine, rows, 5, order=given)
        engine.pull()
        results.append(trial.joined(state))
    assert np.array_equal(results[0], results[1]), "the order is another one"
    assert not np.array_equal(results[1], results[2]), "an order that is given is not kept"


def _learnt(trial: Trial, rows: Rows) -> dict[str, bytes]:
    engine, state = trial.engine()
    for update in range(2):
        trial.descend(engine, rows, update)
    engine.pull()
    return {key: array.tobytes() for key, array in state.items()}


def _check_absent(trial: Trial) -> None:
    """What rows that are not valid hold changes nothing."""
    rows = make_rows(trial.case)
    with_nan = _learnt(trial, rows)
    absent = rows.segment.valid == 0
    rng = np.random.default_rng(1)
    for plane in (rows.segment.logprob, rows.segment.value, rows.advantage, rows.target):
        plane[absent] = rng.normal(size=absent.sum())
    fill(rows.segment, rng)
    for key, values in _learnt(trial, rows).items():
        assert values == with_nan[key], f"{key} depends on them"


def _check_restart(trial: Trial) -> None:
    """Learning goes on from the arrays of `tensors`, after `push` in another engine."""
    rows, between = make_rows(trial.case), {}
    engine, state = trial.engine()
    for update in range(2):
        trial.descend(engine, rows, update)
        engine.pull()
        if update == 0:
            between = {key: array.copy() for key, array in state.items()}
    other, taken = trial.new_engine(trial.case.config())
    for key, array in taken.items():
        array[...] = between[key]
    other.push()
    other.load(taken)
    trial.descend(other, rows, 1)
    other.pull()
    for key, array in state.items():
        _near(array, taken[key], LOSS, key)


def _check_collector(trial: Trial) -> None:
    """A collector acts as the engine did when it was loaded, while that learns."""
    engine, state = trial.engine()
    rows = make_rows(trial.case, valid=1.0)
    features = rows.segment.features[0]
    carry = None if rows.segment.carry is None else rows.segment.carry[0]
    collector = engine.collector(Pool(1))
    collector.load(state)
    before = engine.policy.forward(features, carry=carry)[0]

    def changed() -> bool:  # not to the bit: it may compute the network in another way
        gap = np.abs(collector.policy.forward(features, carry=carry)[0] - before).max()
        return bool(gap > FORWARD * max(1.0, np.abs(before).max()))

    assert not changed(), "the collector acts otherwise"
    learnt = threading.Event()

    def watch() -> bool:
        found = changed()
        while not learnt.is_set():
            found |= changed()
        return found

    with ThreadPoolExecutor(1) as executor:
        watching = executor.submit(watch)
        try:
            trial.descend(engine, rows)
        finally:
            learnt.set()
        assert not watching.result(), "the collector's policy changes while the engine learns"
    engine.load(state)
    assert not changed(), "the collector's policy changes with the engine's"
    before = engine.policy.forward(features, carry=carry)[0]
    assert changed(), "learning changes nothing"
    collector.load(state)
    assert not changed(), "the collector acts otherwise after it was loaded again"


CHECKS = (
    _check_start,
    _check_forward,
    _check_acting,
    _check_actor,
    _check_gradient,
    _check_order,
    _check_absent,
    _check_restart,
    _check_collector,
)
