"""Gymnasium's vectorized environments: its own CartPole on arrays, or copies of the single one."""

from __future__ import annotations

import gymnasium
from common import best_rate, random_actions, serve


def simulate(num_envs: int, cores: int, mode: str) -> dict[str, float]:
    """Steps a second; mode: `vectorization_mode` of Gymnasium. One thread whatever `cores` says."""
    envs = gymnasium.make_vec("CartPole-v1", num_envs=num_envs, vectorization_mode=mode)
    envs.reset(seed=0)
    actions = random_actions(num_envs)

    def steps() -> None:
        for action in actions:
            envs.step(action)

    return best_rate(steps, actions.size)


if __name__ == "__main__":
    serve(simulate=simulate)
