"""`puffer verify`: what it says of policies, against the C core on many observations of each box, and refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pufferlib_core import train
from pufferlib_core.errors import ConfigError, ShapeError
from pufferlib_core.spaces import Box, Discrete, Mixed, MultiDiscrete
from pufferlib_embedded.model import Model
from pufferlib_embedded.verify import report as reporting
from pufferlib_embedded.verify import states
from pufferlib_embedded.verify.boxes import around, as_read, box_read, given_box, numbers_reached, observed, rows_of
from pufferlib_embedded.verify.choices import act, margins, points
from pufferlib_embedded.verify.crown import heads
from pufferlib_embedded.verify.intervals import Bounds
from pufferlib_embedded.verify.network import network_of
from pufferlib_embedded.verify.report import verify_box, verify_states
from small_policies import VECTOR, saved, spec_of

MOMENTS = {
    "obs_norm/mean": np.array([0.3, -2.0, 0.0, 100.0, 1e-3]),
    "obs_norm/var": np.array([1.0, 4.0, 1e-12, 1e4, 0.3]),
    "obs_norm/count": np.array([100.0]),
}
BYTES = (0.01 * np.random.default_rng(5).normal(size=(12, 5))).astype(np.float32)
POLICIES = {
    "tanh, normalised": (spec_of(normalize_obs=True, obs_clip=2.0), MOMENTS),
    "relu, two layers": (spec_of(hidden=(16, 16), activation="relu"), {}),
    "several choices": (spec_of(action=MultiDiscrete([3, 1, 4]), separate=True), {}),
    "mixed, squashed": (spec_of(action=Mixed(MultiDiscrete([2]), Box([-2.0, 0.0], [1.0, 5.0])), squash=True), {}),
    "bytes": (
        spec_of(obs=Box(0, 255, (5,), "uint8")),
        {"trunk.0.weight": BYTES, "trunk.0.bias": -128 * BYTES.sum(axis=1)},
    ),
}


def model_of(tmp_path, name):
    spec, tensors = POLICIES[name]
    return Model(saved(tmp_path, spec, **tensors))


def near(model, count, seed=0):
    """Observations as a policy may meet them."""
    drawn = np.random.default_rng(seed).normal(size=(count, 5))
    if model.spec.tree.feature_dtype == np.uint8:
        return np.clip(128 + 60 * drawn, 0, 255).astype(np.uint8)
    mean, scale, _ = model.read or (0.0, 1.0, 0.0)
    return (mean + drawn / scale).astype(np.float32)


@pytest.mark.parametrize("name", POLICIES)
def test_what_is_certified_holds_and_what_is_refuted_does_not(tmp_path, name, monkeypatch):
    model = model_of(tmp_path, name)
    obs, epsilon = near(model, 60), 20 if name == "bytes" else 0.1
    relative = model.read is not None
    found = verify_states(model, obs, epsilon=epsilon, relative=relative)
    counts, (low, high) = found["counts"], around(model, obs, epsilon, relative)
    assert counts["certified"] + counts["counterexample"] == 60, "splitting decides small networks"
    assert counts["certified"] > 0 < counts["counterexample"]
    assert found["verdict"] == "counterexample"
    changed = {example["state"]: example for example in found["counterexamples"]}
    assert found["certified_fraction"] == counts["certified"] / 60
    refuted = set(changed) if counts["counterexample"] <= 10 else None
    for k in range(60):
        chosen = act(model, obs[k])[1]
        others = [act(model, row)[1] for row in points(low[k], high[k], 60, k)]
        if refuted is not None and k not in refuted:
            assert all((other == chosen).all() for other in others)
        if k in changed:
            at = np.array(changed[k]["changed_observation"], obs.dtype)
            assert ((at >= low[k]) & (at <= high[k])).all()
            assert act(model, at)[1].tolist() == changed[k]["changed_choices"] != chosen.tolist() == changed[k]["choices"]
    monkeypatch.setattr(states, "attack", lambda *_: None)  # what has a counterexample is never certified without one
    assert verify_states(model, obs, epsilon=epsilon, relative=relative, boxes=300)["counts"] == {
        "certified": counts["certified"], "counterexample": 0, "unknown": counts["counterexample"],
    }  # fmt: skip


@pytest.mark.parametrize("name", POLICIES)
def test_bounds_of_a_box_hold_and_are_close(tmp_path, name):
    model = model_of(tmp_path, name)
    middle = near(model, 1, seed=3)
    low, high = around(model, middle, 20 if name == "bytes" else 0.5, model.read is not None)
    found = verify_box(model, low[0], high[0])
    values = np.array([act(model, row)[0] for row in points(low[0], high[0], 400, 1)])
    for k, head in enumerate(found["heads"]):
        for kind in ("ibp", "crown", "certified"):
            assert head[kind][0] <= min(values[:, k].min(), head["seen"][0])
            assert head[kind][1] >= max(values[:, k].max(), head["seen"][1])
        assert head["ibp"][0] <= head["crown"][0] <= head["certified"][0]
        assert 0 <= head["excess"] <= 0.1
    assert found["verdict"] in ("certified", "counterexample")
    assert found["unknown_states"] == []


def test_a_box_in_which_the_action_stays(tmp_path):
    spec = spec_of(hidden=(2,), activation="relu", action=Discrete(2))
    one, none = np.eye(2, dtype=np.float32), np.zeros(2, np.float32)
    first = {"trunk.0.weight": np.eye(2, 5, dtype=np.float32), "trunk.0.bias": none}
    model = Model(saved(tmp_path, spec, **first, **{"policy.weight": one, "policy.bias": none}))  # the larger of two numbers
    sure = verify_box(model, [2, 1, 0, 0, 0], [3, 1.5, 1, 1, 1])
    assert (sure["verdict"], sure["at_the_middle"], sure["counterexamples"]) == ("certified", [0], [])
    assert sure["by"] == {"ibp": 1, "crown": 0, "splitting": 0}
    np.testing.assert_allclose([head["certified"] for head in sure["heads"]], [[2, 3], [1, 1.5]], atol=1e-5)
    found = verify_box(model, [1.4, 1, 0, 0, 0], [3, 1.5, 0, 0, 0])
    assert found["verdict"] == "counterexample"
    x = found["counterexamples"][0]["changed_observation"]
    assert x[1] > x[0]


@pytest.mark.parametrize("squash", [False, True])
def test_numbers_of_actions_are_within_their_range(tmp_path, squash):
    spec = spec_of(action=Box([-1.0, -0.1], [1.0, 0.2]), squash=squash, hidden=(8,))
    model = Model(saved(tmp_path, spec))
    obs = near(model, 50)
    reached = numbers_reached(model, heads(network_of(model), box_read(model, obs, obs)))
    numbers = np.array([act(model, row)[2] for row in obs])
    assert ((numbers >= reached.low) & (numbers <= reached.high)).all()
    assert (reached.high - reached.low).max() < 1e-5
    means = np.random.default_rng(1).normal(size=(4000, 2)).astype(np.float32)
    given = np.clip(model.spec.postprocess(means), model.low, model.high)
    reached = numbers_reached(model, Bounds(means.astype(np.float64), means.astype(np.float64)))
    assert ((given >= reached.low) & (given <= reached.high)).all()
    wide = verify_states(model, obs, epsilon=0.2)
    assert wide["verdict"] == "bounded"
    for a, number in enumerate(wide["numbers"]):
        assert number["low"] <= numbers[:, a].min()
        assert number["high"] >= numbers[:, a].max()
        assert 0.01 < number["widest"] <= number["high"] - number["low"]
    for number, low, high in zip(verify_box(model, -50, 50, boxes=200)["numbers"], model.low, model.high, strict=True):
        assert low <= number["low"] < number["high"] <= high


def test_observations_are_read_as_the_core_reads_them(tmp_path):
    spec = spec_of(action=Discrete(5), hidden=(10,), activation="relu", normalize_obs=True, obs_clip=2.0)
    one, none = np.eye(5, dtype=np.float32), np.zeros(10, np.float32)
    layers = {"trunk.0.weight": np.concatenate([one, -one]), "trunk.0.bias": none}
    heads_ = {"policy.weight": np.concatenate([one, -one], axis=1), "policy.bias": none[:5]}  # relu(x) - relu(-x) = x
    model = Model(saved(tmp_path, spec, **MOMENTS, **layers, **heads_))
    obs = np.concatenate([near(model, 200), np.float32([[3e38, -3e38, 1.0, 1e30, 0.0]])])
    np.testing.assert_array_equal(as_read(model, obs), np.array([act(model, row)[0] for row in obs]))
    low, high = obs - np.float32(0.01), obs + np.float32(0.01)
    back = observed(model, as_read(model, obs[:200]), low[:200], high[:200])
    assert np.abs(as_read(model, back) - as_read(model, obs[:200])).max() < 1e-6
    everywhere = verify_box(model, [-np.inf], [np.inf], boxes=1)
    np.testing.assert_allclose([head["ibp"] for head in everywhere["heads"]], np.tile([-2, 2], (5, 1)), rtol=1e-5)


def test_margins_by_hand():
    rows = margins((2, 3), 6, np.array([[1, 0], [0, 2]]))
    assert rows[0].tolist() == [[-1, 1, 0, 0, 0, 0], [0, 0, 1, -1, 0, 0], [0, 0, 1, 0, -1, 0]]
    assert rows[1].tolist() == [[1, -1, 0, 0, 0, 0], [0, 0, -1, 0, 1, 0], [0, 0, 0, -1, 1, 0]]


def test_an_interrupt_leaves_what_is_known(tmp_path, monkeypatch):
    model = model_of(tmp_path, "relu, two layers")
    obs, seen = near(model, 60), []

    def stop(done, total):
        seen.append((done, total))
        if len(seen) == 5:
            raise KeyboardInterrupt

    found = verify_states(model, obs, epsilon=0.1, progress=stop)
    assert found["interrupted"]
    assert found["counts"]["unknown"] == 60 - seen[-1][0] > 0
    assert not verify_states(model, obs, epsilon=0.1)["interrupted"]
    seen[:] = [(0, 0)] * 4
    low, high = around(model, obs[:1], 0.1, False)
    part = verify_box(model, low[0], high[0], progress=stop)
    assert part["interrupted"]
    assert part["heads"][0]["certified"] == part["heads"][0]["crown"]


def test_refusals(tmp_path):
    model, normalised = model_of(tmp_path / "a", "relu, two layers"), model_of(tmp_path / "b", "tanh, normalised")
    for core in ({"core": "gru", "core_size": 3}, {"conv": ("2:2:1",)}):
        obs = Box(0, 255, (4, 4, 1), "uint8") if "conv" in core else VECTOR
        with pytest.raises(ConfigError, match=r"dense layers alone, and this one has (a memory \(gru\)|encoders)"):
            verify_box(Model(saved(tmp_path / str(len(core)), spec_of(obs=obs, **core))), 0, 1)
    with pytest.raises(ShapeError, match="--low has 3 numbers, an observation of walk:SPEC has 5"):
        verify_box(model, [0, 0, 0], 1)
    with pytest.raises(ConfigError, match=r"the box is empty: --low 1 is above --high 0.5 in number 2"):
        verify_box(model, [0, 0, 1, 0, 0], 0.5)
    with pytest.raises(ConfigError, match="--high: the ends of a box must be finite numbers"):
        verify_box(model, 0, np.inf)
    with pytest.raises(ConfigError, match="--low: the ends of a box must be numbers, got"):
        verify_box(normalised, np.nan, 1)
    with pytest.raises(ConfigError, match="whole numbers from 0 to 255"):
        given_box(model_of(tmp_path / "c", "bytes"), 0, 1.5)
    for epsilon in (-1.0, np.nan, np.inf):
        with pytest.raises(ConfigError, match=r"--epsilon .* must be a finite number from 0"):
            verify_states(model, np.zeros((1, 5)), epsilon=epsilon)
    with pytest.raises(ConfigError, match="has no normaliser"):
        verify_states(model, np.zeros((1, 5)), epsilon=0.1, relative=True)
    for boxes, tolerance, said in ((0, 0.1, "--boxes 0"), (1, 0.0, "--tolerance 0")):
        with pytest.raises(ConfigError, match=said):
            verify_box(model, 0, 1, boxes=boxes, tolerance=tolerance)


def test_observations_that_are_none(tmp_path):
    model, read = model_of(tmp_path / "a", "relu, two layers"), model_of(tmp_path / "b", "bytes")
    assert rows_of(model, np.ones((2, 5), np.float64), "x").dtype == np.float32
    for wrong in (np.zeros((2, 4)), np.zeros(5), np.zeros((2, 5), complex), np.array([["a"] * 5])):
        with pytest.raises(ShapeError, match=r"x: observations must be numbers of shape \(N, 5\)"):
            rows_of(model, wrong, "x")
    with pytest.raises(ConfigError, match="there is no observation in it"):
        rows_of(model, np.zeros((0, 5)), "x")
    for number in (np.nan, 1e39):
        with pytest.raises(ConfigError, match="row 1 holds a number that is not a finite float32"):
            rows_of(model, np.array([[0] * 5, [0] * 4 + [number]]), "x")
    with pytest.raises(ConfigError, match="row 0 holds a number that is not a byte"):
        rows_of(read, np.full((1, 5), 0.5), "x")


@pytest.fixture(scope="module")
def cartpole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    options = {"train.timesteps": 8192, "policy.normalize_obs": True, "policy.hidden": [16, 16]}
    return str(train("cartpole", options=options, out=str(folder), seed=1).checkpoint)


def verify(*arguments):
    from pufferlib_cli.main import main

    return main(["verify", *map(str, arguments)])


def test_the_command(tmp_path, cartpole, capsys):
    status = verify("--checkpoint", cartpole, "--epsilon", "0.02", "--relative", "--states", "30", "--seed", "1", "--json")
    found = json.loads(capsys.readouterr().out)
    assert status == 1
    assert (found["env"], found["states"], found["verdict"]) == ("cartpole", 30, "counterexample")
    assert verify("--checkpoint", cartpole, "--epsilon", "0.02", "--relative", "--states", "30") == 1
    out = capsys.readouterr().out
    assert "of 30 observations" in out
    assert "not robust: the policy itself was run on the counterexample" in out
    sure = tmp_path / "sure.npy"
    np.save(sure, np.array([[0, 0, 0.15, 1], [0, 0, -0.15, -1]]))
    assert verify("--checkpoint", cartpole, "--epsilon", "1e-3", "--observations", sure) == 0
    assert "2 of 2 observations (100.0%) certainly keep their action within +-0.001" in capsys.readouterr().out
    assert verify("--checkpoint", cartpole, "--low", "-.1,-.1,.15,.5", "--high", ".1,.1,.2,1") == 0
    out = capsys.readouterr().out
    assert "the choices are always those at the middle of the box: [1]" in out
    assert out.splitlines()[-1] == "certified"
    assert verify("--checkpoint", cartpole, "--low", "-1", "--high", "1", "--boxes", "1", "--tolerance", "0.5") == 1


def test_the_command_on_numbers_and_interrupted(tmp_path, capsys, monkeypatch):
    path = saved(tmp_path, spec_of(action=Box([-1.0], [1.0])))
    assert verify("--checkpoint", path, "--low", "-1", "--high", "-1") == 0
    assert "bounded: there is no choice that could change" in capsys.readouterr().out
    np.save(tmp_path / "obs.npy", np.zeros((3, 5)))
    assert verify("--checkpoint", path, "--epsilon", "0.1", "--observations", tmp_path / "obs.npy") == 0
    assert "within one box it moves by" in capsys.readouterr().out

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(reporting, "decide", stop)
    assert verify("--checkpoint", path, "--epsilon", "0.1", "--observations", tmp_path / "obs.npy") == 130
    assert "interrupted: what was not looked at is unknown" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ((), 2, "either --epsilon E, or --low and --high"),
        (("--epsilon", "1", "--low", "0", "--high", "1"), 2, "either --epsilon"),
        (("--low", "0"), 2, "either --epsilon"),
        (("--low", "a", "--high", "1"), 2, "--low a: expected a number"),
        (("--epsilon", "x"), 2, "--epsilon x: expected a number"),
        (("--epsilon", "1", "--states", "1.5"), 2, "--states 1.5: expected a whole number"),
        (("--epsilon", "1", "--states", "0"), 2, "--states 0 must be in [1, 1000000]"),
        (("--epsilon", "1", "--tolerance", "1"), 2, "--tolerance has no meaning with --epsilon"),
        (("--low", "0", "--high", "1", "--seed", "1"), 2, "--seed has no meaning with --low and --high"),
        (("--low", "0", "--high", "1", "--relative"), 2, "--relative has no meaning"),
        (("--epsilon", "1", "--observations", "x.npy", "--states", "1"), 2, "--states and --seed are those of a rollout"),
        (("--low", "0,1", "--high", "1"), 2, "--low has 2 numbers"),
        (("--epsilon", "1", "--observations", "none.npy"), 2, "none.npy: no array of NumPy can be read"),
        (("--epsilon", "1", "--observations", __file__), 2, "no array of NumPy can be read"),
    ],
)
def test_mistakes_on_the_command_line(arguments, status, said, cartpole, capsys):
    assert verify("--checkpoint", cartpole, *arguments) == status
    assert said in capsys.readouterr().err


def test_policies_that_have_no_export(tmp_path, capsys, cartpole):
    assert verify("--checkpoint", saved(tmp_path, spec_of(), masked=True), "--epsilon", "1") == 2
    assert "verify takes what can be exported: " in capsys.readouterr().err
    assert verify("--checkpoint", saved(tmp_path / "x", spec_of()), "--epsilon", "1") == 2
    assert "--observations" in capsys.readouterr().err
    np.savez(tmp_path / "two.npz", a=np.zeros(1))
    assert verify("--checkpoint", cartpole, "--epsilon", "1", "--observations", tmp_path / "two.npz") == 2
    assert "several arrays" in capsys.readouterr().err
