"""What `puffer playground` serves, to whom, and how it ends."""

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
from urllib.parse import urlsplit

import pytest
from pufferlib_cli.main import main
from pufferlib_core.errors import RunError
from pufferlib_wasm import page
from pufferlib_wasm.serve import PORT, Server

FILES = {"index.html": b"<p>page", "sw.js": b"1", "assets/main-abc.js": b"2", "puffer.wasm": b"puffer.wasm"}
COMMAND = """
import sys
from pathlib import Path
from pufferlib_wasm import page
page.site = lambda: Path(sys.argv[1]) / "site"
from pufferlib_cli.main import main
sys.exit(main(["playground", *sys.argv[2:]]))
"""


@pytest.fixture
def folder(tmp_path):
    """A small site, with something beside it that nobody may have."""
    for name, content in FILES.items():
        path = tmp_path / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (tmp_path / "secret.txt").write_text("secret")
    return tmp_path


@pytest.fixture
def server(folder):
    with Server(page.files(folder / "site"), "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(server, path, method="GET"):
    """Status, headers and content; the path goes out as it is."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)) as connection:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


def test_files_come_with_what_shared_memory_asks_for(server):
    kinds = {
        "/": ("text/html; charset=utf-8", "no-cache", b"<p>page"),
        "/index.html?a=b": ("text/html; charset=utf-8", "no-cache", b"<p>page"),
        "/sw.js": ("text/javascript; charset=utf-8", "no-cache", b"1"),
        "/assets/main-abc.js": ("text/javascript; charset=utf-8", "public, max-age=31536000, immutable", b"2"),
        "/puffer.wasm": ("application/wasm", "no-cache", b"puffer.wasm"),
    }
    for path, (kind, kept, content) in kinds.items():
        status, headers, got = ask(server, path)
        assert (status, headers["Content-Type"], headers["Cache-Control"], got) == (200, kind, kept, content)
        assert headers["Cross-Origin-Opener-Policy"] == headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    status, headers, got = ask(server, "/puffer.wasm", "HEAD")
    assert (status, headers["Content-Length"], got) == (200, "11", b"")


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/assets/../../secret.txt",
        "//etc/passwd",
        "/assets",
        "/assets/",
        "/..%5csecret.txt",
        "/%00",
    ],
)
def test_nothing_else_is_served(server, path):
    status, _, got = ask(server, path)
    assert status == 404
    assert b"secret" not in got


def test_only_reading(server):
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        status, headers, _ = ask(server, "/", method)
        assert (status, headers["Allow"]) == (405, "GET, HEAD")
    assert ask(server, "/")[0] == 200  # it goes on


def test_a_taken_port_is_passed_over_unless_it_was_asked_for(folder):
    files = page.files(folder / "site")
    with Server(files, "127.0.0.1", None) as one, Server(files, "127.0.0.1", None) as two:
        assert PORT <= one.server_port < two.server_port
        with pytest.raises(RunError, match=rf"port={one.server_port}: Address already in use: choose another --port, or none"):
            Server(files, "127.0.0.1", one.server_port)
    with pytest.raises(RunError, match=r"host=no\.such\.host\.invalid: is no address of this machine"):
        Server(files, "no.such.host.invalid", None)


def test_addresses_are_those_of_this_machine(folder):
    for host, shown in {"0.0.0.0": "127.0.0.1", "localhost": None}.items():
        with Server({}, host, 0) as server:
            assert urlsplit(server.url).hostname in ({shown} if shown else {"127.0.0.1", "::1"})
    if socket.has_ipv6:
        with contextlib.suppress(RunError), Server({}, "::1", 0) as server:
            assert server.url.startswith("http://[::1]:")


def start(folder, *arguments):
    command = [sys.executable, "-c", COMMAND, str(folder), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)


def test_the_command_tells_its_address_and_ends_with_an_interrupt(folder):
    """Twice at once, without a terminal."""
    with start(folder, "--json") as one, start(folder, "--no-open") as two:
        address = json.loads(one.stdout.readline())
        other = two.stdout.readline().split()[0]
        assert list(address) == ["url"]
        assert address["url"] != other
        for url in (address["url"], other):
            with contextlib.closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)) as connection:
                connection.request("GET", "/")
                assert connection.getresponse().read() == b"<p>page"
        for process in (one, two):
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 130
            assert process.stderr.read() == "puffer playground: interrupted\n"


@pytest.mark.parametrize("port", ["-1", "65536", "many", "8e3", "٣"])
def test_a_port_that_is_none(port, capsys, monkeypatch, folder):
    monkeypatch.setattr(page, "site", lambda: folder / "site")
    assert main(["playground", f"--port={port}"]) == 2
    assert f"--port {port} must be a whole number in [0, 65535]" in capsys.readouterr().err


def test_without_a_page(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(page, "INSTALLED", tmp_path / "installed")
    monkeypatch.setattr(page, "CHECKOUT", tmp_path / "checkout")
    assert main(["playground"]) == 1
    assert "the page did not come with this package: install its wheel again" in capsys.readouterr().err
    (tmp_path / "checkout").mkdir()
    for name in ("package.json", "package-lock.json"):
        (tmp_path / "checkout" / name).write_text("{}")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["playground"]) == 1
    assert "npm, which builds it, is not installed: apt-get install nodejs npm" in capsys.readouterr().err


def test_what_came_with_a_wheel_is_taken_as_it_is(monkeypatch, folder):
    monkeypatch.setattr(page, "INSTALLED", folder / "site")
    assert page.site() == folder / "site"
