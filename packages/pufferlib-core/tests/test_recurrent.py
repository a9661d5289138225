"""Recurrent cores of the native back end: the steps, what is handed on, gradients through time, collection."""

from __future__ import annotations

from dataclasses import replace

import array_api_compat.numpy as xp
import numpy as np
import pytest
from pufferlib_core import make_vec, native
from pufferlib_core.algorithms.ppo import PPOConfig
from pufferlib_core.collect import collect
from pufferlib_core.config import from_dict
from pufferlib_core.data import handed_on
from pufferlib_core.errors import NativeError, ShapeError
from pufferlib_core.native import lib
from pufferlib_core.ops import cores
from pufferlib_core.ops.ppo import Coefficients, loss
from pufferlib_core.policies import PolicyConfig, PolicySpec
from test_ppo import METRICS, NATIVE, dist64, gradient, make_batch, make_spec

CASES = {
    "lstm": {"core": "lstm", "core_size": 16},
    "gru": {"core": "gru", "core_size": 16},
    "lstm, odd sizes, separate": {"core": "lstm", "core_size": 5, "separate": True, "hidden": [12, 7]},
    "gru, odd sizes, separate, relu": {"core": "gru", "core_size": 21, "separate": True, "activation": "relu"},
    "lstm, several panels": {"core": "lstm", "core_size": 37, "hidden": [70]},
    "gru, several panels": {"core": "gru", "core_size": 70, "hidden": [9]},
}
T, N = 7, 37

STILL = Coefficients(rate=0.0, clip=0.2, entropy=0.0)


@pytest.fixture(params=native.isa_names())
def isa(request, monkeypatch):
    """Runs a test on each instruction set that this machine has."""
    monkeypatch.setenv("PUFFER_ISA", request.param)
    native.isa.cache_clear()
    yield request.param
    native.isa.cache_clear()


def step64(spec, flat, obs, carry):
    """Logits, values and what is handed on, by the definitions, in float64."""
    p = {t.name: flat[t.offset : t.offset + t.size].reshape(t.shape).astype(np.float64) for t in spec.tensors()}
    act = np.tanh if spec.config.activation == "tanh" else lambda x: np.maximum(x, 0)
    step = {"lstm": cores.lstm, "gru": cores.gru}[spec.config.core]
    parts = ["actor", "critic"] if spec.config.separate else ["trunk"]
    heads, after = [], []
    for part, before in zip(parts, np.split(carry.astype(np.float64), len(parts), axis=1), strict=True):
        h = obs.astype(np.float64)
        for k in range(len(spec.config.hidden)):
            h = act(h @ p[f"{part}.{k}.weight"].T + p[f"{part}.{k}.bias"])
        after.append(step(h, before, *(p[f"{part}.core.{name}"] for name in ("input", "state", "bias")), xp=xp))
        heads.append(after[-1][:, : spec.config.core_size])
    logits = heads[0] @ p["policy.weight"].T + p["policy.bias"]
    value = (heads[-1] @ p["value.weight"].T + p["value.bias"])[:, 0]
    return logits, value, np.concatenate(after, axis=1)


def random_params(spec):
    """Parameters whose every tensor matters."""
    rng = np.random.default_rng(1)
    return NATIVE.initial_params(spec, 3) + rng.normal(size=spec.params).astype(np.float32) * 0.2


def make_sequences(spec, seed=0, masked=False):
    """A batch of N sequences of T rows, in which episodes end and rows are not valid."""
    rng = np.random.default_rng(seed)
    batch = make_batch(spec, T * N, seed, masked=masked)
    batch["steps"], batch["carry"] = T, rng.normal(size=(N, spec.carry)).astype(np.float32)
    batch["valid"][:] = rng.random(T * N) < 0.8
    batch["terminated"], batch["truncated"] = ((rng.random(T * N) < 0.1).astype(np.uint8) for _ in range(2))
    return batch


def loss64(spec, config, flat, batch, index):
    """The total loss of the sequences by the oracle, in float64."""
    names = batch.keys() - {"steps", "carry", "mask"}
    planes = {name: batch[name].reshape(T, N, *batch[name].shape[1:])[:, index] for name in names}
    mask = None if batch["mask"] is None else batch["mask"].reshape(T, N, -1)[:, index]
    carry, found = batch["carry"][index], []
    for t in range(T):
        row = {name: plane[t] for name, plane in planes.items()}
        obs = np.where(row["valid"][:, None] != 0, row["obs"], 0)
        logits, value, after = step64(spec, flat, obs, carry)
        found.append((*dist64(spec, logits, None, row["action"], None if mask is None else mask[t]), value))
        carry = handed_on(carry, after, row["terminated"] | row["truncated"], row["valid"])
    logprob, entropy, value = (np.concatenate(x) for x in zip(*found, strict=True))
    old = {name: planes[name].ravel().astype(np.float64) for name in ("logprob", "advantage", "target", "value")}
    total, parts = loss(
        logprob, entropy, value, old_logprob=old["logprob"], advantage=old["advantage"], target=old["target"],
        old_value=old["value"], valid=planes["valid"].ravel(), config=config,
        coefficients=Coefficients(0.0, config.clip, config.entropy_coef), xp=np,
    )  # fmt: skip
    return total, [parts[name] for name in METRICS]


