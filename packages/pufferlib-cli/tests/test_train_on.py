"""`puffer train --resume auto` and evaluations of a run, as a person types them."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
import warnings

from pufferlib_cli.main import main
from pufferlib_core import load_checkpoint


def test_auto_says_what_it_did_and_warns_in_one_line(tmp_path, capsys):
    def run(*arguments):
        assert main(["train", "cartpole", "--out", str(tmp_path), "--resume", "auto", *arguments]) == 0
        return capsys.readouterr()

    short = ("--timesteps", "4096", "--checkpoint-every", "2048")
    assert f"starts anew: {tmp_path} holds no checkpoint" in run(*short).out
    done = run(*short)
    assert "is complete (4,096 steps): nothing to do; --timesteps N goes on" in done.out
    assert not done.err
    last = load_checkpoint(next(tmp_path.iterdir())).path
    assert f"continues {last}" in run("--timesteps", "6144").out
    newest = max(tmp_path.glob("*/checkpoints/*"), key=lambda folder: int(folder.name))
    (newest / "state.json").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("always")  # as outside of tests
        damaged = run("--timesteps", "6144", "--json")
    assert damaged.err.startswith(f"puffer train: warning: passed over a damaged checkpoint: {newest}")
    assert "Warning:" not in damaged.err
    assert json.loads(damaged.out)["resumed_from"] == str(last)
    newest = max(tmp_path.glob("*/checkpoints/*"), key=lambda folder: folder.stat().st_ctime)
    done = run("--timesteps", "6144", "--json")
    assert "nothing to do" in done.err
    assert json.loads(done.out)["checkpoint"] == json.loads(done.out)["resumed_from"] == str(newest)


def test_plain_lines_show_evaluations(tmp_path, capsys):
    flags = ["--timesteps", "6144", "--evaluate-every", "4096", "--evaluate-episodes", "4", "--out", str(tmp_path)]
    assert main(["train", "cartpole", *flags]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "evaluation: return" in line]
    assert [line.split()[0] for line in lines] == ["4096", "6144"]  # and at the end
    assert "over 4 episodes" in lines[0]


def test_a_second_ctrl_c_in_an_evaluation_saves_what_was_learnt(tmp_path):
    flags = ["--evaluate-every", "1", "--evaluate-episodes", "1_000_000", "--out", str(tmp_path), "--json"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, "-m", "pufferlib_cli", "train", "cartpole", *flags]
    with subprocess.Popen(command, text=True, **pipes) as process:
        end = time.monotonic() + 30
        while not list(tmp_path.glob("*/metrics.jsonl")):
            assert time.monotonic() < end
            time.sleep(0.02)
        time.sleep(1.5)
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert process.poll() is None  # the first waits for the evaluation
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert not out
    assert err.splitlines()[-1] == "puffer train: interrupted"
    assert load_checkpoint(next(tmp_path.iterdir())).state["steps"] == 2048


def test_a_complete_run_given_by_its_path_is_left_alone(tmp_path, capsys):
    first = ["train", "catch", "--timesteps", "4096", "--checkpoint-every", "2048", "--out", str(tmp_path / "r"), "--json"]
    assert main(first) == 0
    run = json.loads(capsys.readouterr().out)
    copy = tmp_path / "copy" / "of-the-first"  # its name says no steps
    shutil.copytree(tmp_path / "r" / run["run_dir"] / "checkpoints" / "000000002048", copy)
    for path, flags, steps in ((run["run_dir"], [], 4096), (run["run_dir"], ["--timesteps", "5"], 4096),
                               (str(copy), ["--timesteps", "2048"], 2048)):  # fmt: skip
        assert main(["train", "--resume", path, *flags, "--out", str(tmp_path / "new"), "--json"]) == 0
        said = capsys.readouterr()
        assert f"is complete ({steps:,} steps): nothing to do" in said.err
        assert json.loads(said.out)["steps"] == steps
    assert not (tmp_path / "new").exists()
