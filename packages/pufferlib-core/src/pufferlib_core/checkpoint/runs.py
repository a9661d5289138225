"""Run folders: `<out>/<env>-<algorithm>-s<seed>-<utc time>[-k]/`."""

from __future__ import annotations

import os
import platform
import re
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import pufferlib_core
from pufferlib_core.checkpoint.files import Checkpoint, checkpoints_of, load_checkpoint, write_atomically
from pufferlib_core.errors import CheckpointError, RunError


def create_run(out: Path, env: str, algorithm: str, seed: int) -> Path:
    """A new, empty run folder; two runs of the same second get two folders.

    Raises:
        RunError: if it cannot be created.
    """
    stem = f"{_stem(env, algorithm, seed)}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    try:
        out.mkdir(parents=True, exist_ok=True)
        for k in range(10_000):
            folder = out / (stem if k == 0 else f"{stem}-{k}")
            try:
                folder.mkdir()  # fails if somebody else was first: the test and the creation are one step
            except FileExistsError:
                if not out.is_dir():
                    raise
                continue
            return folder
    except OSError as error:
        raise RunError(f"cannot create a run folder in {out}: {error.strerror or error}; choose another --out") from error
    raise RunError(f"cannot create a run folder in {out}: ten thousand of this second exist")


def _stem(env: str, algorithm: str, seed: int) -> str:
    """What the names of a run's folders begin with."""
    name = re.sub(r"[^A-Za-z0-9_.]+", "_", env)
    return f"{name}-{algorithm}-s{seed}"


class Found(NamedTuple):
    """What `newest_checkpoint` found."""

    checkpoint: Checkpoint | None
    damaged: tuple[str, ...]  # what is wrong with those that it passed over


def newest_checkpoint(out: Path, env: str, algorithm: str, seed: int) -> Found:
    """The last checkpoint that loads, of the newest run of this environment, algorithm and seed that has one.

    Runs are ordered by the time in their names, those of one second by their numbers. Another process may go on writing and
    deleting checkpoints meanwhile.

    Raises:
        RunError: if `out` cannot be read.
    """
    wanted, tried, damaged = {"env": env, "algorithm": algorithm, "seed": seed}, set[Path](), list[str]()
    while True:
        folders = (folder for run in _runs(out, _stem(env, algorithm, seed)) for folder in reversed(checkpoints_of(run)))
        folder = next((folder for folder in folders if folder not in tried), None)
        if folder is None:
            return Found(None, tuple(damaged))
        tried.add(folder)
        try:
            checkpoint = load_checkpoint(folder)
        except CheckpointError as error:
            if folder.exists():  # else its own run has just deleted it
                damaged.append(str(error))
            continue
        if {name: checkpoint.manifest.get(name) for name in wanted} == wanted:  # names of environments may look alike
            return Found(checkpoint, tuple(damaged))


def _runs(out: Path, stem: str) -> list[Path]:
    """Run folders of a stem, the newest first."""
    try:
        names = os.listdir(out)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(f"cannot look for runs in {out}: {error.strerror or error}; choose another --out") from error
    name = re.compile(rf"{re.escape(stem)}-(\d{{8}}T\d{{6}}Z)(?:-(\d+))?")
    found = [(match[1], int(match[2] or 0), out / match[0]) for match in map(name.fullmatch, names) if match]
    return [folder for _, _, folder in sorted(found, reverse=True)]


def mark(run_dir: Path, name: str, checkpoint: Path) -> None:
    """Lets `latest` or `best` of a run point to a checkpoint, atomically.

    Raises:
        RunError: if the folder cannot be written.
    """
    write_atomically(run_dir / name, f"{checkpoint.name}\n".encode())


def system_info() -> dict[str, Any]:
    """What a run ran on: versions, platform, processors."""
    return {
        "pufferlib_core": pufferlib_core.__version__,
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
    }
