"""Builds each package the way a stranger would: sdist, wheel from the sdist outside the workspace, clean environment.

Our own packages come from the wheel folder alone (`--no-index --find-links`); what they need may come from the index.
"""

from __future__ import annotations

import email
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
MEMBERS = {  # in the order of their layers: each may need those before it to build
    "pufferlib-core": "cp311-abi3",
    "pufferlib-envs": "cp311-abi3",
    "pufferlib-wasm": "py3-none",
    "pufferlib-embedded": "py3-none",
    "pufferlib-cli": "py3-none",
}
IN_WHEEL = {
    "pufferlib-core": ["py.typed", "csrc/puffer.c", "csrc/include/puffer/puffer.h", "csrc/include/puffer/env.h"],
    "pufferlib-envs": ["py.typed", "csrc/cartpole.c", "csrc/cartpole.h"],
    "pufferlib-wasm": [
        *("py.typed", "prove.mjs", "playground/index.html", "playground/play.html", "playground/licences.txt"),
        *(f"playground/{name}.wasm" for name in ("puffer", "puffer-scalar", "puffer-threads")),
    ],
    "pufferlib-embedded": ["py.typed", "command.py", "templates/rust/lib.rs", "templates/verify/klee/klee.h"],
    "pufferlib-cli": ["py.typed", "main.py", "__main__.py", "templates/c.c.txt"],
}
TRAIN_KEYS = {
    *("env", "algorithm", "backend", "seed", "steps", "seconds", "startup_seconds", "steps_per_second"),
    *("episode_return_mean", "episodes", "run_dir", "checkpoint", "best_checkpoint"),
}
ISOLATED = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
}  # what memory that workers share asks for
IMPORT = """
import sys
import pufferlib_core, pufferlib_envs, pufferlib_wasm, pufferlib_embedded, pufferlib_cli
heavy = sorted({"torch", "jax", "safetensors", "numpy"} & set(sys.modules))
assert not heavy, f"import pufferlib_core loads {heavy}"
for module in (pufferlib_core, pufferlib_envs, pufferlib_wasm, pufferlib_embedded, pufferlib_cli):
    assert "site-packages" in module.__file__, module.__file__
from pathlib import Path
assert (Path(pufferlib_core.include_dir()) / "puffer" / "puffer.h").is_file()
assert (Path(pufferlib_core.source_dir()) / "puffer.c").is_file()
import pufferlib_core._native, pufferlib_envs._native
assert pufferlib_wasm.module_path().is_file()
print(pufferlib_core.__version__, "imported from wheels")
"""


class Failure(Exception):
    """A check that did not hold."""


def uv() -> str:
    """The uv that runs us, or the one on PATH."""
    found = os.environ.get("UV") or shutil.which("uv")
    if not found:
        raise Failure("uv is not installed: pip install uv")
    return found


