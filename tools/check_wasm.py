"""Builds the WebAssembly modules into build/wasm, then runs everything that tests them: tsc, node, the page of docs, pytest.

The page runs an exported policy, too, which the environment of the peers exports.

`uv run --group dev tools/check_wasm.py [pytest options]`. Modules are built again only if a source has changed.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pufferlib_wasm
from check_docs import split
from pufferlib_wasm.compile import KINDS

ROOT = Path(__file__).resolve().parent.parent
BUILT = ROOT / "build/wasm"
PACKAGE = ROOT / "packages/pufferlib-wasm"
PEERS = ROOT / "build/peers/bin/python"
MOST = 200_000  # bytes of a module


def sources() -> str:
    """A digest of what a module is made of."""
    digest = hashlib.sha256()
    for package in ("core", "envs", "wasm"):
        for path in sorted((ROOT / f"packages/pufferlib-{package}/src").rglob("*")):
            if path.suffix in (".c", ".h", ".inl", ".py"):
                digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def build() -> None:
    """All modules, if they are not those of the sources."""
    stamp, wanted = BUILT / "sources", sources()
    if not stamp.is_file() or stamp.read_text() != wanted:
        for kind in KINDS:
            pufferlib_wasm.build(BUILT, kind=kind)
        stamp.write_text(wanted)
    for path in sorted(BUILT.glob("*.wasm")):
        size = path.stat().st_size
        print(f"{'ok  ' if size <= MOST else 'FAIL'}  {path.name}: {size:,} bytes (at most {MOST:,})", flush=True)
        if size > MOST:
            raise SystemExit(1)


def run(what: str, *command: str, cwd: Path) -> None:
    """A part of the check; ends it where it fails."""
    begin = time.monotonic()
    program = shutil.which(command[0])
    if program is None:
        raise SystemExit(f"{command[0]} is not installed: apt-get install nodejs npm")
    done = subprocess.run([program, *command[1:]], cwd=cwd, check=False)
    print(f"{'FAIL' if done.returncode else 'ok  '}  {what}, {time.monotonic() - begin:.1f} s", flush=True)
    if done.returncode:
        raise SystemExit(done.returncode)


def packages(folder: Path) -> None:
    """Installs what a package.json asks for, once."""
    if not (folder / "node_modules/.package-lock.json").is_file():
        run(f"npm ci in {folder.relative_to(ROOT)}", "npm", "ci", "--no-audit", "--no-fund", "--silent", cwd=folder)


def export(folder: Path) -> None:
    """A checkpoint and its policy.onnx in a folder."""
    if not PEERS.is_file():
        raise SystemExit(f"{PEERS.parent} is missing: UV_PROJECT_ENVIRONMENT=build/peers uv sync --group dev --group peers")
    puffer = [str(PEERS), "-m", "pufferlib_cli"]
    run("a run to export", *puffer, "train", "cartpole", "--timesteps", "8192", "--out", "runs", "--json", cwd=folder)
    (latest,) = folder.glob("runs/*/checkpoints/000000008192")
    latest.rename(folder / "checkpoint")
    run("its export", *puffer, "export", "onnx", "--checkpoint", "checkpoint", "--out", "policy.onnx", cwd=folder)


def run_page(js: Path) -> None:
    """The JavaScript of the how-to: one program, and that of an exported policy, with what they need beside them."""
    blocks = split((ROOT / "docs/how-to/browser.md").read_text())[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "node_modules").mkdir()
        for package in (js, *(js / "test/onnx/node_modules").glob("onnxruntime-*")):
            (folder / "node_modules" / ("pufferlib-wasm" if package == js else package.name)).symlink_to(package)
        for kind in ("simd", "threads"):
            shutil.copy(BUILT / KINDS[kind], folder)
        export(folder)
        for language in ("js", "javascript"):
            program = "\n".join(block.text for block in blocks if block.language == language)
            (folder / f"{language}.mjs").write_text(program)
            run(f"docs/how-to/browser.md, {language}", "node", f"{language}.mjs", cwd=folder)


def main() -> int:
    build()
    js = PACKAGE / "js"
    for folder in (js, js / "test/onnx"):
        packages(folder)
    tsc = str(js / "node_modules/.bin/tsc")
    run("types of the API", tsc, "--project", "tsconfig.json", cwd=js)
    run("a page in TypeScript", tsc, "--project", "test/tsconfig.json", cwd=js)
    run("node", "node", "--test", *(str(path) for path in sorted(js.glob("test/*.test.js"))), cwd=js)
    run_page(js)
    run("pytest", sys.executable, "-m", "pytest", str(PACKAGE / "tests"), *sys.argv[1:], cwd=ROOT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
