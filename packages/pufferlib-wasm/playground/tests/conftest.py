"""The playground as `vite build` left it, served as it must be, in headless Chromium."""

from __future__ import annotations

import functools
import http.server
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

DIST = Path(__file__).resolve().parent.parent / "dist"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
DEVICES = {
    "desktop": {"viewport": {"width": 1440, "height": 900}},
    "phone": {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True},
}


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files of the site, with what shared memory between workers asks for."""

    def end_headers(self) -> None:
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, *args: object) -> None:
        """Says nothing."""


@pytest.fixture(scope="session")
def site() -> Iterator[str]:
    """Address of the page."""
    assert (DIST / "puffer.wasm").is_file(), f"{DIST} is not built: tools/check_playground.py"
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(DIST)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    program = next((path for path in map(shutil.which, BROWSERS) if path), None)
    assert program, "chromium is not installed: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens a page on a device; a test fails by whatever the consoles of its pages complain of."""
    complaints: list[str] = []
    contexts = []

    def open_page(address: str, device: str = "desktop", *, without: str | None = None, **more: Any) -> Page:
        context = browser.new_context(**DEVICES[device], **more)
        contexts.append(context)
        if without is not None:  # a file that the engine cannot compile
            context.route(
                f"**/{without}", lambda route: route.fulfill(body=b"\0asm\1\0\0\0\x7f", content_type="application/wasm")
            )
        page = context.new_page()
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(address)
        page.wait_for_selector(":is([data-state=ready], [data-state=playing])")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def opened(site: str, visit: Callable[..., Page]) -> Callable[..., Page]:
    """Opens the playground."""
    return functools.partial(visit, site)


@pytest.fixture
def page(opened: Callable[..., Page]) -> Page:
    """The page on a desktop."""
    return opened()
