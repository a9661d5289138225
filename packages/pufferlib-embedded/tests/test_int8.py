"""Policies in integers: the core and the oracle to the bit, scales, what is lost, and `puffer export c --precision int8`."""

from __future__ import annotations

import dataclasses
import functools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pufferlib_core import train
from pufferlib_core.errors import ConfigError, RunError, UnknownName
from pufferlib_core.native import ffi, lib
from pufferlib_embedded import export as exporting
from pufferlib_embedded import integer, model8
from pufferlib_embedded.export import export
from pufferlib_embedded.integer import BYTE, LARGEST_SUM, ZERO, Matrix, entered
from pufferlib_embedded.model8 import Model8
from pufferlib_embedded.quantize import Read, checked, matrix_of, quantize
from pufferlib_embedded.rollouts import compare, rollout

KINDS = {
    "clipped": ("wander:NUMBERS", {"policy.normalize_obs": True}),
    "squashed relu": ("wander:BOUNDED", {"policy.squash": True, "policy.activation": "relu", "policy.hidden": [12, 7]}),
    "both lstm": ("wander:BOTH", {"policy.core": "lstm", "policy.core_size": 6, "policy.separate": True}),
    "gru relu": ("wander:CHOICE", {"policy.core": "gru", "policy.core_size": 9, "policy.activation": "relu"}),
    "image": ("wander:IMAGE", {"policy.conv": ["4:3:1", "3:2:2"], "policy.activation": "relu"}),
    "image of floats": ("wander:FLOATS", {"policy.conv": ["4:3:1"], "policy.normalize_obs": True}),
    "bytes": ("wander:BYTES", {"policy.normalize_obs": True, "policy.obs_clip": 1.5}),
}
SMALL = {"train.timesteps": 256, "train.num_envs": 8, "ppo.horizon": 16, "ppo.minibatch": 64, "policy.hidden": [12]}
SOLVED = {
    "cartpole": {"policy.normalize_obs": True},
    "cartpole gru": {
        "train.timesteps": 150_000, "cartpole.velocities": False, "policy.hidden": [32], "policy.core": "gru",
        "policy.core_size": 32, "ppo.minibatch": 512,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Those of KINDS and SOLVED, by name, trained when they are asked for."""
    folder = str(tmp_path_factory.mktemp("runs"))

    @functools.cache
    def of(name):
        env, options = KINDS[name] if name in KINDS else ("cartpole", SOLVED[name])
        return train(env, options=(SMALL | options) if name in KINDS else options, out=folder, seed=1).checkpoint

    return of


@pytest.fixture(scope="module")
def model(checkpoint):
    """Models in integers that have played no episodes."""

    @functools.cache
    def of(name):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(model8, "returns", lambda *args: {})
            return Model8(checkpoint(name), 200)

    return of


def extreme(matrix, rng):
    """The same sizes with numbers as far out as they may be."""
    shape = matrix.weight.shape
    weights = (rng.integers(-127, 128, shape), rng.choice([-127, 127], shape), rng.choice([0, 0, 1], shape))
    weight = weights[rng.integers(3)].astype(np.int64)
    room = LARGEST_SUM - ZERO * np.abs(weight).sum(axis=1)
    bias = rng.choice([-1, 1, 0], shape[0]) * (room if rng.integers(2) else rng.integers(0, 5000, shape[0]))
    multiplier = (rng.integers(1 << 30, 1 << 31, shape[0]), rng.choice([0, 1, 2**31 - 1], shape[0]))[rng.integers(2)]
    shift = int(rng.choice([1, 30, 62, *range(31, 45)]))
    return matrix._replace(weight=weight, bias=bias, multiplier=multiplier.astype(np.int64), shift=shift)


def scrambled(program, rng):
    """A program of the same sizes, with numbers that no policy would have."""
    read = None if program.read is None else extreme(program.read, rng)
    state = None if program.state is None else extreme(program.state, rng)._replace(bias=0 * program.state.bias)
    entry = {}
    if program.middle is not None:
        size = len(program.middle)
        entry["middle"] = rng.choice([0.0, 0.5, -3e38, 1e-3], size).astype(np.float32)
        entry["rate"] = rng.choice([1.0, 2.0, 1e-30, 1e30, 37.3], size).astype(np.float32)
    return dataclasses.replace(
        program, **entry, layers=tuple((extreme(matrix, rng), window) for matrix, window in program.layers), read=read,
        state=state, heads=extreme(program.heads, rng), cell=int(rng.integers(1, 13)), point=int(rng.integers(0, 31)),
    )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_the_core_is_the_oracle_to_the_bit(kind, model):
    made, was = model(kind), model(kind).program
    size, own = made.spec.tree.width, made.carry

    @settings(max_examples=40, deadline=None)
    @given(st.integers(0, 2**32))
    def same(seed):
        rng = np.random.default_rng(seed)
        made.program = scrambled(was, rng)
        made.__dict__.pop("lean", None)
        carry, theirs = made.no_carry(), np.zeros((1, made.spec.carry), np.float32) if made.spec.carry else None
        reference = made.reference()
        for _ in range(4):
            floats = np.concatenate([rng.normal(size=size), rng.choice([0.5, -0.5, 3e38, -3e38, 0.0, 127.5], size)])
            obs = rng.choice(floats if made.spec.tree.feature_dtype == np.float32 else np.arange(256), size)
            obs = obs.astype(made.spec.tree.feature_dtype)
            heads, _, _ = made.act(obs, carry)
            wanted, _, theirs = reference.outputs(obs[None], theirs)
            assert heads.tolist() == wanted[0].tolist()
            assert theirs is None or carry[:own].tolist() == theirs[0, :own].tolist()

    try:
        same()
    finally:
        made.program = was
        made.__dict__.pop("lean", None)


@pytest.mark.parametrize("kind", ["clipped", "both lstm", "gru relu", "image"])
def test_work_is_counted_in_units(kind, model):
    made, at, calls = model(kind), ffi.new("int32_t *"), 1
    obs = np.zeros(made.spec.tree.width, made.spec.tree.feature_dtype)
    carry, scratch = made.no_carry(), np.zeros(made.scratch, np.int8)
    heads, memory = ffi.new("float[]", made.spec.logits), ffi.from_buffer("int8_t[]", scratch)
    handed_on = ffi.from_buffer("int16_t[]", carry) if made.carry else ffi.NULL
    assert lib.puf_lean8_begin(made.lean, ffi.from_buffer(obs), memory, at) == lib.PUF_OK
    while lib.puf_lean8_continue(made.lean, 1, at, handed_on, memory, heads) == lib.PUF_LEAN_BUSY:
        calls += 1
    assert calls == sum(count for count, _ in made.units)
    wanted, _, _ = made.act(obs, made.no_carry())
    assert list(heads) == wanted.tolist()


def test_arithmetic_by_hand():
    one = np.array([1, 3, -1, -3, 5])
    assert integer.rounded(one, 1).tolist() == [1, 2, 0, -1, 3]  # ties upwards
    half = Matrix("", np.ones((1, 1)), np.zeros(1), np.array([1 << 30]), 31, 1.0)
    assert integer.rescaled(np.array([[-3], [2**31 - 1], [-(2**31)]]), half, 1000).ravel().tolist() == [-1, 1000, -1000]
    assert integer.byte_of(np.array([32768, 32767, 130, 129, -129, -130])).tolist() == [127, 127, 1, 0, 0, -1]
    assert integer.hyperbolic(np.array([0, 128, -128, 10**6])).tolist() == [0, 1024, -1024, 32768]
    assert integer.logistic(np.array([0, -(10**6), 10**6])).tolist() == [16384, 0, 32768]
    x = np.arange(-66000, 66000)
    assert np.abs(integer.hyperbolic(x) / 2**15 - np.tanh(x / 4096)).max() < 1.2e-4
    assert np.abs(integer.logistic(x) / 2**15 - 1 / (1 + np.exp(-x / 4096))).max() < 8e-5


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2**32), st.sampled_from([0, -ZERO]), st.integers(-30, 12))
def test_a_row_of_integers_is_its_floats_to_the_rounding_of_its_weights(seed, zero, power):
    rng = np.random.default_rng(seed)
    weight, bias = rng.normal(size=(4, 6)) * 2.0**power, rng.normal(size=4) * rng.choice([0, 1, 1e3])
    weight[0] = 0
    read = Read(np.exp(rng.normal(size=6)), np.zeros(6) if zero else rng.normal(size=6), zero)
    unit_out = 2.0**-12
    matrix = matrix_of("m", weight, bias, read, unit_out)
    q = rng.integers(-127, 128, (50, 6))
    wanted = (read.step * (q - zero) + read.offset) @ weight.T + bias
    sums = q @ matrix.weight.T + matrix.bias
    assert np.abs(sums).max() <= matrix.largest_sum <= LARGEST_SUM
    unit = unit_out * matrix.multiplier / 2.0**matrix.shift
    off = np.abs(sums * unit - wanted) - unit * (0.5 + 0.5 * np.abs(q - zero).sum(axis=1)[:, None]) - 1e-5 * np.abs(wanted)
    assert off.max() <= 1e-12


def test_sums_that_could_leave_32_bits_are_refused():
    fits, more = 2**31 // (127 * ZERO), 2**31 // (127 * ZERO) + 1
    for columns in (fits, more):
        arguments = (np.full((1, columns), 127), np.zeros(1, np.int64), np.ones(1), 1.0)
        if columns == more:
            with pytest.raises(
                ConfigError, match=r"wide reads 132,105 numbers, and its sums in int8 could reach 2,147,498,880"
            ):
                checked("wide", *arguments)
        else:
            assert checked("wide", *arguments).largest_sum == 127 * ZERO * fits <= LARGEST_SUM


@pytest.mark.parametrize("name", SOLVED)
def test_cartpole_keeps_its_return(name, checkpoint):
    findings = Model8(checkpoint(name), 4096).findings
    played, held_out = findings["returns"], findings["held_out"]
    assert played["float32"] >= 450
    assert played["int8"] >= 0.98 * played["float32"]
    assert played["difference"] == played["int8"] - played["float32"]
    assert held_out["greedy_agreement"] >= 0.97
    assert held_out["kl_mean"] <= 0.01
    assert 0 < held_out["kl_mean"] < held_out["kl_max"] < 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_lost_is_little_and_does_not_grow(kind, model, checkpoint):
    made = model(kind)
    assert made.findings["held_out"]["kl_mean"] <= 1e-3
    if not made.carry:
        return
    env = dataclasses.replace(model8.environment(made.checkpoint, made.spec, instead=""), max_episode_steps=0)
    long = rollout(made.checkpoint, env, made.spec, rows=16 * 400, seed=9)
    assert not long.ended.any()
    floats = super(Model8, made).reference()
    begin, end = (compare(floats, made.reference(), part(long, rows)) for rows in (slice(0, 100), slice(0, 400)))
    assert end["kl_max"] <= 4 * begin["kl_max"]


def part(of, rows):
    return of._replace(obs=of.obs[rows], valid=of.valid[rows], ended=of.ended[rows])


def test_an_entry_covers_what_was_seen(model):
    made = model("clipped")
    program, seen = (
        made.program,
        rollout(made.checkpoint, model8.environment(made.checkpoint, made.spec, instead=""), made.spec, rows=200, seed=0).rows,
    )
    entered = integer.entered(program, seen)
    assert entered.min(axis=0).tolist() == [-127] * 5
    assert entered.max(axis=0).tolist() == [127] * 5
    back = entered / program.rate + program.middle
    assert np.abs(back - seen).max() <= 0.51 / program.rate.min()
    assert model("bytes").program.middle is not None  # the clip of its normaliser is at 1.5 deviations
    assert model("image").program.middle is None


def export8(path, out, **more):
    return export(path, out, precision="int8", calibration_steps=300, **more)


@pytest.mark.parametrize("kind", ["clipped", "squashed relu", "both lstm", "gru relu", "image"])
def test_the_exported_c_repeats_its_golden_vectors_exactly(kind, checkpoint, tmp_path):
    report = export8(checkpoint(kind), tmp_path / "out")
    assert report["verified"]
    assert report["golden_worst"] == report["difference_from_formulas"] == 0
    assert report["precision"] == "int8"
    assert report["int8"]["returns"]["episodes"] == 100
    assert all(layer["largest_sum"] <= LARGEST_SUM for layer in report["int8"]["layers"])
    assert report["weights_bytes"] < 4 * report["parameters"]
    assert json.loads((tmp_path / "out/report.json").read_text())["int8"] == report["int8"]


def test_twice_gives_the_same_bytes(checkpoint, tmp_path):
    for name in ("a", "b"):
        export8(checkpoint("both lstm"), tmp_path / name, unverified=True)
    a, b = ({path.name: path.read_bytes() for path in (tmp_path / name).rglob("*.*")} for name in ("a", "b"))
    assert a == b


FAULTS = {
    "rounding": ("x += (int32_t)1 << (bits - 1);", ""),
    "an entry of the table": (" 1024,", " 1124,"),
    "saturation": ("limited(x, 0, 255) - 128", "limited(x, 0, 254) - 128"),
    "rounding of inputs": ("128.5f", "128.0f"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_exported_c_is_found(fault, checkpoint, tmp_path, monkeypatch):
    files, (was, now) = exporting.core_files(Model8.roots), FAULTS[fault]
    faulty = files | {"lean8.c": files["lean8.c"].replace(was, now)}
    assert faulty != files
    monkeypatch.setattr(exporting, "core_files", lambda roots: faulty)
    with pytest.raises(RunError, match=r"(?s)status 1, nothing is written.*failed \d"):
        export8(checkpoint("gru relu"), tmp_path / "out")


def test_refusals(checkpoint, tmp_path, monkeypatch):
    path = checkpoint("clipped")
    with pytest.raises(UnknownName, match="did you mean int8"):
        export(path, tmp_path / "out", precision="int16")
    with pytest.raises(ConfigError, match="--calibration-steps 0 must be at least 1"):
        export(path, tmp_path / "out", precision="int8", calibration_steps=0)
    made = Model8(path, 16)
    env = model8.environment(made.checkpoint, made.spec, instead="")
    monkeypatch.setattr(
        "pufferlib_embedded.rollouts.trained_env", lambda *args: dataclasses.replace(env, obs_space=env.action_space)
    )
    with pytest.raises(ConfigError, match="has other spaces now than when"):
        export8(path, tmp_path / "out")
    monkeypatch.undo()
    monkeypatch.delattr("wander.NUMBERS")
    from pufferlib_core.vector import registry

    registry._registered.cache_clear()
    with pytest.raises(
        ConfigError, match=r"wander:NUMBERS, where the policy was trained, cannot be made here: .* has no 'NUMBERS'"
    ):
        export8(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_inputs_that_hardly_changed_have_a_finite_rate(checkpoint):
    made = Model8(checkpoint("gru relu"), 16)
    seen = np.random.default_rng(0).normal(size=(50, 5)).astype(np.float32) * np.float32(1e-40)
    program = quantize(made, seen, 0.0)
    assert np.isfinite(program.rate).all()
    assert np.abs(entered(program, seen)).max() <= BYTE


def test_calibration_steps_belong_to_int8(checkpoint, tmp_path, capsys):
    from pufferlib_cli.main import main

    arguments = ["export", "c", "--checkpoint", str(checkpoint("clipped")), "--calibration-steps", "300"]
    assert main([*arguments, "--out", str(tmp_path / "a")]) == 2
    assert "--calibration-steps has no meaning with --precision float32" in capsys.readouterr().err


def test_the_command_says_what_was_lost(checkpoint, tmp_path, capsys):
    from pufferlib_cli.main import main

    arguments = ["export", "c", "--checkpoint", str(checkpoint("clipped")), "--precision", "int8", "--calibration-steps", "300"]
    assert main([*arguments, "--out", str(tmp_path / "a")]) == 0
    said = capsys.readouterr().out
    assert "int8 from 304 rows of calibration: KL " in said
    assert "numbers differ by" in said
    assert "mean return of 100 episodes" in said
