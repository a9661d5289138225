"""The worker processes of a vector, as their parent sees them."""

from __future__ import annotations

import contextlib
import functools
import itertools
import multiprocessing
import os
import signal
import time
from collections.abc import Collection
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import send_handle
from typing import Any

import numpy as np

from pufferlib_core.errors import EnvError
from pufferlib_core.native import ffi, lib
from pufferlib_core.traits import EnvSpec
from pufferlib_core.vector.shared import COMMAND, LINE, board_planes, letters, share
from pufferlib_core.vector.states import pack_state, unpack_state
from pufferlib_core.vector.worker import Job, kind_of, rows_of, work

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
        self._due, self._next_look = [0.0] * workers, 0.0  # seconds of `time.monotonic`
        self.parts = list(itertools.pairwise(num_envs * k // workers for k in range(workers + 1)))
        self.rows = tuple(rows_of(spec, *part) for part in self.parts)
        self._processes: list[BaseProcess] = []
        self._connections: list[Connection] = []
        fd, self.board = share(functools.partial(board_planes, spec, num_envs, workers))
        self._order = ffi.from_buffer("int64_t[]", self.board.order)
        self._go, self._left = (ffi.from_buffer("uint32_t[]", plane) for plane in (self.board.go, self.board.left))
        self._left[0] = workers  # the start is an order, too, of number 0
        self.board.go[:, 1] = 0xFFFFFFFF
        self._allow(START_SECONDS)
        try:
            for k in range(workers):
                self._start(spec, num_envs, autoreset, k)
                self._send(k, None, fd)
            self.wait()
        except BaseException:
            self.stop()
            raise
        finally:
            os.close(fd)

    def _start(self, spec: EnvSpec, num_envs: int, autoreset: str, k: int) -> None:
        assert spec.origin is not None
        context: Any = multiprocessing.get_context(START_METHOD)
        job = Job(
            spec.origin, kind_of(spec), spec.max_episode_steps, num_envs, len(self.parts), k, *self.parts[k], autoreset,
            self._words,
        )  # fmt: skip
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

    def _allow(self, seconds: float) -> None:
        """Seconds from now that the last orders of all workers may take."""
        self._due[:] = [time.monotonic() + seconds] * len(self.parts)
        self._seconds = seconds

    def post(self, kind: int, segment: int = 0, row: int = 0, *, seconds: float | None = None) -> None:
        """Gives an order to all workers, which may take `seconds`; None: the timeout."""
        self.settle()
        self.board.order[:, :3] = kind, segment, row
        self._allow(self._timeout if seconds is None else seconds)
        lib.puf_post(self._go, LINE // 4, len(self.parts), self._left)

    def post_one(self, k: int, kind: int, segment: int, row: int) -> None:
        """Gives an order to worker k, which has none."""
        order = self._order
        order[k * LINE // 8], order[k * LINE // 8 + 1], order[k * LINE // 8 + 2] = kind, segment, row
        self._due[k], self._seconds = time.monotonic() + self._timeout, self._timeout
        lib.puf_post(self._go + k * LINE // 4, LINE // 4, 1, self._left)

    def settle(self) -> None:
        """Waits for orders that nobody has waited for: an exception, such as Ctrl-C, ended the last wait."""
        if self._left[0]:
            self.wait()

    def wait(self) -> int:
        """Waits until all have done their orders; returns how many episodes ended in the last ones.

        Raises:
            EnvError: if a worker raised, ended or took longer. All are ended then.
        """
        while not lib.puf_await(self._left, 0, LOOK_NS):
            self._look()
        return sum(map(self.finished, range(len(self.parts))))

    def wait_any(self, among: Collection[int]) -> int:
        """Waits until one of these workers, the only ones with an order, has done it; the first of them in this order.

        Raises:
            EnvError: if a worker raised, ended or took longer. All are ended then.
        """
        if time.monotonic() > self._next_look:  # also while the others keep the parent busy
            self._look()
        while True:
            for k in among:
                if not self._busy(k):
                    return k
            if not lib.puf_await(self._left, len(among) - 1, LOOK_NS):
                self._look()

    def finished(self, k: int) -> int:
        """Episodes that ended in the last step of worker k."""
        return int(self._order[k * LINE // 8 + 3])

    def _busy(self, k: int) -> bool:
        return bool(lib.puf_load_acquire(self._go + (k * LINE // 4 + 1)) != self._go[k * LINE // 4])

    def command(self, *message: object, seconds: float | None = None, fd: int | None = None) -> None:
        """An order whose arguments, and perhaps a descriptor, go over the connections."""
        self.settle()
        for k in range(len(self.parts)):
            self._send(k, message, fd)
        self.post(COMMAND, seconds=seconds)
        self.wait()

    def ask(self, name: str) -> list[Any]:
        """An attribute of every worker's rows, or what it returns if it is a method."""
        self.command("ask", name)
        sizes = [self.finished(k) for k in range(len(self.parts))]
        fd, answers = share(functools.partial(letters, sizes))
        try:
            self.command("answer", sizes, fd=fd)
        finally:
            os.close(fd)
        return [unpack_state(answer.tobytes()) for answer in answers[: len(sizes)]]

    def set_states(self, states: list[Any]) -> None:
        """Gives every worker's rows a state."""
        packed = [pack_state(state) for state in states]
        sizes = [len(data) for data in packed]
        fd, sent = share(functools.partial(letters, sizes))
        try:
            for plane, data in zip(sent, packed, strict=False):
                plane[:] = np.frombuffer(data, np.uint8)
            self.command("set_state", sizes, fd=fd)
        finally:
            os.close(fd)

    def restart(self, words: tuple[int, ...]) -> None:
        """Makes new environments with other seeds."""
        self._words = words
        self.command("restart", words, seconds=START_SECONDS)

    def _look(self) -> None:
        """Whether all workers live and are in time."""
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
        now = time.monotonic()
        for k, due in enumerate(self._due):
            if now > due and self._busy(k):
                self._fail(k, f"did not answer within {self._seconds:g} seconds")
        self._next_look = now + LOOK_NS * 1e-9

    def _fail(self, k: int, what: str) -> None:
        self.stop()
        first, stop = self.parts[k]
        raise EnvError(f"{self._name}: worker {k} (environments {first} to {stop - 1}, seed words {self._words}) {what}")

    def close(self, seconds: float) -> None:
        """Lets the workers close their environments, and ends them."""
        if self.ended:
            return
        try:
            self._allow(seconds)
            self.command("close", seconds=seconds)
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
