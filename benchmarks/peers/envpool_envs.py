"""EnvPool, synchronous: a call steps all environments."""

from __future__ import annotations

import envpool
import numpy as np
from common import best_rate, random_actions, serve


def simulate(num_envs: int, cores: int) -> dict[str, float]:
    """Steps a second with one thread of its pool for each core."""
    envs = envpool.make("CartPole-v1", env_type="gymnasium", num_envs=num_envs, num_threads=cores)
    envs.reset()
    actions = random_actions(num_envs, np.int32)

    def steps() -> None:
        for action in actions:
            envs.step(action)

    return best_rate(steps, actions.size)


if __name__ == "__main__":
    serve(simulate=simulate)
