"""Bounds of networks: worked numbers, exact extremes found in other ways, and the C core run on adversarial networks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from pufferlib_core.errors import CheckpointError, ConfigError, ShapeError
from pufferlib_core.native import check, ffi, lib
from pufferlib_embedded.verify import intervals
from pufferlib_embedded.verify.crown import heads, lowest, reach
from pufferlib_embedded.verify.intervals import Bounds, activated, forward, interval
from pufferlib_embedded.verify.lines import lines
from pufferlib_embedded.verify.network import network
from pufferlib_embedded.verify.rounding import single_above, single_below
from pufferlib_embedded.verify.search import search

EXAMPLE = network([([[1, -1], [1, 1]], [0, 0]), ([[1, 1]], [0])], "relu")  # relu(x1 - x2) + relu(x1 + x2)
SQUARE = Bounds(-np.ones((1, 2)), np.ones((1, 2)))
TIGHT = 2e-6  # for the rounding of float32
SHAPES = [(2, 4, 1), (3, 5, 2), (4, 8, 8, 3), (1, 3, 3, 3, 1), (6, 16, 2)]
NETS = 1000  # of each shape and activation: 10,000 in all


def drawn(sizes, kind, count, rng):
    """Weights of networks side by side; boxes (low, high), float32.

    `plain` ones are like trained ones; `cancelling` ones sum large numbers to small ones, over boxes of one point or nearly;
    `tiny` ones multiply numbers near and below the least normal one.
    """
    scale = {"plain": 1.0, "cancelling": 1e4, "tiny": 1e-20}[kind]
    layers = []
    for k, (read, out) in enumerate(itertools.pairwise(sizes)):
        weight, bias = rng.normal(size=(count, out, read)), rng.normal(size=(count, out))
        if kind == "cancelling" and k + 2 == len(sizes):
            weight[..., ::2] = 1.0 + 1e-7 * weight[..., ::2]
        layers.append(((scale * weight).astype(np.float32), (scale * bias).astype(np.float32)))
    middle = rng.normal(size=(count, sizes[0])) * (1e-20 if kind == "tiny" else 2.0)
    reach_ = rng.exponential(size=(count, sizes[0])) * rng.choice([0.0, 1e-6, 0.1, 1.0], size=(count, 1)) * np.abs(middle)
    return layers, (middle - reach_).astype(np.float32), (middle + reach_).astype(np.float32)


def inside(low, high, rng, points=4):
    """Points (B, P, n) of boxes: the lower and upper end, other corners, and anywhere."""
    ends, drawn_ = [low, high], rng.random((points, *low.shape))
    ends += [np.where(part < 0.5, low, high) for part in drawn_[: points // 2]]
    ends += [np.clip(low + part * (high - low), low, high) for part in drawn_[points // 2 :]]
    return np.stack(ends, axis=1).astype(np.float32)


def core(layers, activation, x):
    """Heads (B, P, L) that the C core gives: networks (B, ...) on points (B, P, n)."""
    net, lean = ffi.new("puf_net *"), ffi.new("puf_lean *")
    net.obs_size, net.obs_number, net.layers = x.shape[-1], lib.PUF_F32, len(layers) - 1
    for k, (_, bias) in enumerate(layers[:-1]):
        net.width[k] = bias.shape[-1]
    net.activation = {"tanh": lib.PUF_TANH, "relu": lib.PUF_RELU}[activation]
    net.action_size, net.action_n[0] = 1, layers[-1][1].shape[-1]
    flat = np.concatenate([part.reshape(len(part), -1) for layer in layers for part in layer], axis=1)
    assert lib.puf_lean_params(net) == flat.shape[1]
    result = np.empty((*x.shape[:2], net.action_n[0]), np.float32)
    scratch = ffi.new("float[]", lib.puf_lean_scratch(net))
    lean.net = net[0]
    for params, points, given in zip(np.ascontiguousarray(flat), x, result, strict=True):
        lean.params = held = ffi.from_buffer("float[]", params)
        for point, to in zip(points, given, strict=True):
            check(lib.puf_lean_heads(lean, ffi.from_buffer(point), ffi.NULL, scratch, ffi.from_buffer("float[]", to)), "core")
    del held
    return result


def missed(bounds, values):
    """How many values (B, P, n) are outside the bounds."""
    return int(((values < bounds.low[:, None]) | (values > bounds.high[:, None])).sum())


def test_the_worked_example():
    by_intervals, by_lines = interval(EXAMPLE, SQUARE)[-1].bounds, heads(EXAMPLE, SQUARE)
    np.testing.assert_allclose([by_intervals.low[0, 0], by_intervals.high[0, 0]], [0, 4], atol=TIGHT)
    np.testing.assert_allclose([by_lines.low[0, 0], by_lines.high[0, 0]], [0, 3], atol=TIGHT)
    least = search(EXAMPLE, SQUARE, np.array([[1.0]]), lambda bound, seen: seen - bound < 0.01, 1000)
    most = search(EXAMPLE, SQUARE, np.array([[-1.0]]), lambda bound, seen: seen - bound < 0.01, 1000)
    assert -0.01 <= least.bound <= 0 == least.seen
    assert 2 <= -most.bound <= 2.01
    assert -most.seen == 2
    assert by_intervals.low[0, 0] < 0 < 4 < by_intervals.high[0, 0]  # the rounding is in them


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("sizes", SHAPES, ids=str)
def test_what_the_core_gives_is_within_the_bounds_of_random_networks(sizes, activation):
    rng = np.random.default_rng(sum(sizes))
    for kind, count in (("plain", NETS * 6 // 10), ("cancelling", NETS * 3 // 10), ("tiny", NETS // 10)):
        layers, low, high = drawn(sizes, kind, count, rng)
        net, box = network(layers, activation), Bounds(low.astype(np.float64), high.astype(np.float64))
        values = core(layers, activation, inside(low, high, rng))
        by_intervals, by_lines = interval(net, box)[-1].bounds, heads(net, box)
        assert missed(by_intervals, values) == missed(by_lines, values) == 0
        assert (by_lines.low >= by_intervals.low).all()
        assert (by_lines.high <= by_intervals.high).all()
        if kind == "plain":
            assert (by_lines.high - by_lines.low).mean() < 0.95 * (by_intervals.high - by_intervals.low).mean()


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_without_the_rounding_of_float32_the_bounds_would_be_wrong(activation, monkeypatch):
    rng = np.random.default_rng(0)
    layers, low, high = drawn((4, 8, 8, 3), "cancelling", 200, rng)
    net, box = network(layers, activation), Bounds(low.astype(np.float64), high.astype(np.float64))
    values = core(layers, activation, inside(low, high, rng))
    assert missed(heads(net, box), values) == 0
    monkeypatch.setattr(intervals, "layer_error", lambda size, terms: 0.0 * size)
    assert missed(heads(net, box), values) > 20
    assert missed(interval(net, box)[-1].bounds, values) > 20


def test_weighted_sums_of_heads_are_bounded_together():
    rng = np.random.default_rng(0)
    layers, low, high = drawn((4, 8, 8, 3), "plain", 300, rng)
    net, box = network(layers, "tanh"), Bounds(low.astype(np.float64), high.astype(np.float64))
    rows = np.array([[1.0, -1.0, 0.0], [0.0, 1.0, -1.0]])
    found = lowest(net, *reach(net, box), box, rows)
    values = core(layers, "tanh", inside(low, high, rng)).astype(np.float64) @ rows.T
    assert (values >= found.bound[:, None]).all()
    apart = heads(net, box)
    assert (found.bound[:, 0] > apart.low[:, 0] - apart.high[:, 1]).mean() > 0.5


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_lines_hold_for_what_the_core_calculates(activation):
    rng = np.random.default_rng(0)
    size = 4000
    middle = (rng.normal(size=size) * 10.0 ** rng.integers(-8, 3, size=size)).astype(np.float32)
    width = np.where(rng.random(size) < 0.1, 0.0, 10.0 ** rng.uniform(-8, 2, size=size))
    low, high = (middle - width).astype(np.float32), (middle + width).astype(np.float32)
    fractions = np.concatenate([np.linspace(0, 1, 41), rng.random(20)])[:, None]
    z = np.clip(low + fractions * (high.astype(np.float64) - low), low, high).astype(np.float32)
    y = np.maximum(z, 0)
    if activation == "tanh":
        buffers = ffi.from_buffer("float[]", np.ascontiguousarray(z)), ffi.from_buffer("float[]", y)
        check(lib.puf_math_map(b"tanh", *buffers, z.size), "tanh")
    found = lines(activation, Bounds(low.astype(np.float64), high.astype(np.float64)))
    above, below = found.high_slope * z + found.high_offset - y, y - found.low_slope * z - found.low_offset
    assert above.min() >= 0
    assert below.min() >= 0
    at = Bounds(z.astype(np.float64), z.astype(np.float64))
    assert (activated(activation, at).low <= y).all()
    assert (activated(activation, at).high >= y).all()
    wide = high - low > 0.1
    assert np.median(above.min(axis=0)[wide]) < 1e-5  # close, too
    assert np.median(below.min(axis=0)[wide]) < 1e-5


def vertices(weight, bias, low, high):
    """Where lines weight @ x = -bias and the sides of a box of two numbers meet in it: a relu layer is linear between."""
    normals = np.concatenate([weight, np.eye(2), np.eye(2)])
    levels = np.concatenate([-bias, low, high])
    found = []
    for i, j in itertools.combinations(range(len(levels)), 2):
        pair = normals[[i, j]]
        if abs(np.linalg.det(pair)) > 1e-9:
            found.append(np.linalg.solve(pair, levels[[i, j]]))
    points = np.array(found)
    return points[((points >= low - 1e-9) & (points <= high + 1e-9)).all(axis=1)]


def test_splitting_comes_within_a_tenth_of_extremes_that_are_enumerated():
    rng = np.random.default_rng(0)
    crown_misses = 0
    for _ in range(40):
        weight, bias = rng.normal(size=(6, 2)).astype(np.float32), rng.normal(size=6).astype(np.float32)
        net = network([(weight, bias), (rng.normal(size=(1, 6)), rng.normal(size=1))], "relu")
        low, high = np.array([-1.0, -2.0]), np.array([1.0, 0.5])
        values = forward(net, vertices(weight.astype(np.float64), bias.astype(np.float64), low, high))
        exact, box = (values.min(), values.max()), Bounds(low[None], high[None])
        wide = exact[1] - exact[0]
        least, most = (
            search(net, box, np.array([[sign]]), lambda bound, seen, w=wide: seen - bound <= 0.02 * w, 4000)
            for sign in (1.0, -1.0)
        )
        assert exact[0] - 0.1 * wide <= least.bound <= exact[0] <= least.seen + 1e-9
        assert exact[1] + 0.1 * wide >= -most.bound >= exact[1] >= -most.seen - 1e-9
        crown_misses += heads(net, box).high[0, 0] > exact[1] + 0.1 * wide
    assert crown_misses > 10  # which is what splitting is for


def test_a_search_ends_where_nothing_can_be_won():
    flat = network([(np.zeros((3, 2)), np.ones(3)), (np.ones((1, 3)), [0.0])], "tanh")
    assert search(flat, SQUARE, np.array([[1.0]]), lambda *_: False, 1000).boxes == 1
    point = Bounds(np.ones((1, 2)), np.ones((1, 2)))
    assert search(EXAMPLE, point, np.array([[1.0]]), lambda *_: False, 1000).boxes == 1
    assert search(EXAMPLE, SQUARE, np.array([[1.0]]), lambda *_: False, 100).boxes >= 100


def test_floats_below_and_above():
    x = np.array([0.1, -0.1, 1.0, 0.0])
    assert (single_below(x).astype(np.float64) <= x).all()
    assert (single_above(x).astype(np.float64) >= x).all()
    assert single_below(x)[2] == single_above(x)[2] == 1
    assert single_above(x)[0] == np.nextafter(single_below(x)[0], np.float32(1))


def test_networks_that_cannot_be_verified():
    with pytest.raises(ConfigError, match="relu or tanh"):
        network([([[1.0]], [0.0])], "gelu")
    with pytest.raises(ShapeError, match=r"layer 1: weight \(1, 3\)"):
        network([(np.ones((2, 2)), np.zeros(2)), (np.ones((1, 3)), np.zeros(1))], "relu")
    with pytest.raises(CheckpointError, match="layer 0 holds NaN"):
        network([([[np.nan]], [0.0])], "relu")
    huge = network([([[1e30]], [0.0]), ([[1e30]], [0.0])], "relu")
    with pytest.raises(ConfigError, match="beyond float32"):
        heads(huge, Bounds(np.zeros((1, 1)), np.ones((1, 1))))
