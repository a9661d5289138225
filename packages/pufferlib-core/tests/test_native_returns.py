"""Advantages and returns of the core: worked numbers of the literature's formulas, then relations, on every ISA."""

from __future__ import annotations

import numpy as np
import pytest
from pufferlib_core import native
from pufferlib_core.algorithms.ppo import PPOConfig, targets
from pufferlib_core.data import Segment
from pufferlib_core.errors import ConfigError, ShapeError
from pufferlib_core.ops import returns


def column(*values: float) -> np.ndarray:
    return np.array(values, np.float32)[:, None]


def flags(*values: int) -> np.ndarray:
    return np.array(values, bool)[:, None]


@pytest.fixture(params=sorted(native.isa_names()))
def variant(request, monkeypatch):
    monkeypatch.setenv("PUFFER_ISA", request.param)
    native.isa.cache_clear()
    yield request.param
    native.isa.cache_clear()


REWARD, VALUE, NEXT = column(1, 2, 3), column(0.5, 1, 1.5), column(1, 1.5, 2)
NO = flags(0, 0, 0)
MIDDLE = flags(0, 1, 0)


@pytest.mark.parametrize(
    ("lam", "expected"), [(0.8, [4.80272, 4.726, 3.3]), (1.0, [6.188, 5.32, 3.3]), (0.0, [1.4, 2.35, 3.3])]
)
def test_gae_worked_numbers(variant, lam, expected):
    got = native.gae(REWARD, VALUE, NEXT, NO, NO, gamma=0.9, lam=lam)
    assert got.ravel().tolist() == pytest.approx(expected, rel=1e-6)


def test_termination_takes_no_value_and_cuts(variant):
    got = native.gae(REWARD, VALUE, column(1, np.nan, 2), MIDDLE, NO, gamma=0.9, lam=0.8)
    assert got.ravel().tolist() == pytest.approx([2.12, 1.0, 3.3], rel=1e-6)


def test_truncation_bootstraps_and_cuts(variant):
    got = native.gae(REWARD, VALUE, column(1, 4, 2), NO, MIDDLE, gamma=0.9, lam=0.8)
    assert got.ravel().tolist() == pytest.approx([4.712, 4.6, 3.3], rel=1e-6)


def test_termination_wins_over_truncation(variant):
    both = native.gae(REWARD, VALUE, NEXT, MIDDLE, MIDDLE, gamma=0.9, lam=0.8)
    assert both.tobytes() == native.gae(REWARD, VALUE, NEXT, MIDDLE, NO, gamma=0.9, lam=0.8).tobytes()


def random_case(t: int, n: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    planes = [rng.normal(size=(t, n)).astype(np.float32) for _ in range(3)]
    return planes, [rng.random((t, n)) < 0.1 for _ in range(2)]


@pytest.mark.parametrize(("t", "n"), [(1, 1), (5, 7), (3, 8), (4, 16), (9, 65), (3, 1100), (2, 2049), (3, 5003)])
def test_gae_is_bit_equal_to_the_formula(variant, t, n):
    (reward, value, next_value), (terminated, truncated) = random_case(t, n)
    gamma, lam = np.float32(0.97), np.float32(0.9)
    expected = returns.gae(reward, value, next_value, terminated, truncated, gamma=gamma, lam=lam, xp=np)
    got = native.gae(reward, value, next_value, terminated, truncated, gamma=0.97, lam=0.9)
    assert got.tobytes() == expected.tobytes()
    with_pool = native.gae(reward, value, next_value, terminated, truncated, gamma=0.97, lam=0.9, pool=native.Pool(3))
    assert with_pool.tobytes() == expected.tobytes()


def test_vtrace_worked_numbers(variant):
    zero = column(0, 0, 0)
    target, adv = native.vtrace(zero, zero, REWARD, VALUE, NEXT, NO, NO, gamma=0.9)
    assert target.ravel().tolist() == pytest.approx([6.688, 6.32, 4.8], rel=1e-6)
    ratios = np.log(column(0.5, 2, 1))
    target, adv = native.vtrace(zero, ratios, REWARD, VALUE, NEXT, NO, NO, gamma=0.9)
    assert target.ravel().tolist() == pytest.approx([3.594, 6.32, 4.8], rel=1e-5)
    assert adv.ravel().tolist() == pytest.approx([3.094, 5.32, 3.3], rel=1e-5)


def test_vtrace_and_lambda_returns_equal_the_oracle(variant):
    (reward, value, next_value), (terminated, truncated) = random_case(9, 37)
    behaviour, target_logprob = (plane * 0.3 for plane in random_case(9, 37, seed=1)[0][:2])
    planes = behaviour, target_logprob, reward, value, next_value, terminated, truncated
    expected = returns.vtrace(*planes, gamma=0.9, lam=0.8, rho_clip=1.2, c_clip=0.9, xp=np)
    got = native.vtrace(*planes, gamma=0.9, lam=0.8, rho_clip=1.2, c_clip=0.9)
    np.testing.assert_allclose(got, expected, rtol=2e-4, atol=1e-5)
    ones = returns.discounted_returns(reward, next_value, terminated, truncated, gamma=0.9, xp=np)
    same = returns.lambda_returns(reward, next_value, terminated, truncated, gamma=0.9, lam=1.0, xp=np)
    np.testing.assert_array_equal(ones, same)


def test_lambda_returns_are_advantages_plus_values():
    (reward, value, next_value), (terminated, truncated) = random_case(9, 5)
    inside = ~(terminated | truncated)[:-1]
    next_value[:-1] = np.where(inside, value[1:], next_value[:-1])
    flags = terminated, truncated
    adv = returns.gae(reward, value, next_value, *flags, gamma=0.9, lam=0.8, xp=np)
    targets = returns.lambda_returns(reward, next_value, *flags, gamma=0.9, lam=0.8, xp=np)
    np.testing.assert_allclose(targets, adv + value, rtol=1e-4, atol=1e-5)


def test_on_policy_vtrace_is_gae_with_lambda_one(variant):
    (reward, value, next_value), (terminated, truncated) = random_case(11, 37)
    # Inside an episode the next value is the value of the next row, as in a collected segment.
    inside = ~(terminated | truncated)[:-1]
    next_value[:-1] = np.where(inside, value[1:], next_value[:-1])
    zero = np.zeros_like(reward)
    target, _ = native.vtrace(zero, zero, reward, value, next_value, terminated, truncated, gamma=0.9)
    adv = native.gae(reward, value, next_value, terminated, truncated, gamma=0.9, lam=1.0)
    np.testing.assert_allclose(target, value + adv, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reward": REWARD.astype(np.float64)}, "reward must be float32, got float64"),
        ({"value": VALUE[:2]}, r"value must have shape \(3, 1\), got \(2, 1\)"),
        ({"value": [1.0]}, "value must be a numpy array, got list"),
        ({"terminated": np.zeros((3, 1), np.int64)}, "terminated must be uint8, got int64"),
        ({"reward": np.zeros(3, np.float32)}, r"gae: reward must be a \(T, N\) array"),
        ({"value": np.zeros((1, 3), np.float32).T[:, ::-1][::-1]}, "value must be contiguous"),
    ],
)
def test_wrong_arrays_are_refused(change, message):
    arguments = {"reward": REWARD, "value": VALUE, "next_value": NEXT, "terminated": NO, "truncated": NO} | change
    if "contiguous" in message:
        wide = np.zeros((3, 2), np.float32)
        arguments["value"] = wide[:, :1]
    with pytest.raises(ShapeError, match=message):
        native.gae(**arguments, gamma=0.9, lam=0.9)


