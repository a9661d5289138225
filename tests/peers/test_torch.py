"""The torch back end against the native one: forward, samples, updates, checkpoints. Run by the gate `peers`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from against_native import (
    CASES,
    N,
    T,
    at,
    check_cartpole,
    check_forward_and_samples,
    check_updates,
    make,
    make_segment,
    take_training_away,
)
from pufferlib_core import load_checkpoint, train
from pufferlib_core.algorithms.ppo import PPOConfig
from pufferlib_core.backends import backend_specs, get_backend
from pufferlib_core.config import from_dict
from pufferlib_core.errors import ConfigError, NonFiniteError
from pufferlib_core.native import Pool


@pytest.mark.parametrize("case", CASES)
def test_forward_and_samples_agree(case):
    check_forward_and_samples(*make(case, "torch"))


@pytest.mark.parametrize("valid", [1.0, 0.6])
@pytest.mark.parametrize("case", CASES)
def test_updates_agree_without_the_training_of_the_core(case, valid, monkeypatch):
    check_updates(*make(case, "torch"), valid, monkeypatch)


def test_the_native_engine_cannot_learn_without_them(monkeypatch):
    spec, engines, _ = make("discrete", "torch")
    engine = engines["native"][0]
    segment, advantage, target = make_segment(spec, engine, False)
    take_training_away(monkeypatch)
    with pytest.raises(AssertionError, match="puf_ppo_update was called"):
        engine.descend(segment, advantage, target, coefficients=at(engine.config, 1e-3), update=0)


def test_cartpole_is_learnt_evaluated_and_continued_on_the_other_back_end(tmp_path):
    check_cartpole("torch", tmp_path)


def test_the_divergence_of_an_update_counts_that_of_the_deviations(tmp_path):
    """It is measured against the policy from before the update, whose deviations must not change with the parameters."""
    options = {"ppo.kl_target": 0.01, "ppo.kl_coef": 0.2, "ppo.learning_rate": 3e-3}
    found = {name: [] for name in ("native", "torch")}
    for name, moved in found.items():
        train(
            "pendulum", backend=name, timesteps=4096, num_envs=32, options=options, out=str(tmp_path),
            callbacks=[lambda progress, moved=moved: moved.append(progress.metrics["losses/divergence"])],
        )  # fmt: skip
    np.testing.assert_allclose(found["torch"], found["native"], rtol=1e-3)


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
    spec, engines, _ = make("discrete", "torch")
    engine, state = engines["torch"]
    segment, advantage, target = make_segment(spec, engine, False)
    advantage[3, 4] = np.inf
    before = {name: array.copy() for name, array in state.items()}
    with pytest.raises(NonFiniteError, match="update 0, minibatch"):
        engine.descend(segment, advantage, target, coefficients=at(engine.config, 1e-3), update=0)
    engine.pull()
    steps = int(state["adam/step"][0])
    assert steps < 8
    assert np.isfinite(state["policy.weight"]).all()
    assert steps or all(np.array_equal(before[name], state[name]) for name in state)


def test_target_kl_stops_before_the_step():
    space, engines, _ = make("discrete", "torch")
    engine, state = engines["torch"]
    segment, advantage, target = make_segment(space, engine, False)
    engine.config = from_dict(PPOConfig, {"horizon": T, "minibatch": T * N // 4, "target_kl": 1e-6})
    assert engine.descend(segment, advantage, target, coefficients=at(engine.config, 1e-3), update=0)["policy_loss"] == 0.0
    assert state["adam/step"] == 0


def test_devices_and_compilation():
    with pytest.raises(ConfigError, match=r"torch\.device='cuda:99' is not here"):
        train("cartpole", backend="torch", options={"torch.device": "cuda:99"})
    assert torch.get_num_threads() == 1


def test_elsewhere_a_run_is_not_exact_and_its_arrays_are_copies():
    """On torch's device without memory, the only other one that is always here."""
    spec = make("discrete", "torch")[0]
    config = from_dict(PPOConfig, {"horizon": T, "minibatch": T * N})
    options = backend_specs()["torch"].config(device="meta")
    engine = get_backend("torch", "ppo.update").make_engine(spec, config, options=options, num_envs=N, seed=3, pool=Pool(1))
    assert engine.inexact == "sums on meta have no fixed order"
    assert all(parameter.device.type == "meta" for parameter in engine.policy.network.parameters())
    assert np.isfinite(engine.tensors(3)["policy.weight"]).all()


def test_steps_are_counted_beyond_what_float32_counts():
    """torch's Adam adds 1 to a float32, where 2^24 + 1 is 2^24: each update it is told how many there were."""
    spec, engines, _ = make("discrete", "torch")
    engine, state = engines["torch"]
    state["adam/step"][:] = 2**24
    engine.push()
    segment, advantage, target = make_segment(spec, engine, False)
    for update in range(2):
        engine.descend(segment, advantage, target, coefficients=at(engine.config, 1e-3), update=update)
    assert state["adam/step"] == 2**24 + 16
    engine._begin(1e-3)
    assert {float(held["step"]) for held in engine._optimizer.state.values()} == {2**24 + 16}
