"""Runs under node against runs of CPython, from the same settings and from each other's checkpoints."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

UPDATES, HALF = 50, 25
STEPS = 16 * 32  # of an update
SETTINGS = {
    "env": "cartpole",
    "seed": 3,
    "train": {"num_envs": 16, "timesteps": UPDATES * STEPS, "stop_return": None},
    "ppo": {"minibatch": 256},
}


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


def test_fifty_updates_are_those_of_cpython_bit_for_bit(built, node, same, theirs, tmp_path):
    """Also when the run moves: half here, half there, both ways."""
    half, whole = theirs
    module = built / "puffer-scalar.wasm"
    node(module, HALF, None, tmp_path / "half", SETTINGS)
    same(tmp_path / "half", half)
    told = node(module, HALF, half, tmp_path / "resumed", SETTINGS)
    same(tmp_path / "resumed", whole)
    continued = puffer("train", "--resume", str(tmp_path / "half"), "--timesteps", str(UPDATES * STEPS), "--out", str(tmp_path))
    same(Path(continued["checkpoint"]), whole)
    evaluated = puffer("eval", "cartpole", "--checkpoint", str(tmp_path / "resumed"), "--episodes", "6", "--seed", "5")
    assert told["evaluation"].pop("env") == evaluated.pop("env")
    assert told["evaluation"] == pytest.approx(evaluated, rel=1e-12)
    assert told["reward"] == 200.0  # two poles that stay up for 100 steps


SMALL = {"horizon": 16, "minibatch": 64}
CASES = {  # of which each ends after four updates
    "numbers, statistics of observations": {"env": "pendulum", "ppo": {"horizon": 64, "minibatch": 128}},
    "a memory": {"env": "memory", "policy": {"core": "lstm", "core_size": 8}, "ppo": {"horizon": 16, "minibatch": 32}},
    "every coefficient": {
        "env": "catch",
        "policy": {"separate": True, "activation": "relu", "hidden": [16]},
        "ppo": SMALL
        | {"advantage": "vtrace", "schedule": "cosine", "value_clip": 0.01, "kl_coef": 0.1, "entropy_coef": 0.01}
        | {"dual_clip": 3.0, "weight_decay": 0.01},
    },
    "squash, other bounds": {
        "env": "pendulum",
        "policy": {"squash": True},
        "ppo": SMALL | {"entropy_coef": 0.01},
        "pendulum": {"max_torque": 1.7, "max_speed": 5},
    },
    "kl_target": {"env": "cartpole", "ppo": SMALL | {"kl_coef": 0.2, "kl_target": 0.004}},
    "kl_target, numbers, a memory": {
        "env": "pendulum",
        "policy": {"core": "gru", "core_size": 8},
        "ppo": SMALL | {"kl_coef": 0.2, "kl_target": 0.003},
    },
    "prioritize": {"env": "catch", "ppo": SMALL | {"prioritize": 0.6, "priority_beta": 0.3, "epochs": 2}},
    "prioritize, a memory": {
        "env": "memory",
        "seed": (7 << 32) + 5,
        "policy": {"core": "gru", "core_size": 8},
        "ppo": SMALL | {"prioritize": 1.0},
        "memory": {"symbols": 3, "length": 1},
    },
    "muon": {"env": "deep_sea", "policy": {"hidden": [24]}, "ppo": SMALL | {"optimizer": "muon"}, "deep_sea": {"size": 5}},
    "convolutions": {
        "env": "catch",
        "policy": {"conv": ["6:3:1", "4:2:2"], "hidden": [16], "activation": "relu", "normalize_obs": True},
        "ppo": SMALL,
        "catch": {"rows": 7, "columns": 6},
    },
    "convolutions by muon, a memory": {
        "env": "catch",
        "policy": {"conv": ["6:3:1"], "hidden": [16], "core": "lstm", "core_size": 8, "separate": True},
        "ppo": SMALL | {"optimizer": "muon", "momentum": 0.9},
    },
    "other observations": {
        "env": "cartpole",
        "ppo": SMALL,
        "cartpole": {"velocities": False, "x_limit": 1.1, "gravity": 7, "max_steps": 40},
    },
    "other actions": {"env": "bandit", "ppo": SMALL, "bandit": {"arms": 5, "high": 1.0}},
    "a larger board": {"env": "squared", "ppo": SMALL, "squared": {"distance": 4}},
}


@pytest.mark.parametrize("case", CASES)
def test_other_policies_and_settings_too(built, in_turn, case):
    settings = {"seed": 7} | CASES[case]
    rows = 8 * settings["ppo"]["horizon"]
    settings["train"] = {"num_envs": 8, "timesteps": 4 * rows, "stop_return": None}
    _, told = in_turn(built / "puffer-scalar.wasm", 2, rows, settings)
    assert told["steps"] == 2 * rows


def test_vectors_round_differently(built, node, gap, theirs, tmp_path):
    half, _ = theirs
    node(built / "puffer.wasm", 1, half, tmp_path / "fast", SETTINGS)
    node(built / "puffer-scalar.wasm", 1, half, tmp_path / "plain", SETTINGS)
    assert gap(tmp_path / "fast", tmp_path / "plain") < 1e-4
