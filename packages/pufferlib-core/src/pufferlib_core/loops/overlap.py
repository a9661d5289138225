"""Who collects the segments that a run learns from: the loop itself (`InTurn`), or a thread beside it (`Overlap`).

`Overlap` has one thread, two segments and the engine's `Collector`, whose parameters are copies:

    lag 0    the thread collects; then the loop learns. What is learnt is that of `InTurn`, to the bit.
    lag 1    while the loop learns from one segment, the thread collects the next with the policy from before that update

So segment k (from 0) is collected by the policy of max(0, k - lag) updates, whatever the threads' speeds: runs repeat. Both
sides meet at the end of each update. In between nobody touches what the other one writes: the thread has the environments, the
segment that it fills and its own parameters, pool and scratch memory; the loop has the other segment and the engine. Between
two updates the thread rests, so that checkpoints, evaluations and callbacks find everything in order; what was collected and
not learnt from yet (`ahead`) is part of a checkpoint, and a run goes on from there exactly.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from pufferlib_core.algorithms import State
from pufferlib_core.backends import Collector, Engine
from pufferlib_core.data import Segment
from pufferlib_core.vector import VecEnv


class InTurn:
    """Collects when asked to, with the engine's own policy.

    Args:
        engine: of the run.
        vec: the environments.
        steps: T.
        carry: numbers that the policy hands on.
    """

    ahead: Segment | None = None  # what is collected and not learnt from yet

    def __init__(self, engine: Engine, vec: VecEnv, steps: int, carry: int) -> None:
        self._engine, self._vec = engine, vec
        # To be learnt from after `take`; between updates to be filled, with the observations of now in row 0.
        self.segment = vec.allocate(steps, carry)
        self._seconds = 0.0  # that collecting took

    def take(self, state: State, first_step: int) -> int:
        """Fills the segment to learn from; returns how many episodes ended in it."""
        begin = time.perf_counter()
        self.segment.version.fill(state["updates"][0])
        finished = self._engine.collect(self._vec, self.segment, first_step)
        self._seconds = time.perf_counter() - begin
        return finished

    def go_on(self, state: State, first_step: int) -> None:
        """Called before an update that others will follow, with the first step after the segment."""

    def settle(self) -> dict[str, float]:
        """Called after the update; returns the metrics of this side."""
        self.segment.roll()
        return {"time/collect": self._seconds}

    def close(self) -> None:
        """Nothing."""


class _Done(NamedTuple):
    """What the thread has done."""

    finished: int  # episodes
    begin: float  # seconds of `time.perf_counter`
    end: float


class Overlap:
    """Collects in a thread of its own. Its calls and `segment` are those of `InTurn`.

    Args:
        collector: of the engine.
        vec: the environments.
        steps: T.
        carry: numbers that the policy hands on.
        lag: updates between the policy that collects a segment and the one that learns from it, 0 or 1.
    """

    def __init__(self, collector: Collector, vec: VecEnv, steps: int, carry: int, lag: int) -> None:
        self._collector, self._vec, self._lag = collector, vec, lag
        self.segment, self._other = (vec.allocate(steps, carry) for _ in range(2))
        self.ahead: Segment | None = None
        self._finished = 0  # episodes that ended in `ahead`
        self._busy = self._waited = 0.0  # seconds in this update: of the thread at work, of the loop waiting for it
        self._lags = (0.0, 0.0)  # of the segment learnt from, mean and largest
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="collect")
        self._work: Future[_Done] | None = None

    def put_ahead(self, load: Callable[[Segment], None]) -> None:
        """Begins with a segment that `load` fills, from a checkpoint."""
        load(self._other)
        self.ahead = self._other
        self._finished = int(np.count_nonzero(self.ahead.terminated | self.ahead.truncated))

    def take(self, state: State, first_step: int) -> int:
        """The segment to learn from, the one ahead or a new one; returns how many episodes ended in it."""
        self._busy = self._waited = 0.0
        if self.ahead is not None:
            self.segment, self._other, self.ahead = self.ahead, self.segment, None
            finished = self._finished
        else:
            self._begin(self.segment, state, first_step)
            finished = self._end().finished
            self.segment.roll(self._other)
        lag = state["updates"][0] - self.segment.version
        self._lags = float(lag.mean()), float(lag.max())
        return finished

    def go_on(self, state: State, first_step: int) -> None:
        """Lets the thread collect during the update, with the policy as it is before."""
        if self._lag:
            self._begin(self._other, state, first_step)

    def settle(self) -> dict[str, float]:
        """Waits for the thread after the update; returns the metrics of this side."""
        learnt, idle = time.perf_counter(), 0.0
        self.segment, self._other = self._other, self.segment
        if self._work is not None:
            done = self._end()
            idle, self._finished = max(0.0, learnt - done.end), done.finished
            self.segment.roll(self._other)
            self.ahead, self.segment, self._other = self.segment, self._other, self.segment
        return {
            "async/lag_mean": self._lags[0],
            "async/lag_max": self._lags[1],
            "time/collect": self._busy,
            "time/wait_segment": self._waited,
            "time/wait_learner": idle,
        }

    def _begin(self, segment: Segment, state: State, first_step: int) -> None:
        """Takes a copy of the policy and lets the thread fill a segment, whose row 0 is there."""
        self._collector.load(state)
        segment.version.fill(state["updates"][0])

        def work() -> _Done:
            begin = time.perf_counter()
            finished = self._collector.collect(self._vec, segment, first_step)
            return _Done(finished, begin, time.perf_counter())

        self._work = self._executor.submit(work)

    def _end(self) -> _Done:
        """Waits for the thread; raises what it has raised."""
        assert self._work is not None
        begin = time.perf_counter()
        done = self._work.result()
        self._waited += time.perf_counter() - begin
        self._busy += done.end - done.begin
        self._work = None
        return done

    def close(self) -> None:
        """Ends the thread after the step that it is in; the environments can only be closed then."""
        self._vec.interrupt()
        self._executor.shutdown()
