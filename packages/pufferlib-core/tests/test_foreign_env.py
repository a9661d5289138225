"""A user's own C environment, loaded at run time: settings, metrics, costs, action masks, NaN."""

from __future__ import annotations

import ctypes
import json
import os
import re
import struct
import subprocess
import sys
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from pufferlib_core import check_env, include_dir, load_policy, replay, train
from pufferlib_core.adapters.gymnasium import GymnasiumEnv, GymnasiumVectorEnv
from pufferlib_core.adapters.pettingzoo import PettingZooParallel
from pufferlib_core.config import option
from pufferlib_core.errors import ConfigError, EnvError, NativeError, NonFiniteError
from pufferlib_core.loops.evaluate import evaluate
from pufferlib_core.spaces import Box, Discrete, MultiDiscrete, sample_allowed
from pufferlib_core.traits import EnvSpec
from pufferlib_core.vector import VecEnv, env_spec, vectorize

SOURCE = Path(__file__).parent / "foreign/ladder.c"


@dataclass(frozen=True, kw_only=True)
class LadderConfig:
    """Settings of the ladder; the order is that of the C struct."""

    rungs: int = option(4, "to climb", low=1)
    nan_at: int = option(-1, "rung whose observation is NaN; -1: none")
    empty_at: int = option(-1, "rung that allows nothing; -1: none")
    no_stay: bool = option(False, "staying is never allowed")


@pytest.fixture(scope="module", autouse=True)
def ladder(tmp_path_factory):
    """The environment, importable as `ladder_module:SPEC`."""
    library = tmp_path_factory.mktemp("foreign") / "libladder.so"
    flags = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off", "-fPIC", "-shared"]
    subprocess.run([os.environ.get("CC", "cc"), *flags, "-I", str(include_dir()), SOURCE, "-o", library], check=True)
    loaded = ctypes.CDLL(str(library))
    loaded.ladder_table.restype = ctypes.c_void_p

    def configure(config):
        return replace(spec, config=config, c_config=struct.pack("4i", *astuple(config)))

    spec = EnvSpec(
        name="ladder", obs_space=Box(0.0, 1.0, (1,)), action_space=Discrete(3), max_episode_steps=20,
        table=lambda isa: loaded.ladder_table(), config=LadderConfig(), configure=configure,
    )  # fmt: skip
    module = type(sys)("ladder_module")
    module.SPEC = spec
    sys.modules["ladder_module"] = module
    yield spec
    del sys.modules["ladder_module"]


