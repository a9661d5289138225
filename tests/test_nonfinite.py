"""NaN and infinity: the run stops, and what it leaves raises the same error again."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pufferlib_core as puffer
import pytest
from pufferlib_core.errors import CheckpointError, NonFiniteError
from pufferlib_core.loops.onpolicy import Run

ROWS = 2048  # of an update of the preset of cartpole


def same_error(bundle: Path) -> str:
    """Replays a bundle in a process of its own, by its own line; returns the error, which is that of the run."""
    record = json.loads((bundle / "nonfinite.json").read_text())
    with pytest.raises(NonFiniteError, match=re.escape(record["error"]) + "$"):
        puffer.replay(bundle)
    line = record["replay"].replace("python ", f"{sys.executable} ", 1)
    done = subprocess.run(line, shell=True, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().endswith(f"NonFiniteError: {record['error']}")
    return str(record["error"])


def test_a_rate_that_blows_up_leaves_a_bundle_that_blows_up_again(tmp_path):
    with pytest.raises(NonFiniteError, match=r"update \d+, minibatch \d+.*reproduction bundle: .*nonfinite"):
        puffer.train("cartpole", options={"ppo.learning_rate": 1e25, "ppo.max_grad_norm": 0.0}, out=tmp_path)
    run = next(tmp_path.iterdir())
    bundle = run / "nonfinite"
    assert "in the loss or its gradient" in same_error(bundle)
    record = json.loads((bundle / "nonfinite.json").read_text())
    checkpoint = puffer.load_checkpoint(bundle)
    assert record["phase"] == "update"
    assert record["steps"] == checkpoint.state["steps"] == record["update"] * ROWS
    assert checkpoint.files["trainer"]["updates"][0] == record["update"]
    assert all(np.isfinite(array).all() for array in checkpoint.files["policy"].values())
    with pytest.raises(NonFiniteError, match=re.escape(record["error"])):  # it is a checkpoint like any other
        puffer.train(resume=bundle, out=tmp_path)


def test_bundles_are_not_overwritten_and_damage_is_named(tmp_path, monkeypatch):
    advance = Run.advance

    def poisoned(self):
        self.segment.obs[0, 7, 1] = np.nan
        (self.dir / "nonfinite").mkdir()
        return advance(self)

    monkeypatch.setattr(Run, "advance", poisoned)
    with pytest.raises(NonFiniteError, match="nonfinite-1"):
        puffer.train("cartpole", out=tmp_path)
    monkeypatch.undo()
    run = next(tmp_path.iterdir())
    bundle = run / "nonfinite-1"
    assert "observation of environment 7 at row 0" in same_error(bundle)
    with pytest.raises(CheckpointError, match=r"a bundle\?"):
        puffer.replay(run)
    for name in ("nonfinite.json", "segment.safetensors", "checkpoints/000000000000/policy.safetensors"):
        intact = (bundle / name).read_bytes()
        for data in (intact[: len(intact) // 2], b"", b"[" * 100_000):
            (bundle / name).write_bytes(data)
            with pytest.raises(CheckpointError, match=Path(name).name):
                puffer.replay(bundle)
        (bundle / name).write_bytes(intact)


def test_a_bundle_that_cannot_be_written_is_said(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pufferlib_core.loops.onpolicy.save_bundle", full)
    with pytest.raises(NonFiniteError, match=r"bundle: could not be written .*No space left on device"):
        puffer.train("cartpole", options={"ppo.learning_rate": 1e25, "ppo.max_grad_norm": 0.0}, out=tmp_path)


def test_what_is_finite_again_gives_its_losses(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Run, "update", lambda self: (_ for _ in ()).throw(NonFiniteError("made up, update 0, minibatch 3")))
        with pytest.raises(NonFiniteError, match="made up"):
            puffer.train("cartpole", out=tmp_path)
    bundle = next(tmp_path.glob("*/nonfinite"))
    record = json.loads((bundle / "nonfinite.json").read_text())
    assert (record["update"], record["minibatch"]) == (0, 3)
    assert puffer.replay(bundle)["losses/entropy"] > 0
    sound = puffer.train("cartpole", timesteps=ROWS, out=tmp_path / "b")
    assert (
        puffer.replay(bundle)["losses/grad_norm"]
        == json.loads((sound.run_dir / "metrics.jsonl").read_text())["losses/grad_norm"]
    )
