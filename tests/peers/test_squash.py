"""Squashed actions on every back end: the same ones from one checkpoint, and runs that go on elsewhere."""

from __future__ import annotations

import numpy as np
import pufferlib_core as puffer
import pytest
from pufferlib_core.backends.onnxruntime.export import export
from pufferlib_core.checkpoint import load_checkpoint

OPTIONS = {"policy.squash": True, "policy.hidden": (8,), "ppo.entropy_coef": 0.01, "ppo.epochs": 1}
STEPS = 2048  # one update


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The checkpoint of a first update on each back end that learns."""
    out = str(tmp_path_factory.mktemp("runs"))
    found = {}
    for backend in ("native", "torch", "jax"):
        found[backend] = puffer.train("pendulum", backend=backend, timesteps=STEPS, options=OPTIONS, out=out).checkpoint
    return found


@pytest.mark.parametrize("learnt", ["native", "torch", "jax"])
def test_a_checkpoint_acts_alike_everywhere(runs, learnt, tmp_path):
    obs = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    file = tmp_path / "policy.onnx"
    assert max(export(runs[learnt], file)["differences"].values()) < 1e-5
    policies = [puffer.load_policy(runs[learnt], backend=name) for name in ("native", "torch", "jax", "onnxruntime")]
    policies.append(puffer.load_policy(file, backend="onnxruntime"))
    for greedy in (True, False):
        expected, logprob, _ = policies[0].act(obs, greedy=greedy, seed=4)
        sample, _, _ = policies[0].act(obs, greedy=greedy, seed=4, raw=True)
        np.testing.assert_allclose(expected, 2 * np.tanh(sample), atol=1e-6)
        for policy in policies[1:]:
            action, theirs, _ = policy.act(obs, greedy=greedy, seed=4)
            np.testing.assert_allclose(action, expected, atol=1e-5)
            np.testing.assert_allclose(theirs, logprob, atol=2e-5)
    expected, _, _ = policies[0].act(obs)
    (action,) = policies[-1].session.run(["action"], {"obs": obs})  # the graph squashes by itself
    np.testing.assert_allclose(action, expected, atol=1e-5)


@pytest.mark.parametrize("backend", ["native", "torch", "jax"])
def test_runs_go_on_elsewhere(runs, backend, tmp_path):
    """The second update of the native run, on each back end, leads to the same parameters."""
    found = []
    for name in ("native", backend):
        run = puffer.train(resume=runs["native"], backend=name, timesteps=2 * STEPS, out=str(tmp_path))
        found.append(load_checkpoint(run.checkpoint).files["policy"])
    for name, array in found[0].items():
        np.testing.assert_allclose(found[1][name], array, atol=2e-4, err_msg=name)
