"""`puffer train`."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from pufferlib_core.config import load_toml, merge, nest
from pufferlib_core.errors import ConfigError
from pufferlib_core.loggers import ConsoleLogger
from pufferlib_core.loops.api import AUTO, SHORTHANDS, train
from pufferlib_core.traits import Logger, Progress
from pufferlib_core.vector import env_spec

from pufferlib_cli import options

INTERRUPTED = 130


class Interrupt:
    """Ctrl-C as a callback: the run stops after the update under way, with a checkpoint. A second Ctrl-C ends at once."""

    def __init__(self) -> None:
        self.came = False

    def __call__(self, progress: Progress) -> bool:
        """True once Ctrl-C was pressed."""
        return self.came

    def handle(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        if self.came:
            raise KeyboardInterrupt
        self.came = True


@contextmanager
def readable_warnings() -> Iterator[None]:
    """Warnings as one line each, without the place in the code."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: print(f"puffer train: warning: {message}", file=sys.stderr)
        yield


def settings(args: argparse.Namespace, rest: list[str]) -> dict[str, Any]:
    """Settings of a run by rank: flags, variables, file. The preset and the defaults come below."""
    file = {} if args.config is None else nest(load_toml(Path(args.config)))
    algorithm = args.algorithm or file.get("algorithm", "ppo")
    name = args.env or file.get("env")
    env = None if name is None else env_spec(name)
    variables = options.environment(algorithm, env)
    flags = options.sections(rest, algorithm, env)
    for name in ("algorithm", "backend", "out", "env"):
        if getattr(args, name) is not None:
            flags[name] = getattr(args, name)
    if args.seed is not None:
        flags["seed"] = options.whole(args.seed, "--seed")
    train_flags = flags.setdefault("train", {})
    for name in SHORTHANDS:
        if getattr(args, name) is not None:
            train_flags[name] = options.whole(getattr(args, name), f"--{name.replace('_', '-')}")
    if "timesteps" in train_flags and "stop_return" not in train_flags:
        train_flags["stop_return"] = None
    return merge(file, variables, flags)


def run(args: argparse.Namespace, rest: list[str]) -> int:
    """Trains; prints a summary, or with --json one object."""
    given = settings(args, rest)
    env = given.pop("env", None)
    if env is None and args.resume in (None, AUTO):
        raise ConfigError("name an environment (puffer list shows them), or give --resume PATH")
    logger: Logger
    if not args.json and sys.stdout.isatty():
        from pufferlib_cli.dashboard import Dashboard

        logger = Dashboard()
    else:
        logger = ConsoleLogger(sys.stderr if args.json else sys.stdout)
    interrupt = Interrupt()
    before = signal.signal(signal.SIGINT, interrupt.handle)
    try:
        with readable_warnings():
            result = train(env, options=given, resume=args.resume, loggers=[logger], callbacks=[interrupt])
    finally:
        signal.signal(signal.SIGINT, before)
    if result.summary["resumed_from"] == result.summary["checkpoint"]:
        said = f"{result.run_dir} is complete ({result.summary['steps']:,} steps): nothing to do; --timesteps N goes on"
        print(said, file=sys.stderr if args.json else sys.stdout)
    if args.json:
        print(json.dumps(result.summary))
    else:
        _report(result.summary)
    return INTERRUPTED if interrupt.came else 0


def _report(summary: dict[str, Any]) -> None:
    mean = summary["episode_return_mean"]
    reached = "no finished episode" if mean is None else f"return {mean:.1f} over the last episodes"
    print(f"{summary['steps']:,} steps in {summary['seconds']:.2f} s ({summary['steps_per_second']:,.0f} steps/s), {reached}")
    print(f"checkpoint: {summary['checkpoint']}")
    print(f"evaluate:   puffer eval {summary['env']} --checkpoint {summary['run_dir']}")
