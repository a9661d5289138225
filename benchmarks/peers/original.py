"""The original PufferLib: Gymnasium's CartPole behind its emulation and vectorization."""

from __future__ import annotations

import pufferlib.emulation
import pufferlib.vector
from common import best_rate, random_actions, serve
from gymnasium.envs.classic_control import CartPoleEnv
from gymnasium.wrappers import TimeLimit


def cartpole() -> pufferlib.emulation.GymnasiumPufferEnv:
    """CartPole-v1 without the checks of `gymnasium.make`, which fail under numpy 1.23."""
    return pufferlib.emulation.GymnasiumPufferEnv(TimeLimit(CartPoleEnv(), 500))


def simulate(num_envs: int, cores: int) -> dict[str, float]:
    """Steps a second: in this process on one core, otherwise with a worker process for each core."""
    backend = pufferlib.vector.Serial if cores == 1 else pufferlib.vector.Multiprocessing
    workers = {} if cores == 1 else {"num_workers": cores}
    envs = pufferlib.vector.make(cartpole, backend=backend, num_envs=num_envs, **workers)
    envs.reset()
    actions = random_actions(num_envs)

    def steps() -> None:
        for action in actions:
            envs.step(action)

    result = best_rate(steps, actions.size)
    envs.close()
    return result


if __name__ == "__main__":
    serve(simulate=simulate)
