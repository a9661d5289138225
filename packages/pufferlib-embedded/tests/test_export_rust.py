"""`puffer export rust`: policies of every kind in one crate, built and tested by cargo; faults, refusals and the command."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from pufferlib_core.errors import ConfigError, RunError
from pufferlib_core.spaces import Box, Dict, Discrete, MultiDiscrete
from pufferlib_embedded import rust
from pufferlib_embedded.golden import golden
from pufferlib_embedded.model import Model
from pufferlib_embedded.rust import export_rust
from small_policies import SPECS, VECTOR, folder_bytes, saved, spec_of

RANDOM = 8
TARGET = ["--offline", "--target-dir", "build"]


def drawn(seed):
    """A small policy of random kind and sizes."""
    rng = np.random.default_rng(seed)
    image = seed % 4 == 0
    obs = Box(0, 255, (int(rng.integers(4, 9)), int(rng.integers(4, 9)), int(rng.integers(1, 4))), "uint8") if image else VECTOR
    conv = (f"{rng.integers(1, 5)}:{rng.integers(1, 4)}:{rng.integers(1, 3)}",) if image else ()
    actions = [Discrete(int(rng.integers(2, 6))), MultiDiscrete([2, 3]), Box(-1, 1, (int(rng.integers(1, 4)),))]
    action = actions[int(rng.integers(3))]
    hidden = tuple(int(n) for n in rng.integers(1, 12, size=int(rng.integers(1, 4))))
    core = ("mlp", "lstm", "gru")[seed % 3]
    more = {"core": core, "core_size": int(rng.integers(1, 8))} if seed % 3 else {}
    activation = ("tanh", "relu")[int(rng.integers(2))]
    squash = isinstance(action, Box) and bool(rng.integers(2))
    return spec_of(obs=obs, action=action, conv=conv, hidden=hidden, activation=activation, squash=squash, **more)


def normalised(seed):
    """A policy that reads what it observes through a normaliser, and the statistics of it."""
    rng = np.random.default_rng(seed)
    moments = {
        "obs_norm/mean": rng.normal(size=5),
        "obs_norm/var": rng.uniform(0.1, 9, size=5),
        "obs_norm/count": np.array(99.0),
    }
    return spec_of(normalize_obs=True), moments


def cargo(folder, *arguments):
    done = subprocess.run(["cargo", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def batch(folder: Path, models: list[Model]) -> None:
    """One crate of many, each a module, and one test of their golden vectors: a build instead of one for each."""
    lib, tests = ["#![no_std]", "#![forbid(unsafe_code)]"], []
    for k, model in enumerate(models):
        texts = rust.texts(model, golden(model, 12 << 10))
        lib.append(f"pub mod p{k};")
        without_inner = {name: re.sub(r"(?m)^(#!|//!).*\n", "", texts[name]) for name in ("src/lib.rs", "tests/golden.rs")}
        tests.append(f"mod p{k} {{\nuse batch::p{k} as policy;\n{without_inner['tests/golden.rs']}}}")
        files = {"mod.rs": without_inner["src/lib.rs"]}
        files |= {name.removeprefix("src/"): text for name, text in texts.items() if re.match(r"src/(?!lib)", name)}
        rust.write(folder / f"src/p{k}", files)
        rust.write(folder / f"tests/p{k}", {"vectors/mod.rs": texts["tests/vectors/mod.rs"]})
    manifest = texts["Cargo.toml"].replace('name = "policy"', 'name = "batch"')
    rust.write(folder, {"Cargo.toml": manifest, "src/lib.rs": "\n".join(lib), "tests/golden.rs": "\n".join(tests)})


def test_policies_of_every_kind_give_the_bits_of_the_core(tmp_path):
    read, moments = normalised(0)
    paths = [saved(tmp_path / name, spec) for name, spec in SPECS.items()]
    paths += [saved(tmp_path / f"random {seed}", drawn(seed)) for seed in range(RANDOM)]
    paths += [saved(tmp_path / "normalised", read, **moments)]
    batch(tmp_path / "batch", [Model(path) for path in paths])
    said = cargo(tmp_path / "batch", "test", *TARGET, "--", "--nocapture", "--test-threads=1")
    assert re.findall(r"worst (\S+)", said) == ["0e0"] * len(paths)
    assert f"{3 * len(paths)} passed" in said
    cargo(tmp_path / "batch", "clippy", *TARGET, "--all-targets", "--", "-D", "warnings")


def test_the_command(tmp_path, cartpole, capsys):
    from pufferlib_cli.main import main

    assert main(["export", "rust", "--checkpoint", str(cartpole), "--out", str(tmp_path / "a"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["verified"]
    assert report["golden_worst"] == 0
    assert report["compiler"].startswith("cargo ")
    assert json.loads((tmp_path / "a/report.json").read_text()) == {k: v for k, v in report.items() if k != "folder"}
    refused = ["export", "rust", "--checkpoint", str(cartpole), "--out", str(tmp_path / "c"), "--precision", "int8"]
    assert main(refused) == 2
    assert "the crate computes in float32 alone: puffer export c --precision int8" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()
    assert main(["export", "rust", "--checkpoint", str(cartpole), "--out", str(tmp_path / "b"), "--unverified"]) == 0
    assert "not built and not tested" in capsys.readouterr().out
    first, second = folder_bytes(tmp_path / "a"), folder_bytes(tmp_path / "b")
    assert {k: v for k, v in first.items() if k != "report.json"} == {k: v for k, v in second.items() if k != "report.json"}
    source = "".join(text.decode() for name, text in first.items() if name.startswith("src/"))
    assert "#![no_std]\n#![forbid(unsafe_code)]" in source
    assert "dependencies" not in first["Cargo.toml"].decode()
    assert main(["export", "rust", "--checkpoint", str(cartpole), "--out", str(tmp_path / "a")]) == 1
    assert "exists and is not overwritten" in capsys.readouterr().err


def test_faults_in_the_template_are_found(tmp_path, monkeypatch):
    path, filled = saved(tmp_path, SPECS["gru"]), rust.filled
    faults = {
        "gru": ("carry[unit] - n", "n - carry[unit]", r"(?s)nothing is written.*the largest difference is"),
        "stuck": ("context.waker().wake_by_ref();", "let _ = context;", r"(?s)nothing is written.*ask for its next turn"),
        "foreign": ("#![no_std]", "extern crate serde;", r"(?s)nothing is written.*serde"),
    }

    for name, (right, wrong, said) in faults.items():
        with monkeypatch.context() as patch:
            patch.setattr(rust, "filled", lambda *given, r=right, w=wrong: filled(*given).replace(r, w))
            with pytest.raises(RunError, match=said):
                export_rust(path, tmp_path / name)
        assert not (tmp_path / name).exists()


def test_refusals(tmp_path, cartpole, monkeypatch):
    with pytest.raises(RunError, match="there is no such folder"):
        export_rust(cartpole, tmp_path / "none/out")
    with pytest.raises(ConfigError, match="takes one Box"):
        export_rust(saved(tmp_path / "1", spec_of(obs=Dict({"a": VECTOR}))), tmp_path / "out")
    with pytest.raises(ConfigError, match="masks its actions"):
        export_rust(saved(tmp_path / "2", spec_of(), masked=True), tmp_path / "out")
    (tmp_path / "precious").mkdir()
    with pytest.raises(RunError, match="is not an exported policy"):
        export_rust(cartpole, tmp_path / "precious", force=True)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(RunError, match=r"cargo is not installed.*apt-get install cargo.*--unverified"):
        export_rust(cartpole, tmp_path / "out")
    assert not (tmp_path / "out").exists()
