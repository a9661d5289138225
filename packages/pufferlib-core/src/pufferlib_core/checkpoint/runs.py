"""Run folders: `<out>/<env>-<algorithm>-s<seed>-<utc time>[-k]/`."""

from __future__ import annotations

import os
import platform
import re
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import pufferlib_core
from pufferlib_core.checkpoint.files import write_atomically
from pufferlib_core.errors import RunError


def create_run(out: Path, env: str, algorithm: str, seed: int) -> Path:
    """A new, empty run folder; two runs of the same second get two folders.

    Raises:
        RunError: if it cannot be created.
    """
    name = re.sub(r"[^A-Za-z0-9_.]+", "_", env)
    stem = f"{name}-{algorithm}-s{seed}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
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
