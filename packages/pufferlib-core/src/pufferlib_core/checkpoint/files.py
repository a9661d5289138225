"""One checkpoint: a folder of safetensors and JSON files, sealed by a manifest.

The manifest carries the size and SHA-256 of every file, and a digest of itself: one flipped bit anywhere is found.
"""

from __future__ import annotations

import hashlib
import json
import operator
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pufferlib_core.errors import CheckpointError, ConfigError, RunError

SCHEMA = 1
KIND = "pufferlib-checkpoint"
MANIFEST = "manifest.json"
STATE = "state.json"
TEMPORARY = ".writing-"
DOOMED = ".deleting-"

Tensors = Mapping[str, npt.NDArray[Any]]
# From a schema to the next one: functions of the manifest, applied in turn.
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}


@dataclass(frozen=True)
class Checkpoint:
    """What `load_checkpoint` verified and read."""

    path: Path
    manifest: dict[str, Any]
    files: dict[str, dict[str, npt.NDArray[Any]]]  # by file name without suffix, then tensor name
    state: dict[str, Any]


def save_checkpoint(
    run_dir: Path, step: int, *, files: Mapping[str, Tensors], state: Mapping[str, Any], manifest: Mapping[str, Any]
) -> Path:
    """Writes `<run_dir>/checkpoints/<step>/` and returns it: all of it, or nothing.

    Args:
        run_dir: folder of the run.
        step: environment steps so far; names the folder.
        files: tensors of each `<name>.safetensors`.
        state: JSON values of `state.json`.
        manifest: further values of the manifest.

    Raises:
        CheckpointError: if it exists, or the folder cannot be written (full, read-only); what was there is intact.
    """
    contents = {f"{name}.safetensors": tensor_bytes(tensors) for name, tensors in files.items()}
    contents[STATE] = _canonical(state)
    sealed = dict(manifest) | {
        "schema": SCHEMA,
        "kind": KIND,
        "step": step,
        "files": {n: {"bytes": len(b), "sha256": hashlib.sha256(b).hexdigest()} for n, b in contents.items()},
    }
    contents[MANIFEST] = seal(sealed)
    return _publish(run_dir / "checkpoints" / f"{step:012d}", contents)


def copy_checkpoint(source: Path, run_dir: Path) -> Path:
    """Copies a checkpoint, which is verified first, into another run: all of it, or nothing.

    Raises:
        CheckpointError: if it is damaged, exists there already, or the folder cannot be written.
    """
    checkpoint = load_checkpoint(source)
    names = [*checkpoint.manifest["files"], MANIFEST]
    contents = {name: _read(checkpoint.path / name) for name in names}
    return _publish(run_dir / "checkpoints" / checkpoint.path.name, contents)


def remove_checkpoint(folder: Path) -> bool:
    """Deletes a checkpoint folder: it is there whole, or under another name, so that no reader finds a part of it.

    Returns:
        False, and nothing is deleted, if it is a link or holds anything but what its manifest names.

    Raises:
        CheckpointError: if it cannot be deleted.
    """
    if folder.is_symlink() or not folder.is_dir():
        return False
    try:
        known = {MANIFEST, *_read_manifest(folder / MANIFEST)["files"]}
    except (CheckpointError, KeyError, TypeError):
        return False
    try:
        if {entry.name for entry in folder.iterdir()} != known:
            return False
        doomed = folder.with_name(f"{DOOMED}{folder.name}")
        os.rename(folder, doomed)
        shutil.rmtree(doomed)
    except OSError as error:
        raise CheckpointError(f"cannot delete {folder}: {error.strerror or error}") from error
    return True


def checkpoints_of(run_dir: Path) -> list[Path]:
    """The checkpoint folders of a run, whole or damaged, by steps."""
    found = run_dir.glob("checkpoints/[0-9]*")
    return sorted((folder for folder in found if folder.name.isdecimal()), key=lambda folder: int(folder.name))


def _publish(final: Path, contents: Mapping[str, bytes]) -> Path:
    """Makes a folder of these files: all of them, or nothing."""
    if final.exists():
        raise CheckpointError(f"{final} exists; checkpoints are not overwritten")
    parent, temporary = final.parent, None
    try:
        parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY}{os.getpid()}-", dir=parent))
        for name, data in contents.items():
            _write_synced(temporary / name, data)
        _sync_folder(temporary)
        os.rename(temporary, final)
        _sync_folder(parent)
    except OSError as error:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        raise CheckpointError(f"cannot write {final}: {error.strerror or error}; earlier checkpoints are intact") from error
    return final