def climb(vec: VecEnv, steps: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    step = vec.reset()
    for _ in range(steps):
        action = np.stack([sample_allowed(vec.action_space, rng, mask) for mask in step.action_mask]).astype(np.int32)
        before = step.obs.copy(), step.action_mask.copy()
        step = vec.step(action)
        yield before, action, step


def test_it_keeps_the_contract(ladder):
    check_env(ladder)


def test_masks_reach_other_frameworks(ladder):
    """On the ground going down is not allowed, elsewhere everything is."""
    one, rows, agents = GymnasiumEnv(ladder), GymnasiumVectorEnv(ladder, 3), PettingZooParallel(ladder, 3)
    _, info = one.reset(seed=0)
    _, infos = rows.reset(seed=0)
    _, each = agents.reset(seed=0)
    for allowed in ([0, 1, 1], [1, 1, 1]):
        assert info["action_mask"].tolist() == each["agent_2"]["action_mask"].tolist() == allowed
        assert infos["action_mask"].tolist() == [allowed] * 3
        assert infos["_action_mask"].all()
        info, infos = one.step(1)[4], rows.step(np.ones(3, int))[4]
        each = agents.step(dict.fromkeys(agents.agents, 1))[4]


@pytest.mark.parametrize("mode", ["same_step", "next_step", "disabled"])
def test_masks_belong_to_the_observation_beside_them(ladder, mode):
    vec = vectorize(ladder, num_envs=40, threads=2, autoreset=mode, seed=1)
    ended = 0
    for _, _, step in climb(vec, 60):
        ground = step.obs[:, 0] == 0
        assert (step.action_mask[:, 0] == ~ground).all()
        assert (step.action_mask[:, 1:] == 1).all()
        ended += step.finished
        if mode == "disabled" and step.finished:
            step = vec.reset_some(step.terminated | step.truncated)
            assert (step.action_mask[:, 0] == (step.obs[:, 0] != 0)).all()
    assert ended > 20


def test_metrics_and_costs(ladder):
    vec = vectorize(ladder, num_envs=8, seed=1)
    moves, ended = np.zeros(8), 0
    for _, action, step in climb(vec, 100):
        np.testing.assert_array_equal(step.cost, np.where(action == 2, 0.5, 0.0))
        moves += action != 2
        for i in np.flatnonzero(step.terminated | step.truncated):
            assert step.log["metric"][i, 0] == moves[i]
            moves[i], ended = 0, ended + 1
    assert ended > 10


def test_segments_hold_masks_of_every_row(ladder):
    one, two = (vectorize(ladder, num_envs=33, seed=2) for _ in range(2))
    one.reset(), two.reset()
    actions = np.ones((12, 33), np.int32)
    a, b = one.allocate(12), two.allocate(12)
    one.run(actions, a)
    for t in range(12):
        two.step(actions[t], out=(b, t))
    np.testing.assert_array_equal(a.action_mask[1:], b.action_mask[1:])
    np.testing.assert_array_equal(a.action_mask[1:, :, 0], a.obs[1:, :, 0] != 0)
    a.roll()
    np.testing.assert_array_equal(a.action_mask[0], a.action_mask[-1])


def test_states_and_forks_carry_masks(ladder):
    vec = vectorize(ladder, num_envs=3)
    vec.reset()
    vec.step(np.array([1, 2, 2], np.int32))
    saved = vec.state()
    vec.fork(0, [2])
    other = vectorize(ladder, num_envs=3)
    other.set_state(saved)
    stay = np.full(3, 2, np.int32)
    assert other.step(stay).action_mask[:, 0].tolist() == [1, 0, 0]
    assert vec.step(stay).action_mask[:, 0].tolist() == [1, 0, 1]


def test_settings_reach_the_environment():
    spec = env_spec("ladder_module:SPEC", {"rungs": 1})
    vec = vectorize(spec, num_envs=2)
    vec.reset()
    assert vec.step(np.ones(2, np.int32)).terminated.tolist() == [1, 1]
    with pytest.raises(ConfigError, match=r"unknown setting ladder\.rung.*did you mean ladder\.rungs"):
        env_spec("ladder_module:SPEC", {"rung": 1})
    with pytest.raises(ConfigError, match=r"ladder\.rungs=0 must be at least 1"):
        env_spec("ladder_module:SPEC", {"rungs": 0})
    with pytest.raises(NativeError, match="not legal"):  # past the checks of the config, the C side still looks
        vectorize(replace(spec, c_config=struct.pack("4i", 0, 0, 0, 0)), num_envs=1)


def test_spaces_must_match_its_table(ladder):
    with pytest.raises(EnvError, match="do not match"):
        vectorize(replace(ladder, action_space=MultiDiscrete([3, 3])), num_envs=1)


def test_training_never_takes_a_masked_action(ladder, tmp_path):
    seen = []

    options = {"train": {"num_envs": 32}, "ppo": {"horizon": 16, "minibatch": 128, "learning_rate": 3e-3},
               "ladder": {"no_stay": True}}  # fmt: skip
    run = train(
        "ladder_module:SPEC", timesteps=16_384, options=options, out=str(tmp_path), callbacks=[lambda p: seen.append(p)]
    )
    assert run.summary["episode_return_mean"] > 0.95
    score = evaluate("ladder_module:SPEC", run.checkpoint, episodes=32)
    assert score["episode_return_mean"] == 1.0
    assert score["episode_length_mean"] == 4.0
    policy = load_policy(run.checkpoint)
    mask = np.tile(np.array([1, 0, 0], np.uint8), (64, 1))
    action, logprob, _ = policy.act(np.zeros((64, 1), np.float32), greedy=False, action_mask=mask)
    assert (action == 0).all()
    np.testing.assert_allclose(logprob, 0, atol=1e-6)
    costs = []
    config = env_spec("ladder_module:SPEC", options["ladder"])
    vec = vectorize(config, num_envs=32, seed=5)
    step = vec.reset()
    for t in range(50):  # sampled by the trained policy, staying (which alone costs) never comes
        step = vec.step(policy.act(step.obs, greedy=False, step=t, action_mask=step.action_mask)[0])
        costs.append(step.cost.sum())
    assert sum(costs) == 0


def test_nan_of_an_environment_stops_the_run_and_names_it(tmp_path):
    options = {"train": {"num_envs": 32}, "ppo": {"horizon": 16, "minibatch": 128}, "ladder": {"nan_at": 2}}
    with pytest.raises(NonFiniteError, match=r"ladder: NaN or infinity in the observation of environment \d+ at row \d+"):
        train("ladder_module:SPEC", timesteps=4096, options=options, out=str(tmp_path))
    bundle = next(tmp_path.glob("*/nonfinite"))
    error = json.loads((bundle / "nonfinite.json").read_text())["error"]
    with pytest.raises(NonFiniteError, match=re.escape(error) + "$"):
        replay(bundle)


def test_a_mask_that_allows_nothing_stops_the_run(tmp_path):
    options = {"train": {"num_envs": 32}, "ppo": {"horizon": 16, "minibatch": 128}, "ladder": {"empty_at": 1}}
    with pytest.raises(EnvError, match=r"ladder: environment \d+ allows no action at row \d+"):
        train("ladder_module:SPEC", timesteps=4096, options=options, out=str(tmp_path))
    with pytest.raises(EnvError, match="allows nothing"):
        check_env(env_spec("ladder_module:SPEC", {"empty_at": 1}))
    with pytest.raises(EnvError, match=r"leaves its space at step \d+: obs\[\d+\] holds nan"):
        check_env(env_spec("ladder_module:SPEC", {"nan_at": 1}))
