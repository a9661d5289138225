"""Builds the WebAssembly modules into build/wasm, then runs everything that tests them: tsc, node, the page of docs, pytest.

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


def run_page(js: Path) -> None:
    """The JavaScript of the how-to, one program, where the package is installed and the module lies beside it."""
    blocks = split((ROOT / "docs/how-to/browser.md").read_text())[0]
    program = "\n".join(block.text for block in blocks if block.language == "js")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "node_modules").mkdir()
        (folder / "node_modules/pufferlib-wasm").symlink_to(js)
        for kind in ("simd", "threads"):
            shutil.copy(BUILT / KINDS[kind], folder)
        (folder / "page.mjs").write_text(program)
        run("docs/how-to/browser.md", "node", "page.mjs", cwd=folder)


def main() -> int:
    build()
    js = PACKAGE / "js"
    if not (js / "node_modules/.package-lock.json").is_file():
        run("npm ci", "npm", "ci", "--no-audit", "--no-fund", "--silent", cwd=js)
    tsc = str(js / "node_modules/.bin/tsc")
    run("types of the API", tsc, "--project", "tsconfig.json", cwd=js)
    run("a page in TypeScript", tsc, "--project", "test/tsconfig.json", cwd=js)
    run("node", "node", "--test", *(str(path) for path in sorted(js.glob("test/*.test.js"))), cwd=js)
    run_page(js)
    run("pytest", sys.executable, "-m", "pytest", str(PACKAGE / "tests"), *sys.argv[1:], cwd=ROOT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
