"""Collection in a thread of its own: equal at lag 0, exact and repeatable at lag 1, and nothing left behind."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pufferlib_core as puffer
import pytest
from pufferlib_core.errors import CheckpointError, ConfigError, EnvError, NonFiniteError
from pufferlib_core.loops.onpolicy import Run
from walks_by_name import Marked, Walk

ROWS = 512
SMALL = {"train.num_envs": 32, "ppo.horizon": 16, "ppo.minibatch": 128, "train.threads": 2}
LAGGING = SMALL | {"train.lag": 1, "ppo.advantage": "vtrace"}


WALK = "walks_by_name:Walk"


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    monkeypatch.setattr(Walk, "steps", 0)
    before = threading.active_count()
    yield
    assert threading.active_count() == before, threading.enumerate()


def result_of(run: Any) -> tuple[dict[str, bytes], list[dict[str, float]]]:
    """Arrays of the last checkpoint, and metrics that do not tell time."""
    files = puffer.load_checkpoint(run.checkpoint).files
    rows = [json.loads(line) for line in (run.run_dir / "metrics.jsonl").read_text().splitlines()]
    arrays = {f"{f}/{n}": array.tobytes() for f, group in files.items() for n, array in group.items()}
    return arrays, [{k: v for k, v in row.items() if not k.startswith(("time/", "async/"))} for row in rows]


def train(out: Path, env: str = "cartpole", options: dict[str, Any] = SMALL, updates: int = 5, **more: Any) -> Any:
    return puffer.train(env, timesteps=updates * ROWS, options=options, out=str(out), **more)


@pytest.mark.parametrize(
    ("env", "more"),
    [
        ("cartpole", {"policy.normalize_obs": True, "ppo.normalize_return": True}),
        ("cartpole", {"ppo.advantage": "vtrace", "policy.core": "gru", "policy.core_size": 8}),
        (WALK, {"train.workers": 2}),
    ],
)
def test_lag_0_is_the_synchronous_run_to_the_bit(tmp_path, env, more):
    one, other = (result_of(train(tmp_path, env, SMALL | more | lag)) for lag in ({}, {"train.lag": 0}))
    assert one == other


def test_lag_1_repeats_whatever_the_speeds_and_differs(tmp_path, monkeypatch):
    first = result_of(train(tmp_path, options=LAGGING))
    update = Run.update

    def slow(self):
        time.sleep(0.02)
        return update(self)

    monkeypatch.setattr(Run, "update", slow)
    assert result_of(train(tmp_path, options=LAGGING | {"train.threads": 1})) == first
    assert result_of(train(tmp_path, options=LAGGING | {"train.lag": 0})) != first


@pytest.mark.parametrize("lag", [0, 1])
def test_rows_name_the_policy_that_acted(tmp_path, monkeypatch, lag):
    seen = []
    update = Run.update

    def watched(self):
        engine = self.engine
        heads, _ = engine.policy.forward(self.segment.features[0])
        z = heads - heads.max(1, keepdims=True)
        logp = z - np.log(np.exp(z).sum(1, keepdims=True))
        current = np.take_along_axis(logp, self.segment.action[0].reshape(-1, 1), 1)[:, 0]
        seen.append((np.unique(self.segment.version).tolist(), np.allclose(current, self.segment.logprob[0], atol=1e-6)))
        return update(self)

    monkeypatch.setattr(Run, "update", watched)
    lags = []

    def note(progress):
        lags.append([progress.metrics[f"async/lag_{which}"] for which in ("mean", "max")])

    train(tmp_path, options=LAGGING | {"train.lag": lag}, callbacks=[note])
    assert seen == [([max(0, k - lag)], lag == 0 or k == 0) for k in range(5)]
    assert lags == [[min(k, lag)] * 2 for k in range(5)]


@pytest.mark.parametrize("more", [{}, {"policy.core": "lstm", "policy.core_size": 8, "policy.normalize_obs": True}])
def test_a_run_with_a_segment_ahead_resumes_to_the_bit(tmp_path, more):
    whole = train(tmp_path, options=LAGGING | more, checkpoint_every=ROWS)
    arrays, metrics = result_of(whole)
    saved = sorted((whole.run_dir / "checkpoints").iterdir())
    for checkpoint in saved[1:-1:2]:
        loaded = puffer.load_checkpoint(checkpoint)
        assert loaded.manifest["exact"]
        assert set(loaded.files) == {"policy", "trainer", "envs", "ahead"}
        again = puffer.train(resume=checkpoint, out=str(tmp_path))
        assert result_of(again) == (arrays, [row for row in metrics if row["steps"] > int(checkpoint.name)])
    assert "ahead" not in puffer.load_checkpoint(saved[-1]).files
    with pytest.raises(CheckpointError, match=r"set train\.lag to 1, or to 0"):
        puffer.train(resume=saved[1], options={"train.lag": None}, out=str(tmp_path))
    with pytest.raises(CheckpointError, match=r"collected ahead, of 16 steps: ppo\.horizon cannot change to 8"):
        puffer.train(resume=saved[1], options={"ppo.horizon": 8}, out=str(tmp_path))
    with pytest.raises(CheckpointError, match=r"ppo\.advantage=gae takes what an older policy did .* set it to vtrace"):
        puffer.train(resume=saved[1], options={"train.lag": 0, "ppo.advantage": "gae"}, out=str(tmp_path))
    assert puffer.train(resume=saved[1], options={"train.lag": 0}, out=str(tmp_path)).summary["steps"] == 5 * ROWS


def test_lag_1_learns(tmp_path, learning_seed):
    run = puffer.train("cartpole", seed=learning_seed, options={"train.lag": 1, "ppo.advantage": "vtrace"}, out=str(tmp_path))
    assert puffer.evaluate("cartpole", run.checkpoint)["episode_return_mean"] >= 475


def test_lag_1_needs_what_corrects_for_it(tmp_path):
    with pytest.raises(ConfigError, match=r"train\.lag=1: ppo\.advantage=gae takes .* set it to vtrace"):
        train(tmp_path, options=SMALL | {"train.lag": 1})
    with pytest.raises(ConfigError, match=r"train\.lag"):
        train(tmp_path, options=LAGGING | {"train.lag": 2})


def test_evaluations_callbacks_and_kept_checkpoints_go_on(tmp_path):
    run = train(
        tmp_path, options=LAGGING, evaluate_every=ROWS, evaluate_episodes=2, keep=1,
        callbacks=[lambda progress: progress.updates == 4],
    )  # fmt: skip
    assert run.summary["steps"] == 4 * ROWS
    assert len(list((run.run_dir / "checkpoints").iterdir())) <= 2
    assert puffer.load_checkpoint(run.run_dir).files["ahead"]["reward"].shape == (16, 32)


@pytest.mark.parametrize(("lag", "workers"), [(0, 0), (1, 0), (1, 2)])
def test_an_environment_that_fails_in_the_thread_ends_the_run(tmp_path, monkeypatch, lag, workers):
    options = LAGGING | {"train.lag": lag, "train.workers": workers}
    monkeypatch.setattr(Walk, "fails_at", 700)
    name = "walks_by_name:Blocked" if workers else WALK
    with pytest.raises((RuntimeError, EnvError), match="the path is blocked"):
        train(tmp_path, name, options, checkpoint_every=ROWS)


@pytest.mark.parametrize("error", [KeyboardInterrupt, NonFiniteError])
def test_an_update_that_is_interrupted_ends_the_thread_soon(tmp_path, monkeypatch, error):
    def broken(self):
        if self.steps:
            raise error("stop")
        return update(self)

    update = Run.update
    monkeypatch.setattr(Run, "update", broken)
    monkeypatch.setattr(Walk, "slow", 0.0005)  # a segment takes a quarter of a second
    begin = time.perf_counter()
    with pytest.raises(error, match="stop"):
        train(tmp_path, WALK, LAGGING)
    assert Walk.steps < 3 * ROWS - 100
    assert time.perf_counter() - begin < 30


@pytest.mark.parametrize("lag", [0, 1])
def test_nan_in_what_is_collected_ahead_can_be_replayed(tmp_path, monkeypatch, lag):
    poisoned = Run.update

    def poison(self):
        if self.steps == ROWS:
            self.state["trunk.0.weight"][:] = np.nan
        return poisoned(self)

    monkeypatch.setattr(Run, "update", poison)
    with pytest.raises(NonFiniteError, match=r"loss or its gradient, update 1, .*reproduction bundle"):
        train(tmp_path, options=LAGGING | {"train.lag": lag})
    monkeypatch.undo()
    bundle = next(tmp_path.iterdir()) / "nonfinite"
    assert ("ahead" in puffer.load_checkpoint(bundle).files) == (lag == 1)
    assert np.isfinite(puffer.replay(bundle)["losses/policy_loss"])


@pytest.mark.parametrize("nan_at", [100, 700, 1300])
def test_nan_of_an_environment_is_that_of_its_own_segment(tmp_path, monkeypatch, nan_at):
    monkeypatch.setattr(Walk, "nan_at", nan_at)
    with pytest.raises(
        NonFiniteError, match=f"row {nan_at % ROWS // 32 + 1} of the segment, environment step {nan_at // 32 + 1};"
    ):
        train(tmp_path, WALK, LAGGING)
    record = json.loads(next(tmp_path.glob("*/nonfinite/nonfinite.json")).read_text())
    assert record["phase"] == "collect"
    assert record["steps"] == max(0, nan_at // ROWS - 1) * ROWS


@pytest.mark.parametrize("at", [2, 20, 36])
def test_nan_of_an_environment_with_a_state_can_be_replayed(tmp_path, monkeypatch, at):
    monkeypatch.setattr(Marked, "at_step", at)
    with pytest.raises(NonFiniteError, match=f"row {at % 16} of the segment, environment step {at};"):
        train(tmp_path, "walks_by_name:Marked", LAGGING)
    bundle = next(tmp_path.glob("*/nonfinite"))
    with pytest.raises(NonFiniteError, match=f"row {at % 16} of the segment, environment step {at}$"):
        puffer.replay(bundle)
