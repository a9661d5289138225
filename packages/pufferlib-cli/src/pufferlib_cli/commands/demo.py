"""`puffer demo`."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from pufferlib_core.backends import backend_spec
from pufferlib_core.config import parse_value
from pufferlib_core.errors import CheckpointError, ConfigError, EnvError
from pufferlib_core.loops.api import opened, policy_of
from pufferlib_core.loops.evaluate import trained_env
from pufferlib_core.loops.play import Player
from pufferlib_core.seeding import STREAM_SAMPLE
from pufferlib_core.spaces import fingerprint, sample_allowed
from pufferlib_core.vector import env_spec, vectorize

from pufferlib_cli.keyboard import Keyboard
from pufferlib_cli.options import whole


def play(
    env: str, checkpoint: str | None, *, steps: int, fps: float, seed: int, backend: str = "native",
    options: Mapping[str, Any] | None = None,
) -> dict[str, float]:  # fmt: skip
    """Plays in the terminal; returns the reward and the episodes.

    Raises:
        CheckpointError: if the checkpoint is of another environment.
    """
    spec, policy = env_spec(env), None
    if checkpoint is not None:
        saved = opened(checkpoint, backend)
        spec = trained_env(env, saved)
        if saved.manifest.get("space_fingerprint") != fingerprint(*spec.spaces):
            raise CheckpointError(f"{saved.path} was trained on {saved.manifest.get('env')}, not on {env}")
        policy = policy_of(saved, backend=backend, options=options)
    vec = vectorize(spec, num_envs=1, threads=1, seed=seed)
    rng = np.random.default_rng([seed, STREAM_SAMPLE])
    step, reward, episodes = vec.reset(), 0.0, 0
    player = None if policy is None else Player(policy, vec)
    live = sys.stdout.isatty()
    for t in range(steps):
        if player is not None:
            step = player.step(step)
        else:
            action = sample_allowed(spec.action_space, rng, None if step.action_mask is None else step.action_mask[0])[None]
            step = vec.step(np.ascontiguousarray(action, vec.action_dtype))
        reward, episodes = reward + float(step.reward[0]), episodes + step.finished
        if live:
            picture = vec.render()
            print(f"\x1b[H\x1b[2J{picture}\nstep {t + 1}   reward {reward:.1f}   episodes {episodes}", flush=True)
            if fps > 0:
                time.sleep(1.0 / fps)
    if not live:
        print(vec.render(), file=sys.stderr)
    return {"steps": steps, "reward": reward, "episodes": episodes}


def play_by_hand(env: str, *, steps: int, fps: float, seed: int) -> dict[str, float]:
    """Lets a person play; escape or q (unless the environment uses it) ends the game."""
    spec = env_spec(env)
    keys = spec.playing_keys
    if keys is None:
        raise EnvError(f"{spec.name} has no keys")
    vec = vectorize(spec, num_envs=1, threads=1, seed=seed)
    vec.reset()
    reward, episodes, t, ended = 0.0, 0, 0, ""
    legend = "  ".join(f"{key}: {action:g}" for key, action in keys.actions.items())
    wait = None if keys.idle is None else 1.0 / (fps or 20.0)
    with Keyboard() as keyboard:
        while t < steps:
            print(
                f"\x1b[H\x1b[2J{vec.render()}\nreward {reward:.1f}   episodes {episodes}{ended}\n{legend}  escape: end",
                flush=True,
            )
            key = keyboard.key(wait)
            if key == "escape" or (key == "q" and "q" not in keys.actions):
                break
            action = keys.actions.get(key, keys.idle) if key is not None else keys.idle
            if action is None:
                continue  # not a key of this environment
            step = vec.step(np.full(vec.action_shape, action, vec.action_dtype))
            t, reward, episodes = t + 1, reward + float(step.reward[0]), episodes + step.finished
            if step.finished:
                ended = f"   last return {float(step.log['episode_return'][0]):.1f}"
    return {"steps": t, "reward": reward, "episodes": episodes}


def run(args: argparse.Namespace, rest: list[str]) -> int:
    """Plays; ends with a line, or with --json one object."""
    steps, fps = whole(args.steps, "--steps"), parse_value(args.fps, float, "--fps")
    if steps < 1 or not 0 <= fps < math.inf:
        raise ConfigError("--steps must be at least 1, and --fps a number of at least 0")
    seed = whole(args.seed, "--seed")
    backend_spec(args.backend)  # refused also where nobody needs it
    if args.play:
        if args.checkpoint is not None:
            raise ConfigError("--play is you; --checkpoint is somebody else: choose one")
        result = play_by_hand(args.env, steps=steps, fps=fps, seed=seed)
    else:
        result = play(args.env, args.checkpoint, steps=steps, fps=fps, seed=seed, backend=args.backend)
    if args.json:
        print(json.dumps({"env": args.env, **result}))
    else:
        print(f"{args.env}: {result['steps']} steps, reward {result['reward']:.1f}, {result['episodes']} episodes ended")
    return 0
