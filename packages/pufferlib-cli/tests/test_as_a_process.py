"""The command as a process of its own: interrupts, terminals, pipes and disks that are full."""

from __future__ import annotations

import functools
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pufferlib_cli.main import main
from pufferlib_core import load_checkpoint


def start(*arguments: str, **options) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-m", "pufferlib_cli", *arguments], text=True, **options)


LONG = ("train", "cartpole", "--timesteps", "50_000_000")


def wait_for_metrics(out: Path) -> Path:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        for run in out.glob("*"):
            if (run / "metrics.jsonl").exists() and (run / "metrics.jsonl").stat().st_size:
                return run
        time.sleep(0.02)
    raise AssertionError("the run did not start")


def test_ctrl_c_saves_a_checkpoint_and_exits_130(tmp_path):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with start(*LONG, "--out", str(tmp_path), "--json", **pipes) as process:
        run = wait_for_metrics(tmp_path)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err
    steps = json.loads(out)["steps"]
    assert load_checkpoint(run).state["steps"] == steps
    more = ["train", "--resume", str(run), "--timesteps", str(steps + 1), "--out", str(tmp_path / "more"), "--json"]
    assert main(more) == 0


def test_kill_9_leaves_a_run_that_resumes(tmp_path):
    with start(*LONG, "--out", str(tmp_path), "--checkpoint-every", "2048", "--json", stdout=subprocess.DEVNULL) as process:
        run = wait_for_metrics(tmp_path)
        while not list(run.glob("checkpoints/0*/manifest.json")):
            time.sleep(0.02)
        process.kill()
    steps = load_checkpoint(run).state["steps"]
    assert main(["train", "--resume", str(run), "--timesteps", str(steps + 1), "--out", str(tmp_path / "more"), "--json"]) == 0


def test_a_terminal_shows_the_dashboard(tmp_path):
    ours, theirs = pty.openpty()
    flags = ["--timesteps", "20000", "--evaluate-every", "4096", "--evaluate-episodes", "4", "--resume", "auto"]
    with start("train", "cartpole", *flags, "--out", str(tmp_path), stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the other side has closed
                break
            if not part:
                break
            shown += part
    os.close(ours)
    assert process.returncode == 0
    for word in (b"steps/s", b"return (last 100)", b"approx. KL", b"ETA", b"p50 / p99", b"evaluation return", b"starts anew"):
        assert word in shown


def test_a_reader_that_leaves_is_no_traceback():
    process = subprocess.run(
        f"{sys.executable} -m pufferlib_cli list --options | head -1", shell=True, capture_output=True, text=True
    )
    assert "Traceback" not in process.stderr


@pytest.mark.parametrize(
    ("limit", "file"),
    [(100, "config.toml"), (2_000, "metrics.jsonl"), (30_000, "checkpoints/000000079872: File too large; earlier")],
)
def test_a_disk_that_takes_no_more_is_one_line(tmp_path, limit, file):
    import resource

    def full():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    env = {name: value for name, value in os.environ.items() if not name.startswith("COV")}  # its data would not fit either
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    process = start("train", "cartpole", "--out", str(tmp_path), preexec_fn=full, env=env, **pipes)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.count("\n") == 1
    assert "cannot write" in errors
    assert file in errors
    assert not list(tmp_path.glob("*/checkpoints/[0-9]*"))


class Terminal:
    """A child of ours in a terminal of its own."""

    def __init__(self, *arguments: str) -> None:
        self.ours, theirs = pty.openpty()
        restore = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # whoever runs the tests may ignore it
        self.process = start(*arguments, stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=restore)
        os.close(theirs)
        self.text = ""

    def until(self, wanted: str) -> None:
        end = time.monotonic() + 20
        while wanted not in self.text:
            assert time.monotonic() < end, self.text
            try:
                self.text += os.read(self.ours, 65536).decode()
            except OSError:  # the other side has gone
                assert wanted in self.text, self.text

    def press(self, keys: str) -> None:
        self.text = ""
        os.write(self.ours, keys.encode())

    def modes(self) -> int:
        import termios

        return termios.tcgetattr(self.ours)[3]

    def close(self) -> int:
        code = self.process.wait(20)
        os.close(self.ours)
        return code


def test_a_person_plays_by_keyboard():
    game = Terminal("demo", "catch", "--play")
    before = game.modes()
    game.until("right: 2")
    column = game.text.splitlines()[-3].index("=")
    game.press("\x1b[C")  # the right arrow moves the paddle; a key that means nothing does not
    game.until("right: 2")
    assert game.text.splitlines()[-3].index("=") == column + 1
    game.press("x" + "\x1b[D" * 8)
    game.until("episodes 1")
    game.press("\x1b")
    game.until("steps, reward")
    assert game.modes() == before
    assert game.close() == 0


def test_ctrl_c_ends_a_game_and_gives_the_terminal_back():
    game = Terminal("demo", "pendulum", "--play", "--steps", "100000")
    before = game.modes()
    game.until("left: 2")
    game.until("episodes 0")
    assert game.modes() != before
    game.process.send_signal(signal.SIGINT)
    game.until("interrupted")
    assert game.modes() == before
    assert game.close() == 130


def shell(command: str) -> subprocess.CompletedProcess[str]:
    """A command of bash, with the status of the first one of a pipe."""
    command = f"{command.replace('puffer ', f'{sys.executable} -m pufferlib_cli ', 1)}; exit ${{PIPESTATUS[0]}}"
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)


def test_training_goes_on_when_nobody_reads(tmp_path):
    done = shell(f"puffer train cartpole --timesteps 400000 --out {tmp_path} | head -1")
    assert (done.stdout, done.stderr) == ("training cartpole with ppo on native\n", "")
    assert len(list(tmp_path.glob("*/checkpoints/000000401408"))) == 1


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("list > /dev/full", 1, "puffer list: [Errno 28] No space left on device\n"),
        ("train cartpole --timesteps 64 --json > /dev/full", 1, "puffer train: [Errno 28] No space left on device\n"),
        ("train cartpole --timesteps 64 >&-", 0, ""),
        ("demo cartpole --steps 2 >&- 2>&-", 0, ""),
    ],
)
def test_output_that_goes_nowhere(command, code, said, tmp_path):
    out = f" --out {tmp_path} " if command.startswith("train") else " "
    name, _, rest = command.partition(" ")
    done = shell(f"puffer {name} {rest.replace('>', out + '>', 1)}")
    assert done.returncode == code
    assert done.stderr.endswith(said)
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
