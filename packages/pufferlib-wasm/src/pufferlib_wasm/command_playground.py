"""`puffer playground`."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys

HELP = "open the page in which policies are trained, watched and played, served from this machine"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds those of this command."""
    parser.add_argument(
        "--host", metavar="H", default="127.0.0.1", help="address to listen at; default: 127.0.0.1, this machine alone"
    )
    parser.add_argument("--port", metavar="N", help="default: 8420, or the next one that is free")
    parser.add_argument(
        "--no-open", action="store_true", help="do not open the browser; nor does --json, or a machine without a screen"
    )


def run(args: argparse.Namespace, rest: list[str]) -> int:
    """Serves until it is interrupted; prints the address, or with --json one object, when it listens."""
    from pufferlib_wasm.page import files, site
    from pufferlib_wasm.serve import Server

    port = _port(args.port)
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # also where a shell started this in the background, which ignores it
    with Server(files(site()), args.host, port) as server:
        print(json.dumps({"url": server.url}) if args.json else f"{server.url}  (Ctrl-C ends it)", flush=True)
        if not args.json and not args.no_open and _has_screen():
            import webbrowser

            webbrowser.open(server.url)
        server.serve_forever()
    return 0


def _port(text: str | None) -> int | None:
    """The number; None if it was left out.

    Raises:
        ConfigError: if it is none.
    """
    from pufferlib_core.errors import ConfigError

    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise ConfigError(f"--port {text} must be a whole number in [0, 65535]; 0: any port that is free")
    return int(text)


def _has_screen() -> bool:
    """Else a browser of the terminal would take the place of this command."""
    return (
        os.name == "nt"
        or sys.platform == "darwin"
        or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
    )
