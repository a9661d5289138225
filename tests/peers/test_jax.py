"""The JAX back end against the native one. Run by the gate `peers`."""

from __future__ import annotations

import array_api_compat.numpy as xp
import jax
import numpy as np
import optax
import pytest
from against_native import (
    CASES,
    N,
    T,
    at,
    check_cartpole,
    check_forward_and_samples,
    check_in_turn,
    check_updates,
    make,
    make_segment,
)
from pufferlib_core import load_checkpoint, load_policy, train
from pufferlib_core.algorithms.ppo import PPOConfig
from pufferlib_core.backends import backend_specs, get_backend
from pufferlib_core.config import from_dict
from pufferlib_core.data import Segment, handed_on
from pufferlib_core.errors import ConfigError, NonFiniteError, ShapeError
from pufferlib_core.loops.evaluate import evaluate
from pufferlib_core.native import Pool, ffi, isa, lib
from pufferlib_core.ops.distributions import categorical
from pufferlib_core.ops.network import step
from pufferlib_core.ops.normalize import Moments
from pufferlib_core.policies import PolicyConfig, PolicySpec
from pufferlib_core.spaces import Box, Dict, Discrete

IMAGES = Dict({"image": Box(0, 255, (9, 7, 2), "uint8"), "place": Box(-1, 1, (3,)), "speed": Box(-1, 1, (1,))})
CONV = {"conv": ["4:3:2", "6:2:1"], "encoder": [5], "hidden": [8]}
NETWORKS = {  # observation space, policy
    "encoders": (IMAGES, CONV),
    "encoders, separate, relu": (IMAGES, CONV | {"separate": True, "activation": "relu", "hidden": [8, 6]}),
    "grey image": (Box(0, 1, (6, 6)), {"conv": ["3:3:1"], "hidden": [8]}),
    "lstm": (Box(-1, 1, (5,)), {"core": "lstm", "core_size": 7, "hidden": [8]}),
    "gru, separate": (Box(-1, 1, (5,)), {"core": "gru", "core_size": 6, "hidden": [8], "separate": True}),
    "lstm, normalised": (Box(-1, 1, (5,)), {"core": "lstm", "core_size": 4, "hidden": [8], "normalize_obs": True}),
    "encoders and gru": (IMAGES, CONV | {"core": "gru", "core_size": 5}),
}


