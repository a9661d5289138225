"""Vector environments: N environments of one kind stepped together, writing into flat arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pufferlib_core.config import integer
from pufferlib_core.errors import ConfigError, UnknownName
from pufferlib_core.native import Pool, default_threads
from pufferlib_core.seeding import STREAM_ENV
from pufferlib_core.traits import EnvSpec
from pufferlib_core.vector.base import AUTORESET, VecEnv
from pufferlib_core.vector.native import NativeVec
from pufferlib_core.vector.python import PythonVec
from pufferlib_core.vector.registry import env_names, env_spec, limited

__all__ = ["NativeVec", "PythonVec", "VecEnv", "env_names", "env_spec", "make_vec", "vectorize"]


def vectorize(
    spec: EnvSpec,
    *,
    num_envs: int,
    threads: int | None = None,
    autoreset: str | None = None,
    seed: int | None = None,
    first_stream: int = STREAM_ENV,
    pool: Pool | None = None,
    workers: int | None = None,
    timeout: float = 60.0,
) -> VecEnv:
    """A vector environment of an `EnvSpec`.

    Args:
        spec: the environment.
        num_envs: N.
        threads: of the core; by default one for each 128 environments, at most one for each processor. Environments
            written in Python do not use them.
        autoreset: `same_step` (the default), `next_step` or `disabled`; see `VecEnv`. Batches that reset themselves have one
            mode only, which is their default.
        seed: of all streams; 0 if None.
        first_stream: stream of environment 0; evaluation uses its own.
        pool: threads to share with somebody else, instead of `threads`.
        workers: processes that step environments written in Python; None or 0: they step on the calling thread. A worker
            finds the environment by its name: it must come from `env_spec`, from a module that can be imported.
        timeout: seconds that a step or reset of the workers may take.

    Raises:
        ConfigError: if a number is out of range, or the environment cannot have workers.
        UnknownName: if there is no such autoreset mode.
        EnvError: if a worker fails.
    """
    if not isinstance(spec, EnvSpec):
        raise ConfigError(f"spec must be an EnvSpec, as env_spec(name) gives it; got {spec!r}")
    rows = integer(num_envs)
    if rows is None or not 1 <= rows <= 1 << 24:
        raise ConfigError(f"num_envs={num_envs!r} must be a whole number in [1, 2^24]")
    autoreset = autoreset or spec.autoreset or "same_step"
    if autoreset not in AUTORESET:
        raise UnknownName("autoreset mode", autoreset, AUTORESET)
    if spec.autoreset not in ("", autoreset):
        raise ConfigError(f"autoreset={autoreset!r}: {spec.name} resets itself, it has {spec.autoreset!r} only")
    common = (spec, rows, autoreset, 0 if seed is None else seed, first_stream)
    if workers:
        _check_workers(spec, rows, workers, timeout)
        from pufferlib_core.vector.process import ProcessVec  # multiprocessing is imported by those who use it

        return ProcessVec(*common, workers, timeout)
    if spec.table is None:
        return PythonVec(*common)
    return NativeVec(*common, pool if pool is not None else Pool(default_threads(rows) if threads is None else threads))


def _check_workers(spec: EnvSpec, num_envs: int, workers: int, timeout: float) -> None:
    if spec.table is not None:
        raise ConfigError(f"workers={workers!r}: {spec.name} is native, it uses threads of the core instead")
    if isinstance(workers, bool) or not isinstance(workers, int) or not 1 <= workers <= num_envs:
        raise ConfigError(f"workers={workers!r} must be a whole number from 0 to num_envs={num_envs}")
    if not timeout > 0:
        raise ConfigError(f"timeout={timeout!r} must be above 0 seconds")
    if spec.origin is None:
        raise ConfigError(
            f"workers={workers}: {spec.name} has no name by which another process finds it; put it into a module that can be "
            "imported and pass what env_spec('module:attribute') returns"
        )


def make_vec(
    name: str, *, num_envs: int, threads: int | None = None, autoreset: str | None = None, seed: int | None = None,
    config: Mapping[str, Any] | None = None, workers: int | None = None, timeout: float = 60.0,
    max_episode_steps: int | None = None,
) -> VecEnv:  # fmt: skip
    """A vector environment by name; see `vectorize`. `config` holds settings of the environment itself.

    `max_episode_steps` is the time limit of an environment in Python, which truncates; None: its own, 0: none but what it
    keeps within itself.

    Raises:
        UnknownName: if there is no such environment, with the closest name.
        ConfigError: if a number is out of range.

    >>> make_vec("cartpole", num_envs=2, seed=1).reset().obs.shape
    (2, 4)
    """
    return vectorize(
        limited(env_spec(name, config), max_episode_steps), num_envs=num_envs, threads=threads, autoreset=autoreset,
        seed=seed, workers=workers, timeout=timeout,
    )  # fmt: skip
