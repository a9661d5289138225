"""Draws the pictures of docs/environments.md: `uv run --group docs tools/pictures.py`.

Not part of CI: it trains for a minute.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from pufferlib_core import train
from pufferlib_core.spaces import sample_allowed
from pufferlib_core.vector import env_names, make_vec

OUT = Path(__file__).resolve().parent.parent / "docs/images"
PLAYED = {"squared": 2, "memory": 0, "catch": 5, "deep_sea": 5}  # steps before the picture; others: 30


def grid() -> tuple[plt.Figure, np.ndarray]:
    """A figure with a place for each environment."""
    figure, axes = plt.subplots(2, 5, figsize=(13, 5.4), layout="constrained")
    return figure, axes.ravel()


def scenes() -> None:
    """One picture of each environment after some random steps."""
    figure, axes = grid()
    rng = np.random.default_rng(1)
    for axis, name in zip(axes, env_names(), strict=True):
        vec = make_vec(name, num_envs=1, seed=3)
        vec.reset()
        for _ in range(PLAYED.get(name, 30)):
            vec.step(np.ascontiguousarray(sample_allowed(vec.action_space, rng, None)[None], vec.action_dtype))
        axis.imshow(vec.render(mode="rgb_array"))
        axis.set_title(name)
        axis.set_axis_off()
    figure.savefig(OUT / "environments.png", dpi=80)


def curves() -> None:
    """Mean return of the last hundred episodes over steps, three seeds of each preset, run to its full length."""
    figure, axes = grid()
    for axis, name in zip(axes, env_names(), strict=True):
        for seed in range(3):
            with tempfile.TemporaryDirectory() as out:
                run = train(name, seed=seed, options={"train": {"stop_return": None}}, out=out)
                rows = [json.loads(line) for line in (run.run_dir / "metrics.jsonl").read_text().splitlines()]
            returns = [np.nan if row["episode/return_mean"] is None else row["episode/return_mean"] for row in rows]
            axis.plot([row["steps"] / 1000 for row in rows], returns, linewidth=1, label=f"seed {seed}")
        axis.set_title(name)
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    figure.supxlabel("thousand steps of the environments")
    figure.supylabel("mean return of 100 episodes")
    figure.savefig(OUT / "learning-curves.png", dpi=80)


if __name__ == "__main__":
    mpl.use("agg")
    OUT.mkdir(exist_ok=True)
    scenes()
    curves()
