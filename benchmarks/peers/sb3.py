"""Stable-Baselines3: PPO with its MlpPolicy on its DummyVecEnv."""

from __future__ import annotations

import math
from typing import Any

from common import WINDOW, Clock, serve
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env


class Marks(BaseCallback):
    """Tells the clock of every update."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock, self.stopped = clock, False

    def _on_rollout_start(self) -> None:
        if self.num_timesteps == 0:
            self.clock.start()
            return
        returns = [episode["r"] for episode in self.model.ep_info_buffer]
        mean = sum(returns) / WINDOW if len(returns) == WINDOW else math.nan
        self.stopped = self.clock.update(self.num_timesteps, mean)

    def _on_training_end(self) -> None:
        if not self.stopped:
            self._on_rollout_start()

    def _on_step(self) -> bool:
        return not self.stopped


def ppo(settings: dict[str, Any], cores: int, seed: int, seconds: float, to_goal: bool) -> dict[str, Any]:
    """Trains on CPU; learning rate and clip range fall linearly to 0, as in the settings of RL Zoo."""
    clock = Clock(seconds, to_goal)
    model = PPO(
        "MlpPolicy",
        make_vec_env("CartPole-v1", n_envs=settings["num_envs"], seed=seed),
        n_steps=settings["horizon"],
        batch_size=settings["minibatch"],
        n_epochs=settings["epochs"],
        learning_rate=lambda left: settings["learning_rate"] * left,
        clip_range=lambda left: 0.2 * left,
        gamma=settings["gamma"],
        gae_lambda=settings["lam"],
        seed=seed,
        device="cpu",
    )
    model.learn(settings["timesteps"], callback=Marks(clock))
    return clock.result()


if __name__ == "__main__":
    serve(ppo=ppo)