def run(command: list[str], cwd: Path, **env: str) -> str:
    """Standard output of a command; Failure with everything it said if it fails."""
    dropped = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT")
    kept = {key: value for key, value in os.environ.items() if key not in dropped and not key.startswith("PUFFER_")}
    done = subprocess.run(command, cwd=cwd, env=kept | env, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise Failure(f"$ {' '.join(command)}\n{done.stdout}{done.stderr}exit status {done.returncode}")
    return done.stdout


def one(folder: Path, pattern: str) -> Path:
    """The only file of that pattern."""
    found = list(folder.glob(pattern))
    if len(found) != 1:
        raise Failure(f"{folder.name}: expected one file like {pattern}, got {[path.name for path in found]}")
    return found[0]


def check_contents(member: str, sdist: Path, wheel: Path) -> None:
    """Tag of the wheel, and the files that other builds need."""
    if f"-{MEMBERS[member]}-" not in wheel.name:
        raise Failure(f"{wheel.name}: expected the tag {MEMBERS[member]}")
    package = member.replace("-", "_")
    names = set(zipfile.ZipFile(wheel).namelist())
    missing = [name for name in IN_WHEEL[member] if f"{package}/{name}" not in names]
    if missing:
        raise Failure(f"{wheel.name} lacks {', '.join(missing)}")
    stray = sorted(name for name in names if not name.startswith((f"{package}/", f"{package}-")) or "/tests/" in name)
    if stray:
        raise Failure(f"{wheel.name} holds what does not belong there: {', '.join(stray)}")
    with tarfile.open(sdist) as archive:
        others = [
            name for name in archive.getnames() if "/pufferlib_wasm/playground/" not in name
        ]  # but the site, which is built
        built = [name for name in others if name.endswith((".so", ".pyd", ".o", ".wasm"))]
    if built:
        raise Failure(f"{sdist.name} holds build results: {', '.join(built)}")


def build(member: str, work: Path) -> Path:
    """Builds the sdist in the workspace and the wheel from the sdist outside of it, twice: the same bytes."""
    sdists, wheels, again = work / "sdists", work / "wheels", work / "again"
    wheels.mkdir(exist_ok=True)
    stem = member.replace("-", "_")
    dated = {"SOURCE_DATE_EPOCH": "1700000000"}  # time stamps inside archives
    run([uv(), "build", "--quiet", "--sdist", "--out-dir", str(sdists), str(ROOT / "packages" / member)], ROOT, **dated)
    sdist = one(sdists, f"{stem}-*.tar.gz")
    path = f"{without_node(work)}{os.pathsep}{os.environ['PATH']}"
    for folder in (wheels, again):
        command = [uv(), "build", "--quiet", "--no-config", "--wheel", "--find-links", str(wheels)]
        run([*command, "--out-dir", str(folder), str(sdist)], work, PUFFER_WERROR="1", PATH=path, **dated)
    wheel = one(wheels, f"{stem}-*.whl")
    check_contents(member, sdist, wheel)
    if wheel.read_bytes() != one(again, f"{stem}-*.whl").read_bytes():
        raise Failure(f"{wheel.name} differs between two builds of the same sdist: {differing(wheel, again / wheel.name)}")
    print(f"ok    {sdist.name} -> {wheel.name}, reproducible, {wheel.stat().st_size:,} bytes", flush=True)
    if member == "pufferlib-wasm":
        check_no_page(sdist, work, [*command, "--out-dir", str(work / "none")])
    return wheel


def check_no_page(sdist: Path, work: Path, command: list[str]) -> None:
    """An sdist from which the built pages have been lost makes no wheel."""
    part = work / "part"
    part.mkdir()
    shutil.unpack_archive(sdist, part, filter="data")
    (package,) = part.iterdir()
    shutil.rmtree(package / "src/pufferlib_wasm/playground")
    try:
        run([*(word for word in command if word != "--quiet"), str(package)], work)
    except Failure as failure:
        if "the sdist is not whole" in str(failure):
            print(f"ok    {sdist.name} without its page makes no wheel", flush=True)
            return
        raise
    raise Failure(f"{sdist.name} without its page makes a wheel without one")


def without_node(work: Path) -> Path:
    """A folder of programs that stand for those that a wheel from an sdist must not need."""
    folder = work / "without"
    folder.mkdir(exist_ok=True)
    for name in ("node", "npm"):
        (folder / name).write_text("#!/bin/sh\necho a wheel made of an sdist needs no node >&2\nexit 1\n")
        (folder / name).chmod(0o755)
    return folder


def differing(one_wheel: Path, other: Path) -> str:
    """The files in which two wheels differ."""
    a, b = zipfile.ZipFile(one_wheel), zipfile.ZipFile(other)
    names = sorted({*a.namelist(), *b.namelist()})
    return (
        ", ".join(n for n in names if n not in a.namelist() or n not in b.namelist() or a.read(n) != b.read(n)) or "time stamps"
    )


def outside_requirements(wheels: list[Path]) -> list[str]:
    """What the wheels need apart from each other, extras left out."""
    needed: set[str] = set()
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
            metadata = email.message_from_bytes(archive.read(name))
        classifiers = metadata.get_all("Classifier") or []
        if "Private :: Do Not Upload" not in classifiers:
            raise Failure(f"{wheel.name} lacks the classifier Private :: Do Not Upload")
        for text in metadata.get_all("Requires-Dist") or []:
            requirement = Requirement(text)
            if requirement.name in MEMBERS:
                upper = [spec for spec in requirement.specifier if spec.operator in ("<", "<=", "==", "~=")]
                if not upper:
                    raise Failure(f"{wheel.name}: {text} has no upper bound")
            elif requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                needed.add(f"{requirement.name}{requirement.specifier}")
    return sorted(needed)


def last_object(output: str) -> dict[str, Any]:
    """The JSON object on the last line; nothing else may stand on standard output."""
    lines = output.strip().splitlines()
    if len(lines) != 1:
        raise Failure(f"--json prints {len(lines)} lines on standard output, expected one:\n{output}")
    value = json.loads(lines[0])
    if not isinstance(value, dict):
        raise Failure(f"--json prints {type(value).__name__}, expected an object")
    return value


def use(work: Path, wheels: list[Path]) -> None:
    """Installs the wheels together in a clean environment and uses them."""
    env = work / "env"
    run([uv(), "venv", "--quiet", "--no-config", "--python", sys.executable, str(env)], work)
    scripts = env / ("Scripts" if os.name == "nt" else "bin")
    install = [uv(), "pip", "install", "--quiet", "--no-config", "--python", str(env)]
    run([*install, *outside_requirements(wheels)], work)
    run([*install, "--no-index", "--find-links", str(work / "wheels"), *MEMBERS], work)
    empty = work / "empty"
    empty.mkdir()
    print("ok    " + run([str(scripts / "python"), "-W", "error", "-c", IMPORT], empty).strip(), flush=True)
    puffer = str(scripts / "puffer")
    listing = last_object(run([puffer, "list", "--json"], empty))
    if "cartpole" not in json.dumps(listing):
        raise Failure(f"puffer list --json does not know cartpole: {listing}")
    print("ok    puffer list --json", flush=True)
    command = ["train", "cartpole", "--timesteps", "40000", "--seed", "1", "--out", "runs", "--json"]
    summary = last_object(run([puffer, *command], empty))
    missing = sorted(TRAIN_KEYS - set(summary))
    if missing:
        raise Failure(f"puffer train --json lacks {', '.join(missing)}: {summary}")
    if not (empty / summary["checkpoint"]).is_dir():
        raise Failure(f"puffer train: no checkpoint at {summary['checkpoint']}")
    print(f"ok    puffer {' '.join(command)}: return {summary['episode_return_mean']}", flush=True)
    exported = last_object(run([puffer, "export", "c", "--checkpoint", summary["run_dir"], "--out", "policy", "--json"], empty))
    if not exported["verified"] or not (empty / "policy/LICENSE").is_file():
        raise Failure(f"puffer export c: not verified, or without its licence: {exported}")
    print("ok    puffer export c", flush=True)
    shown = last_object(run([puffer, "export", "web", "--checkpoint", summary["run_dir"], "--out", "site", "--json"], empty))
    if shown["verified"] != bool(shutil.which("node")) or not (empty / "site/index.html").is_file():
        raise Failure(f"puffer export web: not verified, or without its page: {shown}")
    print(f"ok    puffer export web: {shown['bytes']:,} bytes", flush=True)
    check_playground([puffer, "playground", "--port", "0", "--json"], empty)
    run([str(scripts / "python"), "-m", "pufferlib_cli", "list", "--json"], empty)
    print("ok    python -m pufferlib_cli", flush=True)


def check_playground(command: list[str], cwd: Path) -> None:
    """The page that the wheel brought, as a browser gets it; an interrupt ends the command."""
    with subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            url = json.loads(process.stdout.readline())["url"]
            for name, kind in {"": "text/html; charset=utf-8", "puffer.wasm": "application/wasm"}.items():
                with urllib.request.urlopen(url + name, timeout=10) as answer:
                    wanted = {"Content-Type": kind, **ISOLATED}
                    got = {header: answer.headers[header] for header in wanted}
                    if got != wanted:
                        raise Failure(f"puffer playground: {url}{name} has the headers {got}, expected {wanted}")
        finally:
            process.send_signal(signal.SIGINT)
            status = process.wait(30)
    if status != 130:
        raise Failure(f"puffer playground: an interrupt gives the exit status {status}, expected 130")
    print("ok    puffer playground --json", flush=True)


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="puffer-wheels-") as folder:
        work = Path(folder)
        try:
            use(work, [build(member, work) for member in MEMBERS])
        except Failure as failure:
            print(f"FAIL  {failure}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
