"""What PPO offers beside its loss: schedules, the penalty that adapts itself, prioritised minibatches."""

import json

import array_api_compat.numpy as xp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pufferlib_core import native, train
from pufferlib_core.algorithms.ppo import PPOConfig, adapted, appraised, check_config, coefficients, divergence, minibatches
from pufferlib_core.collect import outputs
from pufferlib_core.errors import ConfigError, NativeError
from pufferlib_core.ops.distributions import kl
from pufferlib_core.ops.priorities import importance, probabilities
from pufferlib_core.policies import PolicyConfig
from pufferlib_core.seeding import STREAM_PRIORITY
from pufferlib_core.testing.trials import CASES, N, Oracle, T, Trial, make_rows


def test_coefficients_follow_their_schedules():
    config = PPOConfig(
        learning_rate=0.1, clip=0.2, clip_schedule="linear", entropy_coef=0.04, entropy_schedule="cosine", schedule="constant"
    )
    assert coefficients({}, config, 0.25) == pytest.approx((0.1, 0.15, 0.04 * 0.5 * (1 + np.cos(np.pi / 4)), 0.0), rel=1e-6)
    assert coefficients({"kl_coef": np.array([0.3])}, config, 0.0).kl == 0.3


def test_the_penalty_doubles_and_halves():
    assert adapted(0.2, 0.01, 0.02) == 0.1
    assert adapted(0.2, 0.014, 0.02) == 0.2
    assert adapted(0.2, 0.029, 0.02) == 0.2
    assert adapted(0.2, 0.031, 0.02) == 0.4


def test_divergence_by_hand():
    old, new = np.log([[0.5, 0.25, 0.25]]), np.log([[0.25, 0.5, 0.25]])
    assert kl(old, new, (None, None), (3,), xp=xp)[0] == pytest.approx(0.5 * np.log(2) - 0.25 * np.log(2))
    assert kl(old, new, (None, None), (3,), np.array([[1, 1, 0]]), xp=xp)[0] == pytest.approx(np.log(2) / 3)
    was, now = np.array([0.0]), np.array([np.log(2.0)])
    gauss = kl(np.array([[1.0]]), np.array([[3.0]]), (was, now), (), xp=xp)[0]
    assert gauss == pytest.approx(np.log(2) + (1 + 4) / 8 - 0.5)
    both = kl(np.hstack([old, [[1.0]]]), np.hstack([new, [[3.0]]]), (was, now), (3,), xp=xp)[0]
    assert both == pytest.approx(0.25 * np.log(2) + gauss)


def test_divergence_is_the_mean_of_many_samples():
    """The estimate in the loss and the exact one are the same in the mean."""
    rng = np.random.default_rng(0)
    old, new = rng.normal(size=(2, 1, 4))
    p, q = (np.exp(x - np.log(np.exp(x).sum())) for x in (old[0], new[0]))
    ratio = (q / p)[rng.choice(4, size=400_000, p=p)]
    assert np.mean(ratio - 1 - np.log(ratio)) == pytest.approx(kl(old, new, (None, None), (4,), xp=xp)[0], rel=0.02)


@pytest.mark.parametrize("name", ["mlp, numbers", "separate relu mlp, masked choices", "lstm, choice"])
def test_outputs_and_divergence_of_an_update(name):
    case = CASES[name]
    engine, state = Trial("native", case).engine()
    rows = make_rows(case, valid=1.0)
    segment, oracle = rows.segment, Oracle(case)
    (before, value), log_std = outputs(engine.policy, segment), engine.policy.log_std()
    heads, values, _ = oracle.step(segment.features[0], None if segment.carry is None else segment.carry[0])
    np.testing.assert_allclose(before[0], heads, atol=1e-5)
    assert before.shape == (T, N, case.spec.logits)
    ours, mask = appraised(engine.policy, before, value, segment), segment.action_mask
    logprob, _ = oracle.evaluate(heads, segment.action[0], None if mask is None else mask[0])
    np.testing.assert_allclose(ours.logprob[0], logprob, atol=1e-5)
    np.testing.assert_allclose(ours.value[0], values, atol=1e-5)
    ended, cut = segment.terminated != 0, (segment.terminated == 0) & (segment.truncated != 0)
    assert np.array_equal(ours.next_value, np.where(ended, 0, np.where(cut, segment.next_value, value[1:])))
    assert divergence(engine.policy, before, log_std, segment) == pytest.approx(0, abs=1e-7)
    engine.descend(segment, rows.advantage, rows.target, coefficients=case.coefficients._replace(rate=1e-2), update=0)
    engine.load(state)
    assert 1e-4 < divergence(engine.policy, before, log_std, segment) < 10


