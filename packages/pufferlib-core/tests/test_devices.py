"""The rules for devices, run by numpy, against the core."""

from __future__ import annotations

import numpy as np
import pytest
from pufferlib_core import make_vec
from pufferlib_core.backends.acting import Sampler
from pufferlib_core.errors import EnvError, ShapeError
from pufferlib_core.native import ffi, lib
from pufferlib_core.ops.devices import advance, from_records, to_records
from pufferlib_core.ops.noise import action_keys, action_words, below, drawn, sampled, stream_key
from pufferlib_core.policies import PolicyConfig, PolicySpec
from pufferlib_core.seeding import STREAM_ACTION
from pufferlib_core.spaces import Box, Discrete, Mixed, MultiDiscrete
from pufferlib_core.traits import EnvSpec
from pufferlib_core.vector import env_spec

ENVIRONMENTS = {
    "cartpole": {},
    "cartpole, short and other numbers": {"max_steps": 9, "gravity": 3.0, "pole_mass": 0.3, "length": 0.7, "velocities": False},
    "pendulum": {},
    "pendulum, other numbers": {"mass": 0.7, "length": 1.3, "gravity": 9.0, "max_torque": 3.0, "max_speed": 5.0},
    "catch": {},
    "catch, wide": {"rows": 4, "columns": 9},
    "squared": {},
    "squared, large": {"distance": 5},
}
N, STEPS = 16, 410


def words_of(seed, stream, first, blocks):
    out = np.zeros(2 * blocks, np.uint32)
    assert lib.puf_rng_fill(seed, stream, first, ffi.from_buffer("uint32_t[]", out), blocks) == 0
    return out


@pytest.mark.parametrize(("seed", "stream", "first"), [(0, 0, 0), (2**63 + 5, STREAM_ACTION + 7, 2**32 - 2), (7, 1, 2**40)])
def test_words_are_those_of_the_core(seed, stream, first):
    key = stream_key(seed, stream, xp=np)
    counter = tuple(np.array([word], np.uint32) for word in (first & 0xFFFFFFFF, first >> 32))
    words, after = drawn(key, counter, 4, xp=np)
    assert np.array_equal(words[:, 0], words_of(seed, stream, first, 4))
    assert int(after[0][0]) + (int(after[1][0]) << 32) == first + 4


def test_below_is_the_high_half_of_the_product():
    words = np.random.default_rng(0).integers(0, 2**32, 1000, np.uint32)
    words[:3] = 0, 2**32 - 1, 2**31
    for bound in (1, 2, 5, 65535):
        assert np.array_equal(below(words, bound, xp=np), words.astype(np.uint64) * bound >> 32)


@pytest.mark.parametrize("step", [0, 3 << 32 | 11])
@pytest.mark.parametrize(
    "space", [Discrete(3), MultiDiscrete([2, 4]), Box(-1, 1, (2,)), Mixed(MultiDiscrete([2, 4]), Box(-1, 1, (2,)))], ids=str
)
def test_actions_are_those_of_the_core(space, step):
    spec = PolicySpec(obs_space=Box(-1, 1, (3,)), action_space=space, config=PolicyConfig())
    rng = np.random.default_rng(0)
    heads = rng.normal(size=(100, spec.logits)).astype(np.float32)
    log_std = np.array([-0.5, 0.3], np.float32) if spec.numbers else None
    theirs, logprob = Sampler(spec)(heads, log_std, None, greedy=False, seed=9, step=step, first=5)
    components = len(spec.nvec) + spec.numbers
    words = action_words(
        action_keys(9, components, step, xp=np), np.arange(5, 105, dtype=np.uint32), np.uint32(step & 0xFFFFFFFF), xp=np
    )
    choices, numbers, ours = sampled(heads, log_std, spec.nvec, words, xp=np)
    came = theirs.view(np.int32).reshape(100, -1)
    if choices is not None:
        assert np.array_equal(choices, came[:, : len(spec.nvec)])
    if numbers is not None:
        np.testing.assert_allclose(numbers, came[:, len(spec.nvec) :].view(np.float32), atol=2e-6)
    np.testing.assert_allclose(ours, logprob, atol=3e-6)


