"""Exported policies and the onnxruntime back end against plain NumPy and the native back end. Run by the gate `peers`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from pufferlib_cli.main import main
from pufferlib_core import evaluate, load_checkpoint, load_policy, save_checkpoint, train
from pufferlib_core.backends import get_backend
from pufferlib_core.backends.onnxruntime import export, graph
from pufferlib_core.backends.onnxruntime.contract import KEY, inputs
from pufferlib_core.backends.onnxruntime.session import feed, ports
from pufferlib_core.backends.plain import PlainPolicy
from pufferlib_core.config import from_dict
from pufferlib_core.errors import CheckpointError, ConfigError, RunError, ShapeError, SpaceError
from pufferlib_core.loops.play import Player
from pufferlib_core.policies import PolicyConfig, PolicySpec
from pufferlib_core.spaces import Box, Dict, Discrete, Mixed, MultiBinary, MultiDiscrete, Tuple
from pufferlib_core.vector import env_spec, vectorize

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
    "squashed": (Box(-10, 10, (5,)), Box([[-2], [0]], [[1], [3]]), {"squash": True}),
    "both, squashed": (Box(-10, 10, (5,)), Mixed(MultiDiscrete([2, 4]), Box([-2, 0], [1, 3])), {"squash": True}),
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


def logistic(a):
    return 1 / (1 + np.exp(-a))


def core(kind, x, carry, read, state, bias):
    n = state.shape[1]
    if kind == "lstm":
        h, c = carry[:n], carry[n:]
        i, f, g, o = np.split(read @ x + state @ h + bias, 4)
        c = logistic(f) * c + logistic(i) * np.tanh(g)
        h = logistic(o) * np.tanh(c)
        return h, np.concatenate([h, c])
    gr, gz, gn = np.split(read @ x + bias, 3)
    sr, sz, sn = np.split(state @ carry, 3)
    new = np.tanh(gn + logistic(gr + sr) * sn)
    z = logistic(gz + sz)
    h = (1 - z) * new + z * carry
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
            kept = np.clip(heads[:, wide:], box.low, box.high)
            if spec.config.squash:
                kept = box.low + (np.subtract(box.high, box.low)) * (np.tanh(heads[:, wide:]) + 1) / 2
            np.testing.assert_allclose(chosen, kept.reshape(n, *box.shape), atol=1e-5)
        if spec.carry:
            np.testing.assert_allclose(given["next_carry"], after, atol=1e-5)
            carry = given["next_carry"]
        assert all(np.isfinite(array).all() for array in given.values())


# --- files ---


def saved(tmp_path, case, masked=False):
    """A checkpoint with random parameters."""
    spec, tensors = make(case)
    envs = {"obs": spec.tree.plain(observations(spec, 2))}
    if masked:
        envs["action_mask"] = np.ones((2, sum(spec.nvec)), np.uint8)
    manifest = {"env": "any", "policy": spec.to_json(), "space_fingerprint": spec.space_fingerprint}
    return save_checkpoint(tmp_path, 1, files={"policy": tensors, "envs": envs}, state={"settings": {}}, manifest=manifest)


@pytest.mark.parametrize("case", SPECS)
def test_exports_are_compared_and_describe_themselves(tmp_path, case):
    spec, _ = make(case)
    masked = bool(spec.nvec)
    checkpoint, out = saved(tmp_path, case, masked), tmp_path / "policy.onnx"
    result = export.export(checkpoint, out)
    assert max(result["differences"].values()) < 1e-5
    assert set(result["differences"]) == set(result["outputs"])
    assert result["bytes"] == out.stat().st_size
    session = onnxruntime.InferenceSession(out)
    contract = json.loads(session.get_modelmeta().custom_metadata_map[KEY])
    told = [(port["name"], port["dtype"], tuple(port["shape"])) for kind in ("inputs", "outputs") for port in contract[kind]]
    assert told == ports(session)
    assert [port.name for port in session.get_inputs()].count("action_mask") == masked
    assert PolicySpec.from_json(contract["policy"]) == spec
    assert contract["checkpoint"]["sha256"] == load_checkpoint(checkpoint).manifest["digest"]
    assert (contract["carry"] is None) == (spec.carry == 0)
    again = tmp_path / "again.onnx"
    export.export(checkpoint, again)
    assert again.read_bytes() == out.read_bytes()


def test_inputs_have_the_names_of_the_parts(tmp_path):
    names = export.export(saved(tmp_path, "nested", masked=True), tmp_path / "a.onnx")["inputs"]
    more = [f"obs/more/{k}" for k in range(4)]
    assert names == ["obs/map", *more, "obs/units/hp", "obs/units/kind", "action_mask"]
    same = Dict({"a/b": Discrete(2), "a": Dict({"b": Discrete(2)})})
    with pytest.raises(SpaceError, match="both be called 'obs/a/b'"):
        inputs(PolicySpec(obs_space=same, action_space=Discrete(2), config=PolicyConfig()), False)


@pytest.mark.parametrize(("name", "factor"), [("value.bias", 1.001), ("policy.weight", np.nan), ("policy.bias", 1.001)])
def test_a_graph_that_differs_is_not_written(tmp_path, monkeypatch, name, factor):
    checkpoint, out = saved(tmp_path, "both"), tmp_path / "policy.onnx"
    right = export.build
    monkeypatch.setattr(
        export, "build", lambda spec, tensors, **kw: right(spec, tensors | {name: tensors[name] * np.float32(factor)}, **kw)
    )
    with pytest.raises(RunError, match=r"is not written: .* differs from the policy's by"):
        export.export(checkpoint, out)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoints"]


def test_files_are_not_overwritten_unless_asked(tmp_path):
    checkpoint, out = saved(tmp_path, "choices"), tmp_path / "policy.onnx"
    out.write_text("mine")
    with pytest.raises(RunError, match="exists and is not overwritten"):
        export.export(checkpoint, out)
    assert out.read_text() == "mine"
    export.export(checkpoint, out, force=True)
    assert onnxruntime.InferenceSession(out).get_inputs()
    with pytest.raises(RunError, match="is a folder: name a file in it"):
        export.export(checkpoint, tmp_path)
    with pytest.raises(RunError, match="there is no such folder"):
        export.export(checkpoint, tmp_path / "none" / "policy.onnx")
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        export.export(tmp_path / "none", tmp_path / "new.onnx")


def test_damaged_checkpoints_are_not_exported(tmp_path):
    checkpoint, out = saved(tmp_path, "choices"), tmp_path / "policy.onnx"
    file = checkpoint / "policy.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(CheckpointError, match="SHA-256"):
        export.export(checkpoint, out)
    spec, tensors = make("normalised")
    manifest = {"env": "any", "policy": spec.to_json()}
    for k, (missing, error) in enumerate({"value.bias": ShapeError, "obs_norm/var": CheckpointError}.items()):
        less = {name: array for name, array in tensors.items() if name != missing}
        sealed = save_checkpoint(
            tmp_path / "sealed", k, files={"policy": less, "envs": {}}, state={"settings": {}}, manifest=manifest
        )
        with pytest.raises(error, match=missing):
            export.export(sealed, out)
    assert not out.exists()


def test_files_that_are_no_policies_of_ours_are_refused(tmp_path):
    out = tmp_path / "policy.onnx"
    with pytest.raises(CheckpointError, match="there is no such file"):
        load_policy(out, backend="onnxruntime")
    export.export(saved(tmp_path, "choices"), out)
    whole = out.read_bytes()
    out.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="damaged"):
        load_policy(out, backend="onnxruntime")
    out.write_bytes(whole.replace(b'"kind": "pufferlib-policy"', b'"kind": "somebodys-policy"'))
    with pytest.raises(CheckpointError, match="holds no contract"):
        load_policy(out, backend="onnxruntime")
    out.write_bytes(whole.replace(b'"settings": {}', b'"settinks": {}'))
    with pytest.raises(CheckpointError, match="not what this version writes"):
        load_policy(out, backend="onnxruntime")
    out.write_bytes(whole.replace(b'"core_size": 128', b'"core_size": 256').replace(b'"core": "none"', b'"core": "lstm"'))
    with pytest.raises(CheckpointError, match=r"the graph is not that .* says \('carry', 'float32'"):
        load_policy(out, backend="onnxruntime")
    with pytest.raises(ConfigError, match="'native' cannot read-onnx; these can: onnxruntime"):
        load_policy(out)


# --- the back end ---


@pytest.mark.parametrize("case", SPECS)
def test_policies_act_as_in_plain_numpy(tmp_path, case):
    spec, tensors = make(case)
    checkpoint, file = saved(tmp_path, case, masked=bool(spec.nvec)), tmp_path / "policy.onnx"
    export.export(checkpoint, file)
    plain = PlainPolicy(spec, tensors)
    policies = [plain, *(load_policy(path, backend="onnxruntime") for path in (checkpoint, file))]
    carries = [np.zeros((7, spec.carry), np.float32) if spec.carry else None for _ in policies]
    mask = np.ones((7, sum(spec.nvec)), np.uint8) if spec.nvec else None
    if mask is not None:
        mask[::2, -1] = 0
    for step in range(3):
        rows = observations(spec, 7, step)
        made = [
            policy.act(rows, greedy=step == 2, seed=3, step=step, action_mask=mask, carry=carry)
            for policy, carry in zip(policies, carries, strict=True)
        ]
        for other in made[1:]:
            parts = made[0][0].dtype.names or (...,)
            for part in parts:
                np.testing.assert_allclose(other[0][part], made[0][0][part], atol=1e-5)
            np.testing.assert_allclose(other[1], made[0][1], atol=2e-5)
            np.testing.assert_allclose(other[2], made[0][2], atol=1e-5)
    for carry in carries[1:] if spec.carry else ():
        np.testing.assert_allclose(carry, carries[0], atol=1e-5)


def test_observations_that_do_not_fit_are_refused(tmp_path):
    policy = load_policy(saved(tmp_path, "lstm"), backend="onnxruntime")
    with pytest.raises(ShapeError, match=r"obs must be float32 \(N, 5\)"):
        policy.act(np.zeros((4, 6), np.float32))
    with pytest.raises(ShapeError, match="this policy has a memory"):
        policy.act(np.zeros((4, 5), np.float32))
    assert policy.forward(np.zeros((4, 5), np.float32), carry=np.zeros((4, 18), np.float32))[0].shape == (4, 3)


def test_providers(tmp_path):
    checkpoint = saved(tmp_path, "choices")
    for name in ("cpu", "CPU", "CPUExecutionProvider"):
        policy = load_policy(checkpoint, backend="onnxruntime", options={"providers": (name,), "threads": 2})
        assert policy.session.get_providers() == ["CPUExecutionProvider"]
    with pytest.raises(ConfigError, match=r"'warp' is not in this build of onnxruntime.*\(available: .*cpu"):
        load_policy(checkpoint, backend="onnxruntime", options={"providers": ("warp",)})
    with pytest.raises(ConfigError, match="is empty"):
        load_policy(checkpoint, backend="onnxruntime", options={"providers": ()})
    with pytest.raises(ConfigError, match=r"did you mean onnxruntime\.providers"):
        load_policy(checkpoint, backend="onnxruntime", options={"provider": ("cpu",)})
    with pytest.raises(ConfigError, match="'native' has no settings"):
        load_policy(checkpoint, options={"providers": ("cpu",)})
    with pytest.raises(ConfigError, match=r"'onnxruntime' cannot ppo\.update"):
        get_backend("onnxruntime", "ppo.update")


HERE = Path(__file__).parent
RUNS = {  # environment, settings
    "cartpole": {},
    "pendulum": {"normalize_obs": True},
    "envs_by_name:Doors": {},  # masks
    "envs_by_name:Fetch": {},  # nested observations and actions
    "envs_by_name:Archer": {},  # choices and numbers
}


@pytest.mark.parametrize("env", RUNS)
def test_evaluation_gives_what_native_gives(tmp_path, monkeypatch, env):
    monkeypatch.syspath_prepend(str(HERE.parent.parent / "packages/pufferlib-core/tests"))
    small = {"train.num_envs": 8, "ppo.horizon": 32, "ppo.minibatch": 64, "train.timesteps": 512}
    options = small | {f"policy.{name}": value for name, value in RUNS[env].items()}
    checkpoint = train(env, options=options, out=tmp_path).checkpoint
    file = tmp_path / "policy.onnx"
    assert export.export(checkpoint, file)["compared_with"] == "native"
    for stochastic in (False, True):
        native = evaluate(env, checkpoint, episodes=6, seed=4, stochastic=stochastic)
        assert np.isfinite(native["episode_return_mean"])
        for path in (checkpoint, file):
            theirs = evaluate(env, path, episodes=6, seed=4, stochastic=stochastic, backend="onnxruntime")
            exact = {"episodes", "episode_length_mean"} if env in ("pendulum", "envs_by_name:Archer") else set(native)
            assert {name: theirs[name] for name in exact} == {name: native[name] for name in exact}
            assert theirs["episode_return_mean"] == pytest.approx(native["episode_return_mean"], rel=1e-4)


def test_a_policy_with_a_memory_plays_as_in_plain_numpy(tmp_path):
    env = env_spec("memory")
    config = from_dict(PolicyConfig, {"hidden": [8], "core": "lstm", "core_size": 5})
    spec = PolicySpec(obs_space=env.obs_space, action_space=env.action_space, config=config)
    rng = np.random.default_rng(0)
    tensors = {t.name: rng.normal(size=t.shape).astype(np.float32) for t in spec.tensors()}
    rewards = []
    for policy in (PlainPolicy(spec, tensors), get_backend("onnxruntime").load_policy(spec, tensors)):
        vec = vectorize(env, num_envs=9, threads=1, seed=1)
        player, step = Player(policy, vec, seed=2, greedy=False), vec.reset()
        rewards.append([(step := player.step(step)).reward.tolist() for _ in range(60)])
        vec.close()
    assert rewards[0] == rewards[1]
    assert np.any(rewards[0])


def test_the_command(tmp_path, capsys):
    checkpoint = train("cartpole", timesteps=64, num_envs=4, out=tmp_path, options={"ppo.minibatch": 64}).checkpoint
    file = tmp_path / "policy.onnx"
    arguments = ["export", "onnx", "--checkpoint", str(checkpoint), "--out", str(file)]
    assert main(arguments) == 0
    told = capsys.readouterr().out
    assert f"{file.stat().st_size:,} bytes, opset 17, cartpole\nreads obs; gives action, logits, value\n" in told
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.err == f"puffer export onnx: {file} exists and is not overwritten: choose another name, or --force\n"
    assert main([*arguments, "--force", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["compared_with"] == "native"
    play = ["eval", "cartpole", "--episodes", "4", "--json", "--checkpoint"]
    given = []
    for more in ([str(checkpoint)], [str(checkpoint), "--backend", "onnxruntime"], [str(file), "--backend", "onnxruntime"]):
        assert main([*play, *more]) == 0
        given.append(json.loads(capsys.readouterr().out))
    assert given[0] == given[1] == given[2]
    assert main(["eval", "cartpole", "--episodes", "1", "--checkpoint", str(file), "--backend", "onnxruntime", "--render"]) == 0
    assert "cartpole: return" in capsys.readouterr().out
    assert main([*play, str(file), "--backend", "onnxruntime", "--onnxruntime.providers", "warp"]) == 2
    assert "'warp' is not in this build of onnxruntime" in capsys.readouterr().err


@pytest.mark.parametrize("module", ["onnx", "onnxruntime"])
def test_what_is_missing_is_named(tmp_path, capsys, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    assert main(["export", "onnx", "--checkpoint", str(tmp_path), "--out", str(tmp_path / "a.onnx")]) == 1
    assert f"{module} is not installed: pip install 'pufferlib-core[onnx]>=0.1,<0.2'" in capsys.readouterr().err


def test_the_page_runs_it_with_onnxruntime_alone(tmp_path, monkeypatch):
    export.export(saved(tmp_path, "choices"), tmp_path / "policy.onnx")
    monkeypatch.chdir(tmp_path)
    page = (HERE.parent.parent / "docs/how-to/export.md").read_text()
    found = {}
    exec(page.partition("```python3\n")[2].partition("```")[0], found)
    assert found["contract"]["env"] == "any"
    assert found["action"].shape == found["value"].shape == (1,)
