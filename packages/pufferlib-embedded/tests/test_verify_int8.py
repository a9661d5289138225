"""`puffer verify --precision int8`: z3 against every input of small boxes, faults that are planted, and the exported C."""

from __future__ import annotations

import functools
import json
import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pufferlib_cli.main import main
from pufferlib_core import train
from pufferlib_core.errors import ConfigError, MissingExtra, RunError
from pufferlib_embedded import export, integer
from pufferlib_embedded.integer import FAR, HEAD, Matrix, Program, entered, run
from pufferlib_embedded.model8 import Model8
from pufferlib_embedded.verify import encode, exact
from pufferlib_embedded.verify.entries import entries
from pufferlib_embedded.verify.escapes import Escape, numbers_outside, other_choices, reach
from pufferlib_embedded.verify.report8 import verify_box8, verify_states8

SMALL = {"train.timesteps": 256, "train.num_envs": 8, "ppo.horizon": 16, "ppo.minibatch": 64, "policy.hidden": [6]}
POLICIES = {
    "cartpole": ("cartpole", {"train.timesteps": 60_000, "policy.normalize_obs": True, "policy.hidden": [8, 8]}),
    "numbers": ("wander:NUMBERS", SMALL | {"policy.activation": "relu"}),
    "bytes": ("wander:BYTES", SMALL | {"policy.normalize_obs": True, "policy.obs_clip": 1.5}),
    "squashed": ("wander:BOUNDED", SMALL | {"policy.squash": True}),
    "gru": ("wander:CHOICE", SMALL | {"policy.core": "gru", "policy.core_size": 4}),
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Those of POLICIES, trained when they are asked for."""
    folder = str(tmp_path_factory.mktemp("runs"))
    return functools.cache(lambda name: train(POLICIES[name][0], options=POLICIES[name][1], out=folder, seed=1).checkpoint)


@pytest.fixture(scope="module")
def model(checkpoint):
    return functools.cache(lambda name: Model8(checkpoint(name), 200))


def matrix(rng, rows, columns, shift):
    weight, bias = rng.integers(-127, 128, (rows, columns)), rng.integers(-4000, 4000, rows)
    return Matrix("m", weight, bias, rng.integers(1 << 29, 1 << 31, rows), shift, 1.0)


def small(seed):
    """A program of two inputs that enter as they are rounded, and a box of at most 81 inputs."""
    rng, relu = np.random.default_rng(seed), bool(seed % 2)
    layers = tuple((matrix(rng, *shape, 38 if relu else 32), None) for shape in ((3, 2), (2, 3)))
    heads = matrix(rng, 3, 2, int(rng.choice([24, 31, 36])))
    entry = {"middle": np.zeros(2, np.float32), "rate": np.ones(2, np.float32)}
    low = rng.integers(-127, 119, 2)
    box = entries(Program(**entry, relu=relu, layers=layers, heads=heads, point=10), *single(low, low + rng.integers(1, 9, 2)))
    return Program(**entry, relu=relu, layers=layers, heads=heads, point=10), box


def single(*ends):
    return tuple(np.asarray(end, np.float32) for end in ends)


def enumerated(program, box):
    """Every input of a box, and what it leads to."""
    q = np.stack(np.meshgrid(*box.reached), axis=-1).reshape(-1, len(box.low))
    return q, run(program, q, np.zeros((len(q), 0), np.int64))[0]


def asked(program, box, *escapes):
    return encode.find(program, box, reach(program, box.low[None], box.high[None]), list(escapes), 60.0)


def halves():
    """A program whose bytes are those of its inputs, halved and rounded, and a box whose ends are ties."""
    eye = np.eye(2, dtype=np.int64)
    half = Matrix("m", eye, np.array([100, 100]), np.array([1 << 30, 1 << 30]), 31, 1.0)
    heads = Matrix("h", np.array([[1, 0], [0, 1], [1, 1]]), np.zeros(3, np.int64), np.full(3, 1 << 30), 30, 1.0)
    entry = {"middle": np.zeros(2, np.float32), "rate": np.ones(2, np.float32)}
    program = Program(**entry, relu=True, layers=((half, None),), heads=heads, point=0)
    return program, entries(program, *single([0, 0], [3, 3]))


def disagreement(program, box):
    """What z3 says wrongly of the largest difference of two heads over a box, and of a change of the choice; else None."""
    _, heads = enumerated(program, box)
    low, high = reach(program, box.low[None], box.high[None]).heads
    assert (low <= heads).all()
    assert (heads <= high).all()
    most = int((heads[:, 0] - heads[:, 1]).max())
    found = asked(program, box, Escape(0, 1, most))
    if found is None:
        return "there is an input with the largest difference"
    _, again = enumerated(program, box._replace(reached=tuple(found[:, None])))
    if again[0, 0] - again[0, 1] != most:
        return f"{found} does not have the largest difference"
    if asked(program, box, Escape(0, 1, most + 1)) is not None:
        return "no input has a larger difference"
    chosen = heads[len(heads) // 2].argmax()
    changed = asked(program, box, *other_choices((3,), np.array([chosen])))
    if (changed is not None) != (heads.argmax(axis=1) != chosen).any():
        return "the choice changes, or does not"
    return None


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32))
def test_z3_agrees_with_every_input_of_a_box(seed):
    assert disagreement(*small(seed)) is None


def places_that_are_one_too_large(program, matrix, row, low, high, rises=encode.rises):
    begin, first = rises(program, matrix, row, low, high)
    return begin, first + 1


def rounded_down(program, sums, matrix):
    before = integer.limited((sums * matrix.multiplier) >> matrix.shift, -FAR, FAR)
    return integer.limited(before, 0, 255) - integer.ZERO if program.relu else integer.byte_of(integer.hyperbolic(before))


def heads_rounded_down(z3, matrix, row, total):
    return total * int(matrix.multiplier[row]) / (1 << matrix.shift)


@pytest.mark.parametrize(
    ("name", "fault"),
    [("rises", places_that_are_one_too_large), ("active", rounded_down), ("_head", heads_rounded_down)],
)
def test_a_rounding_that_is_off_by_one_in_the_encoding_is_found(name, fault, monkeypatch):
    cases = [halves(), *map(small, range(10))]
    assert [disagreement(*case) for case in cases[:1]] == [None]
    monkeypatch.setattr(encode, name, fault)
    assert any(disagreement(*case) for case in cases)


@pytest.mark.parametrize("relu", [False, True])
def test_an_activation_never_falls(relu):
    one = Matrix("", np.ones((1, 1)), np.zeros(1), np.array([2]), 1, 1.0)
    program = Program(relu=relu, layers=(), heads=one, point=0)
    assert np.diff(integer.active(program, np.arange(-FAR - 2, FAR + 2)[:, None], one)[:, 0]).min() >= 0


@pytest.mark.parametrize("kind", ["float32", "uint8"])
def test_the_bytes_of_a_box_are_those_that_its_numbers_enter_as(kind):
    rng = np.random.default_rng(0)
    heads = matrix(rng, 2, 3, 31)
    middle, rate = single([3.0, 0.0, 1e6], [0.7, 3.3, 40.0])
    program = Program(middle=middle, rate=rate, relu=True, layers=(), heads=heads, point=0)
    if kind == "uint8":
        low, high = np.array([0, 7, 200], np.uint8), np.array([255, 30, 200], np.uint8)
        seen = [np.arange(int(a), int(b) + 1).astype(np.uint8) for a, b in zip(low, high, strict=True)]
    else:
        low, high = single([-1e30, -0.4, 1e6 - 1], [7.5, 0.0, 1e6 + 1])  # neighbours of the last are 1/16 apart: 2.5 bytes
        seen = [np.linspace(a, b, 5001).astype(np.float32) for a, b in zip(np.maximum(low, -200), high, strict=True)]
    box = entries(program, low, high)
    for i, numbers in enumerate(seen):
        column = np.repeat(low[None], len(numbers), axis=0)
        column[:, i] = numbers
        assert set(box.reached[i].tolist()) == set(entered(program, column)[:, i].tolist())
    near = (0.5 * low.astype(float) + 0.5 * high).astype(low.dtype)
    assert box.observation(entered(program, near[None])[0], near).tolist() == near.tolist()
    for ends in (box.low, box.high, np.array([rng.choice(q) for q in box.reached])):
        obs = box.observation(ends, near)
        assert ((low <= obs) & (obs <= high)).all()
        assert entered(program, obs[None])[0].tolist() == ends.tolist()


@settings(deadline=None, max_examples=60)
@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(-2, 0, width=32), st.floats(0, 2, width=32))
def test_numbers_leave_a_range_where_they_are_clipped_to_do(a, b, low, high):
    within, program = (min(a, b), max(a, b)), small(0)[0]
    point = 2.0**-program.point
    edges = [math.floor(x / point) + k for x in within for k in (-1, 0, 1, 2)]
    heads = np.array([*edges, -HEAD, 0, HEAD])[:, None]
    numbers = np.clip(heads[:, 0] * point, np.float32(low), np.float32(high))
    escapes = numbers_outside(program, 0, *single([low], [high]), within)
    assert exact._escaped(heads, escapes).tolist() == ((numbers < within[0]) | (numbers > within[1])).tolist()


def test_the_command_certifies_and_refutes_and_gives_up(checkpoint, capsys, monkeypatch):
    arguments = ["verify", "--checkpoint", str(checkpoint("cartpole")), "--precision", "int8", "--relative", "--states", "3"]
    assert main([*arguments, "--epsilon", "0.0001", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["verdict"], found["precision"], found["counts"]["certified"]) == ("certified", "int8", 3)
    assert main([*arguments, "--epsilon", "0.5", "--seconds", "1"]) == 1
    said = capsys.readouterr().out
    assert "by points tried" in said
    assert "the exported C was run on the counterexample" in said
    monkeypatch.setattr(exact, "_guess", lambda *args: None)
    assert main([*arguments, "--epsilon", "0.5", "--seconds", "0.001"]) == 1
    said = capsys.readouterr().out
    assert "0 of 3 observations (0.0%) certainly keep their action within +-0.5 deviations; 0 do not; 3 unknown" in said
    assert "unknown: neither proved nor refuted; --seconds allows more work" in said


def test_a_policy_of_numbers_stays_within_a_range_or_leaves_it(model, checkpoint, capsys):
    made = model("numbers")
    bounds = verify_box8(made, -1, 1)
    assert (bounds["verdict"], bounds["within"]) == ("bounded", None)
    rng = np.random.default_rng(0)
    numbers = np.array([made.act(rng.uniform(-1, 1, 5).astype(np.float32), made.no_carry())[2] for _ in range(300)])
    for a, number in enumerate(bounds["numbers"]):
        assert number["low"] <= numbers[:, a].min()
        assert numbers[:, a].max() <= number["high"]
    low, high = min(n["low"] for n in bounds["numbers"]), max(n["high"] for n in bounds["numbers"])
    assert verify_box8(made, -1, 1, within=(low, high))["verdict"] == "certified"
    inside = (float(numbers.min()), 0.5 * float(numbers.min() + numbers.max()))
    example = verify_states8(made, np.zeros((1, 5)), epsilon=1.0, within=inside)["counterexamples"][0]
    changed = made.act(np.array(example["changed_observation"], np.float32), made.no_carry())[2]
    assert changed.tolist() == example["changed_numbers"]
    assert changed.max() > inside[1] or changed.min() < inside[0]
    flags = ["--precision", "int8", "--calibration-steps", "200", "--low=-1", "--high=1", "--within=-9,9"]
    assert main(["verify", "--checkpoint", str(checkpoint("numbers")), *flags]) == 0
    assert "certified" in capsys.readouterr().out


def test_bytes_are_read_as_they_are(model):
    made = model("bytes")
    width = made.spec.tree.width
    obs = np.random.default_rng(1).integers(0, 256, (6, width)).astype(np.uint8)
    assert verify_states8(made, obs, epsilon=0)["verdict"] in ("certified", "bounded")
    found = verify_states8(made, obs[:2], epsilon=255, seconds=1.0)
    for example in found.get("counterexamples", []):
        at = np.array(example["changed_observation"], np.uint8)
        assert made.act(at, made.no_carry())[1].tolist() == example["changed_choices"] != example["choices"]


def test_what_the_encoding_or_the_exported_c_does_otherwise_is_an_error(model, monkeypatch):
    made, obs = model("cartpole"), np.zeros((1, 4))
    assert verify_states8(made, obs, epsilon=1.0, relative=True)["verdict"] == "counterexample"
    files = export.core_files(Model8.roots)
    faulty = files | {"lean8.c": files["lean8.c"].replace("x += (int32_t)1 << (bits - 1);", "")}
    assert faulty != files
    monkeypatch.setattr(export, "core_files", lambda roots: faulty)
    with pytest.raises(RunError, match=r"the exported C differs from the core on \["):
        verify_states8(made, obs, epsilon=1.0, relative=True)
    monkeypatch.setattr(exact, "_guess", lambda program, box, escapes: box.low)
    monkeypatch.setattr(exact, "other_choices", lambda nvec, choices: [Escape(0, 1, HEAD)])
    monkeypatch.setattr(Escape, "most", lambda *args: HEAD)
    with pytest.raises(RunError, match="the proof is wrong, not the policy"):
        verify_states8(made, obs, epsilon=0.1)


def test_refusals(model, checkpoint, monkeypatch):
    with pytest.raises(ConfigError, match=r"dense layers alone, and this one has a memory \(gru\)"):
        verify_box8(model("gru"), -1, 1)
    with pytest.raises(ConfigError, match=r"policy\.squash makes them by a tanh"):
        verify_box8(model("squashed"), -1, 1, within=(-1, 1))
    made = model("cartpole")
    for more, message in (
        ({"within": (-1, 1)}, "bounds the numbers of an action, and those of cartpole have none"),
        ({"seconds": 0}, "--seconds 0 must be above 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            verify_box8(made, -1, 1, **more)
    with pytest.raises(ConfigError, match=r"two finite numbers, the smaller one first"):
        verify_box8(model("numbers"), -1, 1, within=(1, -1))
    monkeypatch.setitem(sys.modules, "z3", None)
    with pytest.raises(MissingExtra, match=r"z3 is not installed: pip install 'pufferlib-embedded\[verify\]>=0.1,<0.2'"):
        verify_box8(made, -1, 1)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--precision", "int8", "--boxes", "9"], "--boxes has no meaning with --precision int8"),
        (["--seconds", "9"], "--seconds has no meaning with --precision float32"),
        (["--precision", "int8", "--within", "9"], "expected two numbers, as in --within -0.5,0.5"),
    ],
)
def test_options_of_the_other_precision_are_refused(flags, message, checkpoint, capsys):
    assert main(["verify", "--checkpoint", str(checkpoint("cartpole")), "--epsilon", "0.1", *flags]) == 2
    assert message in capsys.readouterr().err