def test_a_penalty_keeps_the_policy_near():
    moved = []
    for weight in (0.0, 10.0):
        case = CASES["mlp, numbers"]
        engine, state = Trial("native", case).engine(case.config(epochs=8, max_grad_norm=0.0))
        rows = make_rows(case, valid=1.0)
        before, log_std = outputs(engine.policy, rows.segment)[0], engine.policy.log_std()
        weights = case.coefficients._replace(rate=3e-3, clip=10.0, kl=weight)
        engine.descend(rows.segment, rows.advantage, rows.target, coefficients=weights, update=0)
        engine.load(state)
        moved.append(divergence(engine.policy, before, log_std, rows.segment))
    assert moved[1] < moved[0] / 2


def test_chances_and_corrections_by_hand():
    advantage = np.array([[1.0, -2.0, 9.0], [1.0, 2.0, np.nan]])
    valid = np.array([[1, 1, 0], [1, 1, 0]])
    chances = probabilities(advantage, valid, 2.0)
    np.testing.assert_allclose(chances, [0.2, 0.8, 5e-8], atol=1e-6)
    np.testing.assert_allclose(importance(np.array([0.2, 0.8]), 1.0), [2.5, 0.625])
    np.testing.assert_allclose(importance(np.array([0.2, 0.8]), 0.0), [1.0, 1.0])
    assert set(probabilities(advantage[:, :2], valid[:, :2], 0.0)) == {0.5}


@settings(deadline=None, max_examples=60)
@given(
    advantage=arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.floats(-1e6, 1e6, width=32)),
    alpha=st.floats(2**-5, 3, width=32), beta=st.floats(0, 1, width=32), data=st.data(),
)  # fmt: skip
def test_the_core_weighs_and_draws_as_the_formulas_say(advantage, alpha, beta, data):
    """Each draw is the first environment whose sum of chances is above a number of the core's stream."""
    t, n = advantage.shape
    valid = data.draw(arrays(np.uint8, (t, n), elements=st.integers(0, 1)))
    seed, update = data.draw(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**40)))
    drawn = {"alpha": alpha, "beta": beta, "epochs": 3, "minibatch": t, "seed": seed, "update": update}
    order, weights = native.prioritized(advantage, valid, memory=True, **drawn)
    chances = probabilities(advantage, valid, alpha)
    np.testing.assert_allclose(weights, np.broadcast_to(importance(chances, beta), (t, n)), rtol=2e-4)
    words = np.empty((3 * n, 2), np.uint32)
    buffer, stream = native.ffi.from_buffer("uint32_t[]", words), STREAM_PRIORITY + (update >> 32)
    native.check(native.lib.puf_rng_fill(seed, stream, (update & 0xFFFFFFFF) << 32, buffer, 3 * n), "draws")
    x = ((words[:, 0] >> 5) * 2.0**26 + (words[:, 1] >> 6)) / 2.0**53
    sums = np.concatenate([[0.0], np.cumsum(chances)])
    assert order.shape == (3, n)
    assert (sums[order.ravel()] <= x + 1e-4).all()
    assert (x <= sums[order.ravel() + 1] + 1e-4).all()
    rows, same = native.prioritized(advantage, valid, memory=False, **drawn)
    assert np.array_equal(same, weights)
    assert np.array_equal(rows.reshape(3 * n, t), order.reshape(-1, 1) + n * np.arange(t))


