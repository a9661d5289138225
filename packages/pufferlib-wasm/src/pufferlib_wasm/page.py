"""The built pages: those that came with a wheel, or those of a checkout, which npm builds when they are wanted."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pufferlib_core.errors import RunError

from pufferlib_wasm.compile import KINDS, compile_module

HERE = Path(__file__).resolve().parent
INSTALLED = HERE / "playground"
CHECKOUT = HERE.parents[1] / "playground"
SOURCES = ("*.html", "*.json", "*.ts", "src/**/*", "public/**/*", "../js/src/*.js")  # of a page, below CHECKOUT
LICENCES = "licences.txt"  # of the packages that are in the bundle


def site() -> Path:
    """The folder of the pages and modules that are here; in a checkout built if a source is newer, in a minute.

    Raises:
        RunError: if they are not there and cannot be built.
        BuildError: if a module does not compile.
        MissingExtra: if the compiler of the modules is not installed.
    """
    if (INSTALLED / "index.html").is_file():
        return INSTALLED
    if not (CHECKOUT / "package.json").is_file():
        raise RunError(f"{INSTALLED}: the page did not come with this package: install its wheel again")
    out = CHECKOUT / "build/site"
    with _alone(CHECKOUT):
        if _newest([*_sources(), *_code()]) > _newest([out / "index.html"]):
            print("building the page of this checkout ...", file=sys.stderr, flush=True)
            build_site(CHECKOUT, out)
    return out


def files(folder: Path) -> dict[str, Path]:
    """Every file of a site by its address below it."""
    return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}


def build_site(sources: Path, out: Path) -> None:
    """Builds the pages with the modules beside them: together, because a page may know the digests of what lies there.

    Args:
        sources: the folder `playground` of a checkout.
        out: the folder, which is replaced when all of it is there.

    Raises:
        RunError: if node or npm are missing, or fail, with what they said.
        BuildError: if a module does not compile.
        MissingExtra: if the compiler of the modules is not installed.
    """
    installed, lock = sources / "node_modules/.package-lock.json", sources / "package-lock.json"
    if _newest([installed]) < _newest([lock]):
        _npm("ci", "--no-audit", "--no-fund", cwd=sources)
    if _newest(_code()) > _newest(sources / "public" / name for name in KINDS.values()):
        for kind in KINDS:
            compile_module(sources / "public", kind, {})
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=out.parent) as name:
        made = Path(name) / "site"
        beside = os.path.relpath(made, sources)  # npm works there
        _npm("run", "build", "--", "--outDir", beside, "--emptyOutDir", "--logLevel", "error", cwd=sources)
        (made / LICENCES).write_text(_licences(sources))
        shutil.rmtree(out, ignore_errors=True)
        made.rename(out)


def _licences(sources: Path) -> str:
    """Of the packages of others that are in the bundle, as they ask for."""
    asked = json.loads((sources / "package.json").read_text())["dependencies"]
    theirs = [name for name, where in sorted(asked.items()) if not where.startswith("file:")]
    return (
        "\n\n".join(f"{name}\n\n{(sources / 'node_modules' / name / 'LICENSE').read_text().strip()}" for name in theirs) + "\n"
    )


def _npm(*arguments: str, cwd: Path) -> None:
    program = shutil.which("npm")
    if program is None:
        raise RunError(f"{cwd}: the page is not built, and npm, which builds it, is not installed: apt-get install nodejs npm")
    done = subprocess.run([program, *arguments], cwd=cwd, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise RunError(f"{cwd}: npm {arguments[0]} fails: {(done.stdout + done.stderr).strip()[-2000:]}")


def _sources() -> list[Path]:
    """What pages are made of."""
    return [path for pattern in SOURCES for path in CHECKOUT.glob(pattern) if path.is_file() and path.suffix != ".wasm"]


def _code() -> list[Path]:
    """What modules are made of, in a checkout."""
    found = HERE.parents[2].glob("*/src/**/*")
    return [path for path in found if path.suffix in (".c", ".h", ".inl", ".py")]


def _newest(paths: Iterator[Path] | list[Path]) -> float:
    """When the last of them was written; 0 if one is missing."""
    times = [path.stat().st_mtime if path.is_file() else 0.0 for path in paths]
    return 0.0 if 0.0 in times else max(times, default=0.0)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time; where the system has no such lock, whoever comes."""
    if os.name != "posix":
        yield
        return
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
