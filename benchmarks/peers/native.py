"""This framework."""

from __future__ import annotations

import math
import tempfile
from typing import Any

import numpy as np
import pufferlib_core as puffer
from common import WINDOW, Clock, best_rate, random_actions, serve


def simulate(num_envs: int, cores: int, steps_per_call: int) -> dict[str, float]:
    """Steps a second, with one call a step or one for 32 of them."""
    vec = puffer.make_vec("cartpole", num_envs=num_envs, threads=cores)
    vec.reset()
    actions = random_actions(num_envs, np.int32)
    segment = vec.allocate(32)

    def steps() -> None:
        for action in actions:
            vec.step(action)

    return best_rate(steps if steps_per_call == 1 else lambda: vec.run(actions, segment), actions.size)


def ppo(
    settings: dict[str, Any] | None, cores: int, seed: int, seconds: float, to_goal: bool, backend: str = "native",
    backend_options: dict[str, Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Trains with the given settings, or with the preset."""
    clock = Clock(seconds, to_goal)

    def after_update(progress: Any) -> bool:
        whole = progress.metrics["episode/count"] >= WINDOW
        return clock.update(progress.steps, progress.metrics["episode/return_mean"] if whole else math.nan)

    options: dict[str, Any] = {"torch": {"threads": cores}} if backend == "torch" else {}
    if settings:
        train = {"num_envs": settings["num_envs"], "timesteps": settings["timesteps"], "threads": cores, "stop_return": None}
        names = ("horizon", "epochs", "minibatch", "learning_rate", "gamma", "lam")
        ppo_options = {name: settings[name] for name in names} | {"normalize_return": False}
        options |= {"train": train, "ppo": ppo_options, "policy": {"hidden": [64, 64], "separate": True}}
    with tempfile.TemporaryDirectory() as out:
        clock.start()
        puffer.train(
            "cartpole", seed=seed, backend=backend, options=options | (backend_options or {}), out=out, callbacks=[after_update]
        )
    return clock.result()


if __name__ == "__main__":
    serve(simulate=simulate, ppo=ppo)
