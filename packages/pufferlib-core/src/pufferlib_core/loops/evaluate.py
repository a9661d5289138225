"""Evaluation on environments of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pufferlib_core.checkpoint import Checkpoint, load_checkpoint, reading
from pufferlib_core.errors import CheckpointError, ConfigError
from pufferlib_core.loops.api import policy_of
from pufferlib_core.seeding import STREAM_EVAL_ENV
from pufferlib_core.spaces import fingerprint
from pufferlib_core.traits import EnvSpec
from pufferlib_core.vector import env_spec, vectorize

MAX_ENVS = 256


def trained_env(env: str, checkpoint: Checkpoint) -> EnvSpec:
    """The environment with the settings that the checkpoint was trained with."""
    name = env_spec(env).name
    with reading(checkpoint.path):
        return env_spec(env, checkpoint.state.get("settings", {}).get(name))


def evaluate(
    env: str,
    checkpoint: str | Path,
    *,
    episodes: int = 100,
    seed: int = 0,
    stochastic: bool = False,
    backend: str = "native",
) -> dict[str, Any]:
    """Plays whole episodes, an equal number in every environment, so that short ones are not favoured.

    Args:
        env: name of the environment, with the spaces that the policy was trained on.
        checkpoint: checkpoint or run folder.
        episodes: how many in total.
        seed: of environments and sampling; streams differ from those of training.
        stochastic: sample actions instead of taking the most likely.
        backend: that acts.

    Returns:
        The object of `puffer eval --json`.

    Raises:
        CheckpointError: if the checkpoint is damaged, or of an environment with other spaces.
        ConfigError: if `episodes` is below 1.
    """
    if episodes < 1:
        raise ConfigError(f"episodes={episodes} must be at least 1")
    saved = load_checkpoint(checkpoint)
    spec = trained_env(env, saved)
    if saved.manifest.get("space_fingerprint") != fingerprint(*spec.spaces):
        raise CheckpointError(
            f"{saved.path} was trained on {saved.manifest.get('env')}, whose spaces differ from those of {env}"
        )
    policy = policy_of(saved, backend=backend)
    num_envs = next(n for n in range(min(episodes, MAX_ENVS), 0, -1) if episodes % n == 0)
    each = episodes // num_envs
    vec = vectorize(spec, num_envs=num_envs, threads=1, seed=seed, first_stream=STREAM_EVAL_ENV)
    step = vec.reset()
    played = np.zeros(num_envs, np.int64)
    returns, lengths = np.zeros((num_envs, each)), np.zeros((num_envs, each))
    t = 0
    while played.min() < each:
        action, _, _ = policy.act(step.obs, greedy=not stochastic, seed=seed, step=t, action_mask=step.action_mask)
        step = vec.step(action)
        t += 1
        if step.finished:
            for i in np.flatnonzero(step.terminated | step.truncated).tolist():
                if played[i] < each:
                    returns[i, played[i]] = step.log["episode_return"][i]
                    lengths[i, played[i]] = step.log["episode_length"][i]
                    played[i] += 1
    vec.close()
    return {
        "env": env,
        "episodes": episodes,
        "episode_return_mean": float(returns.mean()),
        "episode_return_std": float(returns.std()),
        "episode_length_mean": float(lengths.mean()),
    }
