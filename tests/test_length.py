"""Training at length: going on after a crash, few checkpoints, the best one by evaluation, and great counts."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pufferlib_core as puffer
import pytest
from pufferlib_core.checkpoint import checkpoints_of, save_checkpoint
from pufferlib_core.errors import CheckpointError, ConfigError, EnvError
from pufferlib_core.loops.onpolicy import Run
from pufferlib_core.loops.settings import resolve

ROWS = 2048  # of an update of the preset of cartpole


def tensors(checkpoint: Path) -> dict[str, bytes]:
    return {f"{f}/{n}": a.tobytes() for f, group in puffer.load_checkpoint(checkpoint).files.items() for n, a in group.items()}


def same_end(a: Path, b: Path) -> None:
    """Two last checkpoints are equal bit for bit, with all that is counted; but for the folder that settings name."""
    assert tensors(a) == tensors(b)
    states = [dict(puffer.load_checkpoint(path).state) for path in (a, b)]
    for state in states:
        state["settings"] = state["settings"] | {"out": ""}
    assert states[0] == states[1]


def metrics(run_dir: Path, after: int = 0) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if not k.startswith("time/")} for row in rows if row["steps"] > after]


def spoil(checkpoint: Path, name: str = "policy.safetensors") -> None:
    data = bytearray((checkpoint / name).read_bytes())
    data[-3] ^= 4
    (checkpoint / name).write_bytes(data)


# --- going on after a crash ---------------------------------------------------------------------------------------------


def puffer_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pufferlib_cli", "train", "cartpole", *arguments]


def wait_for_steps(out: Path, steps: int) -> Path:
    """The newest run folder, once it has a checkpoint at or after so many steps."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        runs = sorted(out.glob("cartpole-*"), key=lambda run: run.stat().st_ctime)
        if runs and (saved := checkpoints_of(runs[-1])) and int(saved[-1].name) >= steps:
            return runs[-1]
        time.sleep(0.01)
    raise AssertionError(f"{out} has no checkpoint at {steps} steps")


def test_the_same_line_again_after_kill_9_ends_as_the_whole_run(tmp_path):
    flags = ["--timesteps", str(120 * ROWS), "--checkpoint-every", "3000", "--evaluate-every", str(20 * ROWS),
             "--evaluate-episodes", "8", "--keep", "2", "--seed", "3", "--ppo.epochs", "1", "--json"]  # fmt: skip
    whole = subprocess.run(puffer_command(*flags, "--out", str(tmp_path / "a")), capture_output=True, text=True, check=True)
    line = puffer_command(*flags, "--out", str(tmp_path / "b"), "--resume", "auto")
    for steps in (4 * ROWS, 44 * ROWS):
        with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            wait_for_steps(tmp_path / "b", steps)
            process.send_signal(signal.SIGKILL)
            _, said = process.communicate(timeout=30)
        assert process.returncode == -signal.SIGKILL, said
        assert ("starts anew" if steps == 4 * ROWS else "continues") in said
    last = subprocess.run(line, capture_output=True, text=True, check=True)
    one, other = json.loads(whole.stdout), json.loads(last.stdout)
    assert other["run_dir"] in [str(run) for run in (tmp_path / "b").iterdir()]
    assert len(list((tmp_path / "b").iterdir())) == 3
    assert one["resumed_from"] is None
    assert int(Path(other["resumed_from"]).name) >= 44 * ROWS
    assert other["steps"] == one["steps"] == 120 * ROWS
    same_end(Path(one["checkpoint"]), Path(other["checkpoint"]))
    assert tensors(Path(one["best_checkpoint"])) == tensors(Path(other["best_checkpoint"]))
    assert metrics(Path(other["run_dir"])) == metrics(Path(one["run_dir"]), int(Path(other["resumed_from"]).name))
    again = subprocess.run(line, capture_output=True, text=True, check=True)
    assert "is complete (245,760 steps): nothing to do" in again.stderr
    same = json.loads(again.stdout)
    assert {name: same[name] for name in ("run_dir", "checkpoint", "best_checkpoint", "steps", "episodes")} == {
        name: other[name] for name in ("run_dir", "checkpoint", "best_checkpoint", "steps", "episodes")
    }
    assert set(same) == set(other)
    assert len(list((tmp_path / "b").iterdir())) == 3


