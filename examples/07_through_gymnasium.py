"""Our environments in a program written for Gymnasium: one of them, and many stepped together by the C core."""

import time

import gymnasium
import numpy as np
import pufferlib_core.adapters.gymnasium  # noqa: F401 (registers puffer/<name>-v0)


def balance(obs: np.ndarray) -> np.ndarray:
    """Pushes to the side to which the pole falls, ahead of time: 0 or 1 for each observation."""
    return (obs[..., 2] + 0.3 * obs[..., 3] > 0).astype(np.int64)


if __name__ == "__main__":
    env = gymnasium.make("puffer/cartpole-v0", render_mode="ansi")
    obs, info = env.reset(seed=0)
    length, over = 0, False
    while not over:
        obs, reward, terminated, truncated, info = env.step(balance(obs))
        length, over = length + 1, terminated or truncated
    print(env.render())
    print(f"one episode: {length} steps, {'cut off by the time limit' if truncated else 'fallen'}")
    env.close()

    envs = gymnasium.make_vec("puffer/cartpole-v0", num_envs=1024, autoreset_mode="SameStep")
    obs, infos = envs.reset(seed=0)
    returns: list[float] = []
    begin = time.perf_counter()
    for _ in range(1000):
        obs, reward, terminated, truncated, infos = envs.step(balance(obs))
        if "episode" in infos:  # as RecordEpisodeStatistics gives it
            returns += infos["episode"]["r"][infos["_episode"]].tolist()
    speed = envs.num_envs * 1000 / (time.perf_counter() - begin)
    print(f"{len(returns)} episodes, mean return {np.mean(returns):.1f}, {speed / 1e6:.1f} million steps/s")
    assert np.mean(returns) > 400
    envs.close()
