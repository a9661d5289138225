"""Environments written in Python, stepped by worker processes that write into shared memory."""

from __future__ import annotations

import contextlib
import functools
import itertools
import multiprocessing
import os
import signal
import time
import weakref
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import send_handle
from typing import Any

import numpy as np

from pufferlib_core.data import Segment
from pufferlib_core.errors import EnvError
from pufferlib_core.native import Array, ffi, lib
from pufferlib_core.traits import EnvSpec, Step
from pufferlib_core.vector.base import segment_planes
from pufferlib_core.vector.python import PythonVecs
from pufferlib_core.vector.shared import COMMAND, LINE, RESET, STEP, board_planes, share
from pufferlib_core.vector.worker import Job, kind_of, work

# Never by forking this process: it has threads.
START_METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
LOOK_NS = 100_000_000  # how often the parent looks after workers while it waits
START_SECONDS = 120.0  # to import and make the environments
CLOSE_SECONDS = 5.0


class Crew:
    """The worker processes of one vector: gives orders, waits for them, and ends everything when something fails."""

    def __init__(
        self, spec: EnvSpec, num_envs: int, workers: int, autoreset: str, words: tuple[int, ...], timeout: float
    ) -> None:
        self.ended = False
        self.dropped: list[int] = []  # numbers of segments that nobody holds any more
        self._name, self._words, self._timeout = spec.name, words, timeout
        self._owner = os.getpid()
        self._parts = list(itertools.pairwise(num_envs * k // workers for k in range(workers + 1)))
        self._processes: list[BaseProcess] = []
        self._connections: list[Connection] = []
        fd, self.board = share(functools.partial(board_planes, spec, num_envs, workers))
        self._order, self._result = (ffi.from_buffer("int64_t[]", plane) for plane in (self.board.order, self.board.result))
        self._go, self._left = (ffi.from_buffer("uint32_t[]", plane) for plane in (self.board.go, self.board.left))
        self._left[0] = workers  # the start is an order, too
        try:
            for k in range(workers):
                self._start(spec, num_envs, autoreset, k)
                self._send(k, None, fd)
            self.wait(START_SECONDS)
        except BaseException:
            self.stop()
            raise
        finally:
            os.close(fd)

    def _start(self, spec: EnvSpec, num_envs: int, autoreset: str, k: int) -> None:
        assert spec.origin is not None
        context: Any = multiprocessing.get_context(START_METHOD)
        job = Job(spec.origin, kind_of(spec), num_envs, len(self._parts), k, *self._parts[k], autoreset, self._words)
        ours, theirs = context.Pipe()
        self._connections.append(ours)
        with theirs:
            process = context.Process(target=work, args=(theirs, job), name=f"{spec.name}-{k}", daemon=True)
            process.start()
        self._processes.append(process)

    def _send(self, k: int, message: tuple[object, ...] | None, fd: int | None) -> None:
        with contextlib.suppress(OSError):  # the worker is gone; waiting for it says why
            if message is not None:
                self._connections[k].send(message)
            if fd is not None:
                send_handle(self._connections[k], fd, self._processes[k].pid)

    def post(self, kind: int, segment: int = 0, row: int = 0) -> None:
        """Gives an order to all workers."""
        if self._left[0]:  # an exception, such as Ctrl-C, ended the last wait
            self.wait(self._timeout)
        self._order[0], self._order[1], self._order[2] = kind, segment, row
        lib.puf_post(self._go, LINE // 4, len(self._parts), self._left)

    def wait(self, seconds: float) -> int:
        """Waits until all have done the last order; returns how many episodes ended.

        Raises:
            EnvError: if a worker raised, ended or took longer. All are ended then.
        """
        end = time.monotonic() + seconds
        while left := lib.puf_load_acquire(self._left):
            if not lib.puf_park(self._left, left, LOOK_NS):
                self._look()
                if time.monotonic() > end:
                    late = np.flatnonzero(self.board.result[:, 1] != self._go[0])
                    self._fail(int(late[0]), f"did not answer within {seconds:g} seconds")
        return sum(self._result[k * LINE // 8] for k in range(len(self._parts)))

    def command(self, seconds: float, *message: object, fd: int | None = None) -> None:
        """An order whose arguments, and perhaps a descriptor, go over the connections."""
        if self._left[0]:
            self.wait(self._timeout)
        for k in range(len(self._parts)):
            self._send(k, message, fd)
        self.post(COMMAND)
        self.wait(seconds)

    def restart(self, words: tuple[int, ...]) -> None:
        """Makes new environments with other seeds."""
        self._words = words
        self.command(START_SECONDS, "restart", words)

    def _look(self) -> None:
        for k, (process, connection) in enumerate(zip(self._processes, self._connections, strict=True)):
            code = process.exitcode  # before the report, which comes before the exit
            if connection.poll():
                with contextlib.suppress(EOFError, OSError):
                    self._fail(k, f"failed:\n{connection.recv()}")
                process.join(CLOSE_SECONDS)
                code = process.exitcode
            if code is not None and code < 0:
                self._fail(k, f"was killed by signal {-code} ({signal.strsignal(-code)})")
            if code is not None:
                self._fail(k, f"ended with exit code {code}; scripts that start workers need `if __name__ == '__main__':`")

    def _fail(self, k: int, what: str) -> None:
        self.stop()
        first, stop = self._parts[k]
        raise EnvError(f"{self._name}: worker {k} (environments {first} to {stop - 1}, seed words {self._words}) {what}")

    def close(self, seconds: float) -> None:
        """Lets the workers close their environments, and ends them."""
        if self.ended:
            return
        try:
            if self._left[0]:
                self.wait(seconds)
            self.command(seconds, "close")
            for process in self._processes:
                process.join(seconds)
        finally:
            self.stop()

    def abandon(self) -> None:
        """The same when the vector was dropped, or at exit; not in a process that was forked from the owner."""
        if os.getpid() == self._owner:
            with contextlib.suppress(EnvError):
                self.close(CLOSE_SECONDS)

    def stop(self) -> None:
        """Kills the workers that are left."""
        self.ended = True
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.join()
            process.close()
        for connection in self._connections:
            connection.close()
        self._processes.clear()
        self._connections.clear()


class ProcessVec(PythonVecs):
    """N environments written in Python, in W worker processes; each steps neighbours one after the other.

    Separate environments go the way that `PythonVec` takes them, whatever W; a `BatchEnv` is made once for each worker,
    with a seed of its own, so that its randomness depends on W.
    """

    def __init__(
        self, spec: EnvSpec, num_envs: int, autoreset: str, seed: int, first_stream: int, workers: int, timeout: float
    ) -> None:
        super().__init__(spec, num_envs, autoreset, seed, first_stream)
        self._timeout = timeout
        self._crew = Crew(spec, num_envs, workers, autoreset, self._words, timeout)
        self._board = self._crew.board
        self._step = self._board.step
        self._numbers: dict[int, int] = {}  # of segments that the workers map, by id
        self._allocated = 0
        self._spare: Segment | None = None
        weakref.finalize(self, self._crew.abandon)

    def _ready(self) -> None:
        if self._crew.ended:
            raise self._is_closed()
        if self._pending is not None:
            raise EnvError(f"{self.spec.name}: recv() first, a step is under way")
        while self._crew.dropped:
            self._crew.command(self._timeout, "drop", self._crew.dropped.pop())

    def _restart(self) -> None:
        self._ready()
        self._crew.restart(self._words)

    def _reset(self, mask: Array | None) -> None:
        self._ready()
        self._board.chosen[...] = 1 if mask is None else mask
        self._crew.post(RESET)
        self._crew.wait(self._timeout)

    def _post(self, action: Array, segment: int, row: int) -> None:
        self._ready()
        self._check_action(action)
        self._board.action[...] = action
        self._crew.post(STEP, segment, row)

    def _advance(self, action: Array, rows: Step, out: tuple[Segment, int] | None) -> int:
        if out is not None and id(out[0]) not in self._numbers:
            return self._advance_foreign(action, rows)
        self._post(action, *((0, 0) if out is None else (self._numbers[id(out[0])], out[1])))
        return self._crew.wait(self._timeout)

    def _advance_foreign(self, action: Array, rows: Step) -> int:
        """Into rows that are not shared: through a row that is."""
        if self._spare is None:
            self._spare = self.allocate(1)
        spare = self._spare.row(0)
        finished = self._advance(action, spare, (self._spare, 0))
        for name in ("obs", "reward", "cost", "terminated", "truncated", "valid"):
            getattr(rows, name)[...] = getattr(spare, name)
        ended = np.flatnonzero(spare.terminated | spare.truncated)
        rows.final_obs[ended], rows.log[ended] = spare.final_obs[ended], spare.log[ended]
        return finished

    def send(self, action: Array) -> None:
        """Lets the workers step; `recv` waits for them."""
        self._check_started("send")
        self._post(action, 0, 0)
        self._pending = self._step

    def recv(self) -> Step:
        """The result of the last `send`."""
        if self._pending is not None:
            if self._crew.ended:
                raise self._is_closed()
            self._pending = self._step._replace(finished=self._crew.wait(self._timeout))
        return super().recv()

    def allocate(self, steps: int) -> Segment:
        """Shared memory for a segment: the workers write into it. They let go of it after it is dropped here."""
        self._check_steps(steps)
        self._ready()
        fd, segment = share(functools.partial(segment_planes, self.spec, steps, self.num_envs, 0))
        self._allocated += 1
        try:
            self._crew.command(self._timeout, "segment", self._allocated, steps, fd=fd)
        finally:
            os.close(fd)
        self._numbers[id(segment)] = self._allocated
        weakref.finalize(segment, _forget, self._numbers, self._crew.dropped, id(segment)).atexit = False
        return segment

    def close(self) -> None:
        """Closes the environments and ends the workers; calling it again does nothing."""
        self._crew.close(min(self._timeout, CLOSE_SECONDS))


def _forget(numbers: dict[int, int], dropped: list[int], key: int) -> None:
    dropped.append(numbers.pop(key))
