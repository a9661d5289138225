"""Environments written in Python: the bookkeeping around them, and a vector of them on the calling thread."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from pufferlib_core.data import Segment
from pufferlib_core.emulation import SpaceTree
from pufferlib_core.errors import EnvError, ShapeError
from pufferlib_core.native import Array, pointer
from pufferlib_core.spaces import Box
from pufferlib_core.traits import EnvSpec, Step
from pufferlib_core.vector.base import VecEnv, choices_of, clipped, finite_bounds
from pufferlib_core.vector.each import EachEnv, Separate
from pufferlib_core.vector.parallel import EachParallel, is_population
from pufferlib_core.vector.states import INNER, joined, offers, pack_state, parted, unpack_state
from pufferlib_core.vector.turns import EachTurns

BOOKS = {"return": np.float64, "length": np.int32, "present": np.uint8, "waiting": np.uint8}  # kept of every row
LONGEST = np.iinfo(np.int32).max  # steps of an episode that are counted; the core cuts its episodes off there
GIVEN = "environments in Python that give and take their whole states (get_state, set_state), in synchronous mode"


class PythonRows:
    """Environments `first` to `first + count - 1`: time limit, statistics, final observations and autoreset around them.

    Args:
        spec: the environment, with a factory or a batch.
        count: environments; each has `spec.agents` rows.
        first: number of the first environment, which seeds it.
        autoreset: see `VecEnv`.
        words: what keys all seeds.
    """

    def __init__(self, spec: EnvSpec, count: int, first: int, autoreset: str, words: tuple[int, ...]) -> None:
        self.spec, self.autoreset = spec, autoreset
        self._batch = _batch(spec, count, first, words)
        self._agents = spec.agents
        rows = count * spec.agents
        self._return = np.zeros(rows)
        self._length = np.zeros(rows, np.int32)
        self._present = np.zeros(rows, bool)  # whose episode goes on
        self._waiting = np.zeros(rows, bool)  # whose environment is over and not reset; never under same_step
        repeated = rows if autoreset == "disabled" else 0
        self._last = SpaceTree(spec.obs_space).empty(repeated)  # observations that `disabled` repeats
        self._bounds = finite_bounds(spec.action_space)

    def reset(self, rows: Array, out: Step) -> None:
        """New episodes in these rows: all of an environment, or none."""
        if len(rows) == 0:
            return
        if out.action_mask is not None:
            out.action_mask[rows] = 1
        self._batch.reset(rows, out)
        self._return[rows], self._length[rows], self._waiting[rows] = 0.0, 0, False
        self._present[rows] = True if self._agents == 1 else self._batch.present[rows]
        if self._agents > 1:
            out.obs[rows[~self._present[rows]]] = np.zeros((), out.obs.dtype)
        self._allow(out)

    def step(self, action: Array, out: Step) -> int:
        """One step of every row; returns how many episodes ended."""
        for plane in (out.cost, out.terminated, out.truncated):
            plane.fill(0)
        if out.action_mask is not None:
            out.action_mask.fill(1)
        out.valid[...] = self._acting
        self._batch.step(clipped(action, self._bounds), out)
        idle = (~self._present).nonzero()[0]
        if len(idle):
            for plane in (out.reward, out.cost, out.terminated, out.truncated):
                plane[idle] = 0
        ended = self._account(out)
        waiting = self._waiting.nonzero()[0]
        over = self._over(ended)
        if self.autoreset == "same_step":
            self.reset(over, out)
            self._clear(out)
            return len(ended)
        self._waiting[over] = True
        if self.autoreset == "next_step":
            self.reset(waiting, out)
            self._clear(out, ended)
            return len(ended)
        self._clear(out, ended)
        out.obs[waiting] = self._last[waiting]
        if out.action_mask is not None:
            out.action_mask[waiting] = 1
        self._last[over] = out.obs[over]
        return len(ended)

    def _account(self, out: Step) -> Array:
        """Time limit, statistics, final observations; the rows whose episode ended."""
        self._return += out.reward
        np.add(self._length, out.valid, out=self._length, where=self._length < LONGEST)
        if self.spec.max_episode_steps:
            out.truncated[(self._length >= self.spec.max_episode_steps) & (out.valid != 0) & (out.terminated == 0)] = 1
        ended = (out.terminated | out.truncated).nonzero()[0]
        if len(ended):
            out.final_obs[ended] = out.obs[ended]
            out.log["episode_return"][ended], out.log["episode_length"][ended] = self._return[ended], self._length[ended]
        return ended

    def _over(self, ended: Array) -> Array:
        """Takes the agents out that have left; the rows of environments that are over since this step."""
        if self._agents == 1:
            self._present[ended] = False
            return ended
        there = self._batch.present & ~self._waiting
        joined = there & ~self._present
        self._return[joined], self._length[joined] = 0.0, 0
        self._present[...] = there
        self._present[ended] = False
        empty = ~self._present.reshape(-1, self._agents).any(axis=1)
        return np.flatnonzero(np.repeat(empty, self._agents) & ~self._waiting)

    def _clear(self, out: Step, ended: Array | None = None) -> None:
        """Zeros in the rows of agents that are not there, but for last observations of environments that wait."""
        if self._agents == 1:
            return
        absent = ~self._present
        if ended is not None:
            absent[ended[self._waiting[ended]]] = False
        out.obs[absent] = np.zeros((), out.obs.dtype)
        self._allow(out)

    @property
    def _acting(self) -> Array:
        """Whose actions count in the next step, bool (rows,)."""
        return self._present & self._batch.acting if self.spec.turns else self._present

    def _allow(self, out: Step) -> None:
        """Everything in rows whose actions do not count: a policy must find something there."""
        if out.action_mask is not None and self._agents > 1:
            out.action_mask[~self._acting] = 1

    @property
    def missing(self) -> str:
        """What keeps `state` from being whole; empty: nothing."""
        known = getattr(self._batch, "missing", None)
        if known is not None:
            return str(known)
        return "" if offers(self._batch) else f"the batch {type(self._batch).__name__} has no get_state and set_state"

    @property
    def _books(self) -> dict[str, Array]:
        """What is kept of every row, by name; views."""
        planes: tuple[Array, ...] = (self._return, self._length, self._present.view(np.uint8), self._waiting.view(np.uint8))
        last = {"last": SpaceTree(self.spec.obs_space).plain(self._last)} if len(self._last) else {}
        return dict(zip(BOOKS, planes, strict=True)) | last

    def state(self) -> dict[str, Array]:
        """All that decides the future of these rows: arrays with an entry for each row, and the packed states inside.

        Raises:
            EnvError: if a state holds what cannot be saved.
        """
        inner = self._batch.states() if isinstance(self._batch, Separate) else [self._batch.get_state()]
        return {name: book.copy() for name, book in self._books.items()} | joined([pack_state(own) for own in inner])

    def set_state(self, state: Mapping[str, Array]) -> None:
        """Restores what `state` returned."""
        for name, book in self._books.items():
            book[...] = state[name]
        inner = [unpack_state(data) for data in parted(state)]
        if isinstance(self._batch, Separate):
            self._batch.set_states(inner)
        else:
            self._batch.set_state(*inner)

    def fork(self, source: int, targets: list[int]) -> None:
        """Gives environments copies of another one, and its books.

        Raises:
            EnvError: if it cannot be copied.
        """
        if not isinstance(self._batch, Separate):
            raise EnvError(f"{self.spec.name}: environments of a batch cannot be forked")
        self._batch.fork(source, targets)
        for book in self._books.values():
            each = book.reshape(-1, self._agents, *book.shape[1:])
            each[targets] = each[source]

    def close(self) -> None:
        """Closes the environments."""
        self._batch.close()


def _batch(spec: EnvSpec, count: int, first: int, words: tuple[int, ...]) -> Any:
    """A `BatchEnv`, with several agents a `PopulationEnv`."""
    if spec.batch is not None:
        return spec.batch(count, np.random.SeedSequence([*words, first]))
    assert spec.factory is not None
    envs = [spec.factory() for _ in range(count)]
    kind: Any = EachTurns if spec.turns else EachParallel if is_population(envs[0]) else EachEnv
    return kind(envs, first, words)


class PythonVecs(VecEnv):
    """What both kinds of vectors of environments written in Python share.

    A state is exact if the environments give theirs. Otherwise it holds no episode: `set_state` starts new ones, from
    streams that were not used before.
    """

    _batches: int  # a `BatchEnv` is made so often, and has so many states

    def __init__(self, spec: EnvSpec, num_envs: int, autoreset: str, seed: int, first_stream: int) -> None:
        super().__init__(spec, num_envs, autoreset, seed, first_stream, spec.mask_size)
        self._times_restored = 0
        space = spec.action_space  # negative actions are above every limit when taken as unsigned
        self._limit = None if isinstance(space, Box) else np.asarray(space.nvec, np.uint32)

    @property
    def _words(self) -> tuple[int, ...]:
        """What keys all seeds."""
        return (self.seed, self._first_stream, self._times_restored)

    def _whole(self, mask: Array | None) -> Array:
        """uint8 (rows,): where an environment is reset, all its rows are."""
        if mask is None:
            return np.ones(self.rows, np.uint8)
        return mask if self.spec.agents == 1 else np.repeat(mask.reshape(self.num_envs, -1).max(axis=1), self.spec.agents)

    def _check_action(self, action: Array, rows: int) -> None:
        pointer(action, "action", self.action_dtype, (rows, *self.action_space.shape))
        if self._limit is not None and (choices_of(action).view(np.uint32) >= self._limit).any():
            self._refuse(action)

    @property
    @abstractmethod
    def _missing(self) -> str:
        """See `PythonRows.missing`."""

    @abstractmethod
    def _states(self) -> dict[str, Array]:
        """`PythonRows.state` of all rows."""

    @abstractmethod
    def _set_states(self, state: Mapping[str, Array]) -> None:
        """Restores them."""

    @property
    def exact(self) -> bool:
        """Whether `set_state` continues bit for bit."""
        return not self._missing

    @property
    def exact_reason(self) -> str:
        """Why, or why not."""
        return f"environments in Python start new episodes on resume: {self._missing}" if self._missing else GIVEN

    @property
    def _latest(self) -> dict[str, Array]:
        """Of the latest rows, what a state holds; views."""
        masks = self._step.action_mask
        return {"obs": self.tree.plain(self._step.obs)} | ({} if masks is None else {"action_mask": masks})

    def state(self) -> dict[str, Array]:
        """`obs`, `action_mask` where there are masks, and how often new episodes were started, which keys the next streams.

        Of environments that give their states also `sizes` and `bytes` of these, and what is kept around them.

        Raises:
            EnvError: if an environment's state holds what cannot be saved.
        """
        latest = {name: plane.copy() for name, plane in self._latest.items()}
        latest["times_restored"] = np.array([self._times_restored], np.int64)
        return latest | (self._states() if self._started and self.exact else {})

    def set_state(self, state: Mapping[str, Array]) -> None:
        """Goes on from a state, or, if it holds no episodes, starts new ones from streams of their own.

        Raises:
            ShapeError: if the state is of another kind or number.
        """
        latest = {name: self._saved(state, name, plane.dtype, plane.shape) for name, plane in self._latest.items()
                  if name == "obs" or name in state}  # fmt: skip
        self._times_restored = int(self._saved(state, "times_restored", np.int64, (1,))[0])
        if "sizes" not in state or not self.exact:
            self._times_restored += 1
            self._restart()
            self.reset()
            return
        saved = self._saved_states(state, latest["obs"])
        if not self._started:
            self.reset()
        self._set_states(saved)
        for name, plane in self._latest.items():
            plane[...] = latest[name]

    def _saved_states(self, state: Mapping[str, Array], obs: Array) -> dict[str, Array]:
        """The part of a state that `_set_states` takes."""
        books = {name: self._saved(state, name, dtype, (self.rows,)) for name, dtype in BOOKS.items()}
        if self.autoreset == "disabled":
            books["last"] = self._saved(state, "last", obs.dtype, obs.shape)
        elif self.autoreset == "same_step" and books["waiting"].any():
            raise ShapeError(f"{self.spec.name}: environments of the state wait for a reset, as under same_step none does")
        count = self.num_envs if self.spec.batch is None else self._batches
        sizes = self._saved(state, "sizes", np.int64, np.shape(state["sizes"]))
        if sizes.shape != (count,):
            raise ShapeError(
                f"{self.spec.name}: the state holds {sizes.size} inner states, {count} expected; a batch has one for each "
                "worker, whose number must stay"
            )
        return books | {"sizes": sizes, "bytes": self._saved(state, "bytes", np.uint8, (int(sizes.sum()),))}

    def fork(self, source: int, targets: Array | list[int]) -> None:
        """Gives environments `targets` the whole state of environment `source`, its random stream included.

        Raises:
            EnvError: if these environments cannot be copied: those of a batch, and those that neither give their state nor
                can be copied by `copy.deepcopy`, which workers cannot use.
        """
        self._check_started("fork")
        if self.spec.batch is not None:
            raise EnvError(f"{self.spec.name}: environments of a batch cannot be forked")
        chosen = np.arange(self.num_envs)
        chosen[np.asarray(targets, np.int64)] = source
        if self.exact:
            self._set_states(_chosen(self._states(), chosen))
        else:
            self._copy(source, np.flatnonzero(chosen != np.arange(self.num_envs)).tolist())
        for plane in self._latest.values():
            each = plane.reshape(self.num_envs, self.spec.agents, *plane.shape[1:])
            each[...] = each[chosen]

    @abstractmethod
    def _copy(self, source: int, targets: list[int]) -> None:
        """Forks environments that do not give their states."""


def _chosen(state: Mapping[str, Array], envs: Array) -> dict[str, Array]:
    """A state of environments of another one, by their numbers."""
    packed = parted(state)
    books = {name: book.reshape(len(packed), -1, *book.shape[1:]) for name, book in state.items() if name not in INNER}
    inner = joined([packed[i] for i in envs])
    return {name: book[envs].reshape(state[name].shape) for name, book in books.items()} | inner


class PythonVec(PythonVecs):
    """N environments written in Python, on the calling thread."""

    def __init__(self, spec: EnvSpec, num_envs: int, autoreset: str, seed: int, first_stream: int) -> None:
        super().__init__(spec, num_envs, autoreset, seed, first_stream)
        self._closed = False
        self._make()

    def _make(self) -> None:
        self._rows_of = PythonRows(self.spec, self.num_envs, 0, self.autoreset, self._words)

    _batches = 1

    @property
    def _missing(self) -> str:
        return self._rows_of.missing

    def _states(self) -> dict[str, Array]:
        self._check_open()
        return self._rows_of.state()

    def _set_states(self, state: Mapping[str, Array]) -> None:
        self._check_open()
        self._rows_of.set_state(state)

    def _copy(self, source: int, targets: list[int]) -> None:
        self._rows_of.fork(source, targets)

    def _restart(self) -> None:
        self._rows_of.close()
        self._make()

    def _reset(self, mask: Array | None) -> None:
        self._check_open()
        self._rows_of.reset(np.flatnonzero(self._whole(mask)), self._step)

    def _advance(self, action: Array, rows: Step, out: tuple[Segment, int] | None) -> int:
        self._check_open()
        self._check_action(action, self.rows)
        return self._rows_of.step(action, rows)

    def _check_open(self) -> None:
        if self._closed:
            raise self._is_closed()

    def close(self) -> None:
        """Closes the environments; calling it again does nothing."""
        if not self._closed:
            self._rows_of.close()
        self._closed = True
