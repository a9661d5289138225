"""What the tools decide by: licences, vulnerabilities, losses of speed."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def load(monkeypatch):
    """Imports a script of a folder by name."""

    def by_name(folder: str, name: str):
        monkeypatch.syspath_prepend(str(ROOT / folder))
        return importlib.import_module(name)

    return by_name


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("MIT", True),
        ("MIT OR GPL-3.0", True),
        ("MIT AND GPL-3.0-only", False),
        ("LGPL-2.1", False),
        ("", False),
        ("UNKNOWN", False),
    ],
)
def test_licences(load, text, allowed):
    assert load("tools", "audit").permitted(text) == allowed


def answer(monkeypatch, stdout: str) -> None:
    done = subprocess.CompletedProcess([], 1, stdout=stdout, stderr="")
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: done)


def test_a_known_vulnerability_fails_and_a_missing_answer_does_not(load, monkeypatch, capsys):
    audit = load("tools", "audit")
    flaw = {"id": "CVE-1", "fix_versions": ["2.0"], "aliases": [], "description": ""}
    packages = [{"name": "a", "version": "1.0", "vulns": [flaw]}, {"name": "b", "skip_reason": "not found"}]
    answer(monkeypatch, json.dumps({"dependencies": packages, "fixes": []}))
    assert audit.vulnerabilities() == 1
    assert "a 1.0: CVE-1 (fixed in 2.0)" in capsys.readouterr().out
    answer(monkeypatch, "ERROR: no network")
    assert audit.vulnerabilities() == 0
    assert "no answer" in capsys.readouterr().out


@pytest.mark.parametrize(("speeds", "status"), [([0.9], 0), ([0.7, 0.7, 0.7], 1), ([0.7, 0.76], 0), ([0.7, 0.6, 0.8], 0)])
def test_a_loss_of_speed_counts_when_it_comes_three_times(load, monkeypatch, tmp_path, speeds, status):
    regression = load("benchmarks", "regression")
    stored = tmp_path / "ratios.json"
    stored.write_text(json.dumps({regression.machine_class(): {"x": 1.0}}))
    monkeypatch.setattr(regression, "STORED", stored)
    monkeypatch.setattr(regression, "PAUSE", 0)
    came = iter(speeds)
    monkeypatch.setattr(regression, "measure", lambda budget: {"x": next(came)})
    assert regression.compare(0.1) == status
    assert list(came) == []


def test_another_class_of_machine_is_not_compared(load, monkeypatch, tmp_path, capsys):
    regression = load("benchmarks", "regression")
    stored = tmp_path / "ratios.json"
    stored.write_text("{}")
    monkeypatch.setattr(regression, "STORED", stored)
    monkeypatch.setattr(regression, "measure", lambda budget: {"x": 0.1})
    assert regression.compare(0.1) == 0
    assert "nothing stored for" in capsys.readouterr().out


def test_a_gate_that_does_not_exist_is_named():
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools/check.py"), "nonsense"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "no such gate: nonsense" in done.stderr


def test_files_that_the_serial_gate_leaves_out_exist(load):
    check = load("tools", "check")
    files = {path.stem.removeprefix("test_") for path in ROOT.glob("packages/*/tests/test_*.py")}
    assert files >= check.UNTOUCHED | check.EVERY_ISA
    assert "packages/pufferlib-core/tests/test_ppo.py" in check.serial_tests()
