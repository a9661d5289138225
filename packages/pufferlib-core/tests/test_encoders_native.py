"""Encoders in the core: values and gradients against convolutions by their definition, independence of place and threads."""

from __future__ import annotations

import numpy as np
import pytest
from pufferlib_core import native
from pufferlib_core.algorithms.ppo import PPOConfig
from pufferlib_core.backends import get_backend
from pufferlib_core.config import from_dict
from pufferlib_core.errors import ShapeError
from pufferlib_core.native import Pool, ffi, lib
from pufferlib_core.ops.distributions import categorical
from pufferlib_core.ops.normalize import Moments
from pufferlib_core.ops.ppo import Coefficients, loss
from pufferlib_core.policies import PolicyConfig, PolicySpec
from pufferlib_core.spaces import Box, Dict, Discrete

NATIVE = get_backend("native", "ppo.update")
ROWS = 75  # two whole slices and a part of one


def make(obs, **config) -> PolicySpec:
    return PolicySpec(obs_space=obs, action_space=Discrete(3), config=from_dict(PolicyConfig, {"hidden": [9]} | config))


def image(*shape: int) -> Box:
    return Box(0, 255, shape, np.uint8)


NESTED = Dict({"body": Box(-1, 1, (5,)), "eye": image(9, 11, 3), "map": Box(-1, 1, (6, 5)), "tool": Discrete(4)})
SPECS = {
    "one channel, stride 1": make(Box(-1, 1, (10, 5)), conv=["16:3:1"]),
    "three channels, stride 2, odd filters": make(image(13, 17, 3), conv=["7:4:2", "19:2:1"], activation="relu"),
    "four channels, strides 3 and 2": make(image(20, 14, 4), conv=["33:5:3", "5:2:2"], hidden=[12, 6]),
    "stride 4, down to one place": make(image(36, 36, 4), conv=["32:8:4", "64:4:2", "40:3:1"], activation="relu"),
    "stride larger than the kernel": make(image(12, 9, 2), conv=["6:2:4", "3:1:1"]),
    "kernel as large as the image": make(image(7, 7), conv=["20:7:1"], separate=True),
    "nested": make(NESTED, conv=["6:3:2", "17:2:1"], encoder=[7, 18], activation="relu"),
    "nested, separate": make(NESTED, conv=["8:3:1"], encoder=[5], hidden=[12, 9], separate=True),
    "nested, vectors as they are": make(NESTED, conv=["4:2:3"]),
    "nested, without convolutions": make(NESTED, encoder=[20]),
}


@pytest.fixture(params=sorted(native.isa_names()))
def isa(request, monkeypatch):
    monkeypatch.setenv("PUFFER_ISA", request.param)
    native.isa.cache_clear()
    yield request.param
    native.isa.cache_clear()


