"""Gradients through time, an LSTM of this repository beside that of torch: `uv run --group peers benchmarks/recurrent.py`.

Loss and gradient of PPO for a policy with one hidden layer and an LSTM, on sequences. Both get one thread and the same sizes;
the time is that of the processor, the least of some rounds that take turns, so that other programs of the machine count little.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from pufferlib_core import Box, Discrete
from pufferlib_core.algorithms.ppo import PPOConfig
from pufferlib_core.backends import get_backend
from pufferlib_core.data import Segment
from pufferlib_core.native import Pool
from pufferlib_core.ops.ppo import Coefficients
from pufferlib_core.policies import PolicyConfig, PolicySpec

ACTIONS = 4


def ours(width: int, batch: int, steps: int) -> Callable[[], None]:
    """One update of one minibatch by the native back end; Adam's step, with a rate of 0, is counted too."""
    config = PolicyConfig(hidden=(width,), core="lstm", core_size=width)
    spec = PolicySpec(obs_space=Box(-9, 9, (width,)), action_space=Discrete(ACTIONS), config=config)
    options = PPOConfig(horizon=steps, minibatch=steps * batch, epochs=1)
    engine = get_backend("native").make_engine(spec, options, num_envs=batch, seed=0, pool=Pool(1))
    engine.load(engine.tensors(0))
    segment = Segment.allocate(steps, batch, (np.dtype(np.float32), (width,)), 0, (np.dtype(np.int32), ()))
    segment = Segment(**vars(segment) | {"carry": np.zeros((2, batch, spec.carry), np.float32)})
    rng = np.random.default_rng(0)
    segment.obs[...] = rng.normal(size=segment.obs.shape)
    segment.valid[...] = 1
    segment.logprob[...] = -np.log(ACTIONS)
    advantage = rng.normal(size=(steps, batch)).astype(np.float32)

    def update() -> None:
        engine.descend(segment, advantage, advantage, coefficients=Coefficients(0.0, 0.2, 0.0), update=0)

    return update


def theirs(width: int, batch: int, steps: int) -> Callable[[], None]:
    """The same by torch.nn.LSTM, eager."""
    import torch
    from torch import nn

    torch.set_num_threads(1)
    hidden, core, heads = nn.Linear(width, width), nn.LSTM(width, width), nn.Linear(width, ACTIONS + 1)
    obs, advantage = torch.randn(steps, batch, width), torch.randn(steps, batch)
    action = torch.zeros(steps, batch, dtype=torch.int64)

    def update() -> None:
        out, _ = core(torch.tanh(hidden(obs)))
        logits, value = heads(out).split([ACTIONS, 1], -1)
        dist = torch.distributions.Categorical(logits=logits)
        ratio = (dist.log_prob(action) + float(np.log(ACTIONS))).exp()
        policy = -torch.min(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage).mean()
        (policy + 0.25 * ((value[..., 0] - advantage) ** 2).mean()).backward()

    return update


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=128, help="of observation, hidden layer and memory")
    parser.add_argument("--batch", type=int, default=1024, help="sequences")
    parser.add_argument("--steps", type=int, default=64, help="of a sequence")
    parser.add_argument("--rounds", type=int, default=4)
    args = parser.parse_args()
    sizes = args.width, args.batch, args.steps
    contenders = {"native": ours(*sizes), "torch": theirs(*sizes)}
    best = dict.fromkeys(contenders, np.inf)
    for _ in range(args.rounds):
        for name, update in contenders.items():
            begin = time.process_time()
            update()
            best[name] = min(best[name], time.process_time() - begin)
    multiplied = args.width * (args.width + 8 * args.width + ACTIONS + 1)  # of a row, forward; backward takes twice as many
    flops = 6.0 * multiplied * args.batch * args.steps
    for name, seconds in best.items():
        print(f"{name:<8}{seconds:8.3f} s {flops / seconds / 1e9:8.1f} GFLOP/s")
    print(f"torch / native {best['torch'] / best['native']:.2f}")


if __name__ == "__main__":
    main()
