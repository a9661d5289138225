"""Whole episodes of a policy, on environments of their own."""

from __future__ import annotations

from typing import Any

import numpy as np

from pufferlib_core.data import handed_on
from pufferlib_core.errors import EnvError
from pufferlib_core.native import Array
from pufferlib_core.seeding import STREAM_EVAL_ENV
from pufferlib_core.traits import EnvSpec, Step
from pufferlib_core.vector import VecEnv, vectorize

MAX_ENVS = 256
PATIENCE = 10_000  # steps in a row in which nobody acts


class Player:
    """A policy that plays in a vector environment, with whatever it remembers.

    Args:
        policy: of any back end.
        vec: the environments, reset.
        seed: of the action noise.
        greedy: the most likely action instead of a sample.
    """

    def __init__(self, policy: Any, vec: VecEnv, *, seed: int = 0, greedy: bool = True) -> None:
        self._vec = vec
        self._idle = 0
        self._actor = policy.actor(vec.rows, greedy=greedy, seed=seed, masked=vec.latest.action_mask is not None)

    @property
    def carry(self) -> Array | None:
        """What the policy starts the next row with, float32 (rows, spec.carry); None: it has no memory."""
        carry: Array | None = self._actor.carry
        return carry

    def step(self, latest: Step) -> Step:
        """The step after the latest one.

        Raises:
            EnvError: if nobody has acted for so long that nobody may ever.
        """
        actor = self._actor
        actor.obs[...] = latest.obs
        if actor.action_mask is not None:
            actor.action_mask[...] = latest.action_mask
        before = None if actor.carry is None else actor.carry.copy()
        step = self._vec.step(actor())
        if before is not None:
            actor.carry[...] = handed_on(before, actor.carry, step.terminated | step.truncated, step.valid)
        self._idle = 0 if step.valid.any() else self._idle + 1
        if self._idle >= PATIENCE:
            raise EnvError(
                f"{self._vec.spec.name}: nobody has acted for {PATIENCE:,} steps: no agent is there, or none is valid"
            )
        return step


def play(policy: Any, env: EnvSpec, *, episodes: int, seed: int, greedy: bool) -> dict[str, float]:
    """Plays whole episodes, an equal number in every environment, so that short ones are not favoured.

    Args:
        policy: of any back end.
        env: the environment.
        episodes: how many in total; of agents, rounded up to whole environments, where there are several.
        seed: of environments and sampling; streams differ from those of training.
        greedy: the most likely actions instead of samples.

    Returns:
        episodes, episode_return_mean, episode_return_std, episode_length_mean.
    """
    wanted = -(-episodes // env.agents)
    num_envs = next(n for n in range(min(wanted, MAX_ENVS), 0, -1) if wanted % n == 0)
    vec = vectorize(env, num_envs=num_envs, threads=1, seed=seed, first_stream=STREAM_EVAL_ENV)
    try:
        returns, lengths = _play(vec, policy, wanted // num_envs, seed=seed, greedy=greedy)
    finally:
        vec.close()
    return {
        "episodes": len(returns),
        "episode_return_mean": float(np.mean(returns)),
        "episode_return_std": float(np.std(returns)),
        "episode_length_mean": float(np.mean(lengths)),
    }


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
