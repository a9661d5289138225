"""Builds the playground and tries it in headless Chromium: `uv run --group dev tools/check_playground.py [pytest options]`.

`--pictures` copies what the tests have looked at into docs/images, for the tutorial.
"""

from __future__ import annotations

import shutil
import sys

from check_wasm import BUILT, PACKAGE, ROOT, build, run

PLAYGROUND = PACKAGE / "playground"
PICTURES = ROOT / "build/playground"
SHOWN = ("desktop-light", "phone-dark", "show-desktop-light")  # in docs/tutorials/playground.md
MOST = 230_000  # bytes of scripts and styles of both pages, without the modules


def install() -> None:
    """Packages as the lock has them, if they are not there yet."""
    lock, installed = PLAYGROUND / "package-lock.json", PLAYGROUND / "node_modules/.package-lock.json"
    if not installed.is_file() or installed.stat().st_mtime < lock.stat().st_mtime:
        run("npm ci", "npm", "ci", "--no-audit", "--no-fund", "--silent", cwd=PLAYGROUND)


def bundle() -> None:
    """The static site, in `dist`, with both modules beside the page."""
    public = PLAYGROUND / "public"
    public.mkdir(exist_ok=True)
    for module in BUILT.glob("*.wasm"):
        shutil.copy(module, public)
    run("types", "npm", "run", "--silent", "check", cwd=PLAYGROUND)
    run("vite build", "npm", "run", "--silent", "build", "--", "--logLevel", "error", cwd=PLAYGROUND)
    size = sum(path.stat().st_size for path in (PLAYGROUND / "dist/assets").iterdir())
    print(f"{'ok  ' if size <= MOST else 'FAIL'}  scripts and styles: {size:,} bytes (at most {MOST:,})", flush=True)
    if size > MOST:
        raise SystemExit(1)


def main() -> int:
    options = [option for option in sys.argv[1:] if option != "--pictures"]
    build()
    install()
    bundle()
    run("chromium", sys.executable, "-m", "pytest", str(PLAYGROUND / "tests"), *options, cwd=ROOT)
    if "--pictures" in sys.argv:
        for name in SHOWN:
            shutil.copy(PICTURES / f"{name}.png", ROOT / f"docs/images/playground-{name}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
