"""A batch of environments in NumPy: one object that writes whole rows. Much faster than one Python object each."""

import time

import numpy as np
import pufferlib_core as puffer


class Chase:
    """A hunter on a plane follows a target that drifts; it chooses one of four directions."""

    MOVES = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]], np.float32) * 0.1

    def __init__(self, num_envs: int, seed: np.random.SeedSequence) -> None:
        self.rng = np.random.default_rng(seed)  # the only randomness
        self.hunter, self.target = (np.zeros((num_envs, 2), np.float32) for _ in range(2))

    def reset(self, rows, out):
        """New episodes in `rows`; writes their first observations."""
        self.hunter[rows], self.target[rows] = self.rng.uniform(-1, 1, (2, len(rows), 2))
        out.obs[rows] = (self.target - self.hunter)[rows]

    def step(self, action, out):
        """A step of every row. `terminated`, `truncated` and `cost` come as 0."""
        self.hunter += self.MOVES[action]
        self.target += self.rng.normal(0, 0.02, self.target.shape).astype(np.float32)
        np.clip(self.target, -1, 1, out=self.target)
        np.clip(self.hunter, -1, 1, out=self.hunter)
        np.subtract(self.target, self.hunter, out=out.obs)
        distance = np.abs(out.obs).max(axis=1)
        out.terminated[:] = distance < 0.1
        out.reward[:] = np.where(out.terminated, 1.0, -0.02)

    def close(self):
        """Nothing to release."""


SPEC = puffer.EnvSpec(
    name="chase",
    obs_space=puffer.Box(-2.0, 2.0, (2,)),
    action_space=puffer.Discrete(4),
    max_episode_steps=60,  # kept by the vector environment: it truncates
    batch=Chase,
)

if __name__ == "__main__":
    puffer.check_env(SPEC)
    vec = puffer.make_vec("__main__:SPEC", num_envs=4096)
    vec.reset()
    actions = np.random.default_rng(0).integers(0, 4, (50, 4096)).astype(np.int32)
    begin = time.perf_counter()
    for action in actions:
        vec.step(action)
    print(f"{actions.size / (time.perf_counter() - begin) / 1e6:.1f} million steps/s")

    options = {"train.num_envs": 128, "ppo.horizon": 32, "ppo.minibatch": 512, "ppo.learning_rate": 3e-3}
    result = puffer.train("__main__:SPEC", timesteps=200_000, options=options)
    score = puffer.evaluate("__main__:SPEC", result.checkpoint, episodes=128)
    print(f"caught after {score['episode_length_mean']:.1f} steps, return {score['episode_return_mean']:.2f}")
    assert score["episode_return_mean"] > 0.6
