"""`puffer eval`."""

from __future__ import annotations

import argparse
import json

from pufferlib_core.loops.evaluate import evaluate

from pufferlib_cli.options import whole


def run(args: argparse.Namespace, rest: list[str]) -> int:
    """Evaluates; prints a line, or with --json one object."""
    result = evaluate(
        args.env,
        args.checkpoint,
        episodes=whole(args.episodes, "--episodes"),
        seed=whole(args.seed, "--seed"),
        stochastic=args.stochastic,
        backend=args.backend,
    )
    if args.render and not args.json:
        from pufferlib_cli.commands.demo import play

        play(args.env, args.checkpoint, steps=200, fps=50.0, seed=whole(args.seed, "--seed"), backend=args.backend)
    if args.json:
        print(json.dumps(result))
    else:
        print(
            f"{result['env']}: return {result['episode_return_mean']:.2f} +- {result['episode_return_std']:.2f}, "
            f"length {result['episode_length_mean']:.1f}, {result['episodes']} episodes"
        )
    return 0