def test_auto_passes_over_what_is_damaged_and_what_is_of_others(tmp_path):
    settings = {"out": tmp_path, "seed": 1, "checkpoint_every": ROWS}
    old = puffer.train("cartpole", timesteps=2 * ROWS, **settings)
    first = puffer.train("cartpole", timesteps=3 * ROWS, **settings)
    puffer.train("cartpole", timesteps=2 * ROWS, out=tmp_path, seed=2)
    puffer.train("catch", timesteps=2048, out=tmp_path, seed=1)
    saved = checkpoints_of(first.run_dir)
    spoil(saved[2])
    (saved[1] / "manifest.json").unlink()
    with pytest.warns(UserWarning, match="passed over a damaged checkpoint") as caught:
        more = puffer.train("cartpole", timesteps=4 * ROWS, resume="auto", **settings)
    assert [name in str(warning.message) for warning, name in zip(caught, (saved[2].name, saved[1].name), strict=True)] == [
        True,
        True,
    ]
    assert more.summary["resumed_from"] == str(saved[0])
    assert more.summary["steps"] == 4 * ROWS
    shutil.rmtree(more.run_dir)
    spoil(saved[0], "state.json")
    with pytest.warns(UserWarning, match="damaged"):
        older = puffer.train("cartpole", timesteps=4 * ROWS, resume="auto", **settings)
    assert older.summary["resumed_from"] == str(old.checkpoint)


def test_auto_starts_anew_or_goes_on_further(tmp_path, capsys):
    with pytest.raises(ConfigError, match="env is missing"):
        puffer.train(resume="auto", out=tmp_path)
    new = puffer.train("cartpole", timesteps=ROWS, out=tmp_path / "r", resume="auto")
    assert new.summary["resumed_from"] is None
    again = puffer.train("cartpole", timesteps=ROWS, out=tmp_path / "r", resume="auto")
    assert again.run_dir == new.run_dir
    assert again.checkpoint == new.checkpoint
    assert again.summary["seconds"] == again.summary["steps_per_second"] == 0.0
    more = puffer.train("cartpole", timesteps=2 * ROWS, out=tmp_path / "r", resume="auto")
    assert more.run_dir != new.run_dir
    assert more.summary["steps"] == 2 * ROWS
    moved = tmp_path / "elsewhere"
    (tmp_path / "r").rename(moved)
    last = puffer.train("cartpole", timesteps=3 * ROWS, out=moved, resume="auto")
    assert last.run_dir.parent == moved
    with pytest.raises(CheckpointError, match="num_envs cannot change"):
        puffer.train("cartpole", timesteps=4 * ROWS, num_envs=128, out=moved, resume="auto")


def test_two_at_once_continue_the_same_run_in_folders_of_their_own(tmp_path):
    flags = ["--checkpoint-every", str(ROWS), "--ppo.epochs", "1", "--out", str(tmp_path), "--json", "--resume", "auto"]
    subprocess.run(puffer_command("--timesteps", str(2 * ROWS), *flags), capture_output=True, check=True)
    line = puffer_command("--timesteps", str(10 * ROWS), "--keep", "1", *flags)
    both = [subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    ended = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], ended
    one, other = (json.loads(out) for out, _ in ended)
    assert one["run_dir"] != other["run_dir"] or one["resumed_from"] == one["checkpoint"] or other["seconds"] == 0
    same_end(Path(one["checkpoint"]), Path(other["checkpoint"]))


# --- few checkpoints ----------------------------------------------------------------------------------------------------


