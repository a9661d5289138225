"""Encoders, cores, precision and accumulation on torch, against numpy in float64. Run by the gate `peers`."""

from __future__ import annotations

import functools
import itertools
from dataclasses import replace

import array_api_compat.numpy as xp
import numpy as np
import pytest
import torch
from against_native import at
from pufferlib_core import evaluate, load_checkpoint, make_vec, train
from pufferlib_core.algorithms.ppo import PPOConfig
from pufferlib_core.backends import backend_specs, get_backend
from pufferlib_core.backends.acting import minibatch_order
from pufferlib_core.backends.params import views
from pufferlib_core.config import from_dict
from pufferlib_core.data import Segment, handed_on
from pufferlib_core.errors import ConfigError, NonFiniteError, ShapeError
from pufferlib_core.native import Pool
from pufferlib_core.ops.cores import gru, lstm
from pufferlib_core.ops.distributions import mixed
from pufferlib_core.ops.ppo import loss
from pufferlib_core.policies import PolicyConfig, PolicySpec
from pufferlib_core.spaces import Box, Dict, Discrete
from pufferlib_core.vector.base import action_dtype, choices_of

T, N = 8, 12
PLANES = ("obs", "action", "logprob", "value", "reward", "terminated", "truncated", "valid", "carry")
NESTED = Dict({"eye": Box(0, 255, (9, 8, 3), np.uint8), "self": Box(-1, 1, (5,)), "tool": Discrete(4)})
VECTOR, BOARD = Box(-1, 1, (6,)), Box(-1, 1, (10, 5))
SMALL = {"hidden": [9, 7]}
CONV = {"conv": ["4:3:1", "5:2:2"], "hidden": [9]}
POLICIES = {
    "mlp": (VECTOR, SMALL),
    "mlp, separate": (VECTOR, SMALL | {"separate": True, "activation": "relu"}),
    "conv": (BOARD, CONV),
    "conv, separate": (BOARD, CONV | {"separate": True}),
    "nested": (NESTED, CONV | {"encoder": [7, 6]}),
    "nested, dense alone": (NESTED, SMALL | {"encoder": [7]}),
    "nested, passed through": (NESTED, CONV),
    "lstm": (VECTOR, SMALL | {"core": "lstm", "core_size": 5}),
    "lstm, separate": (VECTOR, SMALL | {"core": "lstm", "core_size": 5, "separate": True}),
    "gru": (VECTOR, SMALL | {"core": "gru", "core_size": 5}),
    "nested, gru, separate": (NESTED, CONV | {"encoder": [7], "core": "gru", "core_size": 5, "separate": True}),
}
REMEMBERING = [name for name, (_, policy) in POLICIES.items() if "core" in policy]


def make_engine(obs, policy, ppo=None, seed=3, steps=T, envs=N, action=None, **options):
    """An engine at the beginning of a run, and its state."""
    config = from_dict(PolicyConfig, policy)
    spec = PolicySpec(obs_space=obs, action_space=action or Discrete(3), config=config)
    settings = from_dict(PPOConfig, {"horizon": steps, "minibatch": steps * envs, "epochs": 1} | (ppo or {}))
    engine = get_backend("torch", "ppo.update").make_engine(
        spec, settings, options=from_dict(backend_specs()["torch"].config, options), num_envs=envs, seed=seed, pool=Pool(1)
    )
    state = engine.tensors(seed)
    engine.push()
    engine.load(state)
    return engine, state


def conv2d(image, weight, bias, stride):
    """A convolution of images (N, H, W, C) by its definition."""
    size = weight.shape[2]
    windows = np.lib.stride_tricks.sliding_window_view(image, (size, size), axis=(1, 2))[:, ::stride, ::stride]
    return np.einsum("nhwcij,ocij->nhwo", windows, weight) + bias


