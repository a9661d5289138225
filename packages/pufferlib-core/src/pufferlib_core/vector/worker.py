"""What a worker process does: its environments' part of every order."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from typing import Any, TypeVar

import numpy as np

from pufferlib_core.data import Segment, Zeros
from pufferlib_core.errors import EnvError
from pufferlib_core.native import Array, ffi, lib
from pufferlib_core.traits import EnvSpec
from pufferlib_core.vector.base import segment_planes
from pufferlib_core.vector.python import PythonRows
from pufferlib_core.vector.registry import env_spec
from pufferlib_core.vector.shared import RESET, STEP, attach, board_planes, letters
from pufferlib_core.vector.states import pack_state, unpack_state

T = TypeVar("T")
LOOK_NS = 500_000_000  # how often an idle worker looks whether its parent lives
LONGEST_REPORT = 20_000  # characters; the connection takes them without a reader


def kind_of(spec: EnvSpec) -> tuple[Any, ...]:
    """What parent and worker must agree on."""
    return spec.obs_space, spec.action_space, spec.agents, spec.turns


def rows_of(spec: EnvSpec, first: int, stop: int) -> slice:
    """Rows of environments `first` to `stop - 1`."""
    return slice(first * spec.agents, stop * spec.agents)


@dataclass(frozen=True)
class Job:
    """What a worker needs to begin: which environments are its own, and how they are made."""

    origin: tuple[str, Mapping[str, Any]]
    kind: tuple[Any, ...]  # `kind_of` the environment in the parent
    max_episode_steps: int
    num_envs: int  # of all workers
    workers: int
    number: int
    first: int
    stop: int
    autoreset: str
    words: tuple[int, ...]


def work(connection: Connection, job: Job) -> None:
    """Main function of the process; a failure is reported over the connection and ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends its workers
    try:
        Worker(connection, job).serve()
    except BaseException:
        with contextlib.suppress(OSError):
            connection.send(traceback.format_exc()[-LONGEST_REPORT:])
        raise SystemExit(1) from None


class Worker:
    """Environments `first` to `stop - 1` of a vector, and views of their part of the shared planes."""

    def __init__(self, connection: Connection, job: Job) -> None:
        self._connection, self._job = connection, job
        self._spec = dataclasses.replace(env_spec(*job.origin), max_episode_steps=job.max_episode_steps)
        if kind_of(self._spec) != job.kind:
            raise EnvError(f"{job.origin[0]} is another environment here: its spaces or agents differ")
        self._part = rows_of(self._spec, job.first, job.stop)
        board = self._receive(functools.partial(board_planes, self._spec, job.num_envs, job.workers))
        self._order = ffi.from_buffer("int64_t[]", board.order[job.number])
        self._step, self._spare = board.step.part(self._part), board.spare.part(self._part)
        self._action, self._chosen = board.action[self._part], board.chosen[self._part]
        self._go, self._left = ffi.from_buffer("uint32_t[]", board.go[job.number]), ffi.from_buffer("uint32_t[]", board.left)
        self._segments: dict[int, Segment] = {}
        self._answer = b""
        self._open = True
        self._make(job.words)

    def _receive(self, layout: Callable[[Zeros], T]) -> T:
        fd = recv_handle(self._connection)
        try:
            return attach(fd, layout)
        finally:
            os.close(fd)

    def _make(self, words: tuple[int, ...]) -> None:
        job = self._job
        self._rows = PythonRows(self._spec, job.stop - job.first, job.first, job.autoreset, words)

    def serve(self) -> None:
        """Obeys until it is told to close, or the parent is gone."""
        number = 0  # the start itself
        while True:
            lib.puf_done(self._go + 1, number, self._left)
            if not self._open:
                return
            if not self._next(number):
                self._rows.close()
                return
            number = (number + 1) & 0xFFFFFFFF
            self._obey()

    def _next(self, number: int) -> bool:
        """Waits for the order after `number`; False: there will be none."""
        parent = multiprocessing.parent_process()
        while not lib.puf_park(self._go, number, LOOK_NS):
            if parent is not None and not parent.is_alive():
                return False
        return True

    def _obey(self) -> None:
        kind, segment, row = self._order[0:3]
        if kind == STEP:
            out = self._segments[segment].row(row) if segment > 0 else self._spare if segment else self._step
            self._order[3] = self._rows.step(self._action, out)
        elif kind == RESET:
            self._rows.reset(np.flatnonzero(self._chosen), self._step)
        else:
            self._command(*self._connection.recv())

    def _command(self, name: str, *arguments: Any) -> None:
        if name == "segment":
            number, steps = arguments
            layout = functools.partial(segment_planes, self._spec, steps, self._job.num_envs, self._spec.mask_size)
            self._segments[number] = self._receive(layout).part(self._part)
        elif name == "drop":
            del self._segments[arguments[0]]
        elif name == "ask":
            value = getattr(self._rows, arguments[0])
            self._answer = pack_state(value() if callable(value) else value)
            self._order[3] = len(self._answer)
        elif name == "answer":
            self._letter(arguments[0])[:] = np.frombuffer(self._answer, np.uint8)
        elif name == "set_state":
            self._rows.set_state(unpack_state(self._letter(arguments[0]).tobytes()))
        else:
            self._rows.close()
            if name == "restart":
                self._make(*arguments)
            self._open = name == "restart"

    def _letter(self, sizes: list[int]) -> Array:
        """This worker's bytes of a letter to or from the parent."""
        return self._receive(functools.partial(letters, sizes))[self._job.number]
