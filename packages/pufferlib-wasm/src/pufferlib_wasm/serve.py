"""A web server for one site: its files, whole in memory, with the headers that WebAssembly and shared memory ask for."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from pufferlib_core.errors import RunError

PORT = 8420
TRIES = 64  # ports from PORT on
KINDS = {
    ".css": "text/css; charset=utf-8", ".html": "text/html; charset=utf-8", ".ico": "image/x-icon", ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8", ".json": "application/json", ".png": "image/png", ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8", ".wasm": "application/wasm", ".webmanifest": "application/manifest+json",
}  # fmt: skip
HASHED = "assets/"  # names in there change with their content
ALWAYS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


class Handler(BaseHTTPRequestHandler):
    """Answers with a file of the site, or not at all."""

    server: Server
    protocol_version = "HTTP/1.1"
    timeout = 60  # seconds without a word; a browser connects anew

    def do_GET(self) -> None:
        """A file."""
        self._answer(body=True)

    def do_HEAD(self) -> None:
        """What a GET would say of it."""
        self._answer(body=False)

    def _refuse(self) -> None:
        self._send(405, b"only GET and HEAD\n", {"Allow": "GET, HEAD", "Connection": "close"})

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _refuse  # noqa: N815

    def _answer(self, *, body: bool) -> None:
        name = unquote(urlsplit(self.path).path).removeprefix("/") or "index.html"
        found = self.server.files.get(name)
        if found is None:
            self._send(404, b"there is no such file\n", {"Cache-Control": "no-cache"}, body=body)
            return
        kept = "public, max-age=31536000, immutable" if name.startswith(HASHED) else "no-cache"
        kind = KINDS.get(PurePosixPath(name).suffix, "application/octet-stream")
        self._send(200, found, {"Content-Type": kind, "Cache-Control": kept}, body=body)

    def _send(self, status: int, content: bytes, headers: Mapping[str, str], *, body: bool = True) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": "text/plain; charset=utf-8"} | ALWAYS | dict(headers)).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


class Server(ThreadingHTTPServer):
    """Serves the files that are there now, and no others: what is not in this table has no address.

    Args:
        files: by address below the site.
        host: address or name to listen at.
        port: None: `PORT`, or the next one that is free; 0: any that is free.

    Raises:
        RunError: if it cannot listen there.
    """

    allow_reuse_address = os.name != "nt"  # there it would share a port that is taken

    def __init__(self, files: Mapping[str, Path], host: str, port: int | None) -> None:
        self.files = {name: path.read_bytes() for name, path in files.items()}
        try:
            self.address_family = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][0]
        except (OSError, UnicodeError) as error:
            raise RunError(f"host={host}: is no address of this machine: {error}") from error
        for choice in range(PORT, PORT + TRIES) if port is None else [port]:
            try:
                super().__init__((host, choice), Handler)
            except OSError as error:
                refused = f"host={host} port={choice}: {error.strerror or error}"
            else:
                return
        hint = "another --port, or none" if port is not None else "another --host, or --port"
        raise RunError(f"cannot listen at {refused}: choose {hint}")

    @property
    def url(self) -> str:
        """Address of the site for a browser of this machine."""
        host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(
            str(self.server_address[0]), str(self.server_address[0])
        )
        return f"http://{f'[{host}]' if ':' in host else host}:{self.server_port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that leaves in the middle of an answer is no error of ours."""
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)
