"""A checkpoint as a Rust crate without `unsafe`, built and tested before it is there.

`templates/rust` is the one second form of the core's lean.c, because safe Rust cannot call C. What differs from policy to
policy is data.
"""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from pufferlib_core.checkpoint.publish import check_free, published, write
from pufferlib_core.errors import RunError
from pufferlib_core.native import Array, lib

from pufferlib_embedded.emit import number
from pufferlib_embedded.export import GOLDEN_BYTES, about_policy, filled
from pufferlib_embedded.golden import Golden, golden
from pufferlib_embedded.model import LARGEST, Model
from pufferlib_embedded.sources import licence
from pufferlib_embedded.targets import run

SOURCES = ("lib.rs", "policy.rs", "layers.rs", "math.rs")
WRITTEN = "//! Written by `puffer export rust`; do not edit.\n"
# Nine digits name every float32 without a loss, and some would do with eight; a weight may be near pi.
ALLOWED = "#![allow(clippy::excessive_precision, clippy::approx_constant)]\n"


def export_rust(checkpoint: str | Path, out: str | Path, *, force: bool = False, unverified: bool = False) -> dict[str, Any]:
    """Writes the policy of a checkpoint as a crate whose tests have passed, or nothing.

    Args:
        checkpoint: checkpoint or run folder.
        out: the folder, which is made.
        force: replace the folder if it exists.
        unverified: only write; nothing is built or tested.

    Returns:
        The object of `puffer export rust --json`, which is the folder's `report.json` and its place.

    Raises:
        CheckpointError: if the checkpoint is damaged or foreign, or lacks its normaliser.
        ConfigError: if the policy cannot be exported.
        RunError: if cargo is missing, the folder exists or cannot be written, or a result differs from the golden one.
    """
    out = Path(out)
    check_free(out, force)
    cargo = "" if unverified else _cargo()
    model = Model(checkpoint)
    rows = golden(model, GOLDEN_BYTES)
    with published(out, force) as (folder, work):
        write(folder, texts(model, rows))
        report = about_policy(model, rows, 4 * (model.carry + model.spec.logits + layers(model)[1]))
        if cargo:
            report |= _proven(cargo, folder, work)
        write(folder, {"report.json": json.dumps(report, indent=2) + "\n"})
    return {"folder": str(out), **report}


def _cargo() -> str:
    """Path of cargo.

    Raises:
        RunError: if it is not installed.
    """
    path = shutil.which("cargo")
    if path is None:
        raise RunError(
            "cargo is not installed, and nothing is exported that was not built and tested: apt-get install cargo, or "
            "https://rustup.rs; or --unverified"
        )
    return path


def _proven(cargo: str, folder: Path, work: Path) -> dict[str, Any]:
    """Builds and tests the crate; what came out.

    Raises:
        RunError: if it does not build, or a number is not the golden one.
    """
    # One thread, so that what the tests print does not mix.
    said = run([cargo, "test", "--offline", "--target-dir", str(work), "--", "--nocapture", "--test-threads=1"], folder)
    (folder / "Cargo.lock").unlink()  # cargo's own; there is nothing to lock
    worst = re.search(r"^.*worst (\S+)$", said, re.MULTILINE)
    if worst is None:
        raise RunError(f"the golden vectors were not repeated; nothing is written:\n{said[-2000:]}")
    return {"golden_worst": float(worst[1]), "verified": True, "compiler": run([cargo, "--version"], folder).strip()}


def texts(model: Model, rows: Golden) -> dict[str, str]:
    """Every file but the report, by its path in the folder."""
    words = {"about": model.about}
    found = {name: filled(f"rust/{name}", words) for name in ("Cargo.toml", "README.md")}
    found |= {f"src/{name}": filled(f"rust/{name}", words) for name in SOURCES}
    found |= {"src/weights.rs": weights(model), "tests/golden.rs": filled("rust/golden.rs", words)}
    return found | {"tests/vectors/mod.rs": vectors(model, rows), "LICENSE": licence()}


def weights(model: Model) -> str:
    """weights.rs: sizes, layers, parameters, normaliser and bounds."""
    spec, (described, scratch) = model.spec, layers(model)
    image = ["Image"] * (model.net.encoders > 0)
    parts = [f"{WRITTEN}//! {model.about}.\n{ALLOWED}"]
    parts += [f"use super::layers::{{{', '.join(['Activation', *image, 'Kind', 'Layer', 'Normaliser'])}}};\n"]
    logits = scratch - spec.logits
    sizes = {"OBS": spec.tree.width, "HEADS": spec.logits, "CHOICES": len(spec.nvec), "NUMBERS": spec.numbers,
             "CARRY": model.carry, "SCRATCH": scratch, "AFTER": logits - model.carry, "LOGITS": logits}  # fmt: skip
    parts += [f"pub const {name}: usize = {size};" for name, size in sizes.items()]
    parts += ["/// A number of an observation.", f"pub type Obs = {_obs(model)};"]
    parts += ["/// How many each choice has.", f"pub const OPTIONS: [usize; CHOICES] = {_list(map(str, spec.nvec))};"]
    parts += [f"pub const SQUASH: bool = {_bool(spec.config.squash)};"]
    bounds = {"LOW": model.low, "HIGH": model.high}
    parts += [f"pub static {name}: [f32; NUMBERS] = {_floats(bound)};" for name, bound in bounds.items()]
    parts += [_normaliser(model), f"pub static LAYERS: [Layer; {len(described)}] = {_list(described, a_line=1)};"]
    parts += [f"pub static PARAMS: [f32; {len(model.params)}] = {_floats(model.params)};", ""]
    return "\n".join(parts)