def test_priorities_that_are_not_finite_numbers_draw_all_the_same():
    """The loss will refuse them; and powers beyond all floats are still proportions."""
    valid = np.ones((2, 3), np.uint8)
    drawn = {"beta": 1.0, "epochs": 200, "minibatch": 2, "memory": True, "seed": 1, "update": 0}
    order, _ = native.prioritized(np.array([[1, np.nan, 2], [1, 1, np.inf]], np.float32), valid, alpha=0.5, **drawn)
    assert set(order.ravel()) == {1, 2}
    order, weights = native.prioritized(np.array([[1e30, 2e30, 0]] * 2, np.float32), valid, alpha=2.0, **drawn)
    counts = np.bincount(order.ravel(), minlength=3)
    assert counts[:2] / counts.sum() == pytest.approx([0.2, 0.8], abs=0.05)
    assert weights[:, :2] == pytest.approx(np.array([[5 / 3, 5 / 12]] * 2), rel=1e-4)
    assert counts[2] == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": -1},
        {"epochs": 1 << 30},
        {"alpha": 0.0},
        {"alpha": np.nan},
        {"beta": np.inf},
        {"epochs": 0},
        {"minibatch": 3},
        {"minibatch": 8},
    ],
)
def test_sizes_and_powers_of_priorities_that_are_refused(wrong):
    legal = {"alpha": 1.0, "beta": 1.0, "epochs": 1, "minibatch": 2, "memory": False, "seed": 0, "update": 0}
    plane, valid = np.ones((2, 3), np.float32), np.ones((2, 3), np.uint8)
    assert native.prioritized(plane, valid, **legal)[0].shape == (1, 6)
    with pytest.raises(NativeError, match="prioritized"):
        native.prioritized(plane, valid, **legal | wrong)


@pytest.mark.parametrize("memory", [False, True])
def test_prioritised_minibatches_hold_whole_sequences(memory):
    rows = make_rows(CASES["mlp, choice"], valid=1.0)
    rows.advantage[:, 5] = 50
    config = CASES["mlp, choice"].config(prioritize=1.0, priority_beta=0.5, minibatch=4 * T)
    found = minibatches(rows.advantage, rows.segment, config, memory=memory, fraction=0.5, seed=1, update=7)
    again = minibatches(rows.advantage, rows.segment, config, memory=memory, fraction=0.5, seed=1, update=7)
    other = minibatches(rows.advantage, rows.segment, config, memory=memory, fraction=0.5, seed=1, update=8)
    order = found["order"]
    assert np.array_equal(order, again["order"])
    assert not np.array_equal(order, other["order"])
    chances = probabilities(rows.advantage, rows.segment.valid, 1.0)
    np.testing.assert_allclose(found["importance"], np.broadcast_to((N * chances) ** -0.75, (T, N)), rtol=1e-5)
    envs = order if memory else order % N
    assert np.bincount(envs.ravel(), minlength=N).argmax() == 5
    if memory:
        assert order.shape == (2, N)
    else:
        for minibatch in order.reshape(-1, T, 4):  # time by time, the same environments
            assert (minibatch % N == minibatch[0] % N).all()
            assert (minibatch // N == np.arange(T)[:, None]).all()
    assert minibatches(rows.advantage, rows.segment, PPOConfig(), memory=memory, fraction=0, seed=1, update=0) == {}


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"prioritize": 0.6, "horizon": 32, "minibatch": 48}, "whole sequences of ppo.horizon=32 .* ppo.prioritize=0.6"),
        ({"kl_target": 0.01}, "ppo.kl_target=0.01 adapts ppo.kl_coef, which is 0"),
        ({"prioritize": 1e-9}, "ppo.prioritize=1e-09 must be at least 1e-6, or 0 for none"),
        ({"prioritize": 0.5, "epochs": 1 << 24}, "ppo.epochs=16777216 of .* rows by priority must be at most"),
    ],
)
def test_settings_that_contradict_each_other(config, text):
    with pytest.raises(ConfigError, match=text):
        check_config(PPOConfig(**config), PolicyConfig(), 96)


def test_a_run_with_all_of_it_adapts_and_goes_on_bit_for_bit(tmp_path):
    options = {
        "ppo.kl_coef": 0.2, "ppo.kl_target": 0.003, "ppo.clip_schedule": "linear", "ppo.entropy_coef": 0.01,
        "ppo.entropy_schedule": "cosine", "ppo.prioritize": 0.6,
    }  # fmt: skip
    whole = train("cartpole", timesteps=20_000, checkpoint_every=8_000, options=options, out=str(tmp_path))
    rows = [json.loads(line) for line in (whole.run_dir / "metrics.jsonl").read_text().splitlines()]
    weights = [row["schedule/kl_coef"] for row in rows]
    assert weights[0] == 0.2
    assert len(set(weights)) > 1
    for now, after, moved in zip(weights, weights[1:], (row["losses/divergence"] for row in rows), strict=False):
        assert after == adapted(now, moved, 0.003)
    assert rows[-1]["schedule/clip"] < 0.05 < rows[0]["schedule/clip"]
    again = train(resume=min((whole.run_dir / "checkpoints").iterdir()), out=str(tmp_path))
    files = [(path / "policy.safetensors").read_bytes() for path in (whole.checkpoint, again.checkpoint)]
    assert files[0] == files[1]
