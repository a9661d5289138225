"""Observations that a policy meets when it acts."""

from __future__ import annotations

import numpy as np
from pufferlib_core.checkpoint import load_checkpoint
from pufferlib_core.errors import ConfigError, PufferError
from pufferlib_core.loops.api import policy_of
from pufferlib_core.loops.evaluate import trained_env
from pufferlib_core.loops.play import Player
from pufferlib_core.native import Array
from pufferlib_core.seeding import STREAM_EVAL_ENV
from pufferlib_core.spaces import fingerprint
from pufferlib_core.vector import vectorize

ENVS = 8  # episodes side by side: more begin, and not all states are of one


def rollout(checkpoint: str, states: int, seed: int) -> Array:
    """Observations (states, obs_size) of greedy episodes, of the dtype that the network reads.

    Raises:
        ConfigError: if the environment cannot be made, or has other spaces now.
    """
    saved = load_checkpoint(checkpoint)
    name, hint = str(saved.manifest["env"]), "give observations with --observations FILE.npy"
    try:
        env = trained_env(name, saved)
    except PufferError as error:
        raise ConfigError(f"no rollout in {name}: {error}; {hint}") from error
    if saved.manifest.get("space_fingerprint") != fingerprint(*env.spaces):
        raise ConfigError(f"no rollout in {name}, which has other spaces than when {saved.path} was trained: {hint}")
    vec = vectorize(env, num_envs=ENVS, threads=1, seed=seed, first_stream=STREAM_EVAL_ENV)
    try:
        step, rows = vec.reset(), list[Array]()
        player = Player(policy_of(saved), vec, seed=seed)
        while sum(len(part) for part in rows) < states:
            rows.append(vec.tree.features(step.obs)[step.valid != 0])
            step = player.step(step)
    finally:
        vec.close()
    result: Array = np.concatenate(rows)[:states]
    return result
