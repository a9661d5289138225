"""What the scripts of all peers share: the command line, rates, and the clock of a training run."""

from __future__ import annotations

import json
import math
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

GOAL, WINDOW = 475.0, 100  # CartPole-v1 is solved when this many training episodes in a row average this return


def serve(**tasks: Callable[..., dict[str, Any]]) -> None:
    """Runs the task named first on the command line with the settings of the second argument; JSON on stdout."""
    print(json.dumps(tasks[sys.argv[1]](**json.loads(sys.argv[2]))))


def best_rate(call: Callable[[], Any], rows: int, seconds: float = 1.0) -> dict[str, float]:
    """Most rows a second of a call that does `rows` of them, repeated for `seconds` after a warm-up."""
    call()
    least, end = math.inf, time.perf_counter() + seconds
    while time.perf_counter() < end:
        begin = time.perf_counter()
        call()
        least = min(least, time.perf_counter() - begin)
    return {"rate": rows / least}


def random_actions(num_envs: int, dtype: type = np.int64) -> Any:
    """Actions (32, num_envs), different in every step."""
    return np.random.default_rng(0).integers(0, 2, (32, num_envs)).astype(dtype)


class Returns:
    """Returns of the last episodes of environments stepped together."""

    def __init__(self, num_envs: int) -> None:
        self.running = np.zeros(num_envs)
        self.last: deque[float] = deque(maxlen=WINDOW)

    def add(self, reward: Any, done: Any) -> None:
        """One step of every environment."""
        self.running += reward
        self.last.extend(self.running[done])
        self.running[done] = 0.0

    @property
    def mean(self) -> float:
        """Mean of the last 100; not a number before there are as many."""
        return float(np.mean(self.last)) if len(self.last) == WINDOW else math.nan


class Clock:
    """Times the updates of a run, which ends after `seconds` or, when `to_goal`, as soon as the goal is reached."""

    def __init__(self, seconds: float, to_goal: bool) -> None:
        self.seconds, self.to_goal, self.solved = seconds, to_goal, False
        self.begin = self.start()

    def start(self) -> float:
        """Sets the clock to zero, when everything is built and compiled; time in seconds."""
        self.begin = time.perf_counter()
        self.marks: list[tuple[float, int]] = []
        return self.begin

    def update(self, steps: int, mean_return: float) -> bool:
        """Marks the end of an update at this number of environment steps; True ends the run."""
        elapsed = time.perf_counter() - self.begin
        self.marks.append((elapsed, steps))
        self.solved = self.to_goal and mean_return >= GOAL
        return self.solved or (elapsed > self.seconds and len(self.marks) > 1)

    def result(self) -> dict[str, Any]:
        """Steps a second after the first update; and whether, in how many seconds and steps, the goal was reached."""
        (first, before), (last, steps) = self.marks[0], self.marks[-1]
        return {"rate": (steps - before) / max(last - first, 1e-9), "solved": self.solved, "seconds": last, "steps": steps}