def test_only_the_newest_checkpoints_and_best_stay(tmp_path):
    run = puffer.train("cartpole", timesteps=12 * ROWS, checkpoint_every=ROWS, keep=3, out=tmp_path / "a")
    every = puffer.train("cartpole", timesteps=12 * ROWS, checkpoint_every=ROWS, out=tmp_path / "b")
    assert len(checkpoints_of(every.run_dir)) == 12
    newest = [folder.name for folder in checkpoints_of(every.run_dir)[-3:]]
    assert sorted({*newest, run.best_checkpoint.name}) == [folder.name for folder in checkpoints_of(run.run_dir)]
    assert run.best_checkpoint.name == every.best_checkpoint.name
    assert tensors(run.checkpoint) == tensors(every.checkpoint)
    assert {entry.name for entry in (run.run_dir / "checkpoints").iterdir()} == {f.name for f in checkpoints_of(run.run_dir)}


def test_nothing_else_is_deleted(tmp_path):
    other = puffer.train("cartpole", timesteps=ROWS, out=tmp_path / "other").checkpoint
    outside = tmp_path / "outside"
    outside.mkdir()

    def put(progress):
        folder = next((tmp_path / "a").iterdir()) / "checkpoints"
        if progress.updates == 2:
            shutil.copytree(other, folder / "000000000001")
            (folder / "000000000002").mkdir()
            (folder / "000000000002" / "mine.txt").write_text("x")
            (folder / f"{ROWS:012d}" / "notes.txt").write_text("kept, because it is not ours")
        if progress.updates == 3:
            (folder / f"{2 * ROWS:012d}").rename(outside / "moved")
            (folder / f"{2 * ROWS:012d}").symlink_to(outside / "moved")

    options = {"train.keep": 1, "train.checkpoint_every": ROWS}
    run = puffer.train("cartpole", timesteps=5 * ROWS, options=options, out=tmp_path / "a", callbacks=[put])
    left = {folder.name for folder in checkpoints_of(run.run_dir)}
    assert left >= {"000000000001", "000000000002", f"{ROWS:012d}", f"{2 * ROWS:012d}", f"{5 * ROWS:012d}"}
    assert f"{3 * ROWS:012d}" not in left - {run.best_checkpoint.name}
    assert puffer.load_checkpoint(outside / "moved").state["steps"] == 2 * ROWS
    assert (run.run_dir / "checkpoints" / "000000000002" / "mine.txt").exists()


