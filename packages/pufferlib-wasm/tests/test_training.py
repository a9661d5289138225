"""Runs under node against runs of CPython, from the same settings and from each other's checkpoints."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pufferlib_core import load_checkpoint
from pufferlib_core.config import dumps_toml

SCRIPT = Path(__file__).parent / "train.mjs"
UPDATES, HALF = 50, 25
STEPS = 16 * 32  # of an update
SETTINGS = {
    "env": "cartpole",
    "seed": 3,
    "train": {"num_envs": 16, "timesteps": UPDATES * STEPS, "stop_return": None},
    "ppo": {"minibatch": 256},
}


def node(module: Path, updates: int, start: Path | None, out: Path, settings: dict = SETTINGS) -> dict:
    """What train.mjs prints."""
    command = ["node", str(SCRIPT), str(module), json.dumps(settings), str(updates), str(start or "-"), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def puffer(*arguments: str) -> dict:
    """What a command prints; with plain C kernels, the only ones that WebAssembly has in common with this processor."""
    command = [sys.executable, "-m", "pufferlib_cli", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"PUFFER_ISA": "serial"})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """Checkpoints of CPython after half of the updates and after all."""
    out = str(tmp_path_factory.mktemp("cpython"))
    options = ["--seed", "3", "--num-envs", "16", "--ppo.minibatch", "256", "--timesteps", str(UPDATES * STEPS), "--out", out]
    told = puffer("train", "cartpole", *options, "--checkpoint-every", str(HALF * STEPS))
    last = Path(told["checkpoint"])
    return last.parent / f"{HALF * STEPS:012d}", last


def same(one: Path, other: Path) -> None:
    """All tensors, counters and episodes are equal; statistics of returns up to the order in which float64 is summed."""
    a, b = load_checkpoint(one), load_checkpoint(other)
    names = [{file: sorted(tensors) for file, tensors in saved.files.items()} for saved in (a, b)]
    assert names[0] == names[1]
    for file, tensors in a.files.items():
        for name, tensor in tensors.items():
            if name in ("return_norm/mean", "return_norm/var"):
                np.testing.assert_allclose(tensor, b.files[file][name], rtol=1e-12)
            else:
                np.testing.assert_array_equal(tensor, b.files[file][name], err_msg=name)
    assert (a.state["steps"], a.state["episodes"]) == (b.state["steps"], b.state["episodes"])
    for key in ("env", "algorithm", "policy", "space_fingerprint", "seed"):
        assert a.manifest[key] == b.manifest[key]


def test_fifty_updates_are_those_of_cpython_bit_for_bit(built, theirs, tmp_path):
    """Also when the run moves: half here, half there, both ways."""
    half, whole = theirs
    module = built / "puffer-scalar.wasm"
    node(module, HALF, None, tmp_path / "half")
    same(tmp_path / "half", half)
    told = node(module, HALF, half, tmp_path / "resumed")
    same(tmp_path / "resumed", whole)
    continued = puffer("train", "--resume", str(tmp_path / "half"), "--timesteps", str(UPDATES * STEPS), "--out", str(tmp_path))
    same(Path(continued["checkpoint"]), whole)
    evaluated = puffer("eval", "cartpole", "--checkpoint", str(tmp_path / "resumed"), "--episodes", "6", "--seed", "5")
    assert told["evaluation"].pop("env") == evaluated.pop("env")
    assert told["evaluation"] == pytest.approx(evaluated, rel=1e-12)
    assert told["reward"] == 200.0  # two poles that stay up for 100 steps


CASES = {
    "pendulum": {"train": {"num_envs": 8}, "ppo": {"horizon": 64, "minibatch": 128}},  # numbers; normalises observations
    "memory": {"train": {"num_envs": 8}, "policy": {"core": "lstm", "core_size": 8}, "ppo": {"horizon": 16, "minibatch": 32}},
    "catch": {
        "train": {"num_envs": 8},
        "policy": {"separate": True, "activation": "relu", "hidden": [16]},
        "ppo": {"horizon": 16, "minibatch": 64, "advantage": "vtrace", "schedule": "cosine", "value_clip": 0.01}
        | {"kl_coef": 0.1, "entropy_coef": 0.01, "dual_clip": 3.0, "weight_decay": 0.01},
    },
}


@pytest.mark.parametrize("env", CASES)
def test_other_policies_and_settings_too(built, tmp_path, env):
    settings = {"env": env, "seed": 7} | CASES[env]
    settings["train"] = settings["train"] | {"timesteps": 4 * 8 * settings["ppo"]["horizon"]}
    told = node(built / "puffer-scalar.wasm", 4, None, tmp_path / "node", settings)
    sections = {name: values for name, values in settings.items() if isinstance(values, dict)}
    (tmp_path / "settings.toml").write_text(dumps_toml(sections))
    ours = puffer("train", env, "--seed", "7", "--config", str(tmp_path / "settings.toml"), "--out", str(tmp_path))
    same(tmp_path / "node", Path(ours["checkpoint"]))
    assert told["steps"] == settings["train"]["timesteps"]


def test_vectors_round_differently(built, theirs, tmp_path):
    half, _ = theirs
    node(built / "puffer.wasm", 1, half, tmp_path / "fast")
    node(built / "puffer-scalar.wasm", 1, half, tmp_path / "plain")
    a, b = (load_checkpoint(tmp_path / name).files["policy"] for name in ("fast", "plain"))
    gaps = [np.abs(a[name] - b[name]).max() / max(1.0, np.abs(b[name]).max()) for name in a]
    assert max(gaps) < 1e-4
