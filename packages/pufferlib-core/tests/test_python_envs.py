"""Environments written in Python: one by one with Gymnasium's interface, or as a batch; collection step by step."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
from envs_by_name import Fetch
from pufferlib_core import check_env, evaluate, make_vec, replay, train
from pufferlib_core.backends import get_backend
from pufferlib_core.collect import collect
from pufferlib_core.errors import CheckpointError, ConfigError, EnvError, NonFiniteError, ShapeError, SpaceError
from pufferlib_core.loops.settings import resolve
from pufferlib_core.native import Pool
from pufferlib_core.policies import PolicySpec
from pufferlib_core.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple, from_gymnasium
from pufferlib_core.traits import EnvSpec
from pufferlib_core.vector import env_spec, vectorize
from states_by_name import SavedLine

LIMIT = 9


class Line:
    """Walk to +3 (reward 1) or -3 (reward -1) from a random start; cut off after nine steps."""

    observation_space = Box(-3, 3, (1,))
    action_space = Discrete(2)

    def reset(self, seed=None, options=None):
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self.at, self.steps = int(self.rng.integers(-1, 2)), 0
        return np.array([self.at], np.float32), {}

    def step(self, action):
        self.at += 1 if action else -1
        self.steps += 1
        over = abs(self.at) == 3
        return [self.at], float(np.sign(self.at)) * over, over, not over and self.steps == LIMIT, {"cost": 0.5}


class Lines:
    """The same for a batch, without a time limit of its own; starts are 0."""

    def __init__(self, num_envs, seed):
        self.rng = np.random.default_rng(seed)
        self.at = np.zeros(num_envs, np.int64)
        self.closed = False

    def reset(self, rows, out):
        self.at[rows] = self.rng.integers(-1, 2, len(rows))
        out.obs[rows, 0] = self.at[rows]

    def step(self, action, out):
        assert not out.terminated.any()
        assert not out.cost.any()
        self.at += 2 * action - 1
        out.obs[:, 0] = self.at
        out.terminated[:] = np.abs(self.at) >= 3
        out.reward[:] = np.sign(self.at) * out.terminated

    def close(self):
        assert not self.closed
        self.closed = True


BATCH = EnvSpec(name="lines", obs_space=Line.observation_space, action_space=Discrete(2), max_episode_steps=LIMIT, batch=Lines)


@pytest.fixture(scope="module", autouse=True)
def user_module():
    module = type(sys)("user_module")
    module.Line, module.BATCH, module.number = Line, BATCH, 3
    module.make = lambda: Line()
    sys.modules["user_module"] = module
    yield module
    del sys.modules["user_module"]


@pytest.mark.parametrize("name", ["user_module:Line", "user_module:make", "user_module:BATCH"])
def test_they_keep_the_contract(name):
    check_env(env_spec(name), steps=60, num_envs=5)


@pytest.mark.parametrize("name", ["user_module:Line", "user_module:BATCH"])
@pytest.mark.parametrize("mode", ["same_step", "next_step", "disabled"])
def test_bookkeeping_around_them(name, mode):
    """Against the rules, step by step: always right from -1, 0 or 1 takes four, three or two steps."""
    vec = make_vec(name, num_envs=6, autoreset=mode, seed=4)
    vec.reset()
    waiting = np.zeros(6, bool)
    total, length, seen = np.zeros(6), np.zeros(6, int), 0
    for _ in range(30):
        before = vec.latest.obs[:, 0].copy()
        step = vec.step(np.ones(6, np.int32))
        assert (step.valid == ~waiting).all()
        for i in range(6):
            if waiting[i]:
                assert step.reward[i] == step.cost[i] == step.terminated[i] == step.truncated[i] == 0
                assert step.obs[i, 0] == 3 if mode == "disabled" else step.obs[i, 0] in (-1, 0, 1)
                continue
            total[i] += step.reward[i]
            length[i] += 1
            if step.terminated[i]:
                assert step.final_obs[i, 0] == 3
                assert before[i] == 2
                assert (step.obs[i, 0] in (-1, 0, 1)) == (mode == "same_step")
                assert step.log["episode_return"][i] == total[i] == 1
                assert step.log["episode_length"][i] == length[i]
                total[i], length[i], seen = 0, 0, seen + 1
            else:
                assert step.obs[i, 0] == before[i] + 1
        ended = (step.terminated | step.truncated) != 0
        assert step.finished == ended.sum()
        waiting = {"same_step": np.zeros(6, bool), "next_step": ended, "disabled": waiting | ended}[mode]
        if mode == "disabled" and waiting.all():
            vec.reset_some(waiting)
            waiting[:] = False
    assert seen >= 12
    vec.close()
    vec.close()
    with pytest.raises(EnvError, match="closed"):
        vec.step(np.ones(6, np.int32))


@pytest.mark.parametrize("name", ["user_module:Line", "user_module:BATCH"])
def test_time_limits_truncate(name):
    vec = make_vec(name, num_envs=3, seed=0)
    start = vec.reset().obs.copy()
    for t in range(1, LIMIT + 1):
        step = vec.step(np.full(3, t % 2, np.int32) if start[0, 0] <= 0 else np.full(3, 1 - t % 2, np.int32))
        assert not step.terminated.any()
        assert step.truncated.all() == (t == LIMIT)


def test_separate_environments_do_not_depend_on_their_number():
    few, many = (make_vec("user_module:Line", num_envs=n, seed=8) for n in (2, 7))
    few.reset(), many.reset()
    for action in np.random.default_rng(0).integers(0, 2, (40, 7)).astype(np.int32):
        a, b = few.step(action[:2].copy()), many.step(action)
        np.testing.assert_array_equal(a.obs, b.obs[:2])
        assert (a.cost == 0.5).all()


def test_run_segments_and_seeds():
    one, two = (make_vec("user_module:BATCH", num_envs=5, seed=1) for _ in range(2))
    actions = np.random.default_rng(0).integers(0, 2, (20, 5)).astype(np.int32)
    a, b = one.allocate(20), two.allocate(20)
    a.obs[0], b.obs[0] = one.reset().obs, two.reset().obs
    finished = one.run(actions, a)
    assert finished == sum(two.step(actions[t], out=(b, t)).finished for t in range(20)) > 5
    for name in ("obs", "reward", "terminated", "truncated", "valid"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    first = one.reset(seed=3).obs.copy()
    assert (one.reset(seed=3).obs == first).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [({"batch": None}, "got none"), ({"table": lambda isa: 0}, "got table and batch")],
)
def test_an_environment_has_one_implementation(change, message):
    with pytest.raises(EnvError, match=message):
        replace(BATCH, **change)


def test_mistakes_are_named():
    vec = make_vec("user_module:BATCH", num_envs=2)
    vec.reset()
    with pytest.raises(EnvError, match=r"action\[1\] = 2 is outside"):
        vec.step(np.array([0, 2], np.int32))
    with pytest.raises(ShapeError, match="int32"):
        vec.step(np.array([0.0, 1.0]))
    with pytest.raises(EnvError, match="environments of a batch cannot be forked"):
        vec.fork(0, [1])
    with pytest.raises(EnvError, match="got int"):
        env_spec("user_module:number")
    with pytest.raises(ConfigError, match="has no settings"):
        env_spec("user_module:Line", {"x": 1})
    with pytest.raises(ShapeError, match="obs must have shape"):
        vec.set_state({"obs": np.zeros((3, 1), np.float32)})


class FakeSpace:
    """Stands for a kind of space that is not known."""


def test_spaces_of_gymnasium():
    from gymnasium import spaces

    assert from_gymnasium(spaces.Box(-1, 2, (2,))) == Box(-1, 2, (2,))
    assert from_gymnasium(spaces.Discrete(4)) == Discrete(4)
    assert from_gymnasium(spaces.MultiDiscrete([2, 3])) == MultiDiscrete([2, 3])
    assert from_gymnasium(spaces.MultiBinary(3)) == MultiBinary(3)
    assert from_gymnasium(spaces.Discrete(4, start=1)) == Discrete(4, start=1)
    assert from_gymnasium(spaces.MultiBinary([2, 3])) == MultiBinary(6)
    deep = spaces.Dict({"b": spaces.Tuple([spaces.Discrete(2), spaces.Box(0, 1, (2,))]), "a": spaces.MultiDiscrete([[2, 3]])})
    assert from_gymnasium(deep) == Dict({"a": MultiDiscrete([2, 3]), "b": Tuple([Discrete(2), Box(0, 1, (2,))])})
    with pytest.raises(SpaceError, match="not supported"):
        from_gymnasium(spaces.Dict({"a": spaces.Text(3)}))
    with pytest.raises(SpaceError, match="not supported"):
        from_gymnasium(FakeSpace())


def test_environments_with_other_spaces_are_refused(user_module):
    class Odd(Line):
        """Its actions have whole numbers in a Box."""

        action_space = Tuple([Discrete(2), Box(-1, 1, (1,), "int32")])

    user_module.Odd = Odd
    with pytest.raises(EnvError, match="odd: actions of whole numbers in a Box are not supported"):
        env_spec("user_module:Odd")


def test_nested_spaces_run_and_learn(tmp_path, user_module):
    user_module.Fetch = Fetch
    spec = env_spec("user_module:Fetch")
    assert spec.action_space == MultiDiscrete([2, 2])
    check_env(spec, steps=40, num_envs=3)
    vec = make_vec("user_module:Fetch", num_envs=4, seed=2)
    obs = vec.reset().obs
    assert obs["picture"].dtype == np.uint8  # observations keep their own dtypes
    assert obs["picture"].shape == (4, 2, 3)
    assert (obs["inventory"]["f0"] == 2).all()
    assert (obs["inventory"]["f1"].sum(1) == 1).all()
    assert vec.tree.features(obs).shape == (4, 2 * 3 + 3 + 2 * 2 + 1)
    options = {"train": {"num_envs": 16}, "ppo": {"horizon": 32, "minibatch": 128, "learning_rate": 3e-3, "gamma": 0.0},
               "policy": {"normalize_obs": True}}  # fmt: skip
    run = train("user_module:Fetch", timesteps=16_384, options=options, out=str(tmp_path))
    assert evaluate("user_module:Fetch", run.checkpoint, episodes=32)["episode_return_mean"] > 4.9
    more = train(resume=run.checkpoint, timesteps=16_384 + 512, out=str(tmp_path))
    assert more.summary["steps"] == 16_384 + 512


@pytest.mark.parametrize("env", ["user_module:BATCH", "user_module:Line"])
def test_they_learn_and_continue(tmp_path, env):
    options = {"train": {"num_envs": 32}, "ppo": {"horizon": 16, "minibatch": 128, "learning_rate": 3e-3}}
    run = train(env, timesteps=8192, options=options, out=str(tmp_path))
    assert evaluate(env, run.checkpoint, episodes=40)["episode_return_mean"] == 1.0
    manifest = json.loads((run.checkpoint / "manifest.json").read_text())
    assert manifest["exact"] is False
    assert "start new episodes" in manifest["exact_reason"]
    more = train(resume=run.checkpoint, timesteps=8192 + 512, out=str(tmp_path))
    assert more.summary["steps"] == 8192 + 512
    assert more.summary["episode_return_mean"] > 0.8


def test_runs_repeat(tmp_path):
    options = {"train": {"num_envs": 8}, "ppo": {"horizon": 16, "minibatch": 64}}
    runs = [train("user_module:BATCH", timesteps=512, seed=3, options=options, out=str(tmp_path)) for _ in range(2)]
    bytes_of = [(run.checkpoint / "policy.safetensors").read_bytes() for run in runs]
    assert bytes_of[0] == bytes_of[1]


@pytest.mark.parametrize("call", ["reset", "step"])
def test_errors_say_which_environment_raised_them(call):
    class Fails(Line):
        """One of its calls fails once `broken` is set."""

        broken = False

        def reset(self, seed=None, options=None):
            assert not (self.broken and call == "reset")
            return super().reset(seed)

        def step(self, action):
            assert not (self.broken and call == "step")
            return super().step(action)

    vec = vectorize(replace(env_spec("user_module:Line"), factory=Fails), num_envs=3, seed=6)
    vec.reset()
    Fails.broken = True
    with pytest.raises(AssertionError) as caught:
        getattr(vec, call)(*([np.zeros(3, np.int32)] if call == "step" else []))
    assert caught.value.__notes__ == ["raised by environment 0, whose seed is of SeedSequence((6, 0, 0), spawn_key=(0,))"]


def test_a_reset_of_the_old_form_is_named(user_module):
    class Old(Line):
        """Returns the observation alone, as Gym did."""

        def reset(self, seed=None, options=None):
            return super().reset(seed)[0]

    user_module.Old = Old
    vec = make_vec("user_module:Old", num_envs=2)
    with pytest.raises(EnvError, match=r"reset\(\) must return \(observation, info\), got ndarray") as caught:
        vec.reset()
    assert "environment 0" in caught.value.__notes__[0]


def test_nan_stops_the_run_and_names_the_place(tmp_path, user_module):
    class Broken(Line):
        """The reward is NaN at the end."""

        def step(self, action):
            obs, reward, *rest = super().step(action)
            return obs, reward or (np.nan if abs(self.at) == 2 else 0.0), *rest

    user_module.Broken = Broken
    options = {"train": {"num_envs": 4}, "ppo": {"horizon": 16, "minibatch": 64}}
    with pytest.raises(NonFiniteError, match=r"broken: NaN or infinity in the reward of environment \d at row \d"):
        train("user_module:Broken", timesteps=512, options=options, out=str(tmp_path))
    with pytest.raises(CheckpointError, match=r"cannot go on from a saved state .*, so that its steps cannot be repeated"):
        replay(next(tmp_path.glob("*/nonfinite")))


def test_environments_that_give_their_states_repeat_what_stopped_the_run(tmp_path, user_module):
    class BrokenSaved(SavedLine):
        def step(self, action):
            obs, reward, *rest = super().step(action)
            return obs, np.nan if self.steps == 3 else reward, *rest

    user_module.BrokenSaved = BrokenSaved
    options = {"train": {"num_envs": 4}, "ppo": {"horizon": 16, "minibatch": 64}}
    with pytest.raises(NonFiniteError, match="in the reward of environment"):
        train("user_module:BrokenSaved", timesteps=512, options=options, out=str(tmp_path))
    bundle = next(tmp_path.glob("*/nonfinite"))
    error = json.loads((bundle / "nonfinite.json").read_text())["error"]
    with pytest.raises(NonFiniteError, match=re.escape(error) + "$"):
        replay(bundle)


@pytest.mark.parametrize(("name", "config"), [("cartpole", {"max_steps": 20}), ("pendulum", {"max_steps": 9})])
def test_step_by_step_collection_equals_the_fused_one(name, config):
    """On native environments every plane agrees bit for bit, bootstrapped values included."""
    settings, spec, _ = resolve({"env": name, name: config, "policy": {"normalize_obs": False}})
    native = get_backend("native", "ppo.update")
    policy_spec = PolicySpec(obs_space=spec.obs_space, action_space=spec.action_space, config=settings.policy)
    options = replace(settings.options, horizon=50, minibatch=50)
    segments = []
    for fused in (True, False):
        engine = native.make_engine(policy_spec, options, num_envs=37, seed=2, pool=Pool(1))
        engine.tensors(2)
        engine.load({})
        vec = vectorize(spec, num_envs=37, seed=2)
        segment = vec.allocate(50)
        segment.obs[0] = vec.reset().obs
        if fused:
            finished = engine.collect(vec, segment, 7)
        else:
            assert collect(engine.policy, vec, segment, seed=2, first_step=7) == finished > 37
        segments.append(segment)
    for plane in ("obs", "action", "logprob", "value", "next_value", "reward", "terminated", "truncated", "valid", "log"):
        a, b = (getattr(segment, plane) for segment in segments)
        if plane == "log":
            ended = (segments[0].terminated | segments[0].truncated) != 0
            a, b = a[ended], b[ended]
        assert a.tobytes() == b.tobytes(), plane
    assert segments[0].truncated.any()


def test_gymnasium_by_id(tmp_path):
    vec = make_vec("gymnasium:CartPole-v1", num_envs=3, seed=1)
    assert vec.obs_space.shape == (4,)
    vec.reset()
    for _ in range(60):
        step = vec.step(np.zeros(3, np.int32))
    assert step.log["episode_length"].min() > 7
    with pytest.raises(EnvError, match="gymnasium:NoSuch-v0: Environment `NoSuch` doesn't exist"):
        env_spec("gymnasium:NoSuch-v0")
    options = {"train": {"num_envs": 8}, "ppo": {"horizon": 32, "minibatch": 64}}
    run = train("gymnasium:CartPole-v1", timesteps=512, options=options, out=str(tmp_path))
    assert run.run_dir.name.startswith("gymnasium_CartPole_v1-ppo-s0")
    assert run.summary["steps"] == 512
