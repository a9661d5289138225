"""Checkpoints: round trip, damage of every kind, atomicity, run folders."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pufferlib_core.checkpoint import create_run, files, load_checkpoint, mark, resolve, save_checkpoint, system_info
from pufferlib_core.errors import CheckpointError, RunError

TENSORS = {"policy": {"w": np.array([[1.5, np.nan]], np.float32)}, "trainer": {"step": np.array([3], np.int64)}}


def save(folder, step=5, **manifest):
    return save_checkpoint(folder, step, files=TENSORS, state={"steps": step}, manifest={"env": "cartpole"} | manifest)


def test_round_trip(tmp_path):
    path = save(tmp_path)
    back = load_checkpoint(path)
    assert back.files["policy"]["w"].tobytes() == TENSORS["policy"]["w"].tobytes()
    assert back.files["trainer"]["step"].dtype == np.int64
    assert back.state == {"steps": 5}
    assert back.manifest["env"] == "cartpole"
    assert back.manifest["step"] == 5
    assert sorted(p.name for p in path.iterdir()) == [
        "manifest.json",
        "policy.safetensors",
        "state.json",
        "trainer.safetensors",
    ]


def test_nothing_is_overwritten(tmp_path):
    save(tmp_path)
    with pytest.raises(CheckpointError, match="not overwritten"):
        save(tmp_path)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(name=st.sampled_from(["manifest.json", "policy.safetensors", "state.json", "trainer.safetensors"]), data=st.data())
def test_one_flipped_bit_is_found(tmp_path, name, data):
    run = tmp_path / "run"
    if not run.exists():
        save(run)
    path = run / "checkpoints" / "000000000005" / name
    intact = path.read_bytes()
    at, bit = data.draw(st.integers(0, len(intact) - 1)), data.draw(st.integers(0, 7))
    path.write_bytes(intact[:at] + bytes([intact[at] ^ (1 << bit)]) + intact[at + 1 :])
    try:
        with pytest.raises(CheckpointError):
            load_checkpoint(path.parent)
        path.write_bytes(intact[:at])
        with pytest.raises(CheckpointError):
            load_checkpoint(path.parent)
    finally:
        path.write_bytes(intact)
    load_checkpoint(path.parent)


def rewrite(path, **changes):
    values = json.loads(path.read_text()) | changes
    values["digest"] = files._digest(values)
    path.write_bytes(files._canonical(values))


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"kind": "x"}, "belongs to something else"), ({"schema": 2}, "newer version"), ({"schema": "a"}, "not a version number")],
)
def test_foreign_manifests(tmp_path, changes, message):
    path = save(tmp_path)
    rewrite(path / "manifest.json", **changes)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "forged",
    [
        {"files": None},
        {"files": {"state.json": {}}},
        {"files": {"state.json": 3}},
        {"files": ["state.json"]},
        {"files": {"state.json": {"bytes": [4], "sha256": ""}}},
    ],
)
def test_sealed_manifests_of_another_form(tmp_path, forged):
    path = save(tmp_path)
    rewrite(path / "manifest.json", **forged)
    with pytest.raises(CheckpointError, match=r"manifest\.json: is sealed but not what this version writes"):
        load_checkpoint(path)


def test_missing_extra_and_foreign_files(tmp_path):
    path = save(tmp_path)
    (path / "more.txt").write_text("x")
    with pytest.raises(CheckpointError, match="is not in the manifest"):
        load_checkpoint(path)
    (path / "more.txt").unlink()
    (path / "state.json").unlink()
    with pytest.raises(CheckpointError, match="is missing"):
        load_checkpoint(path)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="is a folder"):
        load_checkpoint(path / "manifest.json")
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        load_checkpoint(tmp_path / "checkpoints")


def test_old_schemas_migrate(tmp_path, monkeypatch):
    path = save(tmp_path)
    monkeypatch.setattr(files, "SCHEMA", 2)
    monkeypatch.setitem(files.MIGRATIONS, 1, lambda manifest: manifest | {"migrated": True})
    assert load_checkpoint(path).manifest["migrated"] is True


def test_run_folders_resolve_to_the_latest_complete_checkpoint(tmp_path):
    first, second = save(tmp_path, 5), save(tmp_path, 10)
    assert resolve(tmp_path) == second
    mark(tmp_path, "latest", first)
    assert resolve(tmp_path) == first
    shutil.rmtree(first)
    assert resolve(tmp_path) == second


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    kept = save(tmp_path, 5)

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match="No space left on device; earlier checkpoints are intact"):
        save(tmp_path, 10)
    with pytest.raises(RunError, match=r"cannot write .*latest: No space left"):
        mark(tmp_path, "latest", kept)
    monkeypatch.undo()
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == [kept.name]
    assert load_checkpoint(tmp_path).path == kept


WRITER = """
import sys, numpy as np
from pathlib import Path
from pufferlib_core.checkpoint import save_checkpoint, mark
run = Path(sys.argv[1])
for step in range(1, 10_000):
    weights = {"policy": {"w": np.full(20_000, step, np.float32)}}
    path = save_checkpoint(run, step, files=weights, state={"steps": step}, manifest={})
    mark(run, "latest", path)
    print(step, flush=True)
"""


@pytest.mark.parametrize("wait", [0.0, 0.013, 0.05])
def test_kill_at_any_moment_loses_nothing(tmp_path, wait):
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split()
    done = int(rest[-1]) if rest else 1
    back = load_checkpoint(tmp_path)
    assert back.state["steps"] >= done
    assert (back.files["policy"]["w"] == back.state["steps"]).all()


def test_two_runs_of_a_second_get_two_folders(tmp_path):
    folders = {create_run(tmp_path / "runs", "cartpole", "ppo", 0) for _ in range(3)}
    assert len(folders) == 3
    assert all(folder.name.startswith("cartpole-ppo-s0-") for folder in folders)
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="cannot create a run folder"):
        create_run(tmp_path / "file", "cartpole", "ppo", 0)


def test_system_info_is_json():
    assert json.loads(json.dumps(system_info()))["cpus"] >= 1
