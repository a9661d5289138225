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
from pufferlib_core.vector.shared import RESET, STEP, share
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

    @functools.cached_property
    def _missing(self) -> str:
        self._ready()
        return str(self._crew.ask(self._timeout, "missing")[0])

    def _states(self) -> dict[str, Array]:
        self._ready()
        parts = self._crew.ask(self._timeout, "state")
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _set_states(self, state: Mapping[str, Array]) -> None:
        self._ready()
        packed, parts = parted(state), []
        for k, (first, stop) in enumerate(self._crew.parts):
            rows = slice(first * self.spec.agents, stop * self.spec.agents)
            inner = joined(packed[first:stop] if self.spec.batch is None else packed[k : k + 1])
            parts.append({name: book[rows] for name, book in state.items() if name not in INNER} | inner)
        self._crew.set_states(self._timeout, parts)

    def _copy(self, source: int, targets: list[int]) -> None:
        raise EnvError(f"{self.spec.name}: workers cannot fork, because {self._missing}")

    def _reset(self, mask: Array | None) -> None:
        self._ready()
        self._board.chosen[...] = self._whole(mask)
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
        if rows.action_mask is not None and spare.action_mask is not None:
            rows.action_mask[...] = spare.action_mask
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
        fd, segment = share(functools.partial(segment_planes, self.spec, steps, self.num_envs, self.spec.mask_size))
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