def started(name, seed=3):
    """Native environments after a reset, and the same for devices."""
    vec = make_vec(name.partition(",")[0], num_envs=N, seed=seed, config=ENVIRONMENTS[name])
    vec.reset()
    rules = vec.spec.device()
    return vec, rules, from_records(rules, vec.state()["records"])


def actions_for(vec, rng):
    if isinstance(vec.action_space, Box):
        return rng.normal(size=(N, 1)).astype(np.float32) * 2
    return rng.integers(0, vec.action_space.n, N).astype(np.int32)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_trajectories_are_those_of_the_core(name):
    """Hundreds of steps across resets, never set right in between."""
    vec, rules, envs = started(name)
    np.testing.assert_allclose(rules.observe(envs.state, xp=np).reshape(vec.latest.obs.shape), vec.latest.obs, atol=1e-6)
    rng, ended = np.random.default_rng(1), 0
    for t in range(STEPS):
        action = actions_for(vec, rng)
        step = vec.step(action)
        envs, caused = advance(rules, envs, action, vec.spec.max_episode_steps, xp=np)
        assert {caused.reward.dtype, caused.obs.dtype} == {np.dtype(np.float32)}
        assert np.array_equal(caused.terminated, step.terminated), t
        assert np.array_equal(caused.truncated, step.truncated), t
        np.testing.assert_allclose(caused.reward, step.reward, atol=5e-3, err_msg=str(t))
        np.testing.assert_allclose(caused.obs.reshape(step.obs.shape), step.obs, atol=5e-3, err_msg=str(t))
        over = caused.terminated | caused.truncated
        np.testing.assert_allclose(caused.final_obs.reshape(step.obs.shape)[over], step.final_obs[over], atol=5e-3)
        assert np.array_equal(caused.episode_length[over], step.log["episode_length"][over])
        np.testing.assert_allclose(caused.episode_return[over], step.log["episode_return"][over], rtol=1e-4, atol=1e-4)
        ended += over.sum()
    assert ended >= 2 * N
    records = to_records(rules, envs)
    again = make_vec(vec.spec.name, num_envs=N, config=ENVIRONMENTS[name])
    again.set_state({"records": records, "obs": caused.obs.reshape(step.obs.shape)})
    assert np.array_equal(again.state()["records"], records)
    rng_words = slice(-12 - 16, -12)  # streams have drawn the same numbers
    assert np.array_equal(records[:, rng_words], vec.state()["records"][:, rng_words])


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_a_step_from_the_same_state_is_within_rounding(name):
    vec, rules, _ = started(name, seed=8)
    rng = np.random.default_rng(2)
    for _ in range(60):
        envs = from_records(rules, vec.state()["records"])
        action = actions_for(vec, rng)
        step = vec.step(action)
        _, caused = advance(rules, envs, action, vec.spec.max_episode_steps, xp=np)
        np.testing.assert_allclose(caused.obs.reshape(step.obs.shape), step.obs, atol=3e-6)
        np.testing.assert_allclose(caused.reward, step.reward, atol=3e-6)


def test_records_of_another_environment_are_refused():
    records = make_vec("pendulum", num_envs=2).state()["records"]
    with pytest.raises(ShapeError, match=r"records have 36 bytes, the fields of pufferlib_envs\.device\.cartpole say 44"):
        from_records(env_spec("cartpole").device(), records)


def test_a_form_for_devices_without_a_table_is_refused():
    with pytest.raises(EnvError, match="a form for devices stands beside a C table"):
        EnvSpec(name="x", obs_space=Box(0, 1, (1,)), action_space=Discrete(2), factory=object, device=object)
