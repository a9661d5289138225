"""The torch back end against the native one: forward, samples, updates, checkpoints. Run by the gate `peers`."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from pufferlib_core import load_checkpoint, train
from pufferlib_core.algorithms.ppo import PPOConfig
from pufferlib_core.backends import backend_specs, get_backend
from pufferlib_core.config import from_dict
from pufferlib_core.data import Segment
from pufferlib_core.errors import ConfigError, NonFiniteError
from pufferlib_core.loops.evaluate import evaluate
from pufferlib_core.native import Pool, lib
from pufferlib_core.ops.ppo import Coefficients
from pufferlib_core.policies import PolicyConfig, PolicySpec
from pufferlib_core.spaces import Box, Discrete, Mixed, MultiDiscrete
from pufferlib_core.vector.base import action_dtype

T, N, WIDTH = 16, 24, 5
WEIGHTS = Coefficients(rate=1e-3, clip=0.2, entropy=0.01)
CASES = {  # action space, policy, PPO, masks
    "discrete": (Discrete(3), {}, {"entropy_coef": 0.01}, False),
    "relu, separate": (Discrete(3), {"activation": "relu", "separate": True}, {"value_clip": 0.2}, False),
    "choices with masks": (MultiDiscrete([2, 4]), {}, {"entropy_coef": 0.02, "dual_clip": 3.0}, True),
    "numbers": (Box(-1, 1, (2,)), {"log_std_init": -0.3}, {"entropy_coef": 0.01, "weight_decay": 0.01}, False),
    "both, with masks": (Mixed(MultiDiscrete([2, 4]), Box(-1, 1, (2,))), {}, {"entropy_coef": 0.01}, True),
    "raw advantages": (Discrete(2), {"hidden": [9]}, {"normalize_advantage": False, "max_grad_norm": 0.0}, False),
}


def make(case):
    """Engines of both back ends with the same state, and their settings."""
    space, policy, ppo, masked = CASES[case]
    spec = PolicySpec(
        obs_space=Box(-10, 10, (WIDTH,)), action_space=space, config=from_dict(PolicyConfig, {"hidden": [16, 12]} | policy)
    )
    config = from_dict(PPOConfig, {"horizon": T, "minibatch": T * N // 4, "epochs": 2} | ppo)
    engines = {}
    for name in ("native", "torch"):
        options = backend_specs()[name].config
        backend = get_backend(name, "ppo.update")
        engine = backend.make_engine(spec, config, options=options and options(), num_envs=N, seed=3, pool=Pool(1))
        state = engine.tensors(3)
        engine.push()
        engine.load(state)
        engines[name] = engine, state
    return spec, engines, masked


def make_segment(spec, engine, masked, valid=1.0):
    """Rows of a policy near the current one; some are not valid and hold garbage."""
    rng = np.random.default_rng(0)
    action = action_dtype(spec.action_space), spec.action_space.shape
    segment = Segment.allocate(T, N, (np.dtype(np.float32), (WIDTH,)), 0, action, sum(spec.nvec) if masked else 0)
    segment.obs[...] = rng.normal(size=segment.obs.shape)
    if masked:
        segment.action_mask[...] = rng.random(segment.action_mask.shape) < 0.7
        segment.action_mask[..., [0, 2]] = 1
    for t in range(T):
        mask = segment.action_mask[t] if masked else None
        segment.action[t], segment.logprob[t], segment.value[t] = engine.policy.act(
            segment.obs[t], greedy=False, seed=1, step=t, action_mask=mask
        )
    segment.logprob[...] += 0.1 * rng.normal(size=(T, N))
    segment.valid[...] = rng.random((T, N)) < valid
    absent = segment.valid == 0
    segment.obs[:-1][absent] = np.nan
    segment.logprob[absent] = np.inf
    segment.value[absent] = np.nan
    advantage, target = (rng.normal(size=(T, N)).astype(np.float32) for _ in range(2))
    advantage[absent] = np.nan
    return segment, advantage, target


@pytest.mark.parametrize("case", CASES)
def test_forward_and_samples_agree(case):
    spec, engines, masked = make(case)
    (native, _), (other, _) = engines.values()
    rng = np.random.default_rng(0)
    obs = rng.normal(size=(200, WIDTH)).astype(np.float32)
    mask = np.ones((200, sum(spec.nvec)), np.uint8) if masked else None
    if masked:
        mask[::2, 1] = 0
    for ours, theirs in zip(native.policy.forward(obs), other.policy.forward(obs), strict=True):
        np.testing.assert_allclose(theirs, ours, atol=1e-5, rtol=1e-5)
    for greedy in (False, True):
        a, b = (engine.policy.act(obs, greedy=greedy, seed=5, step=7, action_mask=mask) for engine in (native, other))
        words = [action.view(np.int32).reshape(200, -1) for action in (a[0], b[0])]
        wide = len(spec.nvec)
        close = (words[0][:, :wide] == words[1][:, :wide]).all(axis=1)
        numbers = [action.view(np.float32)[:, wide:] for action in words]
        np.testing.assert_allclose(numbers[1][close], numbers[0][close], atol=1e-5)
        assert close.mean() > 0.98  # a draw may fall on the edge between two choices
        np.testing.assert_allclose(b[1][close], a[1][close], atol=2e-5)


@pytest.mark.parametrize("valid", [1.0, 0.6])
@pytest.mark.parametrize("case", CASES)
def test_updates_agree_without_the_training_of_the_core(case, valid, monkeypatch):
    spec, engines, masked = make(case)
    segment, advantage, target = make_segment(spec, engines["native"][0], masked, valid)
    results = {}
    for name, (engine, state) in engines.items():
        if name == "torch":
            take_training_away(monkeypatch)
        losses = engine.descend(segment, advantage, target, coefficients=WEIGHTS, update=4)
        engine.pull()
        results[name] = losses, {key: array.copy() for key, array in state.items()}
    (ours, before), (theirs, after) = results.values()
    for name, loss in ours.items():
        assert theirs[name] == pytest.approx(loss, rel=2e-4, abs=2e-6), name
    assert after["adam/step"] == before["adam/step"] == 8
    for name, array in before.items():
        np.testing.assert_allclose(after[name], array, rtol=1e-3, atol=2e-5, err_msg=name)


class Without:
    """The core without its functions that train."""

    def __getattr__(self, name):
        if name in ("puf_ppo_update", "puf_ppo_gradient", "puf_adam"):
            raise AssertionError(f"{name} was called")
        return getattr(lib, name)


def take_training_away(monkeypatch):
    for name, module in list(sys.modules.items()):
        if name.startswith("pufferlib_core.") and getattr(module, "lib", None) is lib:
            monkeypatch.setattr(module, "lib", Without())


def test_the_native_engine_cannot_learn_without_them(monkeypatch):
    spec, engines, _ = make("discrete")
    engine = engines["native"][0]
    segment, advantage, target = make_segment(spec, engine, False)
    take_training_away(monkeypatch)
    with pytest.raises(AssertionError, match="puf_ppo_update was called"):
        engine.descend(segment, advantage, target, coefficients=WEIGHTS, update=0)


def test_cartpole_is_learnt_evaluated_and_continued_on_the_other_back_end(tmp_path):
    run = train("cartpole", backend="torch", timesteps=100_000, out=str(tmp_path))
    assert run.summary["backend"] == "torch"
    scores = [evaluate("cartpole", run.checkpoint, backend=name)["episode_return_mean"] for name in ("torch", "native")]
    assert min(scores) >= 475
    more = train(resume=run.checkpoint, backend="native", timesteps=104_096, out=str(tmp_path))
    assert more.summary["episode_return_mean"] > 400
    saved = [load_checkpoint(path).files["trainer"]["adam/step"][0] for path in (run.checkpoint, more.checkpoint)]
    assert saved[1] == saved[0] + 2 * 16


def test_resume_is_bit_exact_on_the_cpu(tmp_path):
    options = {"policy": {"normalize_obs": True}}
    whole = train("pendulum", backend="torch", timesteps=20_000, checkpoint_every=8_000, options=options, out=str(tmp_path))
    first = min((whole.run_dir / "checkpoints").iterdir())
    assert load_checkpoint(first).manifest["exact"]
    assert "in synchronous mode" in load_checkpoint(first).manifest["exact_reason"]
    again = train(resume=first, out=str(tmp_path))
    assert first != whole.checkpoint
    a, b = (load_checkpoint(run.checkpoint).files for run in (whole, again))
    for part in ("policy", "trainer"):
        assert {name: array.tobytes() for name, array in a[part].items()} == {
            name: array.tobytes() for name, array in b[part].items()
        }


def test_a_gradient_that_is_not_finite_stops_before_the_step():
    spec, engines, _ = make("discrete")
    engine, state = engines["torch"]
    segment, advantage, target = make_segment(spec, engine, False)
    advantage[3, 4] = np.inf
    before = {name: array.copy() for name, array in state.items()}
    with pytest.raises(NonFiniteError, match="update 0, minibatch"):
        engine.descend(segment, advantage, target, coefficients=WEIGHTS, update=0)
    engine.pull()
    steps = int(state["adam/step"][0])
    assert steps < 8
    assert np.isfinite(state["policy.weight"]).all()
    assert steps or all(np.array_equal(before[name], state[name]) for name in state)


def test_target_kl_stops_before_the_step():
    space, engines, _ = make("discrete")
    engine, state = engines["torch"]
    segment, advantage, target = make_segment(space, engine, False)
    engine.config = from_dict(PPOConfig, {"horizon": T, "minibatch": T * N // 4, "target_kl": 1e-6})
    assert engine.descend(segment, advantage, target, coefficients=WEIGHTS, update=0)["policy_loss"] == 0.0
    assert state["adam/step"] == 0


def test_devices_and_compilation():
    with pytest.raises(ConfigError, match=r"torch\.device='cuda:99' is not here"):
        train("cartpole", backend="torch", options={"torch.device": "cuda:99"})
    assert torch.get_num_threads() == 1


def test_elsewhere_a_run_is_not_exact_and_its_arrays_are_copies():
    """On torch's device without memory, the only other one that is always here."""
    spec = make("discrete")[0]
    config = from_dict(PPOConfig, {"horizon": T, "minibatch": T * N})
    options = backend_specs()["torch"].config(device="meta")
    engine = get_backend("torch", "ppo.update").make_engine(spec, config, options=options, num_envs=N, seed=3, pool=Pool(1))
    assert engine.inexact == "sums on meta have no fixed order"
    assert all(parameter.device.type == "meta" for parameter in engine.policy.network.parameters())
    assert np.isfinite(engine.tensors(3)["policy.weight"]).all()
