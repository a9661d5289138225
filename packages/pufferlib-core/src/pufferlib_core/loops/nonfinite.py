"""What a run leaves behind when NaN or infinity stops it: `<run>/nonfinite/`, enough to raise the same error again."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pufferlib_core.checkpoint.files import read_tensors, seal, tensor_bytes, unseal, write_atomically
from pufferlib_core.data import Segment
from pufferlib_core.errors import CheckpointError, NonFiniteError

COLLECT, UPDATE = "collect", "update"  # what was under way
RECORD = "nonfinite.json"
SEGMENT = "segment.safetensors"

Array = npt.NDArray[Any]


class Contents(NamedTuple):
    """What a checkpoint holds of a run at a moment."""

    steps: int
    files: dict[str, dict[str, Array]]
    state: dict[str, Any]


def save_bundle(
    run_dir: Path, error: NonFiniteError, phase: str, segment: Segment, save: Callable[[Path], Path]
) -> Path:  # fmt: skip
    """Writes a bundle and returns its folder: `nonfinite`, or `nonfinite-1` and so on where older ones are.

    Args:
        run_dir: folder of the run.
        error: that stopped it.
        phase: COLLECT or UPDATE.
        segment: that was collected, or learnt from.
        save: writes a checkpoint of the run before `phase` began below a folder.

    Raises:
        CheckpointError, RunError, OSError: if something cannot be written.
    """
    k = 0
    while True:
        folder = run_dir / ("nonfinite" if k == 0 else f"nonfinite-{k}")
        try:
            folder.mkdir()
        except FileExistsError:
            k += 1
            continue
        break
    checkpoint = save(folder)
    data = tensor_bytes(planes(segment))
    write_atomically(folder / SEGMENT, data)
    where = {name: re.search(rf"{name} (\d+)", str(error)) for name in ("update", "minibatch")}
    record = {
        "error": str(error),
        "phase": phase,
        "steps": int(checkpoint.name),
        "segment": hashlib.sha256(data).hexdigest(),
        "replay": "python -c "
        + shlex.quote(f"import pufferlib_core; pufferlib_core.replay({json.dumps(str(folder.resolve()))})"),
    } | {name: None if found is None else int(found[1]) for name, found in where.items()}
    write_atomically(folder / RECORD, seal(record))
    return folder


def planes(segment: Segment) -> dict[str, Array]:
    """The planes of a segment by name; of records, their bytes (..., size)."""
    found = {field.name: getattr(segment, field.name) for field in fields(segment)}
    return {name: _plain(plane) for name, plane in found.items() if isinstance(plane, np.ndarray)}


def load_planes(segment: Segment, saved: Mapping[str, Array], path: Path) -> None:
    """Writes what `planes` returned into a segment of the same form.

    Raises:
        CheckpointError: if it is of another form, naming `path`.
    """
    for name, plane in planes(segment).items():
        came = saved.get(name)
        if came is None or came.shape != plane.shape or came.dtype != plane.dtype:
            what = "is missing" if came is None else f"is {came.dtype} {came.shape}"
            raise CheckpointError(f"{path}: {name} must be {plane.dtype} {plane.shape}, it {what}")
        target = getattr(segment, name)
        target[...] = came if target.dtype.names is None else came.view(target.dtype)[..., 0]


def _plain(plane: Array) -> Array:
    if plane.dtype.names is None:
        return plane
    return np.ascontiguousarray(plane).view(np.uint8).reshape(*plane.shape, plane.dtype.itemsize)


def read_bundle(folder: Path) -> tuple[dict[str, Any], dict[str, Array]]:
    """The record and the planes of a bundle.

    Raises:
        CheckpointError: naming the file and what is wrong with it.
    """
    try:
        record, data = (folder / RECORD).read_bytes(), (folder / SEGMENT).read_bytes()
    except OSError as error:
        raise CheckpointError(f"{error.filename}: cannot be read: {error.strerror}: is {folder} a bundle?") from error
    values = unseal(record, folder / RECORD)
    if values.get("phase") not in (COLLECT, UPDATE) or not isinstance(values.get("error"), str):
        raise CheckpointError(f"{folder / RECORD}: is sealed but not what this version writes")
    if values.get("segment") != hashlib.sha256(data).hexdigest():
        raise CheckpointError(f"{folder / SEGMENT}: its SHA-256 differs from that in {RECORD}: the file is corrupted")
    return values, read_tensors(data, folder / SEGMENT)