def test_what_cannot_be_deleted_stays(tmp_path, monkeypatch):
    def refuse(path, **_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(shutil, "rmtree", refuse)
    with pytest.warns(UserWarning, match="cannot delete .*: Permission denied; it stays"):
        run = puffer.train("cartpole", timesteps=4 * ROWS, checkpoint_every=ROWS, keep=1, out=tmp_path)
    assert puffer.load_checkpoint(run.run_dir).state["steps"] == 4 * ROWS


# --- the best one by evaluation -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("env", ["cartpole", "pendulum"])
def test_evaluation_changes_nothing_and_is_that_of_puffer_eval(tmp_path, env):
    plain = puffer.train(env, timesteps=8 * ROWS, seed=6, out=tmp_path / "a")
    rows = Run(*resolve({"env": env}), None).segment.rows
    run = puffer.train(env, timesteps=8 * ROWS, seed=6, out=tmp_path / "b", evaluate_every=2 * rows, evaluate_episodes=8)
    assert tensors(plain.checkpoint) == tensors(run.checkpoint)
    scores = {row["steps"]: row for row in metrics(run.run_dir) if "eval/return_mean" in row}
    assert list(scores) == [int(folder.name) for folder in checkpoints_of(run.run_dir)]
    assert metrics(plain.run_dir) == [
        {name: value for name, value in row.items() if not name.startswith("eval/")} for row in metrics(run.run_dir)
    ]
    for folder in checkpoints_of(run.run_dir):
        row, alone = scores[int(folder.name)], puffer.evaluate(env, folder, episodes=8, seed=6)
        assert row["eval/return_mean"] == alone["episode_return_mean"]
        assert row["eval/return_std"] == alone["episode_return_std"]
        assert row["eval/length_mean"] == alone["episode_length_mean"]
        assert row["eval/episodes"] == 8
    best = max(scores.values(), key=lambda row: row["eval/return_mean"])
    assert run.best_checkpoint.name == f"{best['steps']:012d}"
    assert puffer.load_checkpoint(run.checkpoint).state["best"] == best["eval/return_mean"]


def test_best_goes_along_when_a_run_is_continued(tmp_path, monkeypatch):
    marks = iter([5.0, 9.0, 7.0, 8.0, 8.5])
    monkeypatch.setattr("pufferlib_core.loops.onpolicy.play", lambda *_, **__: {"episode_return_mean": next(marks)})
    common = {"out": tmp_path, "evaluate_every": ROWS}
    first = puffer.train("cartpole", timesteps=3 * ROWS, **common)
    assert first.best_checkpoint.name == f"{2 * ROWS:012d}"
    second = puffer.train(resume=first.checkpoint, timesteps=4 * ROWS, out=tmp_path)
    assert second.best_checkpoint.name == f"{2 * ROWS:012d}"
    assert second.best_checkpoint.parent.parent == second.run_dir
    assert tensors(second.best_checkpoint) == tensors(first.best_checkpoint)
    assert puffer.load_checkpoint(second.checkpoint).state["best_steps"] == 2 * ROWS
    spoil(second.best_checkpoint)
    with pytest.warns(UserWarning, match="best checkpoint so far cannot be taken over"):
        third = puffer.train(resume=second.checkpoint, timesteps=5 * ROWS, out=tmp_path)
    assert third.best_checkpoint == third.checkpoint


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("evaluate_every", -1, "train.evaluate_every=-1 must be at least 0"),
        ("evaluate_episodes", 0, "train.evaluate_episodes=0 must be at least 1"),
        ("keep", -2, "train.keep=-2 must be at least 0"),
        ("keep", 1.5, "train.keep must be int"),
    ],
)
def test_wrong_values_are_named(tmp_path, name, value, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        puffer.train("cartpole", out=tmp_path, **{name: value})
    assert not list(tmp_path.iterdir())


def test_ctrl_c_in_an_evaluation_saves_what_was_learnt(tmp_path):
    def interrupt():
        end = time.monotonic() + 30
        while not list(tmp_path.glob("*/metrics.jsonl")) and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(1.0)
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            puffer.train("cartpole", out=tmp_path, evaluate_every=1, evaluate_episodes=1_000_000)
    finally:
        thread.join()
        signal.signal(signal.SIGINT, before)
    run = next(tmp_path.iterdir())
    assert puffer.load_checkpoint(run).state["steps"] == ROWS
    assert puffer.load_checkpoint(run).state["best"] is None


def test_an_environment_that_fails_in_an_evaluation_loses_nothing(tmp_path, monkeypatch):
    def failing(*_, **__):
        raise EnvError("made up")

    monkeypatch.setattr("pufferlib_core.loops.onpolicy.play", failing)
    with pytest.raises(EnvError, match="made up"):
        puffer.train("cartpole", out=tmp_path, evaluate_every=2 * ROWS)
    assert puffer.load_checkpoint(next(tmp_path.iterdir())).state["steps"] == 2 * ROWS


# --- great counts -------------------------------------------------------------------------------------------------------


def at_count(checkpoint: Path, folder: Path, steps: int, updates: int) -> Path:
    """The checkpoint as if so much had been done before."""
    made = puffer.load_checkpoint(checkpoint)
    made.files["trainer"]["updates"][:] = updates
    made.files["trainer"]["adam/step"][:] = updates * 16
    state = made.state | {"steps": steps, "episodes": made.state["episodes"] | {"count": steps // 20}}
    keep = {k: v for k, v in made.manifest.items() if k not in ("schema", "kind", "step", "files", "digest")}
    return save_checkpoint(folder, steps, files=made.files, state=state, manifest=keep)


@pytest.mark.parametrize("edge", [2**31, 2**32, 10**12])
def test_runs_cross_the_bounds_of_small_integers(tmp_path, edge):
    start = puffer.train("cartpole", timesteps=ROWS, seed=2, out=tmp_path / "a").checkpoint
    steps = edge * 64 // ROWS * ROWS - ROWS  # so that the step of each environment, which keys the noise, crosses the edge
    begin = at_count(start, tmp_path / "b", steps, edge - 1)
    options = {"ppo.schedule": "constant"}
    common = {"resume": begin, "timesteps": steps + 3 * ROWS, "checkpoint_every": ROWS, "options": options}
    whole = puffer.train(out=tmp_path / "c", **common)
    end = puffer.load_checkpoint(whole.checkpoint)
    assert whole.checkpoint.name == f"{steps + 3 * ROWS:012d}"
    assert [int(folder.name) for folder in checkpoints_of(whole.run_dir)] == [steps + k * ROWS for k in (1, 2, 3)]
    assert puffer.load_checkpoint(whole.run_dir).path == whole.checkpoint
    assert end.state["steps"] == whole.summary["steps"] == steps + 3 * ROWS
    assert end.files["trainer"]["updates"][0] == edge + 2
    assert end.files["trainer"]["adam/step"][0] == (edge - 1) * 16 + 3 * 16
    assert end.state["episodes"]["count"] > steps // 20
    assert metrics(whole.run_dir)[-1]["schedule/gradient_steps"] == (edge - 1) * 16 + 3 * 16
    part = puffer.train(resume=checkpoints_of(whole.run_dir)[0], out=tmp_path / "d")
    assert tensors(part.checkpoint) == tensors(whole.checkpoint)
    (whole.run_dir / "latest").unlink()
    assert puffer.load_checkpoint(whole.run_dir).path == whole.checkpoint


def test_noise_does_not_repeat_beyond_the_bounds(tmp_path):
    policy = puffer.load_policy(puffer.train("pendulum", timesteps=2048, out=tmp_path).checkpoint)
    obs = np.zeros((32, 3), np.float32)
    steps = [k + edge for edge in (0, 2**31, 2**32, 2**33, 2**40, 2**63) for k in (0, 1, 2)] + [2**32 - 1, 2**31 - 1]
    drawn = {policy.act(obs, greedy=False, seed=1, step=step)[0].tobytes() for step in steps}
    assert len(drawn) == len(steps)


def test_learning_goes_on_at_a_billion_rows(tmp_path):
    options = {"policy.normalize_obs": True, "ppo.normalize_return": True}
    start = puffer.train("cartpole", timesteps=20 * ROWS, seed=1, options=options, out=tmp_path / "a").checkpoint
    made = puffer.load_checkpoint(start)
    for part, name in (("policy", "obs_norm/count"), ("trainer", "return_norm/count")):
        made.files[part][name][:] = 1e9
    keep = {k: v for k, v in made.manifest.items() if k not in ("schema", "kind", "step", "files", "digest")}
    begin = save_checkpoint(tmp_path / "b", made.state["steps"], files=made.files, state=made.state, manifest=keep)
    run = puffer.train(resume=begin, timesteps=40 * ROWS, out=tmp_path / "c")
    end = puffer.load_checkpoint(run.checkpoint)
    assert end.files["policy"]["obs_norm/count"][0] == end.files["trainer"]["return_norm/count"][0] == 1e9 + 20 * ROWS
    assert all(np.isfinite(array).all() for part in ("policy", "trainer") for array in end.files[part].values())
    before, after = (puffer.load_checkpoint(path).state["episodes"]["returns"] for path in (start, run.checkpoint))
    assert np.mean(after) > np.mean(before) + 20
