"""Conformance suites for third parties."""

from __future__ import annotations

import numpy as np

from pufferlib_core.errors import EnvError
from pufferlib_core.seeding import STREAM_SAMPLE
from pufferlib_core.spaces import Box
from pufferlib_core.traits import ByteArray, EnvSpec
from pufferlib_core.vector import VecEnv


def _allows(action_mask: ByteArray, spec: EnvSpec) -> bool:
    if isinstance(spec.action_space, Box):
        return False  # masks are of choices
    ends = np.cumsum(spec.action_space.nvec)
    return all(part.any(axis=1).all() for part in np.split(action_mask, ends[:-1], axis=1))


def check_env(spec: EnvSpec, *, steps: int = 300, num_envs: int = 37) -> None:
    """Runs an environment against the contract of puffer/env.h.

    Observations and rewards are finite and observations stay inside their space; equal seeds give equal trajectories,
    whatever the threads and the number of environments; action masks allow something; a saved state continues bit for bit.

    Raises:
        EnvError: saying which rule was broken, and where.
    """
    rng = np.random.default_rng(STREAM_SAMPLE)
    actions = np.stack([[spec.action_space.sample(rng) for _ in range(num_envs)] for _ in range(steps)])
    whole = VecEnv(spec, num_envs=num_envs, seed=7)
    threaded = VecEnv(spec, num_envs=num_envs, seed=7, threads=2)
    fewer = VecEnv(spec, num_envs=1, seed=7)
    for vec in (whole, threaded, fewer):
        vec.reset()
    low, high = (np.asarray(b, np.float32).reshape(spec.obs_space.shape) for b in (spec.obs_space.low, spec.obs_space.high))
    saved: dict[str, np.ndarray] = {}
    after: list[bytes] = []
    for t in range(steps):
        if t == steps // 2:
            saved = whole.state()
        a, b, c = (vec.step(actions[t][: vec.num_envs]) for vec in (whole, threaded, fewer))
        if not (np.isfinite(a.obs).all() and np.isfinite(a.reward).all()):
            raise EnvError(f"{spec.name}: NaN or infinity at step {t}")
        if ((a.obs < low) | (a.obs > high)).any():
            raise EnvError(f"{spec.name}: an observation leaves its space at step {t}")
        planes = ("obs", "reward", "cost", "terminated", "truncated", "valid")
        if any(not np.array_equal(getattr(a, plane), getattr(b, plane)) for plane in planes):
            raise EnvError(f"{spec.name}: two threads give another trajectory at step {t}")
        if a.action_mask is not None and not _allows(a.action_mask, spec):
            raise EnvError(f"{spec.name}: an action mask allows nothing at step {t}")
        if a.obs[:1].tobytes() != c.obs.tobytes() or a.reward[0] != c.reward[0]:
            raise EnvError(f"{spec.name}: environment 0 depends on the number of environments at step {t}")
        if t >= steps // 2:
            after.append(a.obs.tobytes())
    whole.set_state(saved)
    for k, t in enumerate(range(steps // 2, steps)):
        if whole.step(actions[t]).obs.tobytes() != after[k]:
            raise EnvError(f"{spec.name}: a restored state does not continue bit for bit, {k} steps on")