def path_of(given: str | Path, where: str) -> Path:
    """A path as an argument gives it.

    Raises:
        ConfigError: if it is none.
    """
    if not isinstance(given, (str, Path)):
        raise ConfigError(f"{where} must be a path (str or Path), got {given!r}")
    return Path(given)


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Reads and verifies a checkpoint folder, or the latest one of a run folder.

    Raises:
        CheckpointError: naming the file and what is wrong with it.
        ConfigError: if `path` is none.
    """
    folder = resolve(path_of(path, "path"))
    manifest = _read_manifest(folder / MANIFEST)
    with reading(folder / MANIFEST):
        declared = {str(name): (operator.index(rule["bytes"]), rule["sha256"]) for name, rule in manifest["files"].items()}
    present = {entry.name for entry in folder.iterdir()} - {MANIFEST}
    for name in sorted(present ^ set(declared)):
        raise CheckpointError(f"{folder / name}: {'is not in the manifest' if name in present else 'is missing'}")
    files: dict[str, dict[str, npt.NDArray[Any]]] = {}
    state: dict[str, Any] = {}
    for name, (size, sha256) in declared.items():
        data = _read(folder / name)
        if len(data) != size:
            kind = "truncated" if len(data) < size else "something was added"
            raise CheckpointError(f"{folder / name}: {len(data)} bytes, its manifest says {size}: {kind}")
        if hashlib.sha256(data).hexdigest() != sha256:
            raise CheckpointError(f"{folder / name}: its SHA-256 differs from the manifest's: the file is corrupted")
        if name == STATE:
            state = _parse(data, folder / name)
        elif name.endswith(".safetensors"):
            files[name.removesuffix(".safetensors")] = read_tensors(data, folder / name)
    return Checkpoint(folder, manifest, files, state)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Names the file when sealed content is not of the form that was expected: forged, or of another version.

    Raises:
        CheckpointError: instead of what such content raises.
    """
    try:
        yield
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: is sealed but not what this version writes ({error!r})") from error


def resolve(path: Path) -> Path:
    """The checkpoint folder meant by a path: itself, or a run folder's latest complete checkpoint.

    Raises:
        CheckpointError: if there is none.
    """
    if (path / MANIFEST).is_file():
        return path
    if not path.exists():
        raise CheckpointError(f"{path}: there is no such checkpoint or run folder")
    if not path.is_dir():
        raise CheckpointError(f"{path}: a checkpoint is a folder (with {MANIFEST}), or a run folder")
    latest = marked(path, "latest")
    if latest is not None and (latest / MANIFEST).is_file():
        return latest
    complete = [folder for folder in checkpoints_of(path) if (folder / MANIFEST).is_file()]
    if not complete:
        raise CheckpointError(f"{path}: holds no checkpoint (no {MANIFEST}, no checkpoints/ with one)")
    return complete[-1]


def marked(run_dir: Path, name: str) -> Path | None:
    """The checkpoint folder that `latest` or `best` of a run names; None where it names none."""
    try:
        text = (run_dir / name).read_text(errors="replace").strip()
    except OSError:
        return None
    return run_dir / "checkpoints" / text if re.fullmatch("[0-9]{1,20}", text) else None


def write_atomically(path: Path, data: bytes) -> None:
    """Replaces a small file: readers see the old or the new content, never a part.

    Raises:
        RunError: if it cannot be written.
    """
    name = ""
    try:
        handle, name = tempfile.mkstemp(prefix=f"{TEMPORARY}{os.getpid()}-", dir=path.parent)
        os.close(handle)
        _write_synced(Path(name), data)
        os.replace(name, path)
        _sync_folder(path.parent)
    except OSError as error:
        if name:
            Path(name).unlink(missing_ok=True)
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error


def tensor_bytes(tensors: Tensors) -> bytes:
    """The bytes of a safetensors file."""
    from safetensors.numpy import save

    return bytes(save({name: np.ascontiguousarray(array) for name, array in tensors.items()}))


def read_tensors(data: bytes, path: Path) -> dict[str, npt.NDArray[Any]]:
    """The tensors of a safetensors file.

    Raises:
        CheckpointError: if it is none, naming `path`.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return {name: array.copy() for name, array in load(data).items()}
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: is not a safetensors file: {error}") from error


def _canonical(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values, sort_keys=True, indent=1).encode()


def seal(values: Mapping[str, Any]) -> bytes:
    """JSON text with a digest of itself."""
    return _canonical(dict(values) | {"digest": _digest(dict(values))})


def unseal(data: bytes, path: Path) -> dict[str, Any]:
    """The values of a sealed text.

    Raises:
        CheckpointError: if it is not what was sealed, naming `path`.
    """
    values = _parse(data, path)
    # The bytes must be those that were written: JSON alone would accept a changed space or case.
    if values.get("digest") != _digest(values) or data != _canonical(values):
        raise CheckpointError(f"{path}: its digest does not match: corrupted")
    return values


def _digest(manifest: Mapping[str, Any]) -> str:
    body = {name: value for name, value in manifest.items() if name != "digest"}
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error


def _parse(data: bytes, path: Path) -> dict[str, Any]:
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: is not JSON ({error}): corrupted or truncated?") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: must hold a JSON object")
    return values


def _read_manifest(path: Path) -> dict[str, Any]:
    data = _read(path)
    manifest = _parse(data, path)
    if manifest.get("kind") != KIND:
        raise CheckpointError(f"{path}: belongs to something else (kind {manifest.get('kind')!r}, expected {KIND!r})")
    schema = manifest.get("schema")
    if not isinstance(schema, int) or schema < 1:
        raise CheckpointError(f"{path}: schema {schema!r} is not a version number: corrupted?")
    if schema > SCHEMA:
        raise CheckpointError(f"{path}: schema {schema} was written by a newer version; this one reads up to {SCHEMA}")
    unseal(data, path)
    for version in range(schema, SCHEMA):
        manifest = MIGRATIONS[version](manifest)
    return manifest


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    if os.name != "posix":
        return  # Windows has no handle of a folder to flush
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
