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
from playwright.sync_api import Browser, BrowserType, Page, sync_playwright

DIST = Path(__file__).resolve().parent.parent / "dist"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP puffer.test 127.0.0.1",
]  # fmt: skip
DEVICES = {
    "desktop": {"viewport": {"width": 1440, "height": 900}},
    "phone": {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True},
}


class Server:
    """A folder at an address, which can be another one later, or not to be reached."""

    def __init__(self, folder: Path, *, isolated: bool = True) -> None:
        self.folder = folder
        self.isolated = isolated
        self.port = 0
        self.start()

    def start(self) -> None:
        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), functools.partial(Handler, self))
        self.port = self._http.server_port
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._http.shutdown()
            self._thread.join()
            self._http.server_close()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/"


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files of the folder; an isolated one comes with what shared memory between workers asks for."""

    def __init__(self, site: Server, *args: Any) -> None:
        self.site = site
        super().__init__(*args, directory=str(site.folder))

    def end_headers(self) -> None:
        if self.site.isolated:
            self.send_header("Cross-Origin-Opener-Policy", "same-origin")
            self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, *args: object) -> None:
        """Says nothing."""


@pytest.fixture(scope="session")
def site() -> Iterator[str]:
    """Address of the page."""
    assert (DIST / "puffer.wasm").is_file(), f"{DIST} is not built: tools/check_playground.py"
    server = Server(DIST)
    yield server.address
    server.stop()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Serves folders of a test's own."""
    servers: list[Server] = []

    def serve_folder(folder: Path = DIST, **how: Any) -> Server:
        servers.append(Server(folder, **how))
        return servers[-1]

    yield serve_folder
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def chromium() -> Iterator[tuple[BrowserType, dict[str, Any]]]:
    """What launches it, and with what."""
    program = next((path for path in map(shutil.which, BROWSERS) if path), None)
    assert program, "chromium is not installed: apt-get install chromium"
    with sync_playwright() as playwright:
        yield playwright.chromium, {"executable_path": program, "args": FLAGS}


@pytest.fixture(scope="session")
def browser(chromium: tuple[BrowserType, dict[str, Any]]) -> Iterator[Browser]:
    kind, how = chromium
    browser = kind.launch(**how)
    yield browser
    browser.close()


@pytest.fixture
def opened(site: str, browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens the page on a device; a test fails by whatever the consoles of its pages complain of."""
    complaints: list[str] = []
    contexts = []

    def open_page(device: str = "desktop", *, at: str = site, without: str | None = None, **more: Any) -> Page:
        context = browser.new_context(**DEVICES[device], **more)
        contexts.append(context)
        if without is not None:  # a file that the engine cannot compile
            context.route(
                f"**/{without}", lambda route: route.fulfill(body=b"\0asm\1\0\0\0\x7f", content_type="application/wasm")
            )
        page = context.new_page()
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(at)
        page.wait_for_selector(":is([data-state=ready], [data-state=playing])")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def page(opened: Callable[..., Page]) -> Page:
    """The page on a desktop."""
    return opened()
