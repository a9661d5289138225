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
from pufferlib_core import train
from pufferlib_core.checkpoint import (
    checkpoints_of,
    copy_checkpoint,
    create_run,
    files,
    load_checkpoint,
    mark,
    marked,
    newest_checkpoint,
    remove_checkpoint,
    resolve,
    runs,
    save_checkpoint,
    system_info,
)
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


# --- several runs, few checkpoints --------------------------------------------------------------------------------------

IDENTITY = {"env": "cartpole", "algorithm": "ppo", "seed": 0}


def run_folder(out, name, *steps, **manifest):
    for step in steps:
        save(out / name, step, **IDENTITY | manifest)
    (out / name).mkdir(parents=True, exist_ok=True)
    return out / name


def test_the_newest_run_that_has_a_checkpoint_is_found(tmp_path):
    def found():
        checkpoint, damaged = newest_checkpoint(tmp_path, "cartpole", "ppo", 0)
        assert damaged == ()
        return None if checkpoint is None else (checkpoint.path.parent.parent.name, checkpoint.state["steps"])

    assert newest_checkpoint(tmp_path / "nowhere", "cartpole", "ppo", 0) == (None, ())
    assert found() is None
    stem = "cartpole-ppo-s0-20260101T000000Z"
    for name, steps in ((stem, (5, 10)), (f"{stem}-2", (7,)), (f"{stem}-10", (6, 8))):
        run_folder(tmp_path, name, *steps)
        assert found() == (name, steps[-1])  # the tenth of a second comes after the second
    run_folder(tmp_path, "cartpole-ppo-s0-20250101T000000Z", 99)
    run_folder(tmp_path, "cartpole-ppo-s0-20270101T000000Z")  # ended before its first checkpoint
    run_folder(tmp_path, "cartpole-ppo-s1-20280101T000000Z", 3)
    run_folder(tmp_path, "cartpole-ppo-s0-20280101T000000Z", 3, env="cart/pole")  # its name looks the same
    run_folder(tmp_path, "cartpole-ppo-s0-best", 3)
    (tmp_path / "cartpole-ppo-s0-20290101T000000Z").write_text("no folder")
    assert found() == (f"{stem}-10", 8)
    with pytest.raises(RunError, match="cannot look for runs"):
        newest_checkpoint(tmp_path / "cartpole-ppo-s0-20290101T000000Z", "cartpole", "ppo", 0)


def test_what_a_run_deletes_meanwhile_is_no_damage(tmp_path, monkeypatch):
    run = run_folder(tmp_path, "cartpole-ppo-s0-20260101T000000Z", 5)
    load = runs.load_checkpoint

    def overtaken(folder):
        monkeypatch.setattr(runs, "load_checkpoint", load)
        save(run, 10, **IDENTITY)
        remove_checkpoint(folder)
        return load(folder)

    monkeypatch.setattr(runs, "load_checkpoint", overtaken)
    checkpoint, damaged = newest_checkpoint(tmp_path, "cartpole", "ppo", 0)
    assert checkpoint is not None
    assert checkpoint.state["steps"] == 10
    assert damaged == ()


def test_checkpoints_are_ordered_by_number(tmp_path):
    made = [save(tmp_path, step) for step in (5, 10**12 - 1, 10**12, 3 * 10**13)]
    assert checkpoints_of(tmp_path) == made
    assert resolve(tmp_path) == made[-1]


@pytest.mark.parametrize("text", ["", "../../elsewhere", "x" * 5000, "\0", "５", "9" * 400, "-1"])
def test_a_spoilt_pointer_names_nothing(tmp_path, text):
    kept = save(tmp_path)
    (tmp_path / "latest").write_text(text)
    assert marked(tmp_path, "latest") is None
    assert resolve(tmp_path) == kept


def test_copies_are_verified(tmp_path):
    source = save(tmp_path / "a")
    copy = copy_checkpoint(source, tmp_path / "b")
    assert {f.name: f.read_bytes() for f in copy.iterdir()} == {f.name: f.read_bytes() for f in source.iterdir()}
    with pytest.raises(CheckpointError, match="not overwritten"):
        copy_checkpoint(source, tmp_path / "b")
    (source / "state.json").write_text("{}")
    with pytest.raises(CheckpointError, match="truncated"):
        copy_checkpoint(source, tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_only_checkpoints_are_removed(tmp_path):
    whole, changed = save(tmp_path, 5), save(tmp_path, 10)
    link = tmp_path / "checkpoints" / "000000000007"
    link.symlink_to(whole)
    (changed / "notes.txt").write_text("x")
    for folder in (link, changed, tmp_path, tmp_path / "nowhere", whole / "manifest.json"):
        assert remove_checkpoint(folder) is False
    assert remove_checkpoint(whole) is True
    assert sorted(f.name for f in (tmp_path / "checkpoints").iterdir()) == [link.name, changed.name]
    assert remove_checkpoint(link) is False


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_damage_in_the_newest_checkpoint_leads_to_the_one_before(tmp_path, data):
    run = tmp_path / "cartpole-ppo-s0-20260101T000000Z"
    if not run.exists():
        run_folder(tmp_path, run.name, 5, 10)
        mark(run, "latest", run / "checkpoints" / f"{10:012d}")
    newest = run / "checkpoints" / f"{10:012d}"
    path = data.draw(st.sampled_from(sorted(newest.iterdir())))
    intact = path.read_bytes()
    at = data.draw(st.integers(0, len(intact) - 1))
    patch = data.draw(st.binary(min_size=1, max_size=12))
    kinds = {"flip": intact[:at] + patch + intact[at + len(patch) :], "cut": intact[:at], "grow": intact + patch}
    spoilt = kinds[data.draw(st.sampled_from(sorted(kinds)))]
    try:
        path.write_bytes(spoilt)
        checkpoint, damaged = newest_checkpoint(tmp_path, "cartpole", "ppo", 0)
        assert checkpoint is not None
        assert checkpoint.state["steps"] == (10 if spoilt == intact else 5)
        assert [path.parent.name in reason for reason in damaged] == [True] * (spoilt != intact)
        if spoilt != intact:
            with pytest.raises(CheckpointError):  # who names the run is not given another checkpoint silently
                load_checkpoint(run)
    finally:
        path.write_bytes(intact)


@pytest.mark.parametrize(
    "option",
    [{"squash": True}, {"activation": "relu"}, {"hidden": [32]}, {"core": "gru"}, {"normalize_obs": False}],
    ids=lambda option: next(iter(option)),
)
def test_the_network_cannot_change_on_resume(tmp_path, option):
    """Some of it would go unnoticed: parameters of the same form that mean something else."""
    run = train("pendulum", timesteps=2048, num_envs=32, options={"policy.hidden": [16]}, out=str(tmp_path))
    (name,) = option
    with pytest.raises(CheckpointError, match=rf"was trained with policy\.{name}=.*: it cannot change on resume"):
        train(resume=run.checkpoint, timesteps=4096, options={f"policy.{name}": option[name]}, out=str(tmp_path))
    changed = {"policy.obs_clip": 5.0, "policy.log_std_init": -1.0}
    assert train(resume=run.checkpoint, timesteps=4096, options=changed, out=str(tmp_path)).summary["steps"] == 4096
