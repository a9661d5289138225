"""What tests of back ends against the native one share: cases, engines with equal states, segments, updates compared."""

from __future__ import annotations

import sys

import numpy as np
from pufferlib_core import load_checkpoint, train
from pufferlib_core.algorithms.ppo import PPOConfig
from pufferlib_core.backends import backend_specs, get_backend
from pufferlib_core.config import from_dict
from pufferlib_core.data import Segment
from pufferlib_core.loops.evaluate import evaluate
from pufferlib_core.native import Pool, lib
from pufferlib_core.ops.ppo import Coefficients
from pufferlib_core.policies import PolicyConfig, PolicySpec
from pufferlib_core.spaces import Box, Discrete, Mixed, MultiDiscrete
from pufferlib_core.vector.base import action_dtype

T, N, WIDTH = 16, 24, 5
CASES = {  # action space, policy, PPO, masks
    "discrete": (Discrete(3), {}, {"entropy_coef": 0.01}, False),
    "relu, separate": (Discrete(3), {"activation": "relu", "separate": True}, {"value_clip": 0.2}, False),
    "choices with masks": (MultiDiscrete([2, 4]), {}, {"entropy_coef": 0.02, "dual_clip": 3.0}, True),
    "numbers": (Box(-1, 1, (2,)), {"log_std_init": -0.3}, {"entropy_coef": 0.01, "weight_decay": 0.01}, False),
    "both, with masks": (Mixed(MultiDiscrete([2, 4]), Box(-1, 1, (2,))), {}, {"entropy_coef": 0.01}, True),
    "raw advantages": (Discrete(2), {"hidden": [9]}, {"normalize_advantage": False, "max_grad_norm": 0.0}, False),
}


def at(config, rate):
    """Coefficients of these settings at the beginning of a run, but for the learning rate."""
    return Coefficients(rate, config.clip, config.entropy_coef, config.kl_coef)


def make(case, other, more=()):
    """Engines of the native and another back end with the same state; `more` settings of PPO."""
    space, policy, ppo, masked = CASES[case]
    spec = PolicySpec(
        obs_space=Box(-10, 10, (WIDTH,)), action_space=space, config=from_dict(PolicyConfig, {"hidden": [16, 12]} | policy)
    )
    config = from_dict(PPOConfig, {"horizon": T, "minibatch": T * N // 4, "epochs": 2} | ppo | dict(more))
    engines = {}
    for name in ("native", other):
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


def check_forward_and_samples(spec, engines, masked):
    """Outputs within 1e-5, and but for draws on an edge the same actions."""
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


def check_in_turn(case, other, more=()):
    """Updates by native, the other back end twice, and native again are those of native alone; returns the state at the end."""
    spec, engines, masked = make(case, other, more)
    _, alone, _ = make(case, other, more)
    (native, ours), (engine, theirs) = engines.values()
    reference, expected = alone["native"]
    assert set(ours) == set(theirs)
    segment, advantage, target = make_segment(spec, native, masked, 0.8)
    for update, (learner, state, before) in enumerate(
        [(native, ours, ours), (engine, theirs, ours), (engine, theirs, theirs), (native, ours, theirs)]
    ):
        for name, array in state.items():
            array[...] = before[name]
        learner.push()
        learner.load(state)
        learner.descend(segment, advantage, target, coefficients=at(learner.config, 1e-3), update=update)
        learner.pull()
        reference.descend(segment, advantage, target, coefficients=at(reference.config, 1e-3), update=update)
    assert ours["adam/step"] == expected["adam/step"] == 32
    for name, array in expected.items():
        np.testing.assert_allclose(ours[name], array, rtol=1e-3, atol=2e-5, err_msg=name)
    return ours


def check_updates(spec, engines, masked, valid, monkeypatch, updates=1):
    """Losses and states agree after updates, those of the other back end made without the training of the core."""
    segment, advantage, target = make_segment(spec, engines["native"][0], masked, valid)
    results = {}
    for name, (engine, state) in engines.items():
        if name != "native":
            take_training_away(monkeypatch)
        for update in range(4, 4 + updates):
            losses = engine.descend(segment, advantage, target, coefficients=at(engine.config, 1e-3), update=update)
        engine.pull()
        results[name] = losses, {key: array.copy() for key, array in state.items()}
    (ours, before), (theirs, after) = results.values()
    for name, loss in ours.items():
        np.testing.assert_allclose(theirs[name], loss, rtol=2e-4, atol=2e-6, err_msg=name)
    assert after["adam/step"] == before["adam/step"] == 8 * updates
    for name, array in before.items():
        np.testing.assert_allclose(after[name], array, rtol=1e-3, atol=2e-5, err_msg=name)


def check_cartpole(other, tmp_path):
    """A run of another back end learns, acts alike on both, and goes on natively with its moments."""
    run = train("cartpole", backend=other, timesteps=100_000, out=str(tmp_path))
    assert run.summary["backend"] == other
    scores = [evaluate("cartpole", run.checkpoint, backend=name)["episode_return_mean"] for name in (other, "native")]
    assert min(scores) >= 475
    more = train(resume=run.checkpoint, backend="native", timesteps=104_096, out=str(tmp_path))
    assert more.summary["episode_return_mean"] > 400
    saved = [load_checkpoint(path).files["trainer"]["adam/step"][0] for path in (run.checkpoint, more.checkpoint)]
    assert saved[1] == saved[0] + 2 * 16


class Without:
    """The core without its functions that train."""

    def __getattr__(self, name):
        if name in ("puf_ppo_update", "puf_ppo_gradient", "puf_adam", "puf_muon", "puf_muon_step"):
            raise AssertionError(f"{name} was called")
        return getattr(lib, name)


def take_training_away(monkeypatch):
    for name, module in list(sys.modules.items()):
        if name.startswith("pufferlib_core.") and getattr(module, "lib", None) is lib:
            monkeypatch.setattr(module, "lib", Without())
