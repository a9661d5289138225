"""Gradients through time, an LSTM of this repository beside that of torch, in the environment of the peers.

`UV_PROJECT_ENVIRONMENT=build/peers uv run --group dev --group peers benchmarks/recurrent.py`. Loss and gradient of PPO for a
policy with one hidden layer and an LSTM, on sequences. Both get the same threads and sizes, and take turns; the time is the
least of some rounds: of one thread that of the processor, so that other programs of the machine count little, else that of the
clock. `dense.py` measures policies without a memory in the same way.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from pufferlib_core import Box, Discrete
from pufferlib_core.algorithms.ppo import PPOConfig
from pufferlib_core.backends import get_backend
from pufferlib_core.data import Segment
from pufferlib_core.native import Pool
from pufferlib_core.ops.ppo import Coefficients
from pufferlib_core.policies import PolicyConfig, PolicySpec

ACTIONS = 4

Calls = dict[str, Callable[[], Any]]


def least(contenders: Calls, rounds: int, threads: int) -> dict[str, float]:
    """Seconds of each, taking turns."""
    clock = time.process_time if threads == 1 else time.perf_counter
    best = dict.fromkeys(contenders, np.inf)
    for _ in range(rounds):
        for name, call in contenders.items():
            begin = clock()
            call()
            best[name] = min(best[name], clock() - begin)
    return best


def ours(config: PolicyConfig, reads: int, batch: int, steps: int, threads: int) -> tuple[Any, Any, Callable[[], None]]:
    """Engine, segment (steps, batch), and one update of one minibatch of it by the native back end.

    Adam's step, with a rate of 0, is counted too.
    """
    spec = PolicySpec(obs_space=Box(-9, 9, (reads,)), action_space=Discrete(ACTIONS), config=config)
    options = PPOConfig(horizon=steps, minibatch=steps * batch, epochs=1)
    engine = get_backend("native").make_engine(spec, options, num_envs=batch, seed=0, pool=Pool(threads))
    engine.load(engine.tensors(0))
    segment = Segment.allocate(steps, batch, (np.dtype(np.float32), (reads,)), 0, (np.dtype(np.int32), ()))
    if spec.carry:
        segment = Segment(**vars(segment) | {"carry": np.zeros((2, batch, spec.carry), np.float32)})
    rng = np.random.default_rng(0)
    segment.obs[...] = rng.normal(size=segment.obs.shape)
    segment.valid[...] = 1
    segment.logprob[...] = -np.log(ACTIONS)
    advantage = rng.normal(size=(steps, batch)).astype(np.float32)

    def update() -> None:
        engine.descend(segment, advantage, advantage, coefficients=Coefficients(0.0, 0.2, 0.0), update=0)

    return engine, segment, update


def theirs(network: Callable[[Any], Any], reads: int, batch: int, steps: int, threads: int) -> Callable[[], None]:
    """The same for a network of torch, eager, without an optimiser: (steps, batch, reads) -> logits and value."""
    import torch

    torch.set_num_threads(threads)
    obs, advantage = torch.randn(steps, batch, reads), torch.randn(steps, batch)
    action = torch.zeros(steps, batch, dtype=torch.int64)

    def update() -> None:
        logits, value = network(obs).split([ACTIONS, 1], -1)
        dist = torch.distributions.Categorical(logits=logits)
        ratio = (dist.log_prob(action) + float(np.log(ACTIONS))).exp()
        policy = -torch.min(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage).mean()
        (policy + 0.25 * ((value[..., 0] - advantage) ** 2).mean()).backward()

    return update


def lstm(width: int) -> Callable[[Any], Any]:
    """One hidden layer, an LSTM and heads."""
    import torch
    from torch import nn

    hidden, core, heads = nn.Linear(width, width), nn.LSTM(width, width), nn.Linear(width, ACTIONS + 1)
    return lambda obs: heads(core(torch.tanh(hidden(obs)))[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=128, help="of observation, hidden layer and memory")
    parser.add_argument("--batch", type=int, default=1024, help="sequences")
    parser.add_argument("--steps", type=int, default=64, help="of a sequence")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=4)
    args = parser.parse_args()
    sizes = args.width, args.batch, args.steps, args.threads
    config = PolicyConfig(hidden=(args.width,), core="lstm", core_size=args.width)
    contenders = {"native": ours(config, *sizes)[2], "torch": theirs(lstm(args.width), *sizes)}
    best = least(contenders, args.rounds, args.threads)
    multiplied = args.width * (args.width + 8 * args.width + ACTIONS + 1)  # of a row, forward; backward takes twice as many
    flops = 6.0 * multiplied * args.batch * args.steps
    for name, seconds in best.items():
        print(f"{name:<8}{seconds:8.3f} s {flops / seconds / 1e9:8.1f} GFLOP/s")
    print(f"torch / native {best['torch'] / best['native']:.2f}")


if __name__ == "__main__":
    main()
