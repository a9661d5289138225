"""Environments of the C core, stepped by its threads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pufferlib_core.data import Segment
from pufferlib_core.emulation import SpaceTree
from pufferlib_core.errors import EnvError
from pufferlib_core.native import Array, Pool, check, ffi, isa, lib, memory, pointer
from pufferlib_core.spaces import Box
from pufferlib_core.traits import EnvSpec, Step
from pufferlib_core.vector.base import AUTORESET, VecEnv


class NativeVec(VecEnv):
    """N environments of a C table.

    Args:
        spec: the environment.
        num_envs: N.
        autoreset: see `VecEnv`.
        seed: likewise.
        first_stream: likewise.
        pool: threads of the core.
    """

    exact = True
    exact_reason = "native environments in synchronous mode on the native back end"

    def __init__(self, spec: EnvSpec, num_envs: int, autoreset: str, seed: int, first_stream: int, pool: Pool) -> None:
        assert spec.table is not None
        self.pool = pool
        self._table = ffi.cast("void *", spec.table(isa()))
        self._config = ffi.from_buffer(spec.c_config) if spec.c_config else ffi.NULL
        self._memory = memory(lib.puf_vec_bytes(self._table, self._config, num_envs, AUTORESET[autoreset]), spec.name)
        self._handle = ffi.NULL
        info = _described(spec, self._table, self._config)
        super().__init__(spec, num_envs, autoreset, seed, first_stream, info.logits if info.masks else 0)
        self._planes = _planes(*self._step[:9])
        self._build()

    def _build(self) -> None:
        handle = ffi.new("puf_vec **")
        status = lib.puf_vec_init(
            handle, ffi.from_buffer(self._memory), self._memory.nbytes, self._table, self._config, self.num_envs,
            AUTORESET[self.autoreset], isa(), self.seed, self._first_stream,
        )  # fmt: skip
        check(status, self.spec.name)
        self._handle = handle[0]

    @property
    def handle(self) -> Any:
        """The core's `puf_vec *`, for collectors of back ends."""
        if self._handle == ffi.NULL:
            raise self._is_closed()
        return self._handle

    def _restart(self) -> None:
        _ = self.handle
        self._memory[:] = 0
        self._build()

    def _reset(self, mask: Array | None) -> None:
        where = ffi.NULL if mask is None else ffi.from_buffer("uint8_t[]", mask)
        obs, masks = self._step.obs, self._step.action_mask
        pointers = ffi.from_buffer("float[]", obs), ffi.NULL if masks is None else ffi.from_buffer("uint8_t[]", masks)
        check(lib.puf_vec_reset(self.handle, self.pool.exec, where, *pointers), "reset")

    def _advance(self, action: Array, rows: Step, out: tuple[Segment, int] | None) -> int:
        chosen = self._pointer(action)
        planes = self._planes if rows is self._step else _planes(*rows[:9])
        finished = lib.puf_vec_step(self.handle, self.pool.exec, chosen, planes)
        if finished < 0:
            self._refuse(action)
        return int(finished)

    def run(self, actions: Array, segment: Segment) -> int:
        """T steps with given actions (T, N, ...): as T calls of `step` into the segment, with one barrier instead of T.

        Returns:
            Episodes that ended.
        """
        self._check_ready("run")
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

    def state(self) -> dict[str, Array]:
        """Everything that decides the future: one canonical record for each environment, uint8 (N, bytes).

        Returns:
            `records`, and `obs` and (where the environment has them) `action_mask`, as the last step returned them.
        """
        size = lib.puf_vec_record_bytes(self.handle)
        records = np.zeros((self.num_envs, size), np.uint8)
        check(lib.puf_vec_save_all(self._handle, ffi.from_buffer(records)), "state")
        masks = {} if self._step.action_mask is None else {"action_mask": self._step.action_mask.copy()}
        return {"records": records, "obs": self._step.obs.copy()} | masks

    def set_state(self, state: Mapping[str, Array]) -> None:
        """Restores what `state` returned, in these or other environments of the same kind and number.

        Raises:
            ShapeError: if it is of another kind or number.
        """
        size = lib.puf_vec_record_bytes(self.handle)
        records = self._saved(state, "records", np.uint8, (self.num_envs, size))
        step = self._step
        obs = self._saved(state, "obs", np.float32, step.obs.shape)
        masks = None if step.action_mask is None else self._saved(state, "action_mask", np.uint8, step.action_mask.shape)
        for i in range(self.num_envs):
            check(lib.puf_vec_load(self._handle, i, ffi.from_buffer(records[i])), f"set_state of environment {i}")
        step.obs[...] = obs
        if step.action_mask is not None and masks is not None:
            step.action_mask[...] = masks
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

    def close(self) -> None:
        """Ends the use of the environments; calling it again does nothing."""
        self._handle = ffi.NULL


def _described(spec: EnvSpec, table: Any, config: Any) -> Any:
    if not SpaceTree(spec.obs_space).direct:
        raise EnvError(f"{spec.name}: observations of a C table must be a Box of float32, got {spec.obs_space}")
    info = ffi.new("puf_env_info *")
    check(lib.puf_env_describe(table, config, info), spec.name)
    nvec = () if isinstance(spec.action_space, Box) else spec.action_space.nvec
    same = (
        info.obs_size == SpaceTree(spec.obs_space).width
        and info.action_size == spec.action_space.size
        and tuple(info.action_n[k] for k in range(len(nvec))) == nvec
    )
    if not same:
        raise EnvError(f"{spec.name}: its spaces do not match its C table (obs_size {info.obs_size}, "
                       f"action_size {info.action_size})")  # fmt: skip
    return info


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