def _normaliser(model: Model) -> str:
    if model.read is None:
        return "pub static NORMALISER: Option<Normaliser> = None;"
    mean, scale, clip = model.read
    bound = _number(clip if math.isfinite(clip) else LARGEST)
    return (
        f"static MEAN: [f32; OBS] = {_floats(mean)};\nstatic SCALE: [f32; OBS] = {_floats(scale)};\n"
        f"pub static NORMALISER: Option<Normaliser> = Some(Normaliser {{ mean: &MEAN, scale: &SCALE, clip: {bound} }});"
    )


def layers(model: Model) -> tuple[list[str], int]:
    """The layers as Rust, and the numbers of scratch that they need.

    The scratch: what is observed, what an encoder makes of it, two buffers in turn, what is remembered next, the heads.
    """
    net, found, params = model.net, [], 0
    observed, joined = int(net.obs_size), int(lib.puf_net_encoded(net)) if net.encoders else 0
    buffers, block = observed + joined, (model.scratch - observed - joined) // 2
    after = buffers + 2 * block
    follows = "Relu" if net.activation == lib.PUF_RELU else "Tanh"

    def add(kind: str, activation: str, weights: int, biases: int, at: int, inputs: int, to: int, outputs: int) -> None:
        nonlocal params
        place = f"params: {params}, from: {at}, inputs: {inputs}, to: {to}, outputs: {outputs}"
        found.append(f"Layer {{ kind: Kind::{kind}, activation: Activation::{activation}, {place} }}")
        params += weights + biases

    at, inputs = 0, observed
    for encoder in net.encoder[0 : net.encoders]:  # one of an image, if any: a lone Box has no other parts
        height, width, channels = encoder.height, encoder.width, encoder.channels
        for k in range(encoder.layers):
            kernel, stride, filters = encoder.kernel[k], encoder.stride[k], encoder.out[k]
            run, (height, width) = width * channels, ((side - kernel) // stride + 1 for side in (height, width))
            image = {"channels": channels, "kernel": kernel, "stride": stride, "run": run, "across": width, "filters": filters}
            to = observed if k + 1 == encoder.layers else buffers + k % 2 * block
            kind = f"Conv(Image {{ {', '.join(f'{name}: {size}' for name, size in image.items())} }})"
            weights, outputs = filters * channels * kernel**2, height * width * filters
            add(kind, follows, weights, filters, at, inputs, to, outputs)
            at, inputs, channels = to, outputs, filters
    for k, size in enumerate(net.width[0 : net.layers]):
        to = buffers + k % 2 * block
        add("Dense", follows, inputs * size, size, at, inputs, to, size)
        at, inputs = to, size
    if model.carry:
        size, gates, kind = int(net.core_size), *((4, "Lstm") if net.core == lib.PUF_LSTM else (3, "Gru"))
        add(kind, "Nothing", gates * size * (inputs + size), gates * size, at, inputs, after, size)
        at, inputs = after, size
    heads = model.spec.logits
    add("Dense", "Nothing", inputs * heads, heads, at, inputs, after + model.carry, heads)
    assert params == len(model.params)
    return found, after + model.carry + heads


def vectors(model: Model, rows: Golden) -> str:
    """tests/vectors/mod.rs."""
    kinds = {"OBS": _obs(model), "HEADS": "f32", "CHOICES": "i32", "NUMBERS": "f32"}
    count = len(rows.obs)
    parts = [f"{WRITTEN}//! Observations in order, and what the policy makes of them.\n{ALLOWED}"]
    parts += ["/// True where an episode begins.", f"pub static BEGINS: [bool; {count}] = {_list(map(_bool, rows.begins))};"]
    for (name, kind), values in zip(kinds.items(), (rows.obs, rows.heads, rows.choices, rows.numbers), strict=True):
        body = _list((_floats(row) if kind == "f32" else _list(map(str, row)) for row in values), a_line=1)
        parts.append(f"pub static {name}: [[{kind}; {values.shape[1]}]; {count}] = {body};")
    return "\n".join([*parts, ""])


def _obs(model: Model) -> str:
    return "u8" if model.spec.tree.feature_dtype == np.uint8 else "f32"


def _number(x: float) -> str:
    return number(x).removesuffix("f")


def _bool(x: Any) -> str:
    return str(bool(x)).lower()


def _floats(values: Array) -> str:
    return _list(_number(float(x)) for x in values.ravel())


def _list(parts: Iterable[str], a_line: int = 8) -> str:
    """An array, on one line if its elements are few."""
    words = list(parts)
    if len(words) <= a_line:
        return f"[{', '.join(words)}]"
    lines = [", ".join(words[first : first + a_line]) for first in range(0, len(words), a_line)]
    return "[\n    " + ",\n    ".join(lines) + ",\n]"
