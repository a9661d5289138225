"""The live dashboard: a rich table that a terminal shows while a run goes on."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from pufferlib_core.loggers import origin
from rich.console import Console
from rich.live import Live
from rich.table import Table


class Dashboard:
    """A logger that redraws a table at most ten times a second."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console if console is not None else Console()
        self._live: Live | None = None
        self._run: Mapping[str, Any] = {}
        self._total = 0
        self._next = 0.0
        self._latency: list[float] = []  # seconds of an environment step, by update
        self._split = [0.0, 0.0]
        self._evaluation: tuple[int, float] | None = None  # steps and mean return of the last one

    def start(self, run: Mapping[str, Any]) -> None:
        """Opens the display."""
        self._run, self._total = run, run["train"]["timesteps"]
        self._horizon = run[run["algorithm"]]["horizon"]
        self._live = Live(console=self._console, auto_refresh=False)
        self._live.start()
        if said := origin(run):
            self._console.print(said, markup=False, highlight=False)

    def write(self, steps: int, metrics: Mapping[str, float]) -> None:
        """Takes over the metrics of an update."""
        self._latency.append(metrics["time/collect"] / self._horizon)
        self._split[0] += metrics["time/collect"]
        self._split[1] += metrics["time/update"]
        if "eval/return_mean" in metrics:
            self._evaluation = steps, metrics["eval/return_mean"]
        now = time.monotonic()
        if now < self._next or self._live is None:
            self._last = (steps, metrics)
            return
        self._next = now + 0.1
        self._last = (steps, metrics)
        self._live.update(self.table(steps, metrics), refresh=True)

    def close(self) -> None:
        """Draws the last state and leaves it on the screen."""
        if self._live is None:
            return
        if self._latency:
            self._live.update(self.table(*self._last), refresh=True)
        self._live.stop()
        self._live = None

    def table(self, steps: int, metrics: Mapping[str, float]) -> Table:
        """The display for these metrics."""
        rate = metrics["time/steps_per_second"]
        left = max(0, self._total - steps)
        ordered = sorted(self._latency)
        p50, p99 = (ordered[min(len(ordered) - 1, int(q * len(ordered)))] * 1e6 for q in (0.5, 0.99))
        spent = max(sum(self._split), 1e-9)
        run = self._run
        table = Table(title=f"puffer  {run['env']}  {run['algorithm']}  {run['backend']}  seed {run['seed']}")
        for column in ("run", "", "learning", ""):
            table.add_column(column, justify="right" if not column else "left", min_width=12)
        rows = [
            ("steps", f"{steps:,} / {self._total:,}", "return (last 100)", _number(metrics["episode/return_mean"])),
            ("steps/s", f"{rate:,.0f}", "episode length", _number(metrics["episode/length_mean"])),
            ("ETA", f"{left / rate:,.1f} s" if rate > 0 else "-", "episodes", f"{metrics['episode/count']:,.0f}"),
            ("step p50 / p99", f"{p50:,.0f} / {p99:,.0f} us", "policy loss", _number(metrics["losses/policy_loss"], 4)),
            ("collect", f"{self._split[0] / spent:.0%}", "value loss", _number(metrics["losses/value_loss"], 4)),
            ("update", f"{self._split[1] / spent:.0%}", "entropy", _number(metrics["losses/entropy"], 4)),
            ("elapsed", f"{metrics['time/elapsed']:.2f} s", "approx. KL", _number(metrics["losses/approx_kl"], 4)),
        ]
        if self._evaluation is not None:
            at, mean = self._evaluation
            rows.append(("evaluated at", f"{at:,}", "evaluation return", _number(mean)))
        for row in rows:
            table.add_row(*row)
        return table


def _number(value: float, digits: int = 2) -> str:
    return "-" if math.isnan(value) else f"{value:,.{digits}f}"
