"""Squashed actions (`policy.squash`): formulas, what environments and segments get, refusals, learning."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pufferlib_core import evaluate, make_vec, train
from pufferlib_core.algorithms.ppo import PPOConfig
from pufferlib_core.backends import get_backend
from pufferlib_core.backends.plain import PlainPolicy
from pufferlib_core.checkpoint import load_checkpoint
from pufferlib_core.collect import collect
from pufferlib_core.errors import ConfigError
from pufferlib_core.loops.evaluate import policy_of
from pufferlib_core.native import Pool
from pufferlib_core.ops.distributions import NODES, WEIGHTS, gaussian, squash, squash_loss
from pufferlib_core.policies import PolicyConfig, PolicySpec
from pufferlib_core.spaces import Box, Discrete, Mixed, MultiDiscrete
from pufferlib_core.vector import env_spec

LOW, HIGH = np.array([-2.0, 0.0]), np.array([1.0, 3.0])
BOTH = Mixed(MultiDiscrete([2, 4]), Box(LOW, HIGH))
MEANS = np.linspace(-4, 4, 33)
PLANES = ("action", "logprob", "value", "next_value", "reward", "terminated", "truncated", "obs")


def spec_of(space, **policy):
    config = PolicyConfig(squash=True, hidden=(8,), **policy)
    return PolicySpec(obs_space=Box(-1, 1, (3,)), action_space=space, config=config)


def lost(mean, log_std):
    """`squash_loss` of single numbers."""
    return squash_loss(np.atleast_2d(mean).T, np.array([log_std]), xp=np)[:, 0]


def slope(f, x, h=1e-5):
    return (f(x + h) - f(x - h)) / (2 * h)


# --- formulas ---


def test_worked_numbers():
    u = np.array([[0.0, 0.0], [0.5493061443, -0.5493061443], [50.0, -50.0]])  # tanh: 0, 1/2, -1/2, 1, -1
    np.testing.assert_allclose(squash(u, LOW, HIGH, xp=np), [[-0.5, 1.5], [0.25, 0.75], [1.0, 0.0]], rtol=1e-9)
    assert (len(NODES), sum(WEIGHTS)) == (11, pytest.approx(1))
    # Without a deviation it is log (1 - tanh^2 mean): tanh 1 = 0.7615942, tanh 0 = 0. Far out, 2 (log 2 - |mean|).
    assert lost([0.0, 1.0, -1.0, 40.0], -20.0) == pytest.approx([0, -0.8675617, -0.8675617, 1.3862944 - 80])
    logprob, entropy = gaussian(np.array([[1.0]]), np.array([-20.0]), np.array([[1.0]]), squashed=True, xp=np)
    assert (logprob[0], entropy[0]) == pytest.approx((20 - 0.9189385, -20 + 1.4189385 - 0.8675617))


@pytest.mark.parametrize(("log_std", "bound"), [(-2.0, 1e-4), (-0.5, 1e-4), (0.0, 1e-4), (np.log(2), 5e-3), (np.log(3), 0.03)])
def test_the_expectation_is_that_of_fine_integration(log_std, bound):
    z = np.linspace(-12, 12, 20_001)
    density = np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    exact = [np.trapezoid(density * np.log(1 / np.cosh(m + z * np.exp(log_std)) ** 2), z) for m in MEANS]
    np.testing.assert_allclose(lost(MEANS, log_std), exact, atol=bound)


def test_the_entropy_is_that_of_tanh_of_samples():
    """- E log p of tanh u, p with its Jacobian, over a million samples; and a ratio is the same with it and without."""
    rng, mean, log_std = np.random.default_rng(0), np.array([[0.4]]), np.array([-0.2])
    u = mean + np.exp(log_std) * rng.normal(size=(1_000_000, 1))
    logprob, entropy = gaussian(mean, log_std, u, squashed=True, xp=np)
    jacobian = np.log(1 - np.tanh(u[:, 0]) ** 2)
    noise = np.std(logprob - jacobian) / 1000
    assert np.mean(jacobian - logprob) == pytest.approx(entropy[0], abs=4 * noise + 1e-4)
    plain, _ = gaussian(mean, log_std, u, xp=np)
    assert (plain == logprob).all()  # what is reported is the sample's
    other, _ = gaussian(mean + 0.3, log_std, u, squashed=True, xp=np)
    np.testing.assert_allclose((other - jacobian) - (logprob - jacobian), other - logprob, atol=1e-9)


def test_the_entropy_has_a_maximum_inside():
    """That of a Gaussian grows for ever with its deviation; that of tanh of it is at most log 2 and pulls to the middle."""
    spreads = np.linspace(-3, 2, 101)
    entropies = np.array([0.5 * np.log(2 * np.pi * np.e) + s + lost(MEANS, s) for s in spreads])
    assert np.log(2) - 0.01 < entropies.max() <= np.log(2) + 1e-3
    assert np.exp(spreads[entropies.max(axis=1).argmax()]) == pytest.approx(0.87, abs=0.05)
    for s in (-1.0, 0.0, 0.5):
        assert (slope(lambda m, s=s: lost(m, s), MEANS[MEANS > 0.1]) < 0).all()
    assert 1 + slope(lambda s: lost([0.0], s), -1.0)[0] > 0
    assert (1 + np.array([slope(lambda s: lost([0.0], s), s)[0] for s in (0.5, 1.0, 2.0)]) < 0).all()


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6)), min_size=1, max_size=4), st.integers(0, 1000))
def test_what_environments_get_lies_within_the_bounds(pairs, seed):
    low = np.array([a for a, _ in pairs], np.float32)
    high = np.maximum(low + np.array([b for _, b in pairs], np.float32), np.nextafter(low, np.float32(np.inf)))
    spec = spec_of(Box(low, high))
    u = (np.random.default_rng(seed).normal(size=(20, len(pairs))) * 5).astype(np.float32)
    kept = u.copy()
    given_ = spec.postprocess(u)
    assert u.tobytes() == kept.tobytes()
    assert (given_ >= low).all()
    assert (given_ <= high).all()
    exact = squash(u.astype(np.float64), low.astype(np.float64), high.astype(np.float64), xp=np)
    np.testing.assert_allclose(given_, exact, rtol=1e-6, atol=1e-6 * np.abs([low, high]).max())


# --- policies ---


def test_bounds_are_needed():
    for space in (
        Box(-1, np.inf, (2,)),
        Box(-np.inf, np.inf, (1,)),
        Box([0, 1], [1, 1]),
        Mixed(MultiDiscrete([2]), Box(0, np.inf, (1,))),
    ):
        with pytest.raises(ConfigError, match=r"policy.squash needs a finite low below a finite high .*Box"):
            spec_of(space)
    with pytest.raises(ConfigError, match=r"policy.squash: actions are .*3.* and have no real numbers"):
        spec_of(Discrete(3))


def test_acting_squashes_and_keeps_the_log_probability():
    spec = spec_of(BOTH)
    rng = np.random.default_rng(0)
    tensors = {t.name: rng.normal(size=t.shape).astype(np.float32) for t in spec.tensors()}
    obs = rng.normal(size=(50, 3)).astype(np.float32)
    for policy in (get_backend("native").load_policy(spec, tensors), PlainPolicy(spec, tensors)):
        for greedy in (False, True):
            raw, logprob, _ = policy.act(obs, greedy=greedy, seed=2, raw=True)
            action, same, _ = policy.act(obs, greedy=greedy, seed=2)
            assert (logprob == same).all()
            assert (action["choices"] == raw["choices"]).all()
            expected = LOW + (HIGH - LOW) * (np.tanh(raw["numbers"].astype(np.float64)) + 1) / 2
            np.testing.assert_allclose(action["numbers"], expected, atol=1e-6)
            if greedy:
                np.testing.assert_allclose(raw["numbers"], policy.forward(obs)[0][:, 6:], atol=1e-6)


def test_the_fused_rollout_is_that_of_steps():
    """Segments are equal to the bit, whichever way and with how many threads they are collected, and hold what was sampled."""
    env, found = env_spec("pendulum"), []
    spec = PolicySpec(
        obs_space=env.obs_space, action_space=env.action_space, config=PolicyConfig(squash=True, log_std_init=0.5)
    )
    for threads, stepwise in ((1, False), (3, False), (1, True)):
        pool = Pool(threads)
        engine = get_backend("native").make_engine(spec, PPOConfig(horizon=8, minibatch=80), num_envs=70, seed=2, pool=pool)
        engine.tensors(2)
        engine.load({})
        vec = make_vec("pendulum", num_envs=70, seed=1)
        segment = vec.allocate(8)
        segment.obs[0] = vec.reset().obs
        how = (lambda *args, e=engine: collect(e.policy, *args[:2], seed=2, first_step=args[2])) if stepwise else engine.collect
        how(vec, segment, 0)
        found.append({name: getattr(segment, name).tobytes() for name in PLANES})
        vec.close()
    assert found[0] == found[1] == found[2]
    sample = segment.action[..., 0].astype(np.float64)
    assert np.abs(sample).max() > 2.5  # beyond the bounds of the torque, which are 2
    assert np.std(sample) == pytest.approx(np.exp(0.5), rel=0.1)
    theta = np.arctan2(segment.obs[:-1, :, 1], segment.obs[:-1, :, 0]).astype(np.float64)
    torque = 2 * np.tanh(sample)
    cost = theta**2 + 0.1 * segment.obs[:-1, :, 2].astype(np.float64) ** 2 + 0.001 * torque**2
    np.testing.assert_allclose(-segment.reward, cost, atol=1e-4)


@pytest.mark.parametrize("workers", [0, 2])
def test_environments_in_python_get_it_and_segments_keep_the_sample(workers):
    env = env_spec("envs_by_name:Archer")
    spec = PolicySpec(obs_space=env.obs_space, action_space=env.action_space, config=PolicyConfig(squash=True))
    engine = get_backend("native").make_engine(spec, PPOConfig(horizon=4, minibatch=24), num_envs=6, seed=2, pool=Pool(1))
    engine.tensors(2)
    engine.load({})
    vec = make_vec("envs_by_name:Archer", num_envs=6, seed=1, workers=workers)
    segment = vec.allocate(4)
    segment.obs[0] = vec.reset().obs
    engine.collect(vec, segment, 0)
    vec.close()
    for t in range(4):
        sampled, logprob, _ = engine.policy.act(segment.obs[t], greedy=False, seed=2, step=t, raw=True)
        assert segment.action[t].tobytes() == sampled.tobytes()
        assert segment.logprob[t].tobytes() == logprob.tobytes()
        wanted = segment.obs[t]["wanted"], segment.obs[t]["height"][:, 0]
        choices = segment.action[t]["choices"]
        hit = (choices[:, 0] == wanted[0] - 5) & (choices[:, 1] == 1)
        gap = np.abs(np.tanh(segment.action[t]["numbers"][:, 0]) - wanted[1])
        np.testing.assert_allclose(segment.reward[t], hit * np.maximum(0, 1 - gap), atol=1e-5)


def test_it_learns_both_parts_and_goes_on(tmp_path):
    options = {
        "train": {"num_envs": 32}, "policy": {"squash": True, "log_std_init": -0.5},
        "ppo": {"horizon": 32, "minibatch": 256, "learning_rate": 3e-3, "gamma": 0.5, "entropy_coef": 0.01},
    }  # fmt: skip
    run = train("envs_by_name:ARCHER", timesteps=32_768, options=options, out=str(tmp_path))
    assert evaluate("envs_by_name:ARCHER", run.checkpoint, episodes=64)["episode_return_mean"] > 7.0  # choices alone: 4
    saved = load_checkpoint(run.checkpoint)
    assert saved.manifest["policy"]["postprocessing"] == "squash"
    assert policy_of(saved).spec.config.squash
    half = train("pendulum", timesteps=4096, checkpoint_every=2048, options={"policy.squash": True}, out=str(tmp_path))
    first = min((half.run_dir / "checkpoints").iterdir())
    again = train(resume=first, timesteps=4096, out=str(tmp_path))
    names = ("policy.safetensors", "trainer.safetensors")
    assert all((half.checkpoint / n).read_bytes() == (again.checkpoint / n).read_bytes() for n in names)


def test_a_spec_can_be_changed_back():
    spec = spec_of(BOTH)
    plain = replace(spec, config=PolicyConfig(hidden=(8,)))
    assert [t.name for t in plain.tensors()] == [t.name for t in spec.tensors()]
    action = np.zeros(2, BOTH.dtype)
    assert plain.postprocess(action) is action
