"""Where metrics of a run go."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from pufferlib_core.errors import RunError


class JsonlLogger:
    """One JSON object a line, written at once, with the steps and every metric. NaN and infinity become null."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = path.open("ab", buffering=0)  # unbuffered: what fails, fails in `write` and not again on closing
        except OSError as error:
            raise RunError(f"cannot write {path}: {error.strerror}") from error

    def start(self, run: Mapping[str, Any]) -> None:
        """Nothing: the settings have a file of their own."""

    def write(self, steps: int, metrics: Mapping[str, float]) -> None:
        """Appends a line."""
        values = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        line = (json.dumps({"steps": steps, **values}) + "\n").encode()
        try:
            if self._file.write(line) < len(line):  # the disk took a part; the next write says why
                self._file.write(b"\n")
        except OSError as error:
            raise RunError(f"cannot write {self._path}: {error.strerror}") from error

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def origin(run: Mapping[str, Any]) -> str:
    """One line on what a run continues, from what `Logger.start` receives; empty where there is nothing to say."""
    if run.get("resumed_from") is not None:
        return f"continues {run['resumed_from']}"
    if run.get("resume") is not None:
        return f"starts anew: {run.get('out')} holds no checkpoint of this environment, algorithm and seed to continue"
    return ""


class ConsoleLogger:
    """Plain lines, at most one each `every` seconds of the run's time, and one for each evaluation."""

    def __init__(self, file: IO[str] | None = None, every: float = 1.0) -> None:
        self._file: IO[str] | None = file if file is not None else sys.stdout
        self._every = every
        self._next = 0.0

    def start(self, run: Mapping[str, Any]) -> None:
        """Says what runs, and what it continues."""
        self._say(f"training {run.get('env')} with {run.get('algorithm')} on {run.get('backend')}")
        if said := origin(run):
            self._say(said)

    def write(self, steps: int, metrics: Mapping[str, float]) -> None:
        """Prints a line if it is time."""
        if "eval/return_mean" in metrics:
            self._say(
                f"{steps:>10} steps  evaluation: return {metrics['eval/return_mean']:.2f} +- {metrics['eval/return_std']:.2f} "
                f"over {metrics['eval/episodes']:.0f} episodes"
            )
        elapsed = metrics.get("time/elapsed", 0.0)
        if elapsed < self._next:
            return
        self._next = elapsed + self._every
        mean = metrics.get("episode/return_mean", math.nan)
        self._say(
            f"{steps:>10} steps  {metrics.get('time/steps_per_second', 0):>12,.0f} steps/s  "
            f"return {'-' if math.isnan(mean) else f'{mean:.2f}':>8}  episodes {metrics.get('episode/count', 0):.0f}"
        )

    def _say(self, line: str) -> None:
        if self._file is None:
            return
        try:
            print(line, file=self._file, flush=True)
        except BrokenPipeError:  # whoever read it has left: the run goes on
            self._file = None

    def close(self) -> None:
        """Nothing to release."""
