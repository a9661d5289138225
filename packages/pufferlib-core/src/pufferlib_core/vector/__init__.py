"""Vector environments: N environments of one kind stepped together, writing into flat arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pufferlib_core.errors import ConfigError, UnknownName
from pufferlib_core.native import Pool, default_threads
from pufferlib_core.seeding import STREAM_ENV
from pufferlib_core.traits import EnvSpec
from pufferlib_core.vector.base import AUTORESET, VecEnv
from pufferlib_core.vector.native import NativeVec
from pufferlib_core.vector.python import PythonVec
from pufferlib_core.vector.registry import env_names, env_spec

__all__ = ["NativeVec", "PythonVec", "VecEnv", "env_names", "env_spec", "make_vec", "vectorize"]


def vectorize(
    spec: EnvSpec,
    *,
    num_envs: int,
    threads: int | None = None,
    autoreset: str = "same_step",
    seed: int | None = None,
    first_stream: int = STREAM_ENV,
    pool: Pool | None = None,
) -> VecEnv:
    """A vector environment of an `EnvSpec`.

    Args:
        spec: the environment.
        num_envs: N.
        threads: of the core; by default one for each 128 environments, at most one for each processor. Environments
            written in Python step on the calling thread.
        autoreset: `same_step`, `next_step` or `disabled`; see `VecEnv`.
        seed: of all streams; 0 if None.
        first_stream: stream of environment 0; evaluation uses its own.
        pool: threads to share with somebody else, instead of `threads`.

    Raises:
        ConfigError: if a number is out of range.
        UnknownName: if there is no such autoreset mode.
    """
    if isinstance(num_envs, bool) or not isinstance(num_envs, int) or not 1 <= num_envs <= 1 << 24:
        raise ConfigError(f"num_envs={num_envs!r} must be a whole number in [1, 2^24]")
    if autoreset not in AUTORESET:
        raise UnknownName("autoreset mode", autoreset, AUTORESET)
    common = (spec, num_envs, autoreset, 0 if seed is None else seed, first_stream)
    if spec.table is None:
        return PythonVec(*common)
    return NativeVec(*common, pool if pool is not None else Pool(default_threads(num_envs) if threads is None else threads))


def make_vec(
    name: str, *, num_envs: int, threads: int | None = None, autoreset: str = "same_step", seed: int | None = None,
    config: Mapping[str, Any] | None = None,
) -> VecEnv:  # fmt: skip
    """A vector environment by name; see `vectorize`. `config` holds settings of the environment itself.

    Raises:
        UnknownName: if there is no such environment, with the closest name.
        ConfigError: if a number is out of range.

    >>> make_vec("cartpole", num_envs=2, seed=1).reset().obs.shape
    (2, 4)
    """
    return vectorize(env_spec(name, config), num_envs=num_envs, threads=threads, autoreset=autoreset, seed=seed)
