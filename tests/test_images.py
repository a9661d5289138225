"""Learning from images with convolutions, end to end on the native back end."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pufferlib_core as puffer
import pytest
from pufferlib_core.spaces import Box
from pufferlib_envs.catch import SPEC

BOARD = f"{__name__}:PIXELS"  # Catch as an image: a ball that falls, a paddle below, one channel
PIXELS = dataclasses.replace(SPEC, name=BOARD, obs_space=Box(0, 1, (10, 5)), configure=None, config=None)
CONV = {"policy.conv": ("16:3:1",)}


def test_catch_is_solved_from_pixels(tmp_path, learning_seed):
    run = puffer.train(BOARD, seed=learning_seed, options=CONV, out=str(tmp_path))
    assert run.summary["steps"] <= 200_000 + 2048
    assert puffer.evaluate(BOARD, run.checkpoint)["episode_return_mean"] >= 0.95


def tensors(checkpoint) -> dict[str, bytes]:
    return {f"{f}/{n}": a.tobytes() for f, group in puffer.load_checkpoint(checkpoint).files.items() for n, a in group.items()}


@pytest.mark.parametrize("threads", [1, 2])
def test_a_run_with_convolutions_resumes_bit_for_bit(tmp_path, threads):
    options = CONV | {"policy.separate": True, "train.checkpoint_every": 2048, "train.threads": threads}
    whole = puffer.train(BOARD, seed=4, timesteps=3 * 2048, options=options, out=str(tmp_path / "a"))
    first = min((whole.run_dir / "checkpoints").iterdir())
    assert "actor.encoder.0.0.weight" in puffer.load_checkpoint(first).files["policy"]
    again = puffer.train(resume=first, options={"train.threads": 3 - threads}, out=str(tmp_path / "b"))
    assert tensors(again.checkpoint) == tensors(whole.checkpoint)
    losses = [json.loads(line)["losses/policy_loss"] for line in (whole.run_dir / "metrics.jsonl").read_text().splitlines()]
    assert np.isfinite(losses).all()
    policy = puffer.load_policy(whole.checkpoint)
    action, _, _ = policy.act(np.zeros((2, 10, 5), np.float32))
    assert action.shape == (2,)
