"""Arithmetic that runs for a very long time: running statistics at a billion rows, counts beyond 32 bits."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from pufferlib_core import Box, EnvSpec, minibatches
from pufferlib_core.data import Segment
from pufferlib_core.loops.episodes import WINDOW, Episodes
from pufferlib_core.ops.normalize import Moments
from pufferlib_core.traits import EPISODE
from pufferlib_core.vector import vectorize


def exact(count: int, mean: Fraction, var: Fraction, batches: list[np.ndarray]) -> tuple[Fraction, Fraction, int]:
    """Mean and population variance of everything, in whole numbers: of the rows before, and of batches of integers."""
    total, squares = mean * count, (var + mean**2) * count
    for batch in batches:
        whole = [int(x) for x in batch.ravel()]
        total, squares, count = total + sum(whole), squares + sum(x * x for x in whole), count + len(whole)
    middle = total / count
    return middle, squares / count - middle**2, count


@pytest.mark.parametrize(("offset", "spread"), [(0, 1), (1_000_000, 1), (-1_000_000, 3), (1_000_000, 1000)])
def test_moments_at_a_billion_rows_are_those_of_exact_arithmetic(offset, spread):
    count = 10**9
    rng = np.random.default_rng(0)
    batches = [offset + np.rint(rng.normal(0, spread, (2048, 1))).astype(np.int64) for _ in range(50)]
    moments = Moments(np.array([float(offset)]), np.array([float(spread**2)]), float(count))
    for batch in batches:
        moments = moments.merged(batch)
    mean, var, rows = exact(count, Fraction(offset), Fraction(spread**2), batches)
    assert moments.rows == rows
    assert abs(Fraction(moments.mean[0]) - mean) <= Fraction(1, 10**15) * max(1, abs(offset))
    assert abs(Fraction(moments.var[0]) - var) <= Fraction(1, 10**13) * spread**2
    assert moments.scale()[0] == pytest.approx(1 / float(var) ** 0.5, rel=1e-7)


def test_moments_grown_from_nothing_to_a_billion_rows_do_not_drift():
    """The same batch a million times: mean and variance stay those of the batch, the count is exact."""
    batch = 1e6 + np.array([[-1.0], [1.0]] * 500)
    moments = Moments.empty(1).merged(batch)
    for _ in range(20_000):
        moments = moments.merged(batch)
    assert moments.rows == 20_001_000
    moments = moments._replace(rows=1e9 - 1000)
    for _ in range(20_000):
        moments = moments.merged(batch)
    assert moments.rows == 1e9 - 1000 + 20_000_000
    assert moments.mean[0] == pytest.approx(1e6, abs=1e-9)
    assert moments.var[0] == pytest.approx(1.0, abs=1e-9)


def test_moments_still_follow_at_a_billion_rows():
    """A shift by one deviation moves the mean by n / rows of it for every batch: it neither stalls nor jumps."""
    moments = Moments(np.array([1e6]), np.array([1.0]), 1e9)
    batch = 1e6 + 1 + np.array([[-1.0], [1.0]] * 1024)
    before = moments.mean[0]
    for k in range(1, 101):
        moments = moments.merged(batch)
        share = 2048 * k / (1e9 + 2048 * k)
        assert moments.mean[0] - before == pytest.approx(share, rel=1e-4)
        assert moments.var[0] == pytest.approx(1 + share * (1 - share), abs=1e-12)


def test_episodes_count_beyond_32_bits_and_average_without_loss():
    segment = Segment.allocate(4, 64, (np.dtype(np.float32), (1,)), 0, (np.dtype(np.int32), ()))
    segment.terminated[...] = 1
    segment.log["episode_return"], segment.log["episode_length"] = 2.0**30, 2**31 - 1
    episodes = Episodes()
    episodes.load({"count": 2**32 - 256, "returns": [2.0**30] * WINDOW, "lengths": [2**31 - 1] * WINDOW})
    episodes.add(segment, 256)
    episodes.add(segment, 256)
    assert episodes.count == 2**32 + 256
    assert episodes.return_mean == 2.0**30
    assert episodes.length_mean == 2**31 - 1
    assert episodes.state()["lengths"] == [2**31 - 1] * WINDOW
    assert EPISODE["episode_length"] == np.int32


def test_the_order_of_minibatches_differs_beyond_32_bits_of_updates():
    updates = [0, 1, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 1, 2**32, 2**32 + 1, 2**33]
    orders = {minibatches(2048, 512, seed=3, update=update).tobytes() for update in updates}
    assert len(orders) == len(updates)


class Endless:
    """A batch whose episodes never end."""

    def __init__(self, num_envs, seed):
        self.rows = num_envs

    def reset(self, rows, out):
        out.obs[rows] = 0

    def step(self, action, out):
        out.obs[:] = 0
        out.reward[:] = 0

    def get_state(self):
        return None

    def set_state(self, state):
        pass

    def close(self):
        pass


def test_the_length_of_an_episode_stops_at_its_bound():
    box = Box(-1, 1, (1,))
    vec = vectorize(EnvSpec(name="endless", obs_space=box, action_space=box, batch=Endless), num_envs=2)
    vec.reset()
    state = vec.state()
    state["length"][:] = [2**31 - 3, 5]
    vec.set_state(state)
    for _ in range(4):
        vec.step(np.zeros((2, 1), np.float32))
    assert vec.state()["length"].tolist() == [2**31 - 1, 9]
    vec.close()