def features(spec: PolicySpec, rows: int = ROWS) -> np.ndarray:
    """Numbers that a network reads, those of images from 0 to 255."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(rows, spec.tree.width))
    for e in spec.encoders:
        if e.scale != 1:
            x[:, e.first : e.first + e.size] = rng.integers(0, 256, (rows, e.size))
    return x.astype(spec.tree.feature_dtype)


def convolution(x, w, stride):
    """Images (N, H, W, C) and weights (out, C, kernel, kernel) by the definition."""
    kernel = w.shape[2]
    patches = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), axis=(1, 2))[:, ::stride, ::stride]
    return np.einsum("nyxcij,ocij->nyxo", patches, w)


def forward64(spec: PolicySpec, flat: np.ndarray, obs: np.ndarray):
    """Logits and values in float64."""
    p = {t.name: flat[t.offset : t.offset + t.size].reshape(t.shape).astype(np.float64) for t in spec.tensors()}
    act = np.tanh if spec.config.activation == "tanh" else lambda x: np.maximum(x, 0)

    def tower(part):
        joined = []
        for e, encoder in enumerate(spec.encoders):
            x = obs[:, encoder.first : encoder.first + encoder.size].astype(np.float64) * np.float32(encoder.scale)
            x = x if encoder.image is None else x.reshape(-1, *encoder.image)
            for k in range(len(encoder.layers)):
                w, b = (p[f"{part}.encoder.{e}.{k}.{name}"] for name in ("weight", "bias"))
                x = act((x @ w.T if encoder.image is None else convolution(x, w, encoder.convs[k].stride)) + b)
            joined.append(x.reshape(len(x), -1))
        h = np.concatenate(joined, 1)
        for k in range(len(spec.config.hidden)):
            h = act(h @ p[f"{part}.{k}.weight"].T + p[f"{part}.{k}.bias"])
        return h

    actor, critic = (tower("actor"), tower("critic")) if spec.config.separate else (tower("trunk"),) * 2
    return actor @ p["policy.weight"].T + p["policy.bias"], (critic @ p["value.weight"].T + p["value.bias"])[:, 0]


def parameters(spec: PolicySpec) -> np.ndarray:
    """Initial ones, and biases and heads that are not zero."""
    noise = np.random.default_rng(1).normal(size=spec.params).astype(np.float32)
    return NATIVE.initial_params(spec, 3) + 0.1 * noise


@pytest.mark.parametrize("name", SPECS)
def test_forward_is_the_definition(name, isa):
    spec = SPECS[name]
    params, obs = parameters(spec), features(spec)
    logits, value = NATIVE.NativePolicy(spec, params, None, native.Pool(1)).forward(obs)
    expected = forward64(spec, params, obs)
    for got, want in zip((logits, value), expected, strict=True):
        assert np.abs(got - want).max() <= 1e-5 * np.abs(want).max()


@pytest.mark.parametrize("name", ["stride 4, down to one place", "nested, separate"])
def test_a_row_does_not_depend_on_the_others(name, isa):
    spec = SPECS[name]
    params, obs = parameters(spec), features(spec, 150)
    whole = NATIVE.NativePolicy(spec, params, None, native.Pool(3)).forward(obs)
    policy = NATIVE.NativePolicy(spec, params, None, native.Pool(1))
    for part in (slice(0, 1), slice(31, 32), slice(7, 60), slice(149, 150)):
        for got, want in zip(policy.forward(np.ascontiguousarray(obs[part])), whole, strict=True):
            assert got.tobytes() == want[part].tobytes()


def batch_of(spec: PolicySpec, rows: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    batch = {name: rng.normal(size=rows).astype(np.float32) for name in ("logprob", "advantage", "target", "value")}
    batch["logprob"] = batch["logprob"] * np.float32(0.1) - np.float32(1.1)
    batch["obs"] = features(spec, rows)
    return batch | {"action": rng.integers(0, 3, rows).astype(np.int32), "valid": np.ones(rows, np.uint8)}


def gradient(spec: PolicySpec, config: PPOConfig, params: np.ndarray, batch: dict[str, np.ndarray], threads: int = 1):
    rows, pool = len(batch["obs"]), native.Pool(threads)
    policy = NATIVE.NativePolicy(spec, params, None, pool)
    memory = native.memory(lib.puf_ppo_bytes(policy.handle, rows, rows, 1, lib.PUF_ADAM), "ppo")
    handle = ffi.new("puf_ppo **")
    native.check(
        lib.puf_ppo_init(handle, ffi.from_buffer(memory), memory.nbytes, policy.handle, rows, rows, 1, lib.PUF_ADAM), "ppo"
    )
    b, c = ffi.new("puf_batch *"), ffi.new("puf_ppo_config *")
    b.action, b.valid, b.rows = ffi.from_buffer(batch["action"]), ffi.from_buffer("uint8_t[]", batch["valid"]), rows
    b.obs = ffi.from_buffer(batch["obs"])
    for name in ("logprob", "advantage", "target", "value"):
        setattr(b, name, ffi.from_buffer("float[]", batch[name]))
    for name in ("clip", "value_coef", "entropy_coef", "normalize_advantage", "epochs"):
        setattr(c, name, getattr(config, name))
    c.minibatch = rows
    grads, index = np.zeros(spec.params, np.float32), np.arange(rows, dtype=np.int32)
    status = lib.puf_ppo_gradient(
        handle[0], pool.exec, c, b, ffi.from_buffer("int32_t[]", index), rows, ffi.from_buffer("float[]", params),
        ffi.from_buffer("float[]", grads), ffi.NULL,
    )  # fmt: skip
    native.check(status, "gradient")
    return grads


def loss64(spec, config, flat, batch):
    logits, value = forward64(spec, flat, batch["obs"])
    logprob, entropy = categorical(logits, batch["action"][:, None], (3,), xp=np)
    return loss(logprob, entropy, value, old_logprob=batch["logprob"].astype(np.float64),
                advantage=batch["advantage"].astype(np.float64), target=batch["target"].astype(np.float64),
                old_value=batch["value"].astype(np.float64), valid=np.ones(len(value)), config=config,
                coefficients=Coefficients(0.0, config.clip, config.entropy_coef), xp=np)[0]  # fmt: skip


@pytest.mark.parametrize("name", SPECS)
def test_gradient_is_that_of_the_loss(name, isa):
    spec, config = SPECS[name], PPOConfig(entropy_coef=0.01)
    params, batch = parameters(spec), batch_of(spec, 40)
    grads = gradient(spec, config, params, batch).astype(np.float64)

    def slope(direction):
        return sum(sign * loss64(spec, config, params + sign * direction, batch) for sign in (1, -1)) / 2

    rng, scale = np.random.default_rng(4), np.linalg.norm(grads)
    for t in spec.tensors():
        part = slice(t.offset, t.offset + t.size)
        for way in (grads[part], rng.normal(size=t.size)):  # uphill, where every number counts, and any way
            direction = np.zeros(spec.params)
            direction[part] = way / max(np.linalg.norm(way), 1e-9)
            assert (
                abs(grads @ direction - slope(1e-6 * direction) / 1e-6) <= 1e-3 * np.linalg.norm(grads[part]) + 1e-5 * scale
            ), t


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_gradient_does_not_depend_on_threads_or_on_rows_that_are_not_valid(activation, isa):
    spec = make(NESTED, conv=["6:3:2", "17:2:1"], encoder=[7], activation=activation)
    params, batch = parameters(spec), batch_of(spec, 400)
    batch["valid"][::3] = 0
    one = gradient(spec, PPOConfig(), params, batch)
    assert gradient(spec, PPOConfig(), params, batch, threads=3).tobytes() == one.tobytes()
    for name in ("obs", "logprob", "advantage", "target", "value"):
        batch[name][::3] = np.nan
    assert gradient(spec, PPOConfig(), params, batch, threads=2).tobytes() == one.tobytes()


@pytest.mark.parametrize("normalize", [False, True])
def test_bytes_are_read_as_the_numbers_that_they_are(normalize):
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 256, (70, 37)).astype(np.uint8)
    moments = Moments.empty(37).merged(rows) if normalize else None
    by_dtype = {}
    for dtype in (np.uint8, np.float32):
        config = PolicyConfig(normalize_obs=normalize)
        spec = PolicySpec(obs_space=Box(0, 255, (37,), dtype), action_space=Discrete(3), config=config)
        policy = NATIVE.NativePolicy(spec, NATIVE.initial_params(spec, 0), moments, Pool(1))
        by_dtype[dtype] = [plane.tobytes() for plane in policy.forward(rows.astype(dtype))]
        with pytest.raises(ShapeError, match="must be"):
            policy.forward(rows.astype(np.float64))
    assert by_dtype[np.uint8] == by_dtype[np.float32]