def oracle(spec, params, features, carry):
    """Heads, values and what is handed on, in float64."""
    act = np.tanh if spec.config.activation == "tanh" else lambda x: np.maximum(x, 0)
    read = spec.preprocessing(None)
    x = features.astype(np.float64)
    if read is not None:
        x = (x - read[0]) * read[1].astype(np.float64)
    parts = ("actor", "critic") if spec.config.separate else ("trunk",)
    outputs, after = [], []
    for part, before in zip(parts, np.split(carry, len(parts), axis=1), strict=True):
        pieces = []
        for e, encoder in enumerate(spec.encoders):
            h = x[:, encoder.first : encoder.first + encoder.size]
            h = h.reshape(-1, *encoder.image) if encoder.image else h
            for k in range(len(encoder.layers)):
                weight, bias = (params[f"{part}.encoder.{e}.{k}.{name}"] for name in ("weight", "bias"))
                h = act(conv2d(h, weight, bias, encoder.convs[k].stride) if encoder.image else h @ weight.T + bias)
            pieces.append(h.reshape(len(h), -1))
        h = np.concatenate(pieces, axis=1) if pieces else x
        for k in range(len(spec.config.hidden)):
            h = act(h @ params[f"{part}.{k}.weight"].T + params[f"{part}.{k}.bias"])
        if spec.gates:
            core = {"lstm": lstm, "gru": gru}[spec.config.core]
            after.append(core(h, before, *(params[f"{part}.core.{name}"] for name in ("input", "state", "bias")), xp=xp))
            h = after[-1][:, : spec.config.core_size]
        outputs.append(h)
    heads = outputs[0] @ params["policy.weight"].T + params["policy.bias"]
    value = (outputs[-1] @ params["value.weight"].T + params["value.bias"])[:, 0]
    return heads, value, np.concatenate(after, axis=1) if after else carry


def spread(engine, state, seed=0):
    """Parameters with biases and heads that matter; returns them in float64."""
    rng = np.random.default_rng(seed)
    for tensor in engine.spec.tensors():
        state[tensor.name] += (0.3 * rng.normal(size=tensor.shape)).astype(np.float32)
    engine.push()
    return {t.name: state[t.name].astype(np.float64) for t in engine.spec.tensors()}


def features_of(spec, rng, *shape):
    scale = spec.preprocessing(None)
    values = rng.normal(size=(*shape, spec.tree.width)).astype(np.float32)
    return values if scale is None else np.abs(values) / scale[1]


def make_segment(spec, seed=0, valid=0.8):
    """Rows with garbage where they are not valid, and episodes that end within them."""
    rng = np.random.default_rng(seed)
    action = action_dtype(spec.action_space), spec.action_space.shape
    segment = Segment.allocate(T, N, (np.dtype(np.float32), (spec.tree.width,)), 0, action)
    carry = rng.uniform(-1, 1, (2, N, spec.carry)).astype(np.float32) if spec.carry else None
    segment = replace(segment, carry=carry)
    segment.obs[...] = features_of(spec, rng, T + 1, N)
    if spec.numbers:
        segment.action[...] = rng.normal(size=segment.action.shape)
    else:
        segment.action[...] = rng.integers(0, 3, segment.action.shape)
    segment.logprob[...] = np.log(1 / 3) + 0.3 * rng.normal(size=(T, N))
    segment.value[...] = rng.normal(size=(T, N))
    segment.terminated[...] = rng.random((T, N)) < 0.1
    segment.truncated[...] = rng.random((T, N)) < 0.1
    segment.valid[...] = rng.random((T, N)) < valid
    advantage, target = (rng.normal(size=(T, N)).astype(np.float32) for _ in range(2))
    return segment, advantage, target


def oracle_loss(spec, params, segment, advantage, target, config):
    """The loss of a whole segment in float64."""
    kept = segment.valid.ravel() != 0
    carry = np.zeros((N, 0)) if segment.carry is None else segment.carry[0].astype(np.float64)
    heads, values = [], []
    for t in range(T):
        features = np.where(segment.valid[t][:, None] != 0, segment.obs[t], 0)
        head, value, after = oracle(spec, params, features, carry)
        carry = handed_on(carry, after, segment.terminated[t] | segment.truncated[t], segment.valid[t])
        heads.append(head)
        values.append(value)
    choices = choices_of(segment.action).reshape(T * N, -1)[kept]
    logprob, entropy = mixed(np.concatenate(heads)[kept], None, choices, None, spec.nvec, xp=xp)
    planes = {"old_logprob": segment.logprob, "advantage": advantage, "target": target, "old_value": segment.value}
    planes = {name: plane.ravel()[kept].astype(np.float64) for name, plane in planes.items()}
    return loss(
        logprob, entropy, np.concatenate(values)[kept], **planes, valid=None, config=config, coefficients=at(config, 0.0), xp=xp
    )