def test_flags_and_numbers_by_other_names_are_read():
    named = NO.astype(np.dtype(bool, metadata={"of": "a step"}))
    got = native.gae(REWARD, VALUE, NEXT, named, NO.astype(bool), gamma=0.9, lam=0.8)
    assert got.tobytes() == native.gae(REWARD, VALUE, NEXT, NO, NO, gamma=0.9, lam=0.8).tobytes()
    assert native.pointer(np.arange(3, dtype="q"), "steps", np.int64)[2] == 2
    with pytest.raises(ShapeError, match="holds numbers that the core does not read: float64"):
        native.pointer(np.zeros(3), "steps", np.float64)


def test_read_only_output_is_refused():
    out = np.zeros((3, 1), np.float32)
    out.flags.writeable = False
    with pytest.raises(ShapeError, match="read-only"):
        native.gae(REWARD, VALUE, NEXT, NO, NO, gamma=0.9, lam=0.9, out=out)


def test_an_unusable_isa_is_named(monkeypatch):
    monkeypatch.setenv("PUFFER_ISA", "avx1024")
    native.isa.cache_clear()
    with pytest.raises(ConfigError, match=r"PUFFER_ISA=avx1024 is not usable here"):
        native.isa()
    native.isa.cache_clear()


def test_pool_needs_a_thread():
    with pytest.raises(ConfigError, match=r"threads=0 must be a whole number in \[1, 256\]"):
        native.Pool(0)
    pool = native.Pool(2)
    pool.close()


def test_the_estimators_of_ppo_agree_on_targets_and_differ_in_advantages():
    """Data of one policy: V-trace's targets are those of GAE, its advantage looks one step ahead with them."""
    rng = np.random.default_rng(0)
    segment = Segment.allocate(6, 3, (np.dtype(np.float32), (2,)), 0, (np.dtype(np.int32), ()))
    for plane in (segment.logprob, segment.value, segment.next_value, segment.reward):
        plane[...] = rng.normal(size=plane.shape)
    segment.truncated[...] = rng.random((6, 3)) < 0.2
    segment.valid[...] = 1
    settings = {"gamma": 0.9, "lam": 0.8}
    ours, other = (targets({}, segment, PPOConfig(advantage=name, **settings)) for name in ("gae", "vtrace"))
    np.testing.assert_allclose(other["target"], ours["target"], rtol=1e-5, atol=1e-6)
    ended = segment.truncated[:-1] != 0
    ahead = np.where(ended, segment.next_value[:-1], ours["target"][1:])
    expected = segment.reward[:-1] + 0.9 * ahead - segment.value[:-1]
    np.testing.assert_allclose(other["advantage"][:-1], expected, rtol=1e-4, atol=1e-5)
    assert np.abs(other["advantage"] - ours["advantage"]).max() > 0.1
