"""Runs end to end: learning, exact resume, determinism, failures."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pufferlib_core as puffer
import pytest
from pufferlib_core.errors import CheckpointError, ConfigError, NonFiniteError
from pufferlib_core.loops.onpolicy import Run
from pufferlib_core.vector import VecEnv


def test_cartpole_is_solved_within_100k_steps(tmp_path, learning_seed):
    result = puffer.train("cartpole", seed=learning_seed, out=str(tmp_path))
    assert result.summary["steps"] <= 100_000 + 2048
    assert puffer.evaluate("cartpole", result.checkpoint)["episode_return_mean"] >= 475


@pytest.mark.parametrize(
    ("env", "steps", "floor"),
    [
        ("pendulum", 300_000, -230.0),
        ("acrobot", 300_000, -100.0),
        ("mountain_car", 1_000_000, -130.0),
        ("mountain_car_continuous", 1_000_000, 88.0),
        ("catch", 200_000, 1.0),
        ("squared", 300_000, 0.9),
        ("bandit", 50_000, 0.7),  # the best arm pays 0.8, the others 0.2
    ],
)
def test_presets_reach_their_scores(tmp_path, env, steps, floor, learning_seed):
    result = puffer.train(env, seed=learning_seed, out=str(tmp_path))
    assert result.summary["steps"] <= steps + 4096
    assert puffer.evaluate(env, result.checkpoint)["episode_return_mean"] >= floor


def score(env: str, seed: int, out, **options) -> float:
    run = puffer.train(env, seed=seed, options=options, out=str(out))
    return puffer.evaluate(env, run.checkpoint)["episode_return_mean"]


def test_squashed_actions_reach_the_score_of_pendulum(tmp_path, learning_seed):
    assert score("pendulum", learning_seed, tmp_path, **{"policy.squash": True}) >= -230


SMALL_BATCHES = {
    "train.num_envs": 8,
    "ppo.horizon": 40,
    "ppo.minibatch": 80,
    "ppo.learning_rate": 1e-3,
    "ppo.entropy_coef": 0.01,
}


@pytest.mark.parametrize(("size", "learnt"), [(3, True), (7, True), (10, False)])
def test_plain_ppo_does_not_explore_a_deep_sea(tmp_path, learning_seed, size, learnt):
    sea = {
        "deep_sea.size": size,
        "deep_sea.map_seed": learning_seed,
        "train.timesteps": 10_000 * size,
    }  # bsuite's 10,000 episodes
    assert (score("deep_sea", learning_seed, tmp_path, **SMALL_BATCHES, **sea) > 0.9) == learnt


def test_more_of_plain_ppo_does_not_help_in_a_deeper_sea(tmp_path, learning_seed):
    assert score("deep_sea", learning_seed, tmp_path, **{"deep_sea.size": 20, "deep_sea.map_seed": learning_seed}) < 0.1


def test_a_policy_without_memory_cannot_remember(tmp_path, learning_seed):
    assert score("memory", learning_seed, tmp_path, **{"memory.length": 0}) == 1.0
    assert 0.3 < score("memory", learning_seed, tmp_path) < 0.7


@pytest.mark.parametrize("core", ["lstm", "gru"])
def test_a_policy_with_memory_remembers(tmp_path, core, learning_seed):
    options = {"policy.core": core, "policy.core_size": 32, "ppo.minibatch": 1024}
    assert score("memory", learning_seed, tmp_path, **options) == 1.0


def test_hidden_velocities_need_memory(tmp_path, learning_seed):
    options = {"cartpole.velocities": False, "policy.core_size": 64, "ppo.minibatch": 1024, "train.stop_return": None}
    assert score("cartpole", learning_seed, tmp_path, **options) < 100
    assert score("cartpole", learning_seed, tmp_path, **options, **{"policy.core": "lstm"}) >= 300


def test_settings_of_the_environment_reach_training_evaluation_and_resume(tmp_path):
    options = {"catch.rows": 4, "catch.columns": 3}
    run = puffer.train("catch", timesteps=2048, options=options, out=str(tmp_path))
    assert puffer.evaluate("catch", run.checkpoint)["episode_length_mean"] == 3.0
    more = puffer.train(resume=run.checkpoint, timesteps=4096, out=str(tmp_path))
    assert more.summary["steps"] == 4096
    with pytest.raises(CheckpointError, match="spaces differ"):
        puffer.train(resume=run.checkpoint, options={"catch.rows": 5}, out=str(tmp_path))


def test_a_run_starts_from_nothing_and_keeps_its_length(tmp_path):
    result = puffer.train("cartpole", timesteps=2048, out=str(tmp_path))
    assert result.summary["steps"] == 2048
    assert puffer.evaluate("cartpole", result.checkpoint)["episode_return_mean"] < 300
    longer = puffer.train("cartpole", timesteps=2049, out=str(tmp_path))
    assert longer.summary["steps"] == 4096


def tensors(checkpoint) -> dict[str, bytes]:
    return {f"{f}/{n}": a.tobytes() for f, group in puffer.load_checkpoint(checkpoint).files.items() for n, a in group.items()}


def metrics(run_dir, after: int) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if not k.startswith("time/")} for row in rows if row["steps"] > after]


RESUME = "import sys, pufferlib_core as p; print(p.train(resume=sys.argv[1], out=sys.argv[2]).run_dir)"


LSTM = {"core": "lstm", "core_size": 20}
GRU = {"core": "gru", "core_size": 20, "separate": True}


@pytest.mark.parametrize(
    ("env", "threads", "policy"),
    [("cartpole", 1, {}), ("cartpole", 2, {}), ("pendulum", 1, {}), ("cartpole", 2, LSTM), ("memory", 1, GRU)],
)
def test_resume_is_bit_exact_from_every_checkpoint(tmp_path, env, threads, policy):
    rows = 2048
    options = {"train": {"timesteps": 5 * rows, "checkpoint_every": rows, "threads": threads, "stop_return": None}}
    options["policy"] = policy
    whole = puffer.train(env, seed=4, options=options, out=str(tmp_path / "a"))
    saved = sorted((whole.run_dir / "checkpoints").iterdir())
    assert len(saved) == 5
    for checkpoint in saved[:-1]:
        printed = subprocess.run(
            [sys.executable, "-c", RESUME, str(checkpoint), str(tmp_path / "b")], capture_output=True, text=True, check=True
        )
        again = type(whole.run_dir)(printed.stdout.strip())
        assert tensors(again) == tensors(whole.checkpoint)
        assert metrics(again, 0) == metrics(whole.run_dir, int(checkpoint.name))


def test_threads_do_not_change_a_run_and_seeds_do(tmp_path):
    def final(seed, threads):
        options = {"train.threads": threads, "train.num_envs": 100, "ppo.minibatch": 640}
        return tensors(puffer.train("cartpole", seed=seed, timesteps=10_000, options=options, out=str(tmp_path)).checkpoint)

    one = final(0, 1)
    assert final(0, 3) == one
    assert final(1, 1) != one


def test_callbacks_read_metrics_and_stop(tmp_path):
    seen = []

    def stop(progress):
        seen.append(progress.metrics["losses/entropy"])
        return progress.updates == 3

    result = puffer.train("cartpole", out=str(tmp_path), callbacks=[stop])
    assert len(seen) == 3
    assert result.summary["steps"] == 3 * 2048
    assert (result.run_dir / "config.toml").exists()
    assert json.loads((result.run_dir / "system.json").read_text())["cpus"] >= 1
    policy = puffer.load_policy(result.run_dir)
    action, _, _ = policy.act(np.zeros((2, 4), np.float32))
    assert action.shape == (2,)


def test_resume_refuses_what_does_not_fit(tmp_path):
    result = puffer.train("cartpole", timesteps=2048, out=str(tmp_path))
    with pytest.raises(CheckpointError, match="was trained on cartpole, not on pendulum"):
        puffer.train("pendulum", resume=result.run_dir, out=str(tmp_path))
    with pytest.raises(CheckpointError, match="num_envs cannot change"):
        puffer.train(resume=result.run_dir, num_envs=128, out=str(tmp_path))
    with pytest.raises(CheckpointError, match="whose spaces differ"):
        puffer.evaluate("pendulum", result.run_dir)
    with pytest.raises(ConfigError, match="episodes=0"):
        puffer.evaluate("cartpole", result.run_dir, episodes=0)


def test_nan_stops_the_run_and_leaves_a_bundle(tmp_path, monkeypatch):
    advance = Run.advance

    def poisoned(self):
        if self.steps >= 4096:
            self.segment.obs[0, 7, 1] = np.nan
        return advance(self)

    monkeypatch.setattr(Run, "advance", poisoned)
    with pytest.raises(NonFiniteError, match=r"observation of environment 7 at row 0.*reproduction bundle"):
        puffer.train("cartpole", out=str(tmp_path), checkpoint_every=2048)
    run = next(tmp_path.iterdir())
    assert puffer.load_checkpoint(run).state["steps"] == 4096
    bundle = puffer.load_checkpoint(run / "nonfinite")
    assert bundle.state["steps"] == 4096
    assert np.isnan(bundle.files["envs"]["obs"][7, 1])


def test_nan_in_the_parameters_is_found_in_the_loss(tmp_path, monkeypatch):
    make = Run.__init__

    def poisoned(self, *args):
        make(self, *args)
        self.state["trunk.0.weight"][1, 1] = np.nan

    monkeypatch.setattr(Run, "__init__", poisoned)
    with pytest.raises(NonFiniteError, match="in the loss or its gradient, update 0, minibatch 0"):
        puffer.train("cartpole", out=str(tmp_path))


def test_evaluation_counts_equal_episodes(tmp_path):
    result = puffer.train("cartpole", timesteps=2048, out=str(tmp_path))
    scores = puffer.evaluate("cartpole", result.checkpoint, episodes=300, stochastic=True)
    assert scores["episodes"] == 300
    assert scores["episode_return_mean"] == scores["episode_length_mean"]
    assert puffer.evaluate("cartpole", result.checkpoint, episodes=300, stochastic=True) == scores


def test_public_names_load():
    for name in puffer.__all__:
        assert getattr(puffer, name) is not None
    assert set(dir(puffer)) == set(puffer.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        puffer.nothing  # noqa: B018
    assert isinstance(puffer.make_vec("cartpole", num_envs=1), VecEnv)


def test_settings_of_another_back_end_are_pointed_out(tmp_path):
    with pytest.warns(UserWarning, match="settings of torch have no effect: the back end is native"):
        puffer.train("bandit", options={"torch.compile": True}, timesteps=64, out=str(tmp_path))
