"""Builds the playground and tries it in headless Chromium: `uv run --group dev tools/check_playground.py [pytest options]`.

`--pictures` copies what the tests have looked at into docs/images, for the tutorial. `--icons` draws public/icon.svg as PNG
and does nothing else.
"""

from __future__ import annotations

import shutil
import sys

from check_wasm import BUILT, PACKAGE, ROOT, build, run
from playwright.sync_api import sync_playwright

PLAYGROUND = PACKAGE / "playground"
PICTURES = ROOT / "build/playground"
ICONS = {"icon-192": 192, "icon-512": 512, "icon-maskable-512": 512}  # pixels
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


def draw_icons() -> None:
    """The icon in the sizes that systems ask for; a maskable one has no corners, because the system cuts its own."""
    public = PLAYGROUND / "public"
    drawing = (public / "icon.svg").read_text()
    with sync_playwright() as playwright:
        program = next(path for path in map(shutil.which, ("chromium", "google-chrome")) if path)
        browser = playwright.chromium.launch(executable_path=program, args=["--headless=new", "--no-sandbox", "--disable-gpu"])
        for name, size in ICONS.items():
            page = browser.new_page(viewport={"width": size, "height": size})
            corners = drawing.replace('rx="7"', 'rx="0"') if "maskable" in name else drawing
            page.set_content(f"<style>body {{ margin: 0 }} svg {{ display: block }}</style>{corners}")
            page.screenshot(path=public / f"{name}.png", omit_background=True)
        browser.close()


def main() -> int:
    if "--icons" in sys.argv:
        draw_icons()
        return 0
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
