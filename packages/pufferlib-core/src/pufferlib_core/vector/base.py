"""What every kind of vector environment shares: planes, segments, the contract of a step."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from pufferlib_core.data import Segment, Zeros, aligned_zeros
from pufferlib_core.emulation import SpaceTree
from pufferlib_core.errors import ConfigError, EnvError, ShapeError, UnknownName
from pufferlib_core.native import Array, pointer
from pufferlib_core.seeding import check_seed
from pufferlib_core.spaces import Box, Mixed
from pufferlib_core.traits import EPISODE, ActionSpace, EnvSpec, Step

AUTORESET = {"same_step": 0, "next_step": 1, "disabled": 2}


def action_dtype(space: ActionSpace) -> np.dtype[Any]:
    """Of the arrays that hold actions."""
    if isinstance(space, Mixed):
        return space.dtype
    return np.dtype(np.float32 if isinstance(space, Box) else np.int32)


def finite_bounds(space: ActionSpace) -> tuple[Array, Array] | None:
    """What keeps float32 actions inside their Box, low and high; None: nothing has to.

    Bounds that float32 does not hold are rounded inwards; where it holds nothing between them, both are the first number above.
    """
    box = space.numbers if isinstance(space, Mixed) else space
    if not isinstance(box, Box) or not np.isfinite([box.low, box.high]).any():
        return None
    exact = [np.reshape(np.asarray(bound, np.float64), box.shape) for bound in (box.low, box.high)]
    low, high = (bound.astype(np.float32) for bound in exact)
    low = np.where(low < exact[0], np.nextafter(low, np.float32(np.inf)), low)
    high = np.where(high > exact[1], np.nextafter(high, np.float32(-np.inf)), high)
    return low, np.maximum(low, high)


def clipped(action: Array, bounds: tuple[Array, Array] | None) -> Array:
    """Actions whose numbers lie within bounds of `finite_bounds`."""
    if bounds is None:
        return action
    if action.dtype.names is None:
        return np.clip(action, *bounds)
    kept = action.copy()
    np.clip(action["numbers"], *bounds, out=kept["numbers"])
    return kept


def choices_of(action: Array) -> Array:
    """The choices of actions: themselves, or that part of records, as a view."""
    part: Array = action if action.dtype.names is None else action["choices"]
    return part


def numbers_of(action: Array) -> Array:
    """The numbers of actions: themselves, or that part of records, as a view."""
    part: Array = action if action.dtype.names is None else action["numbers"]
    return part


def step_planes(spec: EnvSpec, num_envs: int, mask_size: int, zeros: Zeros) -> Step:
    """Memory for the rows of one step."""
    tree, n = SpaceTree(spec.obs_space), num_envs * spec.agents
    obs = (n, *tree.shape)
    return Step(
        zeros(obs, tree.dtype), zeros(n, np.float32), zeros(n, np.float32), zeros(n, np.uint8), zeros(n, np.uint8),
        zeros(n, np.uint8), zeros(obs, tree.dtype), zeros(n, EPISODE),
        zeros((n, mask_size), np.uint8) if mask_size else None, 0,
    )  # fmt: skip


def segment_planes(spec: EnvSpec, steps: int, num_envs: int, mask_size: int, zeros: Zeros) -> Segment:
    """Memory for a segment."""
    tree, action = SpaceTree(spec.obs_space), spec.action_space
    return Segment.allocate(
        steps, num_envs * spec.agents, (tree.dtype, tree.shape), 0 if tree.direct else tree.width,
        (action_dtype(action), action.shape), mask_size, zeros, spec.turns,
    )  # fmt: skip


class VecEnv(ABC):
    """N environments of one kind, stepped together into flat arrays; `make_vec` makes one.

    `rows` is N, or N times the agents of an environment that has several: the length of every plane.

    The trajectory of environment i depends on (seed, i) and its actions: not on threads, nor, for native ones, on N or
    the instruction set. One Python thread at a time.

    Args:
        spec: the environment.
        num_envs: N.
        autoreset: `same_step` (the step that ends an episode returns the first observation of the next), `next_step`
            (the step after it ignores the action, resets and is not valid) or `disabled`.
        seed: of all streams.
        first_stream: stream of environment 0; evaluation uses its own.
        mask_size: choices that action masks speak of; 0: no masks.
    """

    def __init__(self, spec: EnvSpec, num_envs: int, autoreset: str, seed: int, first_stream: int, mask_size: int) -> None:
        self.spec = spec
        self.num_envs = num_envs
        self.autoreset = autoreset
        self.seed = check_seed(seed)
        self.obs_space = spec.obs_space
        self.tree = SpaceTree(spec.obs_space)
        self.action_space = spec.action_space
        self._first_stream = first_stream
        self.action_dtype = action_dtype(spec.action_space)
        self.rows = num_envs * spec.agents
        self.action_shape = (self.rows, *spec.action_space.shape)
        self._step = step_planes(spec, num_envs, mask_size, aligned_zeros)
        self._started = self._interrupted = False
        self._pending: Step | None = None  # of `send`
        self._sent: dict[int, Step] = {}  # parts that are under way, those sent first before others

    @property
    def agent_id(self) -> npt.NDArray[np.int32]:
        """Number of each row's agent within its environment, int32 (rows,): 0 everywhere where there is one agent."""
        return np.tile(np.arange(self.spec.agents, dtype=np.int32), self.num_envs)

    @abstractmethod
    def _restart(self) -> None:
        """Fresh streams of `self.seed`."""

    @abstractmethod
    def _reset(self, mask: Array | None) -> None:
        """New episodes where mask (rows,) is not 0, or everywhere; writes their first rows into `self._step`."""

    @abstractmethod
    def _advance(self, action: Array, rows: Step, out: tuple[Segment, int] | None) -> int:
        """Steps, writes `rows` (those of segment and t in `out`, if not None), returns the number of finished episodes.

        Raises:
            ShapeError: if the action has the wrong dtype or shape.
            EnvError: if a discrete action is out of range. In both cases nothing was stepped.
        """

    @property
    @abstractmethod
    def exact(self) -> bool:
        """Whether `set_state` continues bit for bit."""

    @property
    @abstractmethod
    def exact_reason(self) -> str:
        """Why, or why not."""

    @abstractmethod
    def state(self) -> dict[str, Array]:
        """What `set_state` needs to go on: arrays, with `obs` among them."""

    @abstractmethod
    def set_state(self, state: Mapping[str, Array]) -> None:
        """Goes on from what `state` returned, in these or other environments of the same kind and number.

        Raises:
            ShapeError: if it is of another kind or number.
        """

    @property
    def latest(self) -> Step:
        """The rows of the last reset, step without `out`, or `set_state`."""
        return self._step

    @property
    def parts(self) -> tuple[slice, ...]:
        """Rows that step on their own (`send_part`): those of each worker; without workers, all rows are one part."""
        return (slice(0, self.rows),)

    def reset(self, seed: int | None = None) -> Step:
        """Starts new episodes everywhere; with a seed, from fresh streams of that seed."""
        self._check_idle()
        if seed is not None:
            self.seed = check_seed(seed)
            self._restart()
        step = self._step
        self._reset(None)
        for plane in (step.reward, step.cost, step.terminated, step.truncated):
            plane.fill(0)
        step.valid.fill(1)
        self._started = True
        return step

    def reset_some(self, mask: Array) -> Step:
        """Starts new episodes where mask (rows,) is true: what `disabled` autoreset needs."""
        self._check_ready("reset_some")
        chosen = np.ascontiguousarray(mask, np.uint8)
        if chosen.shape != (self.rows,):
            raise ShapeError(f"mask must have shape {(self.rows,)}, got {chosen.shape}")
        self._reset(chosen)
        return self._step

    def step(self, action: Array, out: tuple[Segment, int] | None = None) -> Step:
        """One step of every environment, written in place into row t of a segment when `out` is (segment, t).

        Raises:
            ShapeError: if the action has the wrong dtype or shape.
            EnvError: before the first reset, or if a discrete action is out of range (nothing was stepped).
        """
        self._check_ready("step")
        if out is None:
            finished = self._advance(action, self._step, None)
            return Step._make((*self._step[:-1], finished)) if finished else self._step
        segment, t = out
        rows = self._rows(segment, t)
        finished = self._advance(action, rows, out)
        segment.action[t] = action
        return rows._replace(finished=finished)

    def _rows(self, segment: Segment, t: int) -> Step:
        if not 0 <= t < segment.steps or segment.envs != self.rows:
            raise ShapeError(f"row {t} of {segment.envs} environments is not in a segment for {self.rows}")
        return segment.row(t)

    def run(self, actions: Array, segment: Segment) -> int:
        """T steps with given actions (T, N, ...): as T calls of `step` into the segment, which keeps its own actions.

        Returns:
            Episodes that ended.
        """
        self._check_ready("run")
        pointer(actions, "actions", self.action_dtype, (segment.steps, *self.action_shape))
        return sum(self._advance(action, self._rows(segment, t), (segment, t)) for t, action in enumerate(actions))

    def _check_started(self, call: str) -> None:
        if not self._started:
            raise EnvError(f"{self.spec.name}: call reset() before {call}()")
        if self._interrupted:
            raise EnvError(f"{self.spec.name}: interrupted before {call}()")

    def interrupt(self) -> None:
        """Refuses all further steps: how another thread ends a collection early. Only `close` makes sense afterwards.

        The one call that is allowed while another thread uses the environments.
        """
        self._interrupted = True

    def _check_idle(self) -> None:
        if self._pending is not None or self._sent:
            raise EnvError(f"{self.spec.name}: {'recv_part' if self._sent else 'recv'}() first, a step is under way")

    def _check_ready(self, call: str) -> None:
        self._check_started(call)
        self._check_idle()

    def _saved(self, state: Mapping[str, Array], name: str, dtype: Any, shape: tuple[int, ...]) -> Array:
        """An array of a state that `set_state` received."""
        if name not in state:
            raise ShapeError(f"the state of {self.spec.name} has no {name}")
        array = np.asarray(state[name])
        if array.shape != shape or array.dtype != dtype:
            raise ShapeError(f"{name} must have shape {shape} of {np.dtype(dtype)}, got {array.shape} of {array.dtype}")
        return np.require(array, requirements="C")

    def _is_closed(self) -> EnvError:
        return EnvError(f"{self.spec.name}: the environments are closed")

    def _pointer(self, action: Array) -> Any:
        return pointer(action, "action", self.action_dtype, self.action_shape)

    def _refuse(self, action: Array) -> None:
        nvec = () if isinstance(self.action_space, Box) else self.action_space.nvec
        chosen = choices_of(action)
        wrong = np.argwhere((chosen < 0) | (chosen >= np.asarray(nvec)))
        at = wrong[0].tolist() if len(wrong) else []
        raise EnvError(f"{self.spec.name}: action{at} = {chosen[tuple(at)] if at else '?'} is outside its space {nvec}")

    def send(self, action: Array) -> None:
        """Steps; `recv` returns the result."""
        self._pending = self.step(action)

    def recv(self) -> Step:
        """The result of the last `send`."""
        if self._pending is None:
            raise EnvError(f"{self.spec.name}: recv() without send()")
        step, self._pending = self._pending, None
        return step

    def send_part(self, part: int, action: Array, out: tuple[Segment, int] | None = None) -> None:
        """Lets one part step while others may be under way; `recv_part` returns the result.

        Args:
            part: its number in `parts`.
            action: of its rows, (n, ...).
            out: segment and t as in `step`; each part has its own t.

        Raises:
            ShapeError: if the action has the wrong dtype or shape.
            EnvError: before the first reset, if there is no such part or it is under way, or if a discrete action is out of
                range (nothing was stepped).
        """
        self._check_part(part)
        self._sent[part] = self.step(action, out)

    def _check_part(self, part: int) -> None:
        if part not in range(len(self.parts)):
            raise EnvError(f"{self.spec.name}: part {part!r} is not one of the {len(self.parts)} parts")

    def recv_part(self) -> tuple[int, Step]:
        """Waits for any part that is under way; its number, and its rows as views.

        Of several that are ready, the one that was sent first.
        """
        if not self._sent:
            raise EnvError(f"{self.spec.name}: recv_part() without send_part()")
        return self._sent.popitem()

    @property
    def under_way(self) -> int:
        """Parts that were sent and not received."""
        return len(self._sent)

    def allocate(self, steps: int, carry: int = 0) -> Segment:
        """Memory for a segment of `steps` steps of these environments, for a policy that hands on `carry` numbers a row."""
        self._check_steps(steps)
        masks = self._step.action_mask
        segment = segment_planes(self.spec, steps, self.num_envs, 0 if masks is None else masks.shape[1], aligned_zeros)
        return self._remembering(segment, carry)

    def _remembering(self, segment: Segment, carry: int) -> Segment:
        return dataclasses.replace(segment, carry=aligned_zeros((2, self.rows, carry), np.float32)) if carry else segment

    def _check_steps(self, steps: int) -> None:
        if steps < 1:
            raise ConfigError(f"a segment needs at least 1 step, got {steps}")

    @abstractmethod
    def fork(self, source: int, targets: Array | list[int]) -> None:
        """Gives environments `targets` the whole state of environment `source`, its random stream included.

        Raises:
            EnvError: if these environments cannot be copied.
        """

    def render(self, env: int = 0, mode: str = "ansi") -> str | Array:
        """A drawing of one environment: text (`ansi`) or uint8 (height, width, 3) (`rgb_array`).

        Raises:
            EnvError: if the environment has no such drawing.
        """
        draw = {"ansi": self.spec.render_ansi, "rgb_array": self.spec.render_rgb}
        if mode not in draw:
            raise UnknownName("render mode", mode, draw)
        function = draw[mode]
        if function is None:
            raise EnvError(f"{self.spec.name} has no {mode} rendering")
        return function(self._step.obs[env])

    @abstractmethod
    def close(self) -> None:
        """Ends the use of the environments; calling it again does nothing."""
