"""Evaluation on environments of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pufferlib_core.checkpoint import Checkpoint, load_checkpoint, reading
from pufferlib_core.data import handed_on
from pufferlib_core.errors import CheckpointError, ConfigError
from pufferlib_core.loops.api import policy_of
from pufferlib_core.seeding import STREAM_EVAL_ENV
from pufferlib_core.spaces import fingerprint
from pufferlib_core.traits import EnvSpec, Step
from pufferlib_core.vector import VecEnv, env_spec, vectorize
from pufferlib_core.vector.registry import limited

MAX_ENVS = 256


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
        checkpoint: checkpoint or run folder.
        episodes: how many in total; of agents, rounded up to whole environments, where there are several.
        seed: of environments and sampling; streams differ from those of training.
        stochastic: sample actions instead of taking the most likely.
        backend: that acts.
        options: settings of the back end.

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
    policy = policy_of(saved, backend=backend, options=options)
    wanted = -(-episodes // spec.agents)
    num_envs = next(n for n in range(min(wanted, MAX_ENVS), 0, -1) if wanted % n == 0)
    each = wanted // num_envs
    vec = vectorize(spec, num_envs=num_envs, threads=1, seed=seed, first_stream=STREAM_EVAL_ENV)
    returns, lengths = _play(vec, policy, each, seed=seed, greedy=not stochastic)
    vec.close()
    return {
        "env": env,
        "episodes": len(returns),
        "episode_return_mean": float(np.mean(returns)),
        "episode_return_std": float(np.std(returns)),
        "episode_length_mean": float(np.mean(lengths)),
    }


class Player:
    """A policy that plays in a vector environment, with whatever it remembers.

    Args:
        policy: of any back end.
        vec: the environments, reset.
        seed: of the action noise.
        greedy: the most likely action instead of a sample.
    """

    def __init__(self, policy: Any, vec: VecEnv, *, seed: int = 0, greedy: bool = True) -> None:
        self._policy, self._vec, self._seed, self._greedy = policy, vec, seed, greedy
        self._carry = np.zeros((vec.rows, policy.spec.carry), np.float32) if policy.spec.carry else None
        self._t = 0

    def step(self, latest: Step) -> Step:
        """The step after the latest one."""
        before = None if self._carry is None else self._carry.copy()
        action, _, _ = self._policy.act(
            latest.obs, greedy=self._greedy, seed=self._seed, step=self._t, action_mask=latest.action_mask, carry=self._carry
        )
        step = self._vec.step(action)
        if self._carry is not None and before is not None:
            self._carry = handed_on(before, self._carry, step.terminated | step.truncated, step.valid)
        self._t += 1
        return step


def _play(vec: VecEnv, policy: Any, each: int, *, seed: int, greedy: bool) -> tuple[list[float], list[int]]:
    """Returns and lengths of the first `each` episodes of every row; rows whose agent never appears do not count."""
    step = vec.reset()
    played, seen = np.zeros(vec.rows, np.int64), np.zeros(vec.rows, bool)
    returns: list[list[float]] = [[] for _ in range(vec.rows)]
    lengths: list[list[int]] = [[] for _ in range(vec.rows)]
    player = Player(policy, vec, seed=seed, greedy=greedy)
    while not seen.any() or played[seen].min() < each:
        step = player.step(step)
        seen |= step.valid != 0
        if step.finished:
            for i in np.flatnonzero(step.terminated | step.truncated).tolist():
                if played[i] < each:
                    returns[i].append(float(step.log["episode_return"][i]))
                    lengths[i].append(int(step.log["episode_length"][i]))
                    played[i] += 1
    return [x for row in returns for x in row], [x for row in lengths for x in row]
