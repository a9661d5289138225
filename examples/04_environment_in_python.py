"""An environment with the interface of Gymnasium, as one class; nothing else is needed to train on it.

From the command line, in this folder: `puffer train 04_environment_in_python:Thermostat`.
"""

import numpy as np
import pufferlib_core as puffer
from pufferlib_core.spaces import Box, Discrete


class Thermostat:
    """Keep a room at 20 degrees: heat or not, while it cools towards a changing outside."""

    observation_space = Box([-1, -1], [1, 1])  # room and outside, (degrees - 20) / 20
    action_space = Discrete(2)

    def reset(self, seed=None, options=None):
        """A room of 10 to 30 degrees. `seed` comes with the first reset only."""
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self.room, self.outside, self.minutes = self.rng.uniform(10, 30), self.rng.uniform(0, 15), 0
        return self._obs(), {}

    def step(self, action):
        """One minute. The day ends after 100: a time limit, so it truncates."""
        self.room += 0.05 * (self.outside - self.room) + (1.5 if action else 0.0)
        self.outside = float(np.clip(self.outside + self.rng.normal(0, 0.2), 0, 15))
        self.minutes += 1
        reward = -abs(self.room - 20) / 20
        return self._obs(), reward, False, self.minutes == 100, {}

    def _obs(self):
        return np.clip([(self.room - 20) / 20, (self.outside - 20) / 20], -1, 1).astype(np.float32)


if __name__ == "__main__":
    name = "__main__:Thermostat"  # any importable module:attribute
    puffer.check_env(puffer.env_spec(name))  # finite, inside its space, the same again with the same seed
    options = {"train.num_envs": 16, "ppo.horizon": 64, "ppo.minibatch": 256, "ppo.learning_rate": 3e-3}
    result = puffer.train(name, timesteps=60_000, options=options)
    score = puffer.evaluate(name, result.checkpoint, episodes=32)["episode_return_mean"]
    print(f"mean deviation {-score * 20 / 100:.2f} degrees, warming up included; at random 4.1, on below 20 and off above 0.53")
    assert score > -5
