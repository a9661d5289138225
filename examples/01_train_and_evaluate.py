"""Trains CartPole with its preset and evaluates the result on environments of its own."""

import pufferlib_core as puffer

result = puffer.train("cartpole", seed=1)
print(f"{result.summary['steps']:,} steps in {result.summary['seconds']:.2f} s, run folder {result.run_dir}")

score = puffer.evaluate("cartpole", result.checkpoint, episodes=100)
print(f"greedy: {score['episode_return_mean']:.1f} +- {score['episode_return_std']:.1f} over {score['episodes']} episodes")

sampled = puffer.evaluate("cartpole", result.checkpoint, episodes=100, stochastic=True)
print(f"sampled actions: {sampled['episode_return_mean']:.1f}")
