"""NaN on back ends other than the native one: the run stops, and what it leaves raises the same error again."""

from __future__ import annotations

import json
import re

import pufferlib_core as puffer
import pytest
from pufferlib_core.errors import NonFiniteError


@pytest.mark.parametrize(("env", "horizon"), [("cartpole", 8), ("gymnasium:CartPole-v1", 8)])
def test_torch_leaves_a_bundle_that_blows_up_again(tmp_path, env, horizon):
    options = {"ppo.learning_rate": 1e25, "ppo.max_grad_norm": 0.0, "ppo.horizon": horizon, "ppo.minibatch": 64}
    with pytest.raises(NonFiniteError, match=r"in the loss or its gradient, update \d+, minibatch \d+"):
        puffer.train(env, backend="torch", num_envs=32, options=options, out=tmp_path)
    bundle = next(tmp_path.glob("*/nonfinite"))
    error = json.loads((bundle / "nonfinite.json").read_text())["error"]
    with pytest.raises(NonFiniteError, match=re.escape(error) + "$"):
        puffer.replay(bundle)


def test_evaluation_changes_nothing_with_torch(tmp_path):
    settings = {"backend": "torch", "num_envs": 32, "seed": 2, "timesteps": 2048}
    options = {"ppo.horizon": 16, "ppo.minibatch": 128, "ppo.epochs": 2}
    plain = puffer.train("pendulum", options=options, out=tmp_path / "a", **settings)
    run = puffer.train("pendulum", options=options, out=tmp_path / "b", evaluate_every=512, evaluate_episodes=4, **settings)
    one, other = (puffer.load_checkpoint(path).files for path in (plain.checkpoint, run.checkpoint))
    for part in one:
        assert {name: array.tobytes() for name, array in one[part].items()} == {n: a.tobytes() for n, a in other[part].items()}
