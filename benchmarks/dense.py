"""Policies of dense layers beside torch, in the environment of the peers: training and inference of one batch.

`UV_PROJECT_ENVIRONMENT=build/peers uv run --group dev --group peers benchmarks/dense.py`. "train" is loss and gradient of PPO
(ours with Adam's step, torch eager without), "infer" the heads of the batch. How the two are timed: `recurrent.py`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from pufferlib_core.policies import PolicyConfig
from recurrent import ACTIONS, least, ours, theirs


def layers(reads: int, hidden: tuple[int, ...]) -> Callable[[Any], Any]:
    """Hidden layers with tanh, and heads."""
    from torch import nn

    modules: list[Any] = []
    for wide in hidden:
        modules += [nn.Linear(reads, wide), nn.Tanh()]
        reads = wide
    network: Callable[[Any], Any] = nn.Sequential(*modules, nn.Linear(reads, ACTIONS + 1))
    return network


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reads", type=int, default=4, help="numbers of an observation")
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 64])
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=200)
    args = parser.parse_args()
    hidden = tuple(args.hidden)
    engine, segment, update = ours(PolicyConfig(hidden=hidden), args.reads, args.batch, 1, args.threads)
    network, obs = layers(args.reads, hidden), torch.randn(args.batch, args.reads)

    def infer() -> None:
        with torch.no_grad():
            network(obs)

    contenders = {
        "native train": update,
        "torch train": theirs(network, args.reads, args.batch, 1, args.threads),
        "native infer": lambda: engine.policy.forward(segment.obs[0]),
        "torch infer": infer,
    }
    best = least(contenders, args.rounds, args.threads)
    for name, seconds in best.items():
        print(f"{name:<14}{seconds * 1e6:8.0f} us {args.batch / seconds / 1e6:8.2f} M rows/s")
    for kind in ("train", "infer"):
        print(f"{kind}: torch / native {best[f'torch {kind}'] / best[f'native {kind}']:.2f}")


if __name__ == "__main__":
    main()
