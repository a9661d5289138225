"""The modules under test (build/wasm, which the gate `wasm` has built), runs under node and in CPython, what compares them."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from pufferlib_core import load_checkpoint, native, train

BUILT = Path(__file__).resolve().parents[3] / "build/wasm"
SCRIPT = Path(__file__).parent / "train.mjs"


@pytest.fixture(scope="session")
def built() -> Path:
    """Folder of the modules."""
    return BUILT


@pytest.fixture
def node():
    """Trains under node; returns what train.mjs prints."""

    def run(module: Path, updates: int, start: Path | None, out: Path, settings: dict) -> dict:
        command = ["node", str(SCRIPT), str(module), json.dumps(settings), str(updates), str(start or "-"), str(out)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture
def cpython(monkeypatch, tmp_path):
    """Trains here, with plain C kernels, the only ones that WebAssembly has in common with this processor."""
    monkeypatch.setenv("PUFFER_ISA", "serial")
    native.isa.cache_clear()

    def run(settings: dict | None = None, **more) -> Path:
        sections = {name: values for name, values in (settings or {}).items() if isinstance(values, dict)}
        top = {name: value for name, value in (settings or {}).items() if not isinstance(value, dict)}
        return Path(train(**top, options=sections, out=str(tmp_path / "cpython"), **more).checkpoint)

    yield run
    native.isa.cache_clear()


@pytest.fixture(scope="session")
def same():
    """All tensors, counters and episodes of two checkpoints are equal; statistics of returns up to the order of sums."""

    def check(one: Path, other: Path) -> None:
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
            assert a.manifest[key] == b.manifest[key], key

    return check


@pytest.fixture(scope="session")
def gap():
    """Largest gap between the policies of two checkpoints, relative to the largest number, or to 1 if that is larger."""

    def measure(one: Path, other: Path) -> float:
        a, b = (load_checkpoint(folder).files["policy"] for folder in (one, other))
        assert a.keys() == b.keys()
        return max(float(np.abs(a[name] - b[name]).max() / max(1.0, np.abs(b[name]).max())) for name in a)

    return measure


@pytest.fixture
def in_turn(node, cpython, same, tmp_path):
    """Trains half here and half there, both ways, which must be the run in one piece.

    Returns:
        The checkpoint of CPython's half, and what train.mjs prints of the other one.
    """

    def check(module: Path, updates: int, rows: int, settings: dict) -> tuple[Path, dict]:
        told = node(module, updates, None, tmp_path / "half", settings)
        whole = cpython(settings, checkpoint_every=updates * rows)
        theirs = whole.with_name(f"{updates * rows:012d}")
        same(tmp_path / "half", theirs)
        node(module, updates, theirs, tmp_path / "whole", settings)
        same(tmp_path / "whole", whole)
        same(cpython(resume=tmp_path / "half"), whole)
        return theirs, told

    return check
