"""Exported policies and the onnxruntime back end against plain NumPy and the native back end. Run by the gate `peers`."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from pufferlib_core.backends.onnxruntime import OnnxruntimeConfig, graph
from pufferlib_core.backends.onnxruntime.contract import KEY
from pufferlib_core.backends.onnxruntime.session import feed
from pufferlib_core.backends.plain import PlainPolicy
from pufferlib_core.config import from_dict
from pufferlib_core.policies import PolicyConfig, PolicySpec
from pufferlib_core.spaces import Box, Dict, Discrete, Mixed, MultiBinary, MultiDiscrete, Tuple

NESTED = Dict(
    {
        "map": Box(0, 255, (12, 10, 3), "uint8"),
        "units": Dict({"hp": Box(-5, 5, (6,), "float64"), "kind": Discrete(4, start=-1)}),
        "more": Tuple([MultiDiscrete([3, 2]), MultiBinary(3), Box(0, 9, (), "int64"), Box(0, 1, (2,), "bool")]),
    }
)
BOTH = Mixed(MultiDiscrete([2, 4]), Box([-0.1, -np.inf], [0.1, 0.2]))
SPECS = {  # observation, action, settings
    "choices": (Box(-10, 10, (5,)), Discrete(3), {}),
    "relu, separate": (Box(-10, 10, (5,)), MultiDiscrete([2, 4]), {"activation": "relu", "separate": True}),
    "numbers": (Box(-10, 10, (2, 3)), Box(-0.1, 0.1, (2, 2)), {"hidden": [7]}),
    "both": (Box(-10, 10, (5,)), BOTH, {}),
    "one option": (Discrete(6), MultiDiscrete([1, 3]), {}),
    "normalised": (Dict({"a": Box(-9, 9, (3,)), "b": Discrete(3)}), Discrete(2), {"normalize_obs": True, "obs_clip": 1.5}),
    "image": (Box(0, 255, (20, 16), "uint8"), Discrete(4), {"conv": ["8:4:2", "6:3:1"], "activation": "relu"}),
    "image of floats, normalised": (Box(0, 1, (9, 9, 2)), Discrete(4), {"conv": ["4:3:2"], "normalize_obs": True}),
    "nested": (NESTED, BOTH, {}),
    "nested, encoded, separate": (
        NESTED,
        BOTH,
        {"conv": ["5:3:2"], "encoder": [6, 4], "separate": True, "normalize_obs": True},
    ),
    "lstm": (Box(-10, 10, (5,)), Discrete(3), {"core": "lstm", "core_size": 9}),
    "gru": (Box(-10, 10, (5,)), Box(-1, 1, (2,)), {"core": "gru", "core_size": 9}),
    "lstm, separate, image": (NESTED, BOTH, {"conv": ["5:3:2"], "core": "lstm", "core_size": 6, "separate": True}),
    "gru, separate": (Box(-10, 10, (5,)), Discrete(3), {"core": "gru", "core_size": 4, "separate": True}),
}
OPTIONS = OnnxruntimeConfig()


def make(case):
    """A policy with random parameters and, where it normalises, statistics."""
    obs, action, settings = SPECS[case]
    spec = PolicySpec(obs_space=obs, action_space=action, config=from_dict(PolicyConfig, {"hidden": [16, 12]} | settings))
    rng = np.random.default_rng(1)
    tensors = {
        t.name: (rng.normal(size=t.shape) / np.sqrt(max(1, np.prod(t.shape[1:])))).astype(np.float32) for t in spec.tensors()
    }
    if spec.config.normalize_obs:
        width = spec.tree.width
        moments = rng.normal(size=width), rng.uniform(0.5, 2, width), np.array([10.0])
        tensors |= {f"obs_norm/{name}": array for name, array in zip(("mean", "var", "count"), moments, strict=True)}
    return spec, tensors


def observations(spec, n, seed=0):
    tree, rng = spec.tree, np.random.default_rng(seed)
    rows = tree.empty(n)
    tree.write(rows, None, [spec.obs_space.sample(rng) for _ in range(n)])
    return rows


# --- an oracle that shares nothing with the code: loops over numbers, float64 ---


def convolved(image, weight, bias, stride):
    out, _, kernel, _ = weight.shape
    height, width = ((side - kernel) // stride + 1 for side in image.shape[:2])
    result = np.zeros((height, width, out))
    for y in range(height):
        for x in range(width):
            window = image[y * stride : y * stride + kernel, x * stride : x * stride + kernel].transpose(2, 0, 1)
            result[y, x] = [(window * weight[o]).sum() + bias[o] for o in range(out)]
    return result


def oracle(spec, tensors, features, carry):
    """Heads, value and what is handed on, of one row."""
    p = {name: array.astype(np.float64) for name, array in tensors.items()}
    config, x = spec.config, features.astype(np.float64)
    act = np.tanh if config.activation == "tanh" else lambda x: np.maximum(x, 0)
    images = [e for e in spec.encoders if e.image]
    scaled = np.zeros(len(x), bool)
    for e in images:
        scaled[e.first : e.first + e.size] = True
    if config.normalize_obs:
        normal = (x - p["obs_norm/mean"]) / np.sqrt(p["obs_norm/var"] + 1e-8)
        x = np.clip(np.where(scaled, x, normal), -config.obs_clip, config.obs_clip)
        # images are divided by 255 before they are clipped
        for e in images:
            part = slice(e.first, e.first + e.size)
            x[part] = np.clip(features[part] * e.scale, -config.obs_clip, config.obs_clip)
    else:
        for e in images:
            x[e.first : e.first + e.size] *= e.scale
    hs, carries = [], []
    parts = ["actor", "critic"] if config.separate else ["trunk"]
    for part, before in zip(parts, np.split(carry.astype(np.float64), len(parts)), strict=True):
        read = []
        for k, e in enumerate(spec.encoders):
            y = x[e.first : e.first + e.size]
            for layer in range(len(e.layers)):
                w, b = p[f"{part}.encoder.{k}.{layer}.weight"], p[f"{part}.encoder.{k}.{layer}.bias"]
                if e.image:
                    y = act(convolved(y.reshape(e.shapes[layer]), w, b, e.convs[layer].stride)).ravel()
                else:
                    y = act(w @ y + b)
            read.append(y)
        h = np.concatenate(read) if read else x
        for k in range(len(config.hidden)):
            h = act(p[f"{part}.{k}.weight"] @ h + p[f"{part}.{k}.bias"])
        if config.core != "none":
            h, after = core(config.core, h, before, *(p[f"{part}.core.{name}"] for name in ("input", "state", "bias")))
            carries.append(after)
        hs.append(h)
    heads = p["policy.weight"] @ hs[0] + p["policy.bias"]
    return heads, (p["value.weight"] @ hs[-1] + p["value.bias"])[0], np.concatenate([*carries, []])


def core(kind, x, carry, read, state, bias):
    s = lambda a: 1 / (1 + np.exp(-a))  # noqa: E731
    n = state.shape[1]
    if kind == "lstm":
        h, c = carry[:n], carry[n:]
        i, f, g, o = np.split(read @ x + state @ h + bias, 4)
        c = s(f) * c + s(i) * np.tanh(g)
        h = s(o) * np.tanh(c)
        return h, np.concatenate([h, c])
    gr, gz, gn = np.split(read @ x + bias, 3)
    sr, sz, sn = np.split(state @ carry, 3)
    new = np.tanh(gn + s(gr + sr) * sn)
    h = (1 - s(gz + sz)) * new + s(gz + sz) * carry
    return h, h


@pytest.mark.parametrize("n", [1, 7])
@pytest.mark.parametrize("case", SPECS)
def test_graphs_agree_with_plain_arithmetic(case, n):
    spec, tensors = make(case)
    masked = bool(spec.nvec)
    session = onnxruntime.InferenceSession(graph.build(spec, tensors, masked=masked, about={}))
    plain = PlainPolicy(spec, tensors)
    assert session.get_modelmeta().custom_metadata_map[KEY]
    carry = np.zeros((n, spec.carry), np.float32)
    for step in range(3):
        rows = observations(spec, n, step)
        mask = np.ones((n, sum(spec.nvec)), np.uint8)
        mask[:, -1:] = 0  # the last option is never allowed
        names = [port.name for port in session.get_outputs()]
        given = session.run(names, feed(spec, rows, mask if masked else None, carry if spec.carry else None))
        given = dict(zip(names, given, strict=True))
        made = [oracle(spec, tensors, f, c) for f, c in zip(spec.tree.features(rows), carry, strict=True)]
        heads, value, after = (np.array(part) for part in zip(*made, strict=True))
        numpys = plain.forward(rows, carry=carry if spec.carry else None)
        for ours, exact in zip(numpys, (heads, value), strict=True):
            np.testing.assert_allclose(ours, exact, atol=1e-6, rtol=1e-6)
        wide, space = sum(spec.nvec), spec.action_space
        np.testing.assert_allclose(given["value"], value, atol=1e-5)
        if wide:
            logits = np.where(mask, heads[:, :wide], -1e9)
            np.testing.assert_allclose(given["logits"], logits, atol=1e-5)
            best = [part.argmax(axis=1) for part in np.split(logits, np.cumsum(spec.nvec)[:-1], axis=1)]
            chosen = given["action/choices"] if spec.numbers else given["action"]
            assert chosen.dtype == np.int32
            assert chosen.shape == (n, *(space.choices if spec.numbers else space).shape)
            np.testing.assert_array_equal(chosen.reshape(n, -1).T, best)
        if spec.numbers:
            box = space.numbers if wide else space
            np.testing.assert_allclose(given["mean"], heads[:, wide:], atol=1e-5)
            np.testing.assert_array_equal(given["log_std"], tensors["log_std"])
            chosen = given["action/numbers"] if wide else given["action"]
            kept = np.clip(heads[:, wide:], box.low, box.high).reshape(n, *box.shape)
            np.testing.assert_allclose(chosen, kept, atol=1e-5)
        if spec.carry:
            np.testing.assert_allclose(given["next_carry"], after, atol=1e-5)
            carry = given["next_carry"]
        assert all(np.isfinite(array).all() for array in given.values())
