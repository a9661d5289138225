"""A callback sees the metrics of every update, keeps what it likes and may stop the run."""

import pufferlib_core as puffer

curve: list[tuple[int, float]] = []


def watch(progress: puffer.Progress) -> bool:
    """Keeps the curve, prints every fifth update, stops the run at a return of 200: it leaves a checkpoint like any other."""
    mean = progress.metrics["episode/return_mean"]
    curve.append((progress.steps, mean))
    if progress.updates % 5 == 0:
        print(f"{progress.steps:>8,} steps  return {mean:7.1f}  entropy {progress.metrics['losses/entropy']:.3f}")
    return mean > 200


result = puffer.train("cartpole", timesteps=200_000, callbacks=[watch])
print(f"stopped after {result.summary['steps']:,} of 200,000 steps; {len(curve)} points kept; checkpoint {result.checkpoint}")
