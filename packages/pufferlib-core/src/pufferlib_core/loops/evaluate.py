"""Evaluation on environments of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pufferlib_core.checkpoint import Checkpoint, path_of, reading
from pufferlib_core.config import integer
from pufferlib_core.errors import CheckpointError, ConfigError
from pufferlib_core.loops.api import opened, policy_of
from pufferlib_core.loops.play import play
from pufferlib_core.spaces import fingerprint
from pufferlib_core.traits import EnvSpec
from pufferlib_core.vector import env_spec
from pufferlib_core.vector.registry import limited


def trained_env(env: str, checkpoint: Checkpoint) -> EnvSpec:
    """The environment with the settings, and the time limit, that the checkpoint was trained with."""
    name = env_spec(env).name
    with reading(checkpoint.path):
        settings = checkpoint.state.get("settings", {})
        own, limit = settings.get(name), settings.get("train", {}).get("max_episode_steps")
    return limited(env_spec(env, own), limit)


def evaluate(
    env: str,
    checkpoint: str | Path,
    *,
    episodes: int = 100,
    seed: int = 0,
    stochastic: bool = False,
    backend: str = "native",
    options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Plays whole episodes, an equal number in every environment, so that short ones are not favoured.

    Args:
        env: name of the environment, with the spaces that the policy was trained on.
        checkpoint: checkpoint or run folder; with `backend="onnxruntime"` also an .onnx file.
        episodes: how many in total; of agents, rounded up to whole environments, where there are several.
        seed: of environments and sampling; streams differ from those of training.
        stochastic: sample actions instead of taking the most likely.
        backend: that acts.
        options: its settings.

    Returns:
        The object of `puffer eval --json`.

    Raises:
        CheckpointError: if the checkpoint is damaged, or of an environment with other spaces.
        ConfigError: if an argument is of the wrong type, or `episodes` below 1.
    """
    wanted = integer(episodes)
    if wanted is None or wanted < 1:
        raise ConfigError(f"episodes={episodes!r} must be a whole number, at least 1")
    saved = opened(path_of(checkpoint, "checkpoint"), backend)
    spec = trained_env(env, saved)
    if saved.manifest.get("space_fingerprint") != fingerprint(*spec.spaces):
        raise CheckpointError(
            f"{saved.path} was trained on {saved.manifest.get('env')}, whose spaces differ from those of {env}"
        )
    policy = policy_of(saved, backend=backend, options=options)
    return {"env": env} | play(policy, spec, episodes=wanted, seed=seed, greedy=not stochastic)
