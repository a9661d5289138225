"""Environments written in Python, stepped by worker processes that write into shared memory."""

from __future__ import annotations

import functools
import os
import weakref
from collections.abc import Mapping

import numpy as np

from pufferlib_core.data import Segment
from pufferlib_core.errors import EnvError
from pufferlib_core.native import Array
from pufferlib_core.traits import EnvSpec, Step
from pufferlib_core.vector.base import segment_planes
from pufferlib_core.vector.crew import CLOSE_SECONDS, Crew
from pufferlib_core.vector.python import PythonVecs
from pufferlib_core.vector.shared import RESET, SPARE, STEP, share
from pufferlib_core.vector.states import INNER, joined, parted


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
        self._batches = workers
        self._crew = Crew(spec, num_envs, workers, autoreset, self._words, timeout)
        self._board = self._crew.board
        self._step = self._board.step
        self._numbers: dict[int, int] = {}  # of segments that the workers map, by id
        self._allocated = 0
        self._foreign = dict.fromkeys(range(workers), False)  # whose step goes through the spare rows
        weakref.finalize(self, self._crew.abandon)

    @property
    def parts(self) -> tuple[slice, ...]:
        """Rows of each worker, which step on their own (`send_part`)."""
        return self._crew.rows

    def _check_idle(self) -> None:
        self._check_open()
        super()._check_idle()

    def _ready(self) -> None:
        self._check_idle()
        while self._crew.dropped:
            self._crew.command("drop", self._crew.dropped.pop())

    def _check_open(self) -> None:
        if self._crew.ended:
            raise self._is_closed()

    def _restart(self) -> None:
        self._ready()
        self._crew.restart(self._words)

    @functools.cached_property
    def _missing(self) -> str:
        self._ready()
        return str(self._crew.ask("missing")[0])

    def _states(self) -> dict[str, Array]:
        self._ready()
        parts = self._crew.ask("state")
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _set_states(self, state: Mapping[str, Array]) -> None:
        self._ready()
        packed, parts = parted(state), []
        for k, ((first, stop), rows) in enumerate(zip(self._crew.parts, self._crew.rows, strict=True)):
            inner = joined(packed[first:stop] if self.spec.batch is None else packed[k : k + 1])
            parts.append({name: book[rows] for name, book in state.items() if name not in INNER} | inner)
        self._crew.set_states(parts)

    def _copy(self, source: int, targets: list[int]) -> None:
        raise EnvError(f"{self.spec.name}: workers cannot fork, because {self._missing}")

    def _reset(self, mask: Array | None) -> None:
        self._ready()
        self._board.chosen[...] = self._whole(mask)
        self._crew.post(RESET)
        self._crew.wait()

    def _post(self, action: Array, segment: int, row: int) -> None:
        self._ready()
        self._check_action(action, self.rows)
        self._board.action[...] = action
        self._crew.post(STEP, segment, row)

    def _advance(self, action: Array, rows: Step, out: tuple[Segment, int] | None) -> int:
        number, t = self._where(out)
        self._post(action, number, t)
        finished = self._crew.wait()
        if number == SPARE:
            _copy(self._board.spare, rows)
        return finished

    def _where(self, out: tuple[Segment, int] | None) -> tuple[int, int]:
        """Number and row of the segment that the workers write: the spare rows for one that they do not share."""
        return (0, 0) if out is None else (self._numbers.get(id(out[0]), SPARE), out[1])

    def send(self, action: Array) -> None:
        """Lets the workers step; `recv` waits for them."""
        self._check_ready("send")
        self._post(action, 0, 0)
        self._pending = self._step

    def recv(self) -> Step:
        """The result of the last `send`."""
        if self._pending is not None:
            self._check_open()
            self._pending = self._step._replace(finished=self._crew.wait())
        return super().recv()

    def send_part(self, part: int, action: Array, out: tuple[Segment, int] | None = None) -> None:
        """Lets one worker step, see `VecEnv.send_part`."""
        self._check_started("send_part")
        self._check_part(part)
        if part in self._sent or self._pending is not None:
            self._check_idle()
        self._check_open()
        if not self._sent:
            self._ready()
            self._crew.settle()
        rows, (number, t) = self.parts[part], self._where(out)
        self._check_action(action, rows.stop - rows.start)
        step = (self._step if out is None else self._rows(*out)).part(rows)
        self._board.action[rows] = action
        if out is not None:
            out[0].action[t, rows] = action
        self._crew.post_one(part, STEP, number, t)
        self._sent[part] = step
        self._foreign[part] = number == SPARE

    def recv_part(self) -> tuple[int, Step]:
        """Waits for any worker that was sent a step, see `VecEnv.recv_part`."""
        self._check_open()
        if not self._sent:
            return super().recv_part()
        part = self._crew.wait_any(self._sent)
        step = self._sent.pop(part)
        if self._foreign[part]:
            _copy(self._board.spare.part(self.parts[part]), step)
        return part, step._replace(finished=self._crew.finished(part))

    def allocate(self, steps: int, carry: int = 0) -> Segment:
        """Shared memory for a segment: the workers write into it. They let go of it after it is dropped here.

        What a policy hands on, `carry` numbers a row, is not theirs.
        """
        self._check_steps(steps)
        self._ready()
        fd, segment = share(functools.partial(segment_planes, self.spec, steps, self.num_envs, self.spec.mask_size))
        segment = self._remembering(segment, carry)
        self._allocated += 1
        try:
            self._crew.command("segment", self._allocated, steps, fd=fd)
        finally:
            os.close(fd)
        self._numbers[id(segment)] = self._allocated
        weakref.finalize(segment, _forget, self._numbers, self._crew.dropped, id(segment)).atexit = False
        return segment

    def close(self) -> None:
        """Closes the environments and ends the workers; calling it again does nothing."""
        self._crew.close(min(self._timeout, CLOSE_SECONDS))


def _copy(source: Step, target: Step) -> None:
    for name in ("obs", "reward", "cost", "terminated", "truncated", "valid"):
        getattr(target, name)[...] = getattr(source, name)
    if target.action_mask is not None and source.action_mask is not None:
        target.action_mask[...] = source.action_mask
    ended = np.flatnonzero(source.terminated | source.truncated)
    target.final_obs[ended], target.log[ended] = source.final_obs[ended], source.log[ended]


def _forget(numbers: dict[int, int], dropped: list[int], key: int) -> None:
    dropped.append(numbers.pop(key))
