"""N environments of a `DeviceEnv` as pure functions: statistics, time limit and autoreset (SAME_STEP) as in csrc/vec.c."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pufferlib_core.errors import ShapeError
from pufferlib_core.ops.noise import drawn
from pufferlib_core.traits import DeviceEnv

Array = Any
LANES = (("key", "u4", (2,)), ("counter", "u4", (2,)))  # puf_rng
TAIL = (("episode_return", "f4"), ("episode_length", "i4"), ("over", "i4"))  # what puf_vec_save appends


class Envs(NamedTuple):
    """What decides the future of N environments."""

    state: Mapping[str, Array]  # (N, ...) each
    key: tuple[Array, Array]  # of their streams, uint32 (N,) each
    counter: tuple[Array, Array]  # next block, low and high word, likewise
    episode_return: Array  # running, float32 (N,)
    episode_length: Array  # running, int32 (N,)


class Caused(NamedTuple):
    """What a step of N environments has caused; see `Step`."""

    obs: Array  # (N, numbers); of the next episode where one ended
    final_obs: Array  # (N, numbers), before any reset
    reward: Array  # float32 (N,)
    terminated: Array  # bool (N,)
    truncated: Array  # bool (N,)
    episode_return: Array  # float32 (N,), with this step
    episode_length: Array  # int32 (N,)


def advance(rules: DeviceEnv, envs: Envs, action: Array, limit: int, *, xp: Any) -> tuple[Envs, Caused]:
    """One step of every environment; those whose episode ends start anew. `limit` truncates; 0: never."""
    state, reward, terminated = rules.step(envs.state, action, xp=xp)
    total, length = envs.episode_return + reward, envs.episode_length + 1
    truncated = length >= limit if limit else xp.zeros_like(terminated)
    ended = terminated | truncated
    words, counter = drawn(envs.key, envs.counter, rules.draws, xp=xp)
    fresh = rules.reset(words, xp=xp)
    seen = rules.observe(state, xp=xp)

    def chosen(new: Array, old: Array) -> Array:
        return xp.where(ended.reshape(-1, *[1] * (old.ndim - 1)), new, old)

    going = Envs(
        state={name: chosen(fresh[name], old) for name, old in state.items()},
        key=envs.key,
        counter=(chosen(counter[0], envs.counter[0]), chosen(counter[1], envs.counter[1])),
        episode_return=xp.where(ended, xp.float32(0), total),
        episode_length=xp.where(ended, xp.int32(0), length),
    )
    obs = chosen(rules.observe(fresh, xp=xp), seen)
    return going, Caused(obs, seen, reward, terminated, truncated, total, length)


def _record(rules: DeviceEnv) -> np.dtype[Any]:
    return np.dtype([*rules.fields, *LANES, *TAIL])


def from_records(rules: DeviceEnv, records: npt.NDArray[np.uint8]) -> Envs:
    """Environments from the records of `NativeVec.state`, uint8 (N, bytes), as numpy arrays.

    Raises:
        ShapeError: if records have another size than `rules.fields` say.
    """
    kind = _record(rules)
    if records.shape[1] != kind.itemsize:
        raise ShapeError(f"records have {records.shape[1]} bytes, the fields of {type(rules).__module__} say {kind.itemsize}")
    held = np.ascontiguousarray(records).view(kind)[:, 0]
    plain = {name: np.ascontiguousarray(held[name]) for name in kind.names or ()}
    key, counter = ((plain[name][:, 0].copy(), plain[name][:, 1].copy()) for name in ("key", "counter"))
    state = {field[0]: plain[field[0]] for field in rules.fields}
    return Envs(state, key, counter, plain["episode_return"], plain["episode_length"])


def to_records(rules: DeviceEnv, envs: Envs) -> npt.NDArray[np.uint8]:
    """What `from_records` reads."""
    held = np.zeros(len(envs.episode_length), _record(rules))
    for name, array in envs.state.items():
        held[name] = array
    for name, words in (("key", envs.key), ("counter", envs.counter)):
        held[name] = np.stack([np.asarray(word) for word in words], axis=1)
    held["episode_return"], held["episode_length"] = envs.episode_return, envs.episode_length
    return held.view(np.uint8).reshape(len(held), -1)
