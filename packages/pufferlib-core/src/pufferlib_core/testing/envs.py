"""The contract of environments."""

from __future__ import annotations

import numpy as np

from pufferlib_core.errors import EnvError, SpaceError
from pufferlib_core.native import Array
from pufferlib_core.seeding import STREAM_SAMPLE
from pufferlib_core.spaces import Box, sample_allowed
from pufferlib_core.traits import ByteArray, EnvSpec
from pufferlib_core.vector import vectorize


def _allows(action_mask: ByteArray, spec: EnvSpec) -> bool:
    if isinstance(spec.action_space, Box):
        return False  # masks are of choices
    ends = np.cumsum(spec.action_space.nvec)
    return all(part.any(axis=1).all() for part in np.split(action_mask, ends[:-1], axis=1))


def check_env(spec: EnvSpec, *, steps: int = 300, num_envs: int = 37) -> None:
    """Runs an environment against the contract of puffer/env.h, or of `BatchEnv`.

    Observations and rewards are finite and observations stay inside their space; equal seeds give equal trajectories;
    action masks allow something. Where states are exact, a saved one continues bit for bit in other environments. Of
    native ones also: trajectories depend neither on threads nor on the number of environments.

    Raises:
        EnvError: saying which rule was broken, and where.
    """
    rng = np.random.default_rng(STREAM_SAMPLE)
    whole, again = (vectorize(spec, num_envs=num_envs, seed=7, threads=threads) for threads in (1, 2))
    planes = ("obs", "reward", "cost", "terminated", "truncated", "valid")
    a, b = (vec.reset() for vec in (whole, again))
    actions = []
    for t in range(steps):
        if a.action_mask is not None and not _allows(a.action_mask, spec):
            raise EnvError(f"{spec.name}: an action mask allows nothing before step {t}")
        masks = [None] * whole.rows if a.action_mask is None else a.action_mask
        actions.append(np.array([sample_allowed(spec.action_space, rng, mask) for mask in masks], whole.action_dtype))
        a, b = (vec.step(actions[t]) for vec in (whole, again))
        if not np.isfinite(a.reward).all():
            raise EnvError(f"{spec.name}: the reward is NaN or infinite at step {t}")
        try:
            there = a.obs if spec.agents == 1 else a.obs[whole.tree.plain(a.obs).reshape(whole.rows, -1).any(axis=1)]
            whole.tree.validate(there, "obs")  # absent agents have zeros
        except SpaceError as error:
            raise EnvError(f"{spec.name}: an observation leaves its space at step {t}: {error}") from error
        if any(not np.array_equal(getattr(a, plane), getattr(b, plane)) for plane in planes):
            raise EnvError(f"{spec.name}: the same seed (on two threads) gives another trajectory at step {t}")
    if spec.table is not None:
        _check_rows(spec, np.stack(actions))
    if whole.exact:
        _check_states(spec, np.stack(actions))
    for vec in (whole, again):
        vec.close()


def _check_rows(spec: EnvSpec, actions: Array) -> None:
    """Environment 0 takes the same course among many and alone."""
    many, alone = (vectorize(spec, num_envs=n, seed=7) for n in (actions.shape[1], 1))
    for vec in (many, alone):
        vec.reset()
    for t, action in enumerate(actions):
        a, b = many.step(action), alone.step(action[:1])
        if a.obs[:1].tobytes() != b.obs.tobytes() or a.reward[0] != b.reward[0]:
            raise EnvError(f"{spec.name}: environment 0 depends on the number of environments at step {t}")


def _check_states(spec: EnvSpec, actions: Array) -> None:
    """A state taken half way continues, in new environments of another seed, as the environments did."""
    went_on, restored = (vectorize(spec, num_envs=actions.shape[1] // spec.agents, seed=seed) for seed in (7, 8))
    went_on.reset()
    half = len(actions) // 2
    for action in actions[:half]:
        went_on.step(action)
    restored.set_state(went_on.state())
    for k, action in enumerate(actions[half:]):
        a, b = went_on.step(action), restored.step(action)
        for plane in ("obs", "reward", "cost", "terminated", "truncated", "valid"):
            if getattr(a, plane).tobytes() != getattr(b, plane).tobytes():
                raise EnvError(
                    f"{spec.name}: a restored state does not continue bit for bit: other {plane} after {k + 1} steps"
                )
    for vec in (went_on, restored):
        vec.close()
