"""The distributions of the core (puffer/dist.h) against the formulas in float64, on every instruction set."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pufferlib_core.data import aligned_zeros
from pufferlib_core.errors import NativeError
from pufferlib_core.native import check, ffi, isa_names, lib
from pufferlib_core.ops.distributions import categorical, gaussian, masked_logits, mixed
from pufferlib_core.spaces import Box, Mixed, MultiDiscrete

STEP = 1e-6


class Dist:
    """puf_dist with numpy arrays: choices of `nvec`, then `size` numbers, perhaps squashed."""

    def __init__(self, isa: str, nvec: tuple[int, ...] = (), size: int = 0, squash: int = 0) -> None:
        self.isa, self.nvec = isa_names()[isa], nvec
        self.c = ffi.new("puf_dist *")
        self.c.size, self.c.numbers = len(nvec) + size, size
        for k, n in enumerate(nvec[: lib.PUF_MAX_HEADS]):
            self.c.n[k] = n
        self.c.logits, self.c.squash = sum(nvec) + size, squash
        if nvec and size:
            self.row = Mixed(MultiDiscrete(np.maximum(nvec, 1)), Box(-1, 1, (size,))).dtype, ()
        else:
            self.row = np.dtype(np.int32 if nvec else np.float32), (len(nvec) + size,)
        self.scratch = aligned_zeros(max(1, lib.puf_dist_scratch(self.c)), np.float32)

    def _given(self, heads, log_std, mask):
        pointers = _f(heads), ffi.NULL if log_std is None else _f(log_std), ffi.NULL if mask is None else _u(mask)
        return self.isa, self.c, *pointers, len(heads)

    def sample(self, heads, log_std=None, mask=None, seed=0, first=0, step=0, greedy=False):
        action = np.zeros((len(heads), *self.row[1]), self.row[0])
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


def oracle(nvec, heads, action, log_std, mask, squashed=False):
    if not nvec:
        return gaussian(heads, log_std, action.astype(np.float64), squashed=squashed, xp=np)
    if log_std is not None:
        numbers = action["numbers"].astype(np.float64)
        return mixed(heads, log_std, action["choices"], numbers, nvec, mask, squashed=squashed, xp=np)
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
    nvec=st.lists(st.integers(1, 6), min_size=1, max_size=3).map(tuple), size=st.integers(0, 3), rows=st.integers(1, 70),
    seed=st.integers(0, 2**32 - 1), masked=st.booleans(), squashed=st.booleans(), scale=st.sampled_from([0.1, 3.0, 40.0]),
)  # fmt: skip
def test_choices_and_numbers_equal_the_formula(isa, nvec, size, rows, seed, masked, squashed, scale):
    rng = np.random.default_rng(seed)
    dist = Dist(isa, nvec, size, squashed and size > 0)
    heads = (rng.normal(size=(rows, sum(nvec) + size)) * np.repeat([scale, 1.0], [sum(nvec), size])).astype(np.float32)
    log_std = rng.normal(size=size).astype(np.float32) if size else None
    mask = random_masks(rng, rows, nvec) if masked else None
    action, sampled = dist.sample(heads, log_std, mask, seed=seed)
    logprob, entropy = dist.evaluate(heads, action, log_std, mask)
    wide = heads.astype(np.float64), None if log_std is None else log_std.astype(np.float64)
    expected = oracle(nvec, wide[0], action, wide[1], mask, squashed)
    np.testing.assert_allclose(sampled, expected[0], rtol=1e-5, atol=2e-5)
    np.testing.assert_allclose(logprob, expected[0], rtol=1e-5, atol=2e-5)
    np.testing.assert_allclose(entropy, expected[1], rtol=1e-5, atol=2e-5)
    if mask is not None:
        for k, first in enumerate(np.cumsum((0, *nvec[:-1]))):
            assert mask[np.arange(rows), first + (action["choices"] if size else action)[:, k]].all()


@pytest.mark.parametrize("isa", isa_names())
@pytest.mark.parametrize(
    ("nvec", "size", "squashed"),
    [((3,), 0, 0), ((2, 4), 0, 0), ((), 2, 0), ((2, 4), 2, 0), ((5,), 1, 0), ((), 2, 1), ((2, 4), 2, 1)],
)
def test_gradients_are_those_of_the_formula(isa, nvec, size, squashed):
    rng = np.random.default_rng(3)
    rows = 37
    dist = Dist(isa, nvec, size, squashed)
    heads = rng.normal(size=(rows, sum(nvec) + size)).astype(np.float32)
    log_std = np.array([-0.7, 0.4], np.float32)[:size] if size else None
    mask = random_masks(rng, rows, nvec) if nvec else None
    action, _ = dist.sample(heads, log_std, mask)
    d_logprob, d_entropy = rng.normal(size=(2, rows)).astype(np.float32)
    d_heads, d_log_std = dist.gradient(heads, action, d_logprob, d_entropy, log_std, mask)

    def total(x, spread):
        logprob, entropy = oracle(nvec, x, action, spread, mask, squashed)
        return float(np.sum(d_logprob * logprob + d_entropy * entropy))

    wide = heads.astype(np.float64)
    spread = None if log_std is None else log_std.astype(np.float64)
    np.testing.assert_allclose(d_heads, numeric_gradient(lambda x: total(x, spread), wide), rtol=1e-3, atol=2e-5)
    if log_std is not None:
        np.testing.assert_allclose(d_log_std, numeric_gradient(lambda s: total(wide, s), spread), rtol=1e-3, atol=2e-4)
    if mask is not None:
        assert (d_heads[:, : sum(nvec)][mask == 0] == 0).all()


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


@pytest.mark.parametrize("isa", isa_names())
def test_a_mixture_by_hand(isa):
    """Choices with probabilities (1/4, 3/4) and (1/2, 1/2, masked), a number of mean 1 and deviation 2: at (1, 0, 3)."""
    dist = Dist(isa, (2, 3), 1)
    heads = np.array([[0, np.log(3), 5, 5, 9, 1]], np.float32)
    log_std = np.array([np.log(2)], np.float32)
    mask = np.array([[1, 1, 1, 1, 0]], np.uint8)
    action = np.array([((1, 0), 3)], dist.row[0])
    expected = -0.2876821 - 0.6931472 - (0.5 + 0.6931472 + 0.9189385)  # log 3/4, log 1/2, z = 1
    spread = 0.5623351 + 0.6931472 + (0.6931472 + 0.9189385 + 0.5)
    logprob, entropy = dist.evaluate(heads, action, log_std, mask)
    assert (logprob[0], entropy[0]) == pytest.approx((expected, spread), rel=1e-5)
    assert [x[0] for x in oracle((2, 3), heads.astype(np.float64), action, log_std, mask)] == pytest.approx([expected, spread])
    d_heads, d_log_std = dist.gradient(heads, action, np.ones(1, np.float32), np.zeros(1, np.float32), log_std, mask)
    np.testing.assert_allclose(d_heads[0], [-0.25, 0.25, 0.5, -0.5, 0, (3 - 1) / 2**2], atol=1e-6)
    assert d_log_std[0] == pytest.approx(((3 - 1) / 2) ** 2 - 1, abs=1e-5)
    greedy, _ = dist.sample(heads, log_std, mask, greedy=True)
    assert (greedy["choices"].tolist(), greedy["numbers"].tolist()) == ([[1, 0]], [[1.0]])


@pytest.mark.parametrize("isa", isa_names())
def test_the_noise_of_a_mixture_is_that_of_its_components(isa):
    """Component c draws from stream c, whatever stands beside it."""
    rows, rng = 50, np.random.default_rng(2)
    logits, means = rng.normal(size=(rows, 5)).astype(np.float32), rng.normal(size=(rows, 3)).astype(np.float32)
    log_std = np.array([0.1, -0.2, 0.3], np.float32)
    action, logprob = Dist(isa, (2, 3), 3).sample(np.hstack([logits, means]), log_std, seed=9, step=4)
    choices, choices_logprob = Dist(isa, (2, 3)).sample(logits, seed=9, step=4)
    five = np.hstack([np.zeros((rows, 2), np.float32), means])
    numbers, _ = Dist(isa, size=5).sample(five, np.hstack([np.zeros(2, np.float32), log_std]), seed=9, step=4)
    assert action["choices"].tolist() == choices.tolist()
    assert action["numbers"].tolist() == numbers[:, 2:].tolist()
    rest = gaussian(means.astype(np.float64), log_std.astype(np.float64), action["numbers"].astype(np.float64), xp=np)[0]
    np.testing.assert_allclose(logprob, choices_logprob + rest, rtol=1e-5, atol=2e-5)


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
    assert lib.puf_dist_scratch(Dist("serial", (3,), squash=1).c) == 0  # there is nothing to squash
    assert lib.puf_dist_scratch(Dist("serial", (3,), 1, squash=2).c) == 0
    assert lib.puf_dist_scratch(Dist("serial", (2,) * 30, 3).c) == 0
    with pytest.raises(NativeError, match="not legal"):
        Dist("serial", (2,), 2).sample(np.zeros((4, 4), np.float32))  # and so do the numbers of a mixture
    dist.c.logits = 4
    with pytest.raises(NativeError, match="not legal"):
        dist.sample(heads)
