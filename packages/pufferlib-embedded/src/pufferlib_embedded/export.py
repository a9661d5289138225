"""A checkpoint as a folder of C, compiled and run before it is there."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

from pufferlib_core.checkpoint.publish import check_free, published, write
from pufferlib_core.errors import ConfigError, UnknownName

from pufferlib_embedded import emit
from pufferlib_embedded.closed_loop import FOLDER, Episode, episode, files
from pufferlib_embedded.closed_loop import words as loop_words
from pufferlib_embedded.golden import Golden, golden
from pufferlib_embedded.model import Model
from pufferlib_embedded.model8 import Model8
from pufferlib_embedded.sources import TEMPLATES, core_files, licence
from pufferlib_embedded.targets import TARGETS, Build, Target, tools

TESTS = ("test_policy.c", "footprint.c", "golden.h", "report.h", "port.h", "port_host.c", "port_device.h", "port_device.c",
         "port_cortex_m.c", "port_rv32.c", "device.ld")  # fmt: skip
HARNESSES = ("eva.c", "contracts.h", "contracts.c", "klee.c", "klee/klee.h")
GOLDEN_BYTES = 64 << 10
CODE = 12 << 10  # bytes that code takes at most, with floating point in software and the test; measured after compiling


PRECISIONS = ("float32", "int8")


def export(
    checkpoint: str | Path, out: str | Path, *, target: str = "host", precision: str = "float32", calibration_steps: int = 4096,
    force: bool = False, unverified: bool = False, closed_loop: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Writes the policy of a checkpoint as C, proven on the target, or nothing.

    Args:
        checkpoint: checkpoint or run folder.
        out: the folder, which is made.
        target: of `TARGETS`.
        precision: of `PRECISIONS`.
        calibration_steps: with int8, rows in the policy's environment that say how large its numbers become.
        force: replace the folder if it exists.
        unverified: only write; nothing is compiled, run or measured.
        closed_loop: also write the environment, and run an episode with it on the target.

    Returns:
        The object of `puffer export c --json`, which is the folder's `report.json` and its place.

    Raises:
        CheckpointError: if the checkpoint is damaged or foreign, or lacks its normaliser.
        ConfigError: if the policy cannot be exported, or is too large for the target.
        RunError: if a compiler is missing, the folder exists or cannot be written, or a result differs from the golden one.
    """
    if target not in TARGETS:
        raise UnknownName("target", target, TARGETS)
    if precision not in PRECISIONS:
        raise UnknownName("precision", precision, PRECISIONS)
    out, device = Path(out), TARGETS[target]
    check_free(out, force)
    if not unverified:
        tools(device)
    model = Model8(checkpoint, calibration_steps) if precision == "int8" else Model(checkpoint)
    _check_fits(model, device, model.weights_bytes, model.state_bytes)
    spare = device.machine_flash - model.weights_bytes - CODE if device.machine else GOLDEN_BYTES
    rows = golden(model, min(GOLDEN_BYTES, spare))
    played = episode(model) if closed_loop else None
    with published(out, force) as (folder, work):
        write(folder, texts(model, rows, played))
        report = _about(model, device, rows)
        if not unverified:
            report |= _proven(model, device, folder, work, played)
        (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    return {"folder": str(out), **report}


def texts(model: Model, rows: Golden, played: Episode | None) -> dict[str, str]:
    """Every file but the report, by its path in the folder."""
    header, constants = emit.header(model), emit.constants(model)
    words = header | {
        "compared": emit.compared(model),
        "tolerance": emit.number(model.tolerance),
        "within": f"within {model.tolerance:g} (relative to the largest of its row, or to 1)"
        if model.tolerance
        else "the golden one",
        "sources": " ".join(f"src/{name}" for name in ("policy.c", *model.roots)),
    }
    found = {f"src/{name}": text for name, text in core_files(model.roots).items()}
    found |= {"src/policy.h": filled("policy.h", header), "src/policy.c": filled("policy.c", header | constants)}
    found |= {f"test/{name}": filled(name, words) for name in TESTS}
    found["examples/slices.c"] = filled("slices.c", words)
    for name in ("CMakeLists.txt", "library.json", "library.properties", "README.md"):
        found[name] = filled(name, words)
    found |= {f"verify/{name}": filled(f"verify/{name}", words | emit.verified(model)) for name in HARNESSES}
    if played is not None:
        found |= files(played.spec.name, model) | {"test/closed_loop.c": filled("closed_loop.c", words | loop_words(played))}
    return found | {"test/golden.c": emit.vectors(rows), "LICENSE": licence()}


def filled(name: str, words: dict[str, str]) -> str:
    """A template, by its path below `templates`; only those that are made for a policy have places to fill."""
    text = (TEMPLATES / name).read_text()
    return string.Template(text).safe_substitute(words)


def _about(model: Model, device: Target, rows: Golden) -> dict[str, Any]:
    """What is known without a compiler."""
    return about_policy(model, rows, model.state_bytes) | {
        "target": device.name,
        "device": device.about,
        "work": model.work,
        "work_unit": model.dearest,
        "cycles_estimated": model.macs * device.mac_cycles or None,
    }


def about_policy(model: Model, rows: Golden, state: int) -> dict[str, Any]:
    """What a report says of the policy, whatever it is written as; `state` in bytes."""
    return {
        "env": model.env,
        "checkpoint": {"step": int(model.step), "sha256": model.digest},
        "precision": model.precision,
        "parameters": len(model.params),
        "weights_bytes": model.weights_bytes,
        "state_bytes": state,
        "macs": model.macs,
        "golden_rows": len(rows.obs),
        "difference_from_formulas": rows.difference,
        "verified": False,
        **({"int8": model.findings} if model.findings else {}),
    }


def _proven(model: Model, device: Target, folder: Path, work: Path, played: Episode | None) -> dict[str, Any]:
    """Compiles and runs; what was measured.

    Raises:
        ConfigError: if it is too large for the device.
        RunError: if it does not compile, or a number is not the golden one.
    """
    build = Build(device, folder, work)
    found: dict[str, Any] = {"undefined_symbols": build.objects()}
    if device.machine:
        flash, ram = build.footprint()
        _check_fits(model, device, flash, ram)
        found |= {"flash_bytes": flash, "ram_static_bytes": ram}
    build.test("examples/slices.c")
    said = build.test("test/test_policy.c", "test/golden.c")
    if device.machine:
        _check_fits(model, device, flash, ram + said["stack"])
        found |= {"ram_stack_bytes": said["stack"], "ram_bytes": ram + said["stack"]}
        found["instructions_measured"] = said["instructions"] or None
        found |= {name: said[name] or None for name in ("begin_instructions", "slices", "slice_budget", "slice_instructions")}
    if played is not None:
        build.test("test/closed_loop.c", f"{FOLDER}/{played.spec.name}.c", include=FOLDER)
        found["episode"] = {"env": played.spec.name, "length": played.length, "return": played.returned}
    return found | {"golden_worst": said["worst_1e-9"] * 1e-9, "verified": True, **build.versions()}


def _check_fits(model: Model, device: Target, flash: int, ram: int) -> None:
    """Refuses what a device does not hold.

    Raises:
        ConfigError: says by how much, and what to shrink.
    """
    for kind, needed, has in (("flash", flash, device.flash), ("memory", ram, device.ram)):
        if has and needed > has:
            largest = max(model.exported, key=lambda tensor: tensor.size)
            settings = ["policy.hidden"] + ["policy.core_size"] * bool(model.carry)
            other = ", or take --precision int8" if model.program is None else ""
            raise ConfigError(
                f"{device.name} ({device.about}): the policy needs {needed:,} bytes of {kind}, {needed - has:,} too many; "
                f"its largest tensor is {largest.name} {largest.shape}, {model.weight_bytes * largest.size:,} bytes: train "
                f"with a smaller {' or '.join(settings)}{other}"
            )