@pytest.mark.parametrize("name", POLICIES)
def test_forward_agrees_with_the_oracle(name):
    engine, state = make_engine(*POLICIES[name])
    spec, rng = engine.spec, np.random.default_rng(1)
    assert {n: p.shape for n, p in engine.policy.network.named_parameters()} == {t.name: t.shape for t in spec.tensors()}
    params = spread(engine, state)
    features = features_of(spec, rng, 40)
    carry = rng.uniform(-1, 1, (40, spec.carry)).astype(np.float32)
    heads, value, after = engine.policy.outputs(features, carry if spec.carry else None)
    wanted = oracle(spec, params, features, carry.astype(np.float64))
    np.testing.assert_allclose(heads, wanted[0], atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(value, wanted[1], atol=1e-5, rtol=1e-5)
    if spec.carry:
        np.testing.assert_allclose(after, wanted[2], atol=1e-5, rtol=1e-5)
        assert engine.policy.act(features, carry=carry)[0].shape == (40,)
        np.testing.assert_array_equal(carry, after)
        with pytest.raises(ShapeError, match="carry must be float32"):
            engine.policy.act(features)
    else:
        assert after is None


@pytest.mark.parametrize("name", POLICIES)
def test_losses_and_gradients_agree_with_the_oracle(name):
    """The gradient along random directions, by central differences of the loss in float64."""
    ppo = {"max_grad_norm": 0.0, "entropy_coef": 0.02, "value_clip": 0.5}
    engine, state = make_engine(*POLICIES[name], ppo)
    params = spread(engine, state)
    segment, advantage, target = make_segment(engine.spec)

    def value_at(step, direction):
        moved = {key: array + step * direction[key] for key, array in params.items()}
        return oracle_loss(engine.spec, moved, segment, advantage, target, engine.config)

    told = engine.descend(segment, advantage, target, coefficients=at(engine.config, 0.0), update=0)
    engine.pull()
    gradient = {key: state[f"adam/m/{key}"].astype(np.float64) / (1 - engine.config.beta1) for key in params}
    for part, wanted in value_at(0.0, params)[1].items():
        assert told[part] == pytest.approx(wanted, rel=1e-4, abs=1e-5), part
    rng = np.random.default_rng(2)
    for chosen in [params, *([key] for key in params)]:  # along all parameters at once, then along each alone
        direction = {key: rng.normal(size=array.shape) * (key in chosen) for key, array in params.items()}
        length = np.sqrt(sum((array**2).sum() for array in direction.values()))
        slope = (value_at(1e-5, direction)[0] - value_at(-1e-5, direction)[0]) / 2e-5
        ours = sum((gradient[key] * direction[key]).sum() for key in params)
        assert ours / length == pytest.approx(slope / length, rel=2e-3, abs=2e-5), chosen


@pytest.mark.parametrize("core", ["lstm", "gru"])
@pytest.mark.parametrize("mode", ["same_step", "next_step"])
def test_collection_and_unrolling_agree(core, mode):
    """The first minibatch of an update has the policy that collected: all ratios are 1. With rows that are not valid too."""
    steps, envs = 48, 16
    vec = make_vec("cartpole", num_envs=envs, autoreset=mode, seed=5)
    policy = {"hidden": [16], "core": core, "core_size": 8, "separate": core == "gru"}
    ppo = {"minibatch": steps * 4}
    engine, state = make_engine(vec.spec.obs_space, policy, ppo, steps=steps, envs=envs, action=Discrete(2))
    spread(engine, state)
    engine.load(state)
    segment = vec.allocate(steps, engine.spec.carry)
    segment.obs[0] = vec.reset().obs
    for update in range(2):
        assert engine.collect(vec, segment, update * steps) > 0
        assert (segment.valid == 0).any() == (mode == "next_step")
        assert bool(segment.carry[0].any()) == (update == 1)
        ended = torch.from_numpy(segment.terminated | segment.truncated)[..., None] != 0
        valid = torch.from_numpy(segment.valid)[..., None] != 0
        with torch.no_grad():
            heads, value = engine.policy.sequences(
                torch.from_numpy(segment.features[:-1]), torch.from_numpy(segment.carry[0]), ended, valid
            )
        logprob, _ = mixed(heads.numpy(), None, segment.action.reshape(-1, 1), None, (2,), xp=xp)
        kept = segment.valid.ravel() != 0
        np.testing.assert_allclose(logprob[kept], segment.logprob.ravel()[kept], atol=1e-5)
        np.testing.assert_allclose(value.numpy()[kept], segment.value.ravel()[kept], atol=1e-5)
        zeros = np.zeros((steps, envs), np.float32)
        told = engine.descend(segment, zeros, segment.value + 0, coefficients=at(engine.config, 0.0), update=update)
        assert told["clip_fraction"] == 0.0
        assert told["approx_kl"] == pytest.approx(0.0, abs=1e-6)
        assert told["value_loss"] == pytest.approx(0.0, abs=1e-9)
        segment.roll()
    vec.close()


@pytest.mark.parametrize("name", REMEMBERING)
def test_minibatches_hold_whole_sequences_in_the_order_of_all_back_ends(name):
    """Three minibatches are the steps of an engine that is given their environments one after the other."""
    held, update = N // 3, 5
    whole, state = make_engine(*POLICIES[name], {"minibatch": T * held, "epochs": 2})
    single, other = make_engine(*POLICIES[name], envs=held)
    segment, advantage, target = make_segment(whole.spec)
    whole.descend(segment, advantage, target, coefficients=at(whole.config, 1e-2), update=update)
    for epoch in range(2):
        for envs in np.split(minibatch_order(3, update, epoch, N, held), 3):
            planes = {key: getattr(segment, key)[:, envs] for key in PLANES}
            part = replace(segment, **planes)
            single.descend(part, advantage[:, envs], target[:, envs], coefficients=at(single.config, 1e-2), update=0)
    for engine in (whole, single):
        engine.pull()
    assert state["adam/step"] == 6
    for key, array in state.items():
        np.testing.assert_allclose(other[key], array, atol=2e-6, rtol=1e-4, err_msg=key)


@pytest.mark.parametrize("name", ["nested", *REMEMBERING])
def test_rows_that_are_not_valid_change_no_bit(name):
    learnt = []
    for garbage in (0.0, np.nan):
        engine, state = make_engine(*POLICIES[name], {"minibatch": T * N // 3, "epochs": 2}, accumulate=2)
        segment, advantage, target = make_segment(engine.spec)
        absent = segment.valid == 0
        for plane in (segment.obs[:-1], segment.logprob, segment.value, advantage, target):
            plane[absent] = garbage
        segment.action[absent] = 0 if garbage == 0 else 7
        engine.descend(segment, advantage, target, coefficients=at(engine.config, 1e-2), update=0)
        engine.pull()
        learnt.append({key: array.copy() for key, array in state.items()})
    for key, array in learnt[0].items():
        assert np.isfinite(array).all()
        assert array.tobytes() == learnt[1][key].tobytes(), key


@pytest.mark.parametrize("name", ["mlp", "conv", "lstm", "nested, gru, separate"])
@pytest.mark.parametrize("valid", [1.0, 0.7, 0.0])
def test_accumulation_changes_nothing(name, valid):
    results = []
    for pieces in (1, 3, 4):
        ppo = {"minibatch": T * N // 2, "entropy_coef": 0.01}
        engine, state = make_engine(*POLICIES[name], ppo, accumulate=pieces)
        segment, advantage, target = make_segment(engine.spec, valid=valid)
        told = engine.descend(segment, advantage, target, coefficients=at(engine.config, 1e-3), update=0)
        engine.pull()
        results.append(told | {key: array.copy() for key, array in state.items()})
    for other, (key, value) in itertools.product(results[1:], results[0].items()):
        np.testing.assert_allclose(other[key], value, atol=1e-6, rtol=1e-5, err_msg=key)


def test_a_minibatch_has_so_many_parts_at_most():
    with pytest.raises(ConfigError, match=r"torch\.accumulate=13 must be at most 12, the sequences of a minibatch"):
        make_engine(*POLICIES["lstm"], accumulate=13)


@pytest.mark.parametrize("name", ["mlp", "conv", "lstm", "nested, gru, separate"])
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_gradients_of_half_precision(name, precision):
    """Of the direction and length of float32's, within what 8 and 11 bits of a mantissa give over a few layers."""
    gradients = {}
    for kind in ("float32", precision):
        engine, state = make_engine(*POLICIES[name], {"max_grad_norm": 0.0}, precision=kind)
        spread(engine, state)
        segment, advantage, target = make_segment(engine.spec)
        engine.descend(segment, advantage, target, coefficients=at(engine.config, 0.0), update=0)
        engine.pull()
        gradients[kind] = np.concatenate([state[f"adam/m/{t.name}"].ravel() for t in engine.spec.tensors()])
        assert all(array.dtype in (np.float32, np.int64) for array in state.values())
    whole, half = gradients.values()
    error = np.linalg.norm(half - whole) / np.linalg.norm(whole)
    assert 0 < error < {"bf16": 0.05, "fp16": 0.01}[precision]


def test_a_gradient_that_overflows_is_computed_again():
    """Advantages of 1e4 overflow with the first scale of the loss; the step is taken all the same."""
    ppo = {"max_grad_norm": 0.0, "normalize_advantage": False}
    results = {}
    for kind in ("float32", "fp16"):
        engine, state = make_engine(*POLICIES["mlp"], ppo, precision=kind)
        segment, advantage, target = make_segment(engine.spec)
        segment.logprob[...] = np.log(1 / 3)
        engine.descend(segment, 1e4 * advantage, target, coefficients=at(engine.config, 1e-3), update=0)
        engine.pull()
        results[kind] = state["adam/m/policy.weight"].copy()
        assert state["adam/step"] == 1
    assert 1 < engine._scale < 65536
    np.testing.assert_allclose(results["fp16"], results["float32"], rtol=0.05, atol=0.01 * np.abs(results["float32"]).max())
    advantage[...] = np.inf
    with pytest.raises(NonFiniteError, match="the step was not taken"):
        engine.descend(segment, advantage, target, coefficients=at(engine.config, 1e-3), update=1)


@pytest.mark.parametrize("core", ["lstm", "gru"])
def test_resume_is_bit_exact_on_the_cpu(tmp_path, core):
    ppo = {"minibatch": 512, "horizon": 16, "epochs": 2}
    policy = {"hidden": [16], "normalize_obs": True, "core": core, "core_size": 16}
    sections = {"policy": policy, "torch": {"accumulate": 2}, "ppo": ppo}
    settings = {"timesteps": 8_000, "checkpoint_every": 3_000, "out": str(tmp_path)}
    whole = train("cartpole", backend="torch", options=sections, **settings)
    first = min((whole.run_dir / "checkpoints").iterdir())
    assert load_checkpoint(first).manifest["exact"]
    again = train(resume=first, out=str(tmp_path))
    assert first != whole.checkpoint
    a, b = (load_checkpoint(run.checkpoint).files for run in (whole, again))
    assert a["envs"]["carry"].any()
    for part in ("policy", "trainer", "envs"):
        assert {name: array.tobytes() for name, array in a[part].items()} == {
            name: array.tobytes() for name, array in b[part].items()
        }


def test_cartpole_is_learnt_in_bf16(tmp_path, learning_seed):
    run = train("cartpole", backend="torch", seed=learning_seed, options={"torch.precision": "bf16"}, out=str(tmp_path))
    assert evaluate("cartpole", run.checkpoint, backend="torch")["episode_return_mean"] >= 475


def test_catch_is_learnt_from_its_picture(tmp_path, learning_seed):
    policy = {"policy": {"conv": ["16:3:1"], "hidden": [64], "activation": "relu"}}
    run = train("catch", backend="torch", seed=learning_seed, options=policy, out=str(tmp_path))
    assert load_checkpoint(run.checkpoint).files["policy"]["trunk.encoder.0.0.weight"].shape == (16, 1, 3, 3)
    assert evaluate("catch", run.checkpoint, backend="torch")["episode_return_mean"] >= 0.95


@pytest.mark.parametrize("core", ["lstm", "gru", "none"])
def test_what_was_shown_is_remembered_by_a_core_alone(tmp_path, core, learning_seed):
    options = {"policy": {"core": core, "core_size": 32, "hidden": [32]}, "train": {"stop_return": 0.99}}
    run = train("memory", backend="torch", seed=learning_seed, options=options, out=str(tmp_path))
    score = evaluate("memory", run.checkpoint, backend="torch")["episode_return_mean"]
    assert 0.3 < score < 0.7 if core == "none" else score >= 0.99


@pytest.mark.parametrize("policy", [SMALL, SMALL | {"core": "lstm", "core_size": 4}])
def test_compilation_changes_little(policy, monkeypatch):
    """Of what is captured and differentiated; that is not compiled to machine code here, which takes a minute."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    results = []
    for chosen in (False, True):
        engine, state = make_engine(VECTOR, policy, {"minibatch": T * N // 2}, compile=chosen)
        segment, advantage, target = make_segment(engine.spec, valid=1.0)
        engine.descend(segment, advantage, target, coefficients=at(engine.config, 1e-3), update=0)
        engine.pull()
        results.append({key: array.copy() for key, array in state.items()})
    for key, array in results[0].items():
        np.testing.assert_allclose(results[1][key], array, atol=1e-5, rtol=1e-4, err_msg=key)


def test_initial_values_are_those_of_all_back_ends():
    engine, state = make_engine(*POLICIES["nested, gru, separate"])
    shared = views(engine.spec, get_backend("native").initial_params(engine.spec, 3))
    assert all(np.array_equal(state[name], array) for name, array in shared.items())
