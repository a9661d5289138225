"""Vector environments: N environments of one kind stepped together by the core, writing into flat arrays."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

import numpy as np

from pufferlib_core.config import from_dict, to_dict
from pufferlib_core.data import Segment, aligned_zeros
from pufferlib_core.errors import ConfigError, EnvError, ShapeError, UnknownName
from pufferlib_core.native import Array, Pool, check, default_threads, ffi, isa, lib, memory, pointer
from pufferlib_core.seeding import STREAM_ENV, check_seed
from pufferlib_core.spaces import Box
from pufferlib_core.traits import EPISODE, EnvSpec, Step

AUTORESET = {"same_step": 0, "next_step": 1, "disabled": 2}


def env_names() -> list[str]:
    """Names of the installed native environments."""
    return sorted({entry.name for entry in entry_points(group="pufferlib.envs")})


def env_spec(name: str, config: Mapping[str, Any] | None = None) -> EnvSpec:
    """The environment of a native name (`cartpole`) or of `module:factory`, which must be or return an EnvSpec.

    Args:
        name: of the environment.
        config: its own settings, where they differ from its defaults.

    Raises:
        UnknownName: if no package brings it.
        EnvError: if two packages bring it, or the factory gives something else.
        ConfigError: if a setting is unknown or not legal.
    """
    spec = _registered(name)
    if not config:
        return spec
    if spec.configure is None:
        raise ConfigError(f"{spec.name} has no settings, got {', '.join(config)}")
    return spec.configure(from_dict(type(spec.config), to_dict(spec.config) | dict(config), spec.name))


@functools.cache
def _registered(name: str) -> EnvSpec:
    if ":" in name:
        return _from_factory(name)
    found = [entry for entry in entry_points(group="pufferlib.envs") if entry.name == name]
    if not found:
        raise UnknownName("environment", name, env_names())
    owners = sorted({entry.dist.name if entry.dist else "?" for entry in found})
    if len(owners) > 1:
        raise EnvError(f"environment {name!r} is brought by {' and '.join(owners)}: uninstall one of them")
    spec = found[0].load()
    if not isinstance(spec, EnvSpec):
        raise EnvError(f"environment {name!r} of {owners[0]} must be an EnvSpec, got {type(spec).__name__}")
    return spec


def _from_factory(name: str) -> EnvSpec:
    module, _, attribute = name.partition(":")
    try:
        made = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise EnvError(f"environment {name!r}: no module named {error.name!r}") from error
    except AttributeError as error:
        raise EnvError(f"environment {name!r}: {module} has no {attribute!r}") from error
    spec = made() if callable(made) else made
    if not isinstance(spec, EnvSpec):
        raise EnvError(f"environment {name!r} must be or return an EnvSpec, got {type(spec).__name__}")
    return spec


class VecEnv:
    """N environments of one kind.

    The trajectory of environment i depends on (seed, i) and its actions: not on threads, on N, or on the instruction set.
    One Python thread at a time.

    Args:
        spec: the environment.
        num_envs: N.
        threads: of the core; by default one for each 128 environments, at most one for each processor.
        autoreset: `same_step` (the step that ends an episode returns the first observation of the next), `next_step`
            (the step after it ignores the action, resets and is not valid) or `disabled`.
        seed: of all streams; 0 if None.
        first_stream: stream of environment 0; evaluation uses its own.
        pool: threads to share with somebody else, instead of `threads`.
    """

    def __init__(
        self,
        spec: EnvSpec,
        *,
        num_envs: int,
        threads: int | None = None,
        autoreset: str = "same_step",
        seed: int | None = None,
        first_stream: int = STREAM_ENV,
        pool: Pool | None = None,
    ) -> None:
        if isinstance(num_envs, bool) or not isinstance(num_envs, int) or not 1 <= num_envs <= 1 << 24:
            raise ConfigError(f"num_envs={num_envs!r} must be a whole number in [1, 2^24]")
        if autoreset not in AUTORESET:
            raise UnknownName("autoreset mode", autoreset, AUTORESET)
        self.spec = spec
        self.num_envs = num_envs
        self.autoreset = autoreset
        self.seed = check_seed(0 if seed is None else seed)
        self.obs_space = spec.obs_space
        self.action_space = spec.action_space
        self.pool = pool if pool is not None else Pool(threads if threads is not None else default_threads(num_envs))
        self._first_stream = first_stream
        self._table = ffi.cast("void *", spec.table(isa()))
        self._config = ffi.from_buffer(spec.c_config) if spec.c_config else ffi.NULL
        self._memory = memory(lib.puf_vec_bytes(self._table, self._config, num_envs, AUTORESET[autoreset]), spec.name)
        info = self._describe()
        self._handle = ffi.NULL
        n = num_envs
        continuous = isinstance(spec.action_space, Box)
        self.action_dtype = np.dtype(np.float32 if continuous else np.int32)
        self.action_shape = (n, *spec.action_space.shape)
        obs = (n, *spec.obs_space.shape)
        self._step = Step(
            aligned_zeros(obs, np.float32), aligned_zeros(n, np.float32), aligned_zeros(n, np.float32),
            aligned_zeros(n, np.uint8), aligned_zeros(n, np.uint8), aligned_zeros(n, np.uint8),
            aligned_zeros(obs, np.float32), aligned_zeros(n, EPISODE),
            aligned_zeros((n, info.logits), np.uint8) if info.masks else None, 0,
        )  # fmt: skip
        self._planes = _planes(*self._step[:9])
        self._started = False
        self._pending: Step | None = None
        self._build()

    def _build(self) -> None:
        handle = ffi.new("puf_vec **")
        status = lib.puf_vec_init(
            handle, ffi.from_buffer(self._memory), self._memory.nbytes, self._table, self._config, self.num_envs,
            AUTORESET[self.autoreset], isa(), self.seed, self._first_stream,
        )  # fmt: skip
        check(status, self.spec.name)
        self._handle = handle[0]

    def _describe(self) -> Any:
        info = ffi.new("puf_env_info *")
        check(lib.puf_env_describe(self._table, self._config, info), self.spec.name)
        nvec = () if isinstance(self.action_space, Box) else self.action_space.nvec
        same = (
            info.obs_size == self.obs_space.size
            and info.action_size == self.action_space.size
            and tuple(info.action_n[k] for k in range(len(nvec))) == nvec
        )
        if not same:
            raise EnvError(f"{self.spec.name}: its spaces do not match its C table (obs_size {info.obs_size}, "
                           f"action_size {info.action_size})")  # fmt: skip
        return info

    @property
    def handle(self) -> Any:
        """The core's `puf_vec *`, for collectors of back ends."""
        if self._handle == ffi.NULL:
            raise EnvError(f"{self.spec.name}: the environments are closed")
        return self._handle

    def reset(self, seed: int | None = None) -> Step:
        """Starts new episodes everywhere; with a seed, from fresh streams of that seed."""
        if seed is not None:
            self.seed = check_seed(seed)
            _ = self.handle
            self._memory[:] = 0
            self._build()
        step = self._step
        self._reset(ffi.NULL)
        for plane in (step.reward, step.cost, step.terminated, step.truncated):
            plane.fill(0)
        step.valid.fill(1)
        self._started = True
        return step

    def reset_some(self, mask: Array) -> Step:
        """Starts new episodes where mask (N,) is true: what `disabled` autoreset needs."""
        chosen = np.ascontiguousarray(mask, np.uint8)
        flags = pointer(chosen, "mask", np.uint8, (self.num_envs,))
        self._reset(flags)
        return self._step

    def _reset(self, where: Any) -> None:
        obs, masks = self._step.obs, self._step.action_mask
        pointers = ffi.from_buffer("float[]", obs), ffi.NULL if masks is None else ffi.from_buffer("uint8_t[]", masks)
        check(lib.puf_vec_reset(self.handle, self.pool.exec, where, *pointers), "reset")

    def step(self, action: Array, out: tuple[Segment, int] | None = None) -> Step:
        """One step of every environment, written in place into row t of a segment when `out` is (segment, t).

        Raises:
            ShapeError: if the action has the wrong dtype or shape.
            EnvError: before the first reset, or if a discrete action is out of range (nothing was stepped).
        """
        if not self._started:
            raise EnvError(f"{self.spec.name}: call reset() before step()")
        chosen = pointer(action, "action", self.action_dtype, self.action_shape)
        if out is None:
            finished = lib.puf_vec_step(self.handle, self.pool.exec, chosen, self._planes)
            if finished < 0:
                self._refuse(action)
            return Step._make((*self._step[:-1], finished)) if finished else self._step
        segment, t = out
        if not 0 <= t < segment.steps or segment.envs != self.num_envs:
            raise ShapeError(f"row {t} of {segment.envs} environments is not in a segment for {self.num_envs}")
        rows = Step(
            segment.obs[t + 1], segment.reward[t], segment.cost[t], segment.terminated[t], segment.truncated[t],
            segment.valid[t], segment.final_obs, segment.log[t],
            None if segment.action_mask is None else segment.action_mask[t + 1], 0,
        )  # fmt: skip
        finished = lib.puf_vec_step(self.handle, self.pool.exec, chosen, _planes(*rows[:9]))
        if finished < 0:
            self._refuse(action)
        segment.action[t] = action
        return rows._replace(finished=finished)

    def run(self, actions: Array, segment: Segment) -> int:
        """T steps with given actions (T, N, ...): as T calls of `step` into the segment, with one barrier instead of T.

        Returns:
            Episodes that ended.
        """
        if not self._started:
            raise EnvError(f"{self.spec.name}: call reset() before run()")
        t = segment.steps
        chosen = pointer(actions, "actions", self.action_dtype, (t, *self.action_shape))
        planes = _planes(
            segment.obs[1:], segment.reward, segment.cost, segment.terminated, segment.truncated, segment.valid,
            segment.final_obs, segment.log, None if segment.action_mask is None else segment.action_mask[1:],
        )  # fmt: skip
        finished = lib.puf_vec_run(self.handle, self.pool.exec, chosen, t, planes)
        if finished < 0:
            self._refuse(actions)
        return int(finished)

    def _refuse(self, action: Array) -> None:
        nvec = () if isinstance(self.action_space, Box) else self.action_space.nvec
        wrong = np.argwhere((action < 0) | (action >= np.asarray(nvec if self.action_space.shape else nvec[0])))
        at = wrong[0].tolist() if len(wrong) else []
        raise EnvError(f"{self.spec.name}: action{at} = {action[tuple(at)] if at else '?'} is outside its space {nvec}")

    def send(self, action: Array) -> None:
        """Steps; `recv` returns the result. Native environments step at once."""
        if self._pending is not None:
            raise EnvError(f"{self.spec.name}: send() twice without recv()")
        self._pending = self.step(action)

    def recv(self) -> Step:
        """The result of the last `send`."""
        if self._pending is None:
            raise EnvError(f"{self.spec.name}: recv() without send()")
        step, self._pending = self._pending, None
        return step

    def allocate(self, steps: int) -> Segment:
        """Memory for a segment of `steps` steps of these environments."""
        if steps < 1:
            raise ConfigError(f"a segment needs at least 1 step, got {steps}")
        masks = self._step.action_mask
        return Segment.allocate(
            steps, self.num_envs, self.obs_space.shape, self.action_space.shape, self.action_dtype,
            0 if masks is None else masks.shape[1],
        )  # fmt: skip

    def state(self) -> dict[str, Array]:
        """Everything that decides the future: one canonical record for each environment, uint8 (N, bytes).

        Returns:
            `records`, and `obs` and (where the environment has them) `action_mask`, as the last step returned them.
        """
        size = lib.puf_vec_record_bytes(self.handle)
        records = np.zeros((self.num_envs, size), np.uint8)
        for i in range(self.num_envs):
            check(lib.puf_vec_save(self._handle, i, ffi.from_buffer(records[i])), "state")
        masks = {} if self._step.action_mask is None else {"action_mask": self._step.action_mask.copy()}
        return {"records": records, "obs": self._step.obs.copy()} | masks

    def set_state(self, state: Mapping[str, Array]) -> None:
        """Restores what `state` returned, in these or other environments of the same kind and number.

        Raises:
            ShapeError: if it is of another kind or number.
        """
        size = lib.puf_vec_record_bytes(self.handle)
        records = np.ascontiguousarray(state["records"])
        pointer(records, "records", np.uint8, (self.num_envs, size))
        for i in range(self.num_envs):
            check(lib.puf_vec_load(self._handle, i, ffi.from_buffer(records[i])), f"set_state of environment {i}")
        self._step.obs[...] = state["obs"]
        if self._step.action_mask is not None:
            self._step.action_mask[...] = state["action_mask"]
        self._started = True

    def fork(self, source: int, targets: Array | list[int]) -> None:
        """Gives environments `targets` the whole state of environment `source`, its random stream included."""
        size = lib.puf_vec_record_bytes(self.handle)
        record = np.zeros(size, np.uint8)
        check(lib.puf_vec_save(self._handle, source, ffi.from_buffer(record)), f"fork of environment {source}")
        for target in targets:
            check(lib.puf_vec_load(self._handle, int(target), ffi.from_buffer(record)), f"fork to environment {target}")
            self._step.obs[target] = self._step.obs[source]
            if self._step.action_mask is not None:
                self._step.action_mask[target] = self._step.action_mask[source]

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

    def close(self) -> None:
        """Ends the use of the environments; calling it again does nothing."""
        self._handle = ffi.NULL


