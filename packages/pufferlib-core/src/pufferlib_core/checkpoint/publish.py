"""A folder that an export writes: it is there whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pufferlib_core.checkpoint.files import TEMPORARY
from pufferlib_core.errors import RunError

MARKS = ("src/policy.*", "checkpoint/manifest.json")  # what exported folders hold: as a program, as a page


def check_free(out: Path, force: bool) -> None:
    """Refuses a place that cannot be taken: before any work is done.

    Raises:
        RunError: if something is there that is not to be replaced, or there is no folder around it.
    """
    if out.exists() and not force:
        raise RunError(f"{out} exists and is not overwritten: choose another name, or --force")
    if out.exists() and not ((out / "report.json").is_file() and any(True for mark in MARKS for _ in out.glob(mark))):
        raise RunError(
            f"{out} is not an exported policy (it has no report.json, or none of {', '.join(MARKS)}), so --force does not "
            "replace it"
        )
    if not out.absolute().parent.is_dir():
        raise RunError(f"{out.absolute().parent}: there is no such folder")


@contextmanager
def published(out: Path, force: bool) -> Iterator[tuple[Path, Path]]:
    """A folder to be made, which becomes `out` if the block ends well, and one that exists, for what does not stay.

    Raises:
        RunError: if something cannot be written, or somebody else has taken the place meanwhile: see `check_free`.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=f"{TEMPORARY}{os.getpid()}-", dir=out.absolute().parent) as name:
            folder, work = Path(name) / "export", Path(name) / "build"
            work.mkdir()
            yield folder, work
            check_free(out, force)
            _publish(folder, out, Path(name) / "before")
    except OSError as error:
        raise RunError(f"cannot write {out}: {error.strerror or error}") from error


def write(folder: Path, texts: dict[str, str]) -> None:
    """Files by their path below the folder."""
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _publish(folder: Path, out: Path, before: Path) -> None:
    """Puts the folder where it belongs; what was there is put aside first, and put back if that fails."""
    try:
        if out.exists():
            os.rename(out, before)
        os.rename(folder, out)
    except BaseException:  # an interrupt too, between any two lines
        if before.exists() and not out.exists():
            os.rename(before, out)
        raise