@pytest.mark.parametrize("case", CASES)
def test_outputs_and_what_is_handed_on_are_those_of_the_formulas(case, isa):
    spec = make_spec(**CASES[case])
    params, rng = random_params(spec), np.random.default_rng(2)
    obs, carry = (rng.normal(size=(71, width)).astype(np.float32) for width in (5, spec.carry))
    policy = NATIVE.NativePolicy(spec, params, None, native.Pool(2))
    logits, value = policy.forward(obs, carry=carry)
    handed = carry.copy()
    _, _, acted = policy.act(obs, carry=handed)
    expected = step64(spec, params, obs, carry)
    for ours, theirs in zip((logits, value, handed, acted), (*expected, expected[1]), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    for i in (0, 31, 32, 70):  # alone, wherever it was among the others
        alone = carry[i : i + 1].copy()
        _, _, value_alone = policy.act(obs[i : i + 1], carry=alone)
        assert (value_alone[0], alone.tobytes()) == (acted[i], handed[i : i + 1].tobytes())


@pytest.mark.parametrize("case", CASES)
def test_gradient_is_that_of_the_unrolled_loss(case, isa):
    masked = case == "lstm"
    spec = make_spec("multi" if masked else "discrete", **CASES[case])
    config = from_dict(PPOConfig, {"entropy_coef": 0.01, "horizon": T})
    params, rng = random_params(spec), np.random.default_rng(5)
    batch, index = make_sequences(spec, masked=masked), rng.permutation(N)[:34]
    grads, metrics = gradient(spec, config, params, batch, index)
    _, parts = loss64(spec, config, params, batch, index)
    assert [getattr(metrics, name) for name in METRICS] == pytest.approx(parts, rel=2e-4, abs=2e-5)

    def slope(direction, h):
        plus, minus = (loss64(spec, config, params.astype(np.float64) + s * h * direction, batch, index)[0] for s in (1, -1))
        return (plus - minus) / (2 * h)

    for k in range(2):
        direction = rng.normal(size=spec.params) if k else grads.astype(np.float64)
        expected = slope(direction, 1e-5 / np.abs(direction).max())
        assert grads.astype(np.float64) @ direction == pytest.approx(expected, rel=2e-3, abs=1e-4)
    for t in spec.tensors():
        of_tensor = np.zeros(spec.params)
        of_tensor[t.offset : t.offset + t.size] = rng.normal(size=t.size)
        assert grads @ of_tensor == pytest.approx(slope(of_tensor, 1e-6), rel=2e-3, abs=2e-4), t.name


@pytest.mark.parametrize("case", ["lstm", "gru, odd sizes, separate, relu"])
def test_threads_and_what_rows_that_are_not_valid_hold_change_no_bit(case, isa):
    spec = make_spec("multi", **CASES[case])
    params, config, index = random_params(spec), PPOConfig(horizon=T), np.arange(N)
    batch = make_sequences(spec, masked=True)
    one, _ = gradient(spec, config, params, batch, index)
    assert gradient(spec, config, params, batch, index, threads=3)[0].tobytes() == one.tobytes()
    absent = batch["valid"] == 0
    for name in ("obs", "logprob", "advantage", "target", "value"):
        batch[name][absent] = np.nan
    batch["mask"][absent] = 0
    batch["action"][absent] = 77
    assert gradient(spec, config, params, batch, index, threads=2)[0].tobytes() == one.tobytes()


@pytest.mark.parametrize("case", ["lstm", "gru, several panels"])
def test_fewer_sequences_than_a_vector_has_rows_see_nothing_of_those_before(case, isa):
    spec = make_spec("multi", **CASES[case])
    params, config, batch = random_params(spec), PPOConfig(horizon=T), make_sequences(spec, masked=True)
    for few in (1, 3, 17):
        fresh, _ = gradient(spec, config, params, batch, np.arange(few))
        assert gradient(spec, config, params, batch, np.arange(few), spoilt=np.arange(32))[0].tobytes() == fresh.tobytes()


@pytest.mark.parametrize("case", ["lstm", "gru"])
def test_an_end_cuts_the_sequence(case):
    """What came before the end of an episode does not change the gradient of what follows, and has none from it."""
    spec = make_spec(**CASES[case])
    params, config = random_params(spec), from_dict(PPOConfig, {"horizon": T, "normalize_advantage": False})
    batch = make_sequences(spec)
    batch["valid"][:] = 1
    for name in ("terminated", "truncated"):
        batch[name][:] = 0
    batch["terminated"].reshape(T, N)[3] = 1
    batch["advantage"].reshape(T, N)[:4] = 0
    before, _ = gradient(spec, replace(config, value_coef=0.0), params, batch, np.arange(N))
    batch["obs"].reshape(T, N, 5)[:4] += 1
    batch["carry"][:] = 9
    assert gradient(spec, replace(config, value_coef=0.0), params, batch, np.arange(N))[0].tobytes() == before.tobytes()


def collecting(env, core, horizon=17, num_envs=70, threads=1, **env_options):
    """An engine, its state loaded, and a vector with a segment."""
    vec = make_vec(env, num_envs=num_envs, seed=5, threads=threads, **env_options)
    config = from_dict(PolicyConfig, {"core": core, "core_size": 12, "hidden": [20]})
    spec = PolicySpec(obs_space=vec.spec.obs_space, action_space=vec.spec.action_space, config=config)
    options = from_dict(PPOConfig, {"horizon": horizon, "minibatch": horizon * num_envs, "epochs": 1})
    engine = NATIVE.make_engine(spec, options, num_envs=num_envs, seed=2, pool=native.Pool(threads))
    state = engine.tensors(2)
    for name in ("policy.weight", "value.weight"):
        state[name][...] *= 20
    engine.load(state)
    segment = vec.allocate(horizon, spec.carry)
    segment.obs[0] = vec.reset().obs
    return vec, engine, segment


PLANES = ("obs", "action", "logprob", "value", "next_value", "reward", "terminated", "truncated", "valid", "carry")


@pytest.mark.parametrize("autoreset", ["same_step", "next_step"])
@pytest.mark.parametrize("core", ["lstm", "gru"])
def test_collection_is_that_step_by_step_and_the_unroll_repeats_it(core, autoreset):
    found = []
    for threads in (1, 3, 0):  # 0: step by step, through act and forward
        vec, engine, segment = collecting("memory", core, threads=threads or 1, autoreset=autoreset)
        for k in range(3):
            if threads:
                engine.collect(vec, segment, 17 * k)
            else:
                collect(engine.policy, vec, segment, seed=2, first_step=17 * k)
            if k < 2:
                segment.roll()
        found.append([getattr(segment, name).tobytes() for name in PLANES])
        assert segment.terminated.any()
        assert segment.carry.any()
        assert segment.valid.all() == (autoreset == "same_step")
        losses = engine.descend(segment, np.zeros_like(segment.value), segment.value.copy(), coefficients=STILL, update=0)
        assert losses["value_loss"] == 0.0  # bit for bit
        assert losses["clip_fraction"] == 0.0
        assert abs(losses["approx_kl"]) < 1e-6
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("autoreset", ["same_step", "next_step"])
def test_final_observations_are_valued_with_what_was_remembered(autoreset):
    vec, engine, segment = collecting("cartpole", "lstm", horizon=6, num_envs=40, config={"max_steps": 6}, autoreset=autoreset)
    engine.collect(vec, segment, 0)
    carry = np.zeros((40, engine.policy.spec.carry), np.float32)
    for t in range(6):
        _, _, value = engine.policy.act(segment.obs[t], carry=carry)
        assert value.tobytes() == segment.value[t].tobytes()
    assert segment.truncated[5].all()
    assert engine.policy.forward(segment.final_obs, carry=carry)[1].tobytes() == segment.next_value[5].tobytes()
    assert not segment.carry.any()


def test_a_carry_that_does_not_fit_is_refused():
    spec, plain = make_spec(core="lstm", core_size=4), make_spec()
    policy = NATIVE.NativePolicy(spec, NATIVE.initial_params(spec, 0), None, native.Pool(1))
    obs = np.zeros((3, 5), np.float32)
    for carry in (None, np.zeros((3, 4), np.float32), np.zeros((2, 8), np.float32), np.zeros((3, 8))):
        for call in (policy.act, policy.forward):
            with pytest.raises(ShapeError, match=r"carry must be float32 \(3, 8\)"):
                call(obs, carry=carry)
    with pytest.raises(ShapeError, match="contiguous"):
        policy.act(obs, carry=np.zeros((3, 16), np.float32)[:, ::2])
    frozen = np.zeros((3, 8), np.float32)
    frozen.flags.writeable = False
    policy.forward(obs, carry=frozen)
    with pytest.raises(ShapeError, match="read-only"):
        policy.act(obs, carry=frozen)
    without = NATIVE.NativePolicy(plain, NATIVE.initial_params(plain, 0), None, native.Pool(1))
    with pytest.raises(ShapeError, match="has no memory"):
        without.act(obs, carry=frozen)


def test_minibatches_hold_whole_sequences():
    spec = make_spec(core="gru", core_size=4)
    policy = NATIVE.NativePolicy(spec, NATIVE.initial_params(spec, 0), None, native.Pool(1))
    assert lib.puf_ppo_bytes(policy.handle, 64, 16, 8, lib.PUF_ADAM) > 0
    with pytest.raises(NativeError):
        native.memory(lib.puf_ppo_bytes(policy.handle, 64, 16, 32, lib.PUF_ADAM), "ppo")
