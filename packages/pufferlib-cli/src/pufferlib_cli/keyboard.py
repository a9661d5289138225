"""Single keys from a terminal."""

from __future__ import annotations

import os
import select
import sys
from types import TracebackType
from typing import Any

from pufferlib_core.errors import ConfigError

ARROWS = {b"[A": "up", b"[B": "down", b"[C": "right", b"[D": "left", b"OA": "up", b"OB": "down", b"OC": "right", b"OD": "left"}


class Keyboard:
    """Reads keys as they are pressed while it is entered; the terminal is put back as it was, also after an error.

    Raises:
        ConfigError: on entry, if standard input is not a terminal, or the system has no such terminals.
    """

    def __enter__(self) -> Keyboard:
        try:
            import termios
            import tty
        except ImportError as error:
            raise ConfigError("playing by keyboard needs a POSIX terminal") from error
        self._handle = sys.stdin.fileno() if sys.stdin is not None else -1
        if self._handle < 0 or not os.isatty(self._handle):
            raise ConfigError("playing by keyboard needs a terminal as standard input")
        self._before: list[Any] = termios.tcgetattr(self._handle)
        tty.setcbreak(self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        import termios

        termios.tcsetattr(self._handle, termios.TCSADRAIN, self._before)

    def key(self, seconds: float | None) -> str | None:
        """The next key: `up`, `down`, `left`, `right`, `escape` or a character. None if none came in time.

        Args:
            seconds: how long to wait; None waits for ever.
        """
        if not select.select([self._handle], [], [], seconds)[0]:
            return None
        first = os.read(self._handle, 1)
        if not first:  # the terminal was closed
            return "escape"
        if first != b"\x1b":
            return first.decode(errors="replace")
        if not select.select([self._handle], [], [], 0.02)[0]:
            return "escape"
        return ARROWS.get(os.read(self._handle, 2), "escape")