def engine_of(obs_space, policy, ppo=(), action_space=None, **options):
    """An engine of JAX, its policy's description and its state."""
    spec = PolicySpec(
        obs_space=obs_space, action_space=action_space or Discrete(3), config=from_dict(PolicyConfig, dict(policy))
    )
    config = from_dict(PPOConfig, {"horizon": T, "minibatch": T * N // 4, "epochs": 2} | dict(ppo))
    backend, settings = get_backend("jax", "ppo.update"), from_dict(backend_specs()["jax"].config, options)
    engine = backend.make_engine(spec, config, options=settings, num_envs=N, seed=3, pool=Pool(1))
    state = engine.tensors(3)
    engine.push()
    if spec.config.normalize_obs:
        rng = np.random.default_rng(5)
        width = spec.tree.width
        state = state | {"obs_norm/mean": rng.normal(size=width), "obs_norm/var": rng.random(width) + 0.5}
        state["obs_norm/count"] = np.array([9.0])
    engine.load(state)
    return spec, engine, state


def features_of(spec, rng, rows):
    """Features as environments would give them: bytes of images, else small numbers."""
    x = rng.normal(size=(rows, spec.tree.width)).astype(np.float32)
    for encoder in spec.encoders:
        if encoder.scale != 1:
            x[:, encoder.first : encoder.first + encoder.size] = rng.integers(0, 256, (rows, encoder.size))
    return x


def oracle(spec, state):
    """The network of a policy in numpy and float64: heads, values and carry of features (N, width)."""
    tensors = {t.name: state[t.name].astype(np.float64) for t in spec.tensors()}
    read = spec.preprocessing(Moments.of(state, "obs_norm/") if spec.config.normalize_obs else None)

    def network(x, carry):
        if read is not None:
            x = np.clip((x - read[0]) * read[1], -read[2], read[2])
        return step(x, carry, tensors, spec, xp=xp)

    return network


@pytest.mark.parametrize("case", CASES)
def test_forward_and_samples_agree(case):
    check_forward_and_samples(*make(case, "jax"))


@pytest.mark.parametrize(("valid", "updates"), [(1.0, 1), (0.6, 3)])
@pytest.mark.parametrize("case", CASES)
def test_updates_agree_without_the_training_of_the_core(case, valid, updates, monkeypatch):
    check_updates(*make(case, "jax"), valid, monkeypatch, updates)


@pytest.mark.parametrize("before", [0, 1, 900, 3_000_000])
def test_a_step_of_adam_is_that_of_the_core(before):
    """Epsilon outside the root, both moments corrected, decay decoupled; from any number of steps on."""
    _, engine, _ = engine_of(*NETWORKS["lstm"], ppo={"weight_decay": 0.1, "epsilon": 1e-3})
    rng = np.random.default_rng(before)
    param, grad, m = (rng.normal(size=64).astype(np.float32) for _ in range(3))
    v = np.square(m) + np.float32(1e-3)
    optimizer = engine._optimizer(np.float32(0.01))
    state = optax.tree.set(optimizer.init(param), count=jax.numpy.int32(before), mu=m, nu=v)
    updates, state = optimizer.update(grad, state, param)
    found = [np.asarray(optax.apply_updates(param, updates)), optax.tree.get(state, "mu"), optax.tree.get(state, "nu")]
    config = ffi.new("puf_adam_config *")
    config.rate, config.beta1, config.beta2, config.epsilon, config.weight_decay = 0.01, 0.9, 0.999, 1e-3, 0.1
    where = [ffi.from_buffer("float[]", array) for array in (param, grad, m, v)]
    assert lib.puf_adam(isa(), config, before + 1, *where, len(param), ffi.NULL) == 0
    for ours, theirs in zip(found, (param, m, v), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=2e-7)


def collected(spec, network, valid=0.8):
    """A segment of a policy with any network, whose rows end episodes and are absent now and then."""
    rng = np.random.default_rng(1)
    width = spec.tree.width
    segment = Segment.allocate(T, N, (np.dtype(np.float32), (width,)), 0, (np.dtype(np.int32), ()))
    object.__setattr__(segment, "carry", np.zeros((2, N, spec.carry), np.float32) if spec.carry else None)
    segment.obs[...] = features_of(spec, rng, (T + 1) * N).reshape(T + 1, N, width)
    segment.terminated[...] = rng.random((T, N)) < 0.1
    segment.truncated[...] = rng.random((T, N)) < 0.1
    segment.valid[...] = rng.random((T, N)) < valid
    segment.action[...] = rng.integers(0, 3, (T, N))
    if spec.carry:
        segment.carry[0] = 0.3 * rng.normal(size=(N, spec.carry))
    heads, value = run_over(network, segment, np.arange(N))
    logprob, _ = categorical(heads, segment.action.reshape(-1, 1), (3,), xp=np)
    segment.logprob[...] = logprob.reshape(T, N) + 0.1 * rng.normal(size=(T, N))
    segment.value[...] = value.reshape(T, N)
    return segment, *(rng.normal(size=(T, N)).astype(np.float32) for _ in range(2))


def run_over(network, segment, envs):
    """Heads and values (T * len(envs), ...) of sequences, as the network meets them; absent rows read zeros."""
    carry = None if segment.carry is None else segment.carry[0][envs].astype(np.float64)
    heads, values = [], []
    for t in range(T):
        x = segment.features[t][envs].astype(np.float64)
        valid = segment.valid[t][envs]
        head, value, after = network(x, carry)
        heads.append(head)
        values.append(value)
        if carry is not None:
            carry = handed_on(carry, after, (segment.terminated | segment.truncated)[t][envs], valid)
    return np.concatenate(heads), np.concatenate(values)


def test_a_tiny_deviation_makes_no_nan_of_rows_that_are_not_valid():
    """Density of zeros above the largest float32: only a loss that never sees those rows has a finite gradient."""
    policy = {"hidden": [8], "log_std_init": -9.0}
    _, engine, state = engine_of(Box(-1, 1, (4,)), policy, action_space=Box(-1, 1, (16,)))
    segment = Segment.allocate(T, N, (np.dtype(np.float32), (4,)), 0, (np.dtype(np.float32), (16,)))
    segment.valid[: T // 2] = 1
    segment.obs[: T // 2] = 1.0
    for t in range(T // 2):
        segment.action[t], segment.logprob[t], segment.value[t] = engine.policy.act(segment.obs[t], greedy=False, step=t)
    advantage = np.random.default_rng(0).normal(size=(T, N)).astype(np.float32)
    engine.descend(segment, advantage, advantage, coefficients=at(engine.config, 1e-6), update=0)
    engine.pull()
    assert all(np.isfinite(array).all() for array in state.values())


def test_one_compilation_serves_a_run():
    """Whatever the rate, the update, the number of valid rows or the statistics of observations."""
    spec, engine, state = engine_of(*NETWORKS["lstm, normalised"])
    segment, advantage, target = collected(spec, oracle(spec, state))
    for update in range(3):
        engine.descend(segment, advantage, target, coefficients=at(engine.config, 1e-3 / (update + 1)), update=update)
        state["obs_norm/mean"] = state["obs_norm/mean"] + 1
        engine.load(state)
        segment.valid[update] = 0
    engine.push()
    engine.descend(segment, advantage, target, coefficients=at(engine.config, 1e-3), update=3)
    assert engine._update._cache_size() == 1
    for rows in range(1, N + 1):
        engine.policy.outputs(np.zeros((rows, 5), np.float32), np.zeros((rows, spec.carry), np.float32))
    assert engine.policy._outputs_of._cache_size() == 6  # 1, 2, 4, 8, 16 and 32 rows


@pytest.mark.parametrize("separate", [False, True])
def test_a_change_of_back_end_amid_a_run_takes_the_moments_along(separate):
    """native, JAX, native against native alone."""
    check_in_turn("relu, separate" if separate else "numbers", "jax")


@pytest.mark.usefixtures("optimised")
def test_cartpole_is_learnt_evaluated_and_continued_on_the_other_back_end(tmp_path):
    check_cartpole("jax", tmp_path)


def test_a_resumed_run_goes_on_within_tolerance_and_says_so(tmp_path):
    options = {"policy": {"normalize_obs": True, "core": "gru", "core_size": 8}, "ppo": {"horizon": 16, "epochs": 2}}
    whole = train("pendulum", backend="jax", timesteps=20_000, checkpoint_every=8_000, options=options, out=str(tmp_path))
    first = min((whole.run_dir / "checkpoints").iterdir())
    manifest = load_checkpoint(first).manifest
    assert (manifest["exact"], manifest["exact_reason"]) == (False, "XLA does not promise an order of sums")
    again = train(resume=first, out=str(tmp_path))
    assert first != whole.checkpoint
    a, b = (load_checkpoint(run.checkpoint).files for run in (whole, again))
    for part in ("policy", "trainer"):
        assert a[part].keys() == b[part].keys()
        for name, array in a[part].items():
            np.testing.assert_allclose(b[part][name], array, rtol=1e-4, atol=1e-5, err_msg=name)


def test_a_gradient_that_is_not_finite_stops_before_the_step():
    spec, engines, _ = make("discrete", "jax")
    engine, state = engines["jax"]
    segment, advantage, target = make_segment(spec, engine, False)
    advantage[3, 4] = np.inf
    with pytest.raises(NonFiniteError, match=r"update 0, minibatch [0-3]; the step was not taken"):
        engine.descend(segment, advantage, target, coefficients=at(engine.config, 1e-3), update=0)
    engine.pull()
    assert int(state["adam/step"][0]) < 4
    assert all(np.isfinite(array).all() for array in state.values())
    assert np.isfinite(engine.policy.forward(segment.obs[0])[0]).all()


def test_target_kl_stops_before_the_step():
    spec, engines, _ = make("discrete", "jax", {"target_kl": 1e-6})
    engine, state = engines["jax"]
    before = {name: array.copy() for name, array in state.items()}
    segment, advantage, target = make_segment(spec, engine, False)
    assert engine.descend(segment, advantage, target, coefficients=at(engine.config, 1e-3), update=0)["policy_loss"] == 0.0
    engine.pull()
    assert all(np.array_equal(before[name], array) for name, array in state.items())


def test_target_kl_stops_amid_an_update_where_the_native_back_end_does(monkeypatch):
    spec, engines, masked = make("discrete", "jax", {"target_kl": 0.02, "epochs": 8})
    segment, advantage, target = make_segment(spec, engines["native"][0], masked, 0.8)
    steps = []
    for engine, state in engines.values():
        engine.descend(segment, advantage, target, coefficients=at(engine.config, 2e-2), update=0)
        steps.append(int(state["adam/step"][0]))
    assert steps[0] == steps[1]
    assert 0 < steps[0] < 32


def test_half_precision_is_near_and_keeps_parameters_whole():
    spec, exact, _ = engine_of(*NETWORKS["encoders and gru"])
    _, half, state = engine_of(*NETWORKS["encoders and gru"], precision="bfloat16")
    x = features_of(spec, np.random.default_rng(0), 8)
    carry = np.zeros((8, spec.carry), np.float32)
    ours, theirs = half.policy.outputs(x, carry), exact.policy.outputs(x, carry)
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, atol=0.03)
    assert not np.array_equal(ours[1], theirs[1])
    segment, advantage, target = collected(spec, oracle(spec, state))
    losses = half.descend(segment, advantage, target, coefficients=at(half.config, 1e-3), update=0)
    assert np.isfinite(list(losses.values())).all()
    assert {array.dtype for array in half.policy.params.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("device", ["cpu:99", "surely_not", "cpu:one"])
def test_a_device_that_is_not_here_is_refused(device):
    with pytest.raises(ConfigError, match=rf"jax\.device='{device}' is not here; JAX sees cpu:0"):
        train("cartpole", backend="jax", options={"jax.device": device})


def test_arrays_lie_on_the_chosen_device():
    _, engine, _ = engine_of(*NETWORKS["lstm"], device="cpu:0")
    assert {array.devices() == {jax.devices("cpu")[0]} for array in engine.policy.params.values()} == {True}


def test_a_module_of_ones_own_learns_what_the_same_network_of_ours_learns():
    policy = {"hidden": [9]}
    spec, ours, state = engine_of(Box(-1, 1, (5,)), policy)
    _, theirs, own = engine_of(Box(-1, 1, (5,)), policy | {"module": "own_networks:Same"})
    for name in ("trunk.0", "policy", "value"):
        layer = f"module.{name.replace('trunk.0', 'hidden')}"
        own[f"{layer}.kernel"][...] = state[f"{name}.weight"].T
        own[f"{layer}.bias"][...] = state[f"{name}.bias"]
    theirs.push()
    segment, advantage, target = collected(spec, oracle(spec, state))
    segment.obs[:-1][segment.valid == 0] = np.nan
    for update in range(2):
        a, b = (
            engine.descend(segment, advantage, target, coefficients=at(engine.config, 1e-3), update=update)
            for engine in (ours, theirs)
        )
        np.testing.assert_allclose(list(b.values()), list(a.values()), rtol=1e-4, atol=1e-6)
    for engine in (ours, theirs):
        engine.pull()
    np.testing.assert_allclose(own["adam/v/module.hidden.kernel"], state["adam/v/trunk.0.weight"].T, rtol=1e-3, atol=1e-9)
    np.testing.assert_allclose(own["module.policy.kernel"], state["policy.weight"].T, rtol=1e-3, atol=2e-5)


def test_a_module_of_ones_own_is_trained_resumed_and_evaluated(tmp_path):
    module = {"policy.module": "own_networks:Plain"}
    run = train("cartpole", backend="jax", timesteps=60_000, options=module, out=str(tmp_path))
    more = train(resume=run.checkpoint, timesteps=64_096, out=str(tmp_path))
    scores = [evaluate("cartpole", path, backend="jax")["episode_return_mean"] for path in (run.checkpoint, more.checkpoint)]
    assert min(scores) > 150
    assert set(load_checkpoint(more.checkpoint).files["policy"]) >= {"module.shared.0.kernel", "module.value.bias"}
    with pytest.raises(ConfigError, match="own_networks:Plain: this network is a module"):
        load_policy(run.checkpoint)
    with pytest.raises(ConfigError, match="back end 'native' has no settings, got device"):
        load_policy(run.checkpoint, options={"device": "cpu"})


def test_a_module_of_ones_own_may_remember():
    obs_space, policy = NETWORKS["gru, separate"]
    spec, engine, state = engine_of(obs_space, policy | {"module": "own_networks:Remembering"})
    assert spec.carry == 12
    segment, advantage, target = collected(spec, lambda x, carry: (np.zeros((len(x), 3)), np.zeros(len(x)), carry))
    segment.obs[:-1][segment.valid == 0] = np.nan
    before = {name: array.copy() for name, array in state.items()}
    assert np.isfinite(
        list(engine.descend(segment, advantage, target, coefficients=at(engine.config, 1e-3), update=0).values())
    ).all()
    engine.pull()
    assert not np.array_equal(state["module.cell.dense_h.kernel"], before["module.cell.dense_h.kernel"])
    assert all(np.isfinite(array).all() for array in state.values())


@pytest.mark.parametrize(
    ("module", "rule"),
    [
        ("own_networks:number", "must give a module of flax nnx, got int"),
        ("own_networks:nothing", "must be package.module:factory"),
        ("surely_not:here", "must be package.module:factory"),
        ("own_networks", "must be package.module:factory"),
        ("own_networks:Counting", "BatchStat would be neither learnt nor saved"),
        ("own_networks:WithoutDeviations", r"needs log_std, an nnx\.Param \(2,\)"),
    ],
)
def test_a_module_that_does_not_fit_is_refused(module, rule):
    with pytest.raises(ConfigError, match=rf"policy\.module.*{rule}"):
        engine_of(Box(-1, 1, (5,)), {"module": module}, action_space=Box(-1, 1, (2,)))


def test_outputs_of_a_module_that_do_not_fit_are_refused():
    _, engine, _ = engine_of(Box(-1, 1, (5,)), {"module": "own_networks:Misshapen"})
    with pytest.raises(ShapeError, match=r"heads, value and carry of 4 rows must be .* got .*\(4, 1\)"):
        engine.policy.forward(np.zeros((4, 5), np.float32))
