"""Every example runs as it stands, in an empty folder, with warnings as errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "examples"
EXAMPLES = sorted(FOLDER.glob("[0-9]*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_run(path, tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", str(path)], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip()


def test_examples_are_short_and_numbered_without_gaps():
    assert [int(path.name[:2]) for path in EXAMPLES] == list(range(1, len(EXAMPLES) + 1))
    for path in EXAMPLES:
        assert len(path.read_text().splitlines()) < 80, path.name


def test_an_environment_of_this_folder_trains_from_the_command_line(tmp_path):
    command = [sys.executable, "-m", "pufferlib_cli", "train", "04_environment_in_python:Thermostat", "--timesteps", "4096"]
    done = subprocess.run([*command, "--json", "--out", str(tmp_path)], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert '"steps": 4096' in done.stdout
