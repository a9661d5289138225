"""`puffer demo`."""

from __future__ import annotations

import argparse
import json
import sys
import time

import numpy as np
from pufferlib_core.checkpoint import load_checkpoint
from pufferlib_core.config import parse_value
from pufferlib_core.errors import CheckpointError, ConfigError
from pufferlib_core.loops.api import load_policy
from pufferlib_core.loops.evaluate import trained_env
from pufferlib_core.seeding import STREAM_SAMPLE
from pufferlib_core.spaces import fingerprint, sample_allowed
from pufferlib_core.vector import VecEnv, env_spec

from pufferlib_cli.options import whole


def play(env: str, checkpoint: str | None, *, steps: int, fps: float, seed: int) -> dict[str, float]:
    """Plays in the terminal; returns the reward and the episodes.

    Raises:
        CheckpointError: if the checkpoint is of another environment.
    """
    spec, policy = env_spec(env), None
    if checkpoint is not None:
        saved = load_checkpoint(checkpoint)
        spec = trained_env(env, saved)
        if saved.manifest.get("space_fingerprint") != fingerprint(*spec.spaces):
            raise CheckpointError(f"{saved.path} was trained on {saved.manifest.get('env')}, not on {env}")
        policy = load_policy(saved.path)
    vec = VecEnv(spec, num_envs=1, threads=1, seed=seed)
    rng = np.random.default_rng([seed, STREAM_SAMPLE])
    step, reward, episodes = vec.reset(), 0.0, 0
    live = sys.stdout.isatty()
    for t in range(steps):
        if policy is not None:
            action = policy.act(step.obs, action_mask=step.action_mask)[0]
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


def run(args: argparse.Namespace, rest: list[str]) -> int:
    """Plays; ends with a line, or with --json one object."""
    steps, fps = whole(args.steps, "--steps"), parse_value(args.fps, float, "--fps")
    if steps < 1 or fps < 0:
        raise ConfigError("--steps must be at least 1 and --fps at least 0")
    result = play(args.env, args.checkpoint, steps=steps, fps=fps, seed=whole(args.seed, "--seed"))
    if args.json:
        print(json.dumps({"env": args.env, **result}))
    else:
        print(f"{args.env}: {steps} steps, reward {result['reward']:.1f}, {result['episodes']} episodes ended")
    return 0
