"""The worker processes of a vector, as their parent sees them."""

from __future__ import annotations

import contextlib
import functools
import itertools
import multiprocessing
import os
import signal
import time
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
        self.parts = list(itertools.pairwise(num_envs * k // workers for k in range(workers + 1)))
        self._processes: list[BaseProcess] = []
        self._connections: list[Connection] = []
        fd, self.board = share(functools.partial(board_planes, spec, num_envs, workers))
        self._order, self._result = (ffi.from_buffer("int64_t[]", plane) for plane in (self.board.order, self.board.result))
        self._go, self._left = (ffi.from_buffer("uint32_t[]", plane) for plane in (self.board.go, self.board.left))
        self._left[0] = workers  # the start is an order, too, of number 0
        self.board.result[:, 1] = -1
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

    def post(self, kind: int, segment: int = 0, row: int = 0) -> None:
        """Gives an order to all workers."""
        if self._left[0]:  # an exception, such as Ctrl-C, ended the last wait
            self.wait(self._timeout)
        self._order[0], self._order[1], self._order[2] = kind, segment, row
        lib.puf_post(self._go, LINE // 4, len(self.parts), self._left)

    def wait(self, seconds: float) -> int:
        """Waits until all have done the last order; returns how many episodes ended.

        Raises:
            EnvError: if a worker raised, ended or took longer. All are ended then.
        """
        end = time.monotonic() + seconds
        while left := lib.puf_load_acquire(self._left):
            if not lib.puf_park(self._left, left, LOOK_NS):
                self._look()
                late = np.flatnonzero(self.board.result[:, 1] != self._go[0])
                if len(late) and time.monotonic() > end:
                    self._fail(int(late[0]), f"did not answer within {seconds:g} seconds")
        return sum(self._result[k * LINE // 8] for k in range(len(self.parts)))

    def command(self, seconds: float, *message: object, fd: int | None = None) -> None:
        """An order whose arguments, and perhaps a descriptor, go over the connections."""
        if self._left[0]:
            self.wait(self._timeout)
        for k in range(len(self.parts)):
            self._send(k, message, fd)
        self.post(COMMAND)
        self.wait(seconds)

    def ask(self, seconds: float, name: str) -> list[Any]:
        """An attribute of every worker's rows, or what it returns if it is a method."""
        self.command(seconds, "ask", name)
        sizes = self.board.result[:, 0].tolist()
        fd, answers = share(functools.partial(letters, sizes))
        try:
            self.command(seconds, "answer", sizes, fd=fd)
        finally:
            os.close(fd)
        return [unpack_state(answer.tobytes()) for answer in answers[: len(sizes)]]

    def set_states(self, seconds: float, states: list[Any]) -> None:
        """Gives every worker's rows a state."""
        packed = [pack_state(state) for state in states]
        sizes = [len(data) for data in packed]
        fd, sent = share(functools.partial(letters, sizes))
        try:
            for plane, data in zip(sent, packed, strict=False):
                plane[:] = np.frombuffer(data, np.uint8)
            self.command(seconds, "set_state", sizes, fd=fd)
        finally:
            os.close(fd)

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
        first, stop = self.parts[k]
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
