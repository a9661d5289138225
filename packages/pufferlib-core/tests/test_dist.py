"""The distributions of the core (puffer/dist.h) against the formulas in float64, on every instruction set."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pufferlib_core.data import aligned_zeros
from pufferlib_core.errors import NativeError
from pufferlib_core.native import check, ffi, isa_names, lib
from pufferlib_core.ops.distributions import categorical, gaussian, masked_logits

STEP = 1e-6


class Dist:
    """puf_dist with numpy arrays."""

    def __init__(self, isa: str, nvec: tuple[int, ...] = (), size: int = 0) -> None:
        self.isa, self.nvec = isa_names()[isa], nvec
        self.c = ffi.new("puf_dist *")
        self.c.kind = lib.PUF_ACTION_DISCRETE if nvec else lib.PUF_ACTION_CONTINUOUS
        self.c.size = len(nvec) or size
        for k, n in enumerate(nvec[: lib.PUF_MAX_HEADS]):
            self.c.n[k] = n
        self.c.logits = sum(nvec) or size
        self.scratch = aligned_zeros(max(1, lib.puf_dist_scratch(self.c)), np.float32)

    def _given(self, heads, log_std, mask):
        pointers = _f(heads), ffi.NULL if log_std is None else _f(log_std), ffi.NULL if mask is None else _u(mask)
        return self.isa, self.c, *pointers, len(heads)

    def sample(self, heads, log_std=None, mask=None, seed=0, first=0, step=0, greedy=False):
        action = np.zeros((len(heads), self.c.size), np.int32 if self.nvec else np.float32)
        logprob = np.zeros(len(heads), np.float32)
        given_ = self._given(heads, log_std, mask)
        where = ffi.from_buffer(action), _f(logprob), _f(self.scratch)
        check(lib.puf_dist_sample(*given_, seed, first, step, greedy, *where), "sample")
        return action, logprob

    def evaluate(self, heads, action, log_std=None, mask=None):
        logprob, entropy = np.zeros(len(heads), np.float32), np.zeros(len(heads), np.float32)
        given_ = self._given(heads, log_std, mask)
        check(lib.puf_dist_evaluate(*given_, ffi.from_buffer(action), _f(logprob), _f(entropy), _f(self.scratch)), "evaluate")
        return logprob, entropy

    def gradient(self, heads, action, d_logprob, d_entropy, log_std=None, mask=None):
        d_heads = np.full_like(heads, 9.0)
        d_log_std = None if log_std is None else np.full_like(log_std, 9.0)
        where = _f(d_heads), ffi.NULL if d_log_std is None else _f(d_log_std), _f(self.scratch)
        given_ = self._given(heads, log_std, mask)
        status = lib.puf_dist_gradient(*given_, ffi.from_buffer(action), _f(d_logprob), _f(d_entropy), *where)
        check(status, "gradient")
        return d_heads, d_log_std


def _f(array):
    return ffi.from_buffer("float[]", array)


def _u(array):
    return ffi.from_buffer("uint8_t[]", array)


def random_masks(rng, rows, nvec):
    mask = (rng.random((rows, sum(nvec))) < 0.5).astype(np.uint8)
    for first, n in zip(np.cumsum((0, *nvec[:-1])), nvec, strict=True):
        mask[np.arange(rows), first + rng.integers(n, size=rows)] = 1
    return mask


def oracle(nvec, heads, action, log_std, mask):
    if not nvec:
        return gaussian(heads, log_std, action.astype(np.float64), xp=np)
    return categorical(masked_logits(heads, mask, xp=np), action, nvec, xp=np)


def numeric_gradient(f, x):
    result = np.zeros_like(x)
    for at in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[at] += STEP
        down[at] -= STEP
        result[at] = (f(up) - f(down)) / (2 * STEP)
    return result


@pytest.mark.parametrize("isa", isa_names())
@settings(max_examples=25, deadline=None)
@given(
    nvec=st.lists(st.integers(1, 6), min_size=1, max_size=3).map(tuple), rows=st.integers(1, 70),
    seed=st.integers(0, 2**32 - 1), masked=st.booleans(), scale=st.sampled_from([0.1, 3.0, 40.0]),
)  # fmt: skip
def test_categorical_equals_the_formula(isa, nvec, rows, seed, masked, scale):
    rng = np.random.default_rng(seed)
    dist = Dist(isa, nvec)
    heads = (rng.normal(size=(rows, sum(nvec))) * scale).astype(np.float32)
    mask = random_masks(rng, rows, nvec) if masked else None
    action, sampled = dist.sample(heads, mask=mask, seed=seed)
    logprob, entropy = dist.evaluate(heads, action, mask=mask)
    expected = oracle(nvec, heads.astype(np.float64), action, None, mask)
    np.testing.assert_allclose(sampled, expected[0], rtol=1e-5, atol=2e-5)
    np.testing.assert_allclose(logprob, expected[0], rtol=1e-5, atol=2e-5)
    np.testing.assert_allclose(entropy, expected[1], rtol=1e-5, atol=2e-5)
    if mask is not None:
        for k, first in enumerate(np.cumsum((0, *nvec[:-1]))):
            assert mask[np.arange(rows), first + action[:, k]].all()


@pytest.mark.parametrize("isa", isa_names())
@pytest.mark.parametrize("nvec", [(3,), (2, 4), ()])
def test_gradients_are_those_of_the_formula(isa, nvec):
    rng = np.random.default_rng(3)
    rows, size = 37, 2
    dist = Dist(isa, nvec, size)
    heads = rng.normal(size=(rows, sum(nvec) or size)).astype(np.float32)
    log_std = None if nvec else np.array([-0.7, 0.4], np.float32)
    mask = random_masks(rng, rows, nvec) if nvec else None
    action, _ = dist.sample(heads, log_std, mask)
    d_logprob, d_entropy = rng.normal(size=(2, rows)).astype(np.float32)
    d_heads, d_log_std = dist.gradient(heads, action, d_logprob, d_entropy, log_std, mask)

    def total(x, spread):
        logprob, entropy = oracle(nvec, x, action, spread, mask)
        return float(np.sum(d_logprob * logprob + d_entropy * entropy))

    wide = heads.astype(np.float64)
    spread = None if log_std is None else log_std.astype(np.float64)
    np.testing.assert_allclose(d_heads, numeric_gradient(lambda x: total(x, spread), wide), rtol=1e-3, atol=2e-5)
    if log_std is not None:
        np.testing.assert_allclose(d_log_std, numeric_gradient(lambda s: total(wide, s), spread), rtol=1e-3, atol=2e-4)
    if mask is not None:
        assert (d_heads[mask == 0] == 0).all()


@pytest.mark.parametrize("isa", isa_names())
def test_a_row_depends_on_its_key_alone(isa):
    rng = np.random.default_rng(0)
    dist = Dist(isa, (5,))
    heads = rng.normal(size=(100, 5)).astype(np.float32)
    action, logprob = dist.sample(heads, seed=4, step=7)
    for first in (0, 1, 33, 99):
        one, one_logprob = dist.sample(heads[first : first + 1], seed=4, step=7, first=first)
        assert one[0] == action[first]
        assert one_logprob[0] == logprob[first]
    assert (dist.sample(heads, seed=4, step=8)[0] != action).any()
    assert (dist.sample(heads, seed=5, step=7)[0] != action).any()


@pytest.mark.parametrize("isa", isa_names())
def test_frequencies_and_greedy(isa):
    rows = 20_000
    heads = np.tile(np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32)), (rows, 1))
    dist = Dist(isa, (4,))
    counts = np.bincount(dist.sample(heads)[0][:, 0], minlength=4) / rows
    np.testing.assert_allclose(counts, [0.5, 0.3, 0.15, 0.05], atol=4 * np.sqrt(0.25 / rows))
    mask = np.tile(np.array([0, 1, 0, 1], np.uint8), (rows, 1))
    masked = np.bincount(dist.sample(heads, mask=mask)[0][:, 0], minlength=4) / rows
    np.testing.assert_allclose(masked, [0, 6 / 7, 0, 1 / 7], atol=4 * np.sqrt(0.25 / rows))
    assert (dist.sample(heads, greedy=True)[0] == 0).all()
    assert (dist.sample(heads, mask=mask, greedy=True)[0] == 1).all()


@pytest.mark.parametrize("isa", isa_names())
def test_gaussian_moments(isa):
    rows = 20_000
    heads = np.tile(np.array([1.0, -2.0], np.float32), (rows, 1))
    log_std = np.log(np.array([0.5, 2.0], np.float32))
    dist = Dist(isa, size=2)
    action, logprob = dist.sample(heads, log_std)
    np.testing.assert_allclose(action.mean(0), [1, -2], atol=4 * 2 / np.sqrt(rows))
    np.testing.assert_allclose(action.std(0), [0.5, 2], rtol=0.03)
    expected, entropy = gaussian(heads.astype(np.float64), log_std.astype(np.float64), action.astype(np.float64), xp=np)
    np.testing.assert_allclose(logprob, expected, rtol=1e-5, atol=2e-5)
    np.testing.assert_allclose(dist.evaluate(heads, action, log_std)[1], entropy, rtol=1e-5)
    assert (dist.sample(heads, log_std, greedy=True)[0] == heads).all()


def test_bad_input_is_refused():
    dist = Dist("serial", (2, 3))
    heads = np.zeros((4, 5), np.float32)
    mask = np.ones((4, 5), np.uint8)
    mask[2, 2:] = 0
    with pytest.raises(NativeError, match="allows nothing"):
        dist.sample(heads, mask=mask)
    with pytest.raises(NativeError, match="not legal"):
        Dist("serial", size=2).sample(np.zeros((4, 2), np.float32))  # a Gaussian needs log_std
    assert lib.puf_dist_scratch(Dist("serial", (0, 3)).c) == 0
    assert lib.puf_dist_scratch(Dist("serial", (513,)).c) == 0
    assert lib.puf_dist_scratch(Dist("serial", size=33).c) == 0
    dist.c.logits = 4
    with pytest.raises(NativeError, match="not legal"):
        dist.sample(heads)
