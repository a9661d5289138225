"""Environments with several agents that leave early and join late, with PettingZoo's parallel interface."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from envs_by_name import Team
from pufferlib_core import check_env, evaluate, make_vec, train
from pufferlib_core.algorithms import get_algorithm
from pufferlib_core.backends import get_backend
from pufferlib_core.errors import EnvError
from pufferlib_core.loops.settings import resolve
from pufferlib_core.native import Pool
from pufferlib_core.policies import PolicySpec
from pufferlib_core.spaces import Box, Discrete
from pufferlib_core.traits import EnvSpec
from pufferlib_core.vector import env_spec, vectorize

A = 3


@pytest.fixture(scope="module", autouse=True)
def module():
    made = type(sys)("team_module")
    made.Team = Team
    sys.modules["team_module"] = made
    yield made
    del sys.modules["team_module"]


def rows_of(mode: str, steps: int):
    vec = make_vec("team_module:Team", num_envs=2, autoreset=mode, seed=1)
    first = vec.reset().obs.copy()
    assert vec.rows == 6
    segment = vec.allocate(steps)
    for plane in (segment.obs, segment.reward, segment.final_obs):
        plane[...] = 7.0  # what the memory held before must not show
    segment.obs[0] = first
    finished = [vec.step(np.ones(6, np.int32), out=(segment, t)).finished for t in range(steps)]
    return segment, finished


def test_rows_of_a_population():
    segment, finished = rows_of("same_step", 8)
    assert finished == [0, 2, 0, 4] * 2
    for k in (0, 3):  # both environments take the same course
        valid = segment.valid[:, k : k + A].tolist()
        assert valid == [[1, 1, 0], [1, 1, 1], [0, 1, 1], [0, 1, 1]] * 2
        numbers = segment.obs[:-1, k : k + A, 0]
        assert (numbers == np.array(valid) * [1, 2, 3]).all()  # absent agents have zeros
        times = segment.obs[:-1, k : k + A, 1]
        assert (times[segment.valid[:, k : k + A] != 0].reshape(2, -1) == [0, 0, 1, 1, 1, 2, 2, 3, 3]).all()
        assert segment.reward[:, k : k + A].tolist() == [[0, 0, 0], [0, 0, 0], [0, 1, 1], [0, 1, 1]] * 2
        assert segment.terminated[:, k : k + A].tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 0], [0, 1, 0]] * 2
        assert segment.truncated[:, k : k + A].tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 1]] * 2
        assert segment.cost[:, k].tolist() == [0.25, 0.25, 0, 0] * 2
        assert segment.final_obs[k : k + A].tolist() == [[1, 2], [2, 4], [3, 4]]
        lengths = [segment.log[t, k + a]["episode_length"] for t, a in ((1, 0), (3, 1), (3, 2))]
        returns = [segment.log[t, k + a]["episode_return"] for t, a in ((1, 0), (3, 1), (3, 2))]
        assert lengths == [2, 4, 3]
        assert returns == [0, 2, 2]


def test_next_step_resets_in_rows_that_are_not_valid():
    segment, finished = rows_of("next_step", 6)
    assert finished == [0, 2, 0, 4, 0, 0]
    assert segment.valid[:, :A].tolist() == [[1, 1, 0], [1, 1, 1], [0, 1, 1], [0, 1, 1], [0, 0, 0], [1, 1, 0]]
    assert segment.obs[4, :A].tolist() == [[0, 0], [2, 4], [3, 4]]  # the last observations, before the reset
    assert segment.obs[5, :A].tolist() == [[1, 0], [2, 0], [0, 0]]


def test_disabled_waits_for_whole_environments():
    vec = make_vec("team_module:Team", num_envs=2, autoreset="disabled", seed=1)
    vec.reset()
    for _ in range(4):
        step = vec.step(np.ones(6, np.int32))
    for _ in range(2):
        step = vec.step(np.ones(6, np.int32))
        assert not step.valid.any()
        assert step.obs[:A].tolist() == [[0, 0], [2, 4], [3, 4]]
    vec.reset_some(np.array([0, 1, 0, 0, 0, 0], bool))
    assert vec.step(np.ones(6, np.int32)).valid.tolist() == [1, 1, 0, 0, 0, 0]


class Crowd:
    """Two agents in a batch: agent 1 leaves after two steps, agent 0 after three; it never says that nobody is there."""

    def __init__(self, num_envs, seed):
        self.time = np.zeros(num_envs, int)
        self.present = np.ones(2 * num_envs, bool)

    def reset(self, rows, out):
        self.time[rows // 2] = 0
        self.present[rows] = True
        out.obs[rows] = 1

    def step(self, action, out):
        self.time += 1
        out.obs[:, 0] = 1 + np.repeat(self.time, 2)
        out.terminated[0::2] = self.time == 3
        out.terminated[1::2] = self.time == 2
        self.present[1::2] = self.time < 2
        out.reward[:] = 1

    def close(self):
        """Nothing."""


@pytest.mark.parametrize("mode", ["same_step", "next_step"])
def test_populations_in_a_batch(mode):
    spec = EnvSpec(name="crowd", obs_space=Box(0, 99, (1,)), action_space=Discrete(2), agents=2, batch=Crowd)
    vec = vectorize(spec, num_envs=2, autoreset=mode)
    vec.reset()
    rows = []
    for _ in range(8):
        step = vec.step(np.zeros(4, np.int32))
        rows.append([plane[:2].tolist() for plane in (step.valid, step.terminated, step.obs[:, 0])])
        assert (step.reward == step.valid).all()
    episode = [[[1, 1], [0, 0], [2, 2]], [[1, 1], [0, 1], [3, 0]], [[1, 0], [1, 0], [4, 0]]]
    if mode == "same_step":
        episode[2][2] = [1, 1]
        assert rows == (episode * 3)[:8]
    else:
        between = [[0, 0], [0, 0], [1, 1]]
        assert rows == ([*episode, between] * 2)[:8]


def test_they_keep_the_contract_learn_and_resume(tmp_path):
    check_env(env_spec("team_module:Team"), steps=30, num_envs=3)
    options = {"train": {"num_envs": 8}, "ppo": {"horizon": 16, "minibatch": 96, "learning_rate": 3e-3, "gamma": 0.0},
               "policy": {"normalize_obs": True}}  # fmt: skip
    run = train("team_module:Team", timesteps=24 * 16 * 60, options=options, out=str(tmp_path))
    score = evaluate("team_module:Team", run.checkpoint, episodes=30)
    assert score["episodes"] == 30
    assert score["episode_return_mean"] == 3.0  # of 2, 4 and 3 steps
    assert train(resume=run.checkpoint, timesteps=24 * 16 * 61, out=str(tmp_path)).summary["steps"] == 24 * 16 * 61


def test_rows_that_are_not_valid_never_influence_learning():
    """Random garbage in them changes no bit of an update."""
    settings, spec, _ = resolve({"env": "team_module:Team", "train": {"num_envs": 8}, "policy": {"normalize_obs": True},
                                 "ppo": {"horizon": 16, "minibatch": 96, "normalize_return": True}})  # fmt: skip
    algorithm = get_algorithm("ppo")
    policy_spec = PolicySpec(obs_space=spec.obs_space, action_space=spec.action_space, config=settings.policy)
    results = []
    for garbage in (False, True):
        pool = Pool(1)
        engine = get_backend("native", "ppo.update").make_engine(policy_spec, settings.options, num_envs=24, seed=0, pool=pool)
        state = algorithm.init(engine, policy_spec, settings.options, num_envs=24, seed=0)
        engine.load(state)
        vec = vectorize(spec, num_envs=8, seed=0)
        segment = vec.allocate(16)
        segment.obs[0] = vec.reset().obs
        engine.collect(vec, segment, 0)
        absent = segment.valid == 0
        assert absent.any()
        if garbage:
            rng = np.random.default_rng(0)
            segment.obs[:-1][absent] = rng.normal(size=(absent.sum(), 2)) * 1e3
            segment.action[absent] = rng.integers(0, 2, absent.sum())
            segment.logprob[absent] = rng.normal(size=absent.sum()) * 30
        new, metrics = algorithm.update(engine, state, segment, settings.options, fraction=0.0)
        results.append(({name: array.tobytes() for name, array in new.items()}, metrics))
    assert results[0] == results[1]


class Empty(Team):
    """A population whose agents never appear."""

    def reset(self, seed=None, options=None):
        self.agents = []
        return {}, {}

    def step(self, actions):
        return {}, {}, {}, {}, {}


def test_an_evaluation_in_which_nobody_ever_acts_ends(module, monkeypatch, tmp_path):
    module.Empty = Empty
    monkeypatch.setattr("pufferlib_core.loops.play.PATIENCE", 50)
    options = {"train": {"num_envs": 2}, "ppo": {"horizon": 4, "minibatch": 8}}
    run = train("team_module:Empty", timesteps=8, options=options, out=str(tmp_path))
    with pytest.raises(EnvError, match="empty: nobody has acted for 50 steps"):
        evaluate("team_module:Empty", run.checkpoint, episodes=2)