def _planes(*arrays: Any) -> Any:
    obs, reward, cost, terminated, truncated, valid, final_obs, log, action_mask = arrays
    planes = ffi.new("puf_planes *")
    planes.obs, planes.reward, planes.cost = (ffi.from_buffer("float[]", plane) for plane in (obs, reward, cost))
    planes.terminated, planes.truncated, planes.valid = (
        ffi.from_buffer("uint8_t[]", plane) for plane in (terminated, truncated, valid)
    )
    planes.final_obs = ffi.from_buffer("float[]", final_obs)
    planes.log = ffi.cast("puf_episode *", ffi.from_buffer(log.view(np.uint8)))
    if action_mask is not None:
        planes.action_mask = ffi.from_buffer("uint8_t[]", action_mask)
    return planes


def make_vec(
    name: str, *, num_envs: int, threads: int | None = None, autoreset: str = "same_step", seed: int | None = None,
    config: Mapping[str, Any] | None = None,
) -> VecEnv:  # fmt: skip
    """A vector environment by name; see `VecEnv`. `config` holds settings of the environment itself.

    Raises:
        UnknownName: if there is no such environment, with the closest name.
        ConfigError: if a number is out of range.

    >>> make_vec("cartpole", num_envs=2, seed=1).reset().obs.shape
    (2, 4)
    """
    return VecEnv(env_spec(name, config), num_envs=num_envs, threads=threads, autoreset=autoreset, seed=seed)
