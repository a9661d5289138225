"""Our environments as a client of Gymnasium or PettingZoo sees them; tests/peers has Stable-Baselines3."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import RecordEpisodeStatistics
from gymnasium.wrappers.vector import DictInfoToList
from gymnasium.wrappers.vector import RecordEpisodeStatistics as RecordVectorStatistics
from pettingzoo.test import parallel_api_test, parallel_seed_test
from pufferlib_core import make_vec
from pufferlib_core.adapters.gymnasium import AUTORESET, GymnasiumEnv, GymnasiumVectorEnv, register_envs
from pufferlib_core.adapters.pettingzoo import PettingZooParallel
from pufferlib_core.errors import ConfigError, EnvError, MissingExtra, ShapeError, UnknownName
from pufferlib_core.spaces import Box, Discrete, MultiBinary, MultiDiscrete, Tuple
from pufferlib_core.traits import EnvSpec
from pufferlib_core.vector import env_names, env_spec, vectorize

NAMES = env_names()
MODES = list(AutoresetMode)

# What Gymnasium recommends about spaces; ours are those of its own environments, of which its tests ignore the same.
ABOUT_SPACES = [
    pytest.mark.filterwarnings("ignore:.*A Box observation space (minimum|maximum) value is -?infinity"),
    pytest.mark.filterwarnings("ignore:.*For Box action spaces, we recommend using a symmetric and normalized space"),
]


class Switches:
    """One Python environment: press all four switches, a frame of bytes shows them; every step costs."""

    observation_space = Box(0, 255, (2, 2), "uint8")
    action_space = MultiBinary(4)

    def reset(self, seed=None, options=None):
        return np.zeros((2, 2), np.uint8), {}

    def step(self, action):
        pressed = int(action.sum())
        return 255 * action.astype(np.uint8).reshape(2, 2), pressed / 4, pressed == 4, False, {"cost": 0.5}


class Pairs:
    """A batch with two choices at once: the first is paid, the second ends the episode."""

    def __init__(self, num_envs, seed):
        pass

    def reset(self, rows, out):
        out.obs[rows] = 0

    def step(self, action, out):
        out.reward[:] = action[:, 0]
        out.terminated[:] = action[:, 1]
        out.obs[:, 0] = 0.5

    def close(self):
        pass


SWITCHES = EnvSpec(name="my switches", obs_space=Switches.observation_space, action_space=MultiBinary(4), factory=Switches)
PAIRS = EnvSpec(name="pairs", obs_space=Box(0, 1, (1,)), action_space=MultiDiscrete([3, 2]), max_episode_steps=6, batch=Pairs)


def actions_of(space, n, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([space.sample(rng) for _ in range(n)])


@pytest.mark.parametrize("name", [*NAMES, SWITCHES, PAIRS], ids=lambda env: getattr(env, "name", env))
class TestCheckers:
    pytestmark = ABOUT_SPACES

    def test_gymnasium(self, name):
        env = GymnasiumEnv(name)
        check_env(env)
        env.close()
        env.close()

    def test_pettingzoo(self, name, capsys):
        parallel_api_test(PettingZooParallel(name, 3), num_cycles=200)
        parallel_seed_test(lambda: PettingZooParallel(name, 3), num_cycles=50)


@pytest.mark.parametrize("name", NAMES)
def test_one_environment_is_row_0_of_a_vec_env(name):
    vec, env = make_vec(name, num_envs=1, autoreset="disabled", seed=7), gymnasium.make(f"puffer/{name}-v0")
    ours, (obs, _) = vec.reset(), env.reset(seed=7)
    np.testing.assert_array_equal(obs, ours.obs[0])
    episodes = 0
    for action in actions_of(vec.action_space, 1010):
        step, theirs = vec.step(action[None]), env.step(action)
        np.testing.assert_array_equal(theirs[0], step.obs[0])
        assert theirs[1:4] == (step.reward[0], bool(step.terminated[0]), bool(step.truncated[0]))
        assert theirs[4] == {"cost": step.cost[0]}
        if theirs[2] or theirs[3]:
            episodes += 1
            np.testing.assert_array_equal(env.reset()[0], vec.reset().obs[0])
    assert episodes


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", [*NAMES, PAIRS], ids=lambda env: getattr(env, "name", env))
def test_a_vector_is_a_vec_env_row_by_row(name, mode):
    """`PAIRS` is here for a time limit within a few steps beside terminations, in a batch of Python."""
    n, known = 6, isinstance(name, str)
    vec = vectorize(env_spec(name) if known else name, num_envs=n, autoreset=AUTORESET[mode], seed=5)
    options = {"num_envs": n, "autoreset_mode": mode}
    env = gymnasium.make_vec(f"puffer/{name}-v0", **options) if known else GymnasiumVectorEnv(name, **options)
    assert env.metadata["autoreset_mode"] is mode
    env.action_space.seed(1)
    np.testing.assert_array_equal(env.reset(seed=5)[0], vec.reset().obs)
    endings = 0
    for _ in range(1010):  # the longest time limit is 999
        action = env.action_space.sample()
        obs, reward, terminated, truncated, infos = env.step(action)
        step = vec.step(action.astype(vec.action_dtype))
        ended = (step.terminated | step.truncated) != 0
        for theirs, ours in zip((obs, reward, terminated, truncated), step[:2] + step[3:5], strict=True):
            np.testing.assert_array_equal(theirs, ours)
        np.testing.assert_array_equal(infos["cost"], step.cost)
        assert terminated.dtype == truncated.dtype == bool
        assert ("episode" in infos) == bool(ended.any())
        assert ("final_obs" in infos) == ("final_info" in infos) == (mode is AutoresetMode.SAME_STEP and bool(ended.any()))
        if ended.any():
            endings += 1
            check_endings(infos, step, ended)
        if mode is AutoresetMode.DISABLED and ended.any():
            obs, _ = env.reset(options={"reset_mask": ended})
            np.testing.assert_array_equal(obs, vec.reset_some(ended).obs)
    assert endings
    env.close()
    env.close()


def check_endings(infos, step, ended):
    np.testing.assert_array_equal(infos["_episode"], ended)
    for key, field in (("r", "episode_return"), ("l", "episode_length")):
        np.testing.assert_array_equal(infos["episode"][key][ended], step.log[field][ended])
        assert not infos["episode"][key][~ended].any()
    if "final_obs" in infos:
        np.testing.assert_array_equal(infos["_final_obs"], ended)
        np.testing.assert_array_equal(infos["_final_info"], ended)
        assert infos["final_info"]["episode"] is infos["episode"]
        for i, final in enumerate(infos["final_obs"]):
            np.testing.assert_array_equal(final, step.final_obs[i]) if ended[i] else None
            assert (final is None) == (not ended[i])


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_statistics_are_those_of_gymnasiums_wrapper(mode):
    env = RecordVectorStatistics(gymnasium.make_vec("puffer/cartpole-v0", num_envs=8, autoreset_mode=mode), stats_key="theirs")
    env.reset(seed=1)
    env.action_space.seed(1)
    seen = 0
    for _ in range(200):
        _, _, _, _, infos = env.step(env.action_space.sample())
        assert ("theirs" in infos) == ("episode" in infos)
        if "theirs" in infos:
            seen += 1
            np.testing.assert_array_equal(infos["theirs"]["r"], infos["episode"]["r"])
            np.testing.assert_array_equal(infos["theirs"]["l"], infos["episode"]["l"])
    assert seen > 10


def test_infos_become_a_list():
    env = DictInfoToList(GymnasiumVectorEnv("cartpole", 4, autoreset_mode="SameStep"))
    env.reset(seed=0)
    env.action_space.seed(0)
    for _ in range(60):
        _, _, terminated, _, infos = env.step(env.action_space.sample())
        for info, over in zip(infos, terminated, strict=True):
            assert set(info) == ({"cost", "episode", "final_obs", "final_info"} if over else {"cost"})
            if over:
                assert info["final_info"]["episode"]["l"] == info["final_info"]["episode"]["r"] >= 8


def test_a_wrapper_around_one_environment():
    env = RecordEpisodeStatistics(gymnasium.make("puffer/cartpole-v0", config={"max_steps": 5}))
    env.reset(seed=0)
    for t in range(1, 6):
        _, _, _, truncated, info = env.step(t % 2)
        assert truncated == (t == 5)
    assert (info["episode"]["r"], info["episode"]["l"]) == (5, 5)


def test_vectors_of_gymnasiums_own_kind():
    """Separate environments, seeded s, s + 1, ...: each is row 0 of its seed."""
    env = gymnasium.make_vec("puffer/cartpole-v0", num_envs=2, vectorization_mode="sync")
    obs, _ = env.reset(seed=4)
    for i in range(2):
        np.testing.assert_array_equal(obs[i], make_vec("cartpole", num_envs=1, seed=4 + i).reset().obs[0])


def test_and_back_again():
    """Our environment, by Gymnasium's registry, as one of ours: `module:id` imports what registers it."""
    there = env_spec("gymnasium:pufferlib_core.adapters.gymnasium:puffer/cartpole-v0")
    assert (there.obs_space.shape, there.action_space) == ((4,), Discrete(2))
    vec = make_vec("gymnasium:pufferlib_core.adapters.gymnasium:puffer/cartpole-v0", num_envs=2, seed=0)
    vec.reset()
    lengths = [step.log["episode_length"][0] for _ in range(50) if (step := vec.step(np.ones(2, np.int32))).terminated[0]]
    assert all(8 <= length <= 11 for length in lengths)
    assert len(lengths) >= 4


def test_copies_or_not():
    for copy in (True, False):
        env = GymnasiumVectorEnv("cartpole", 3, copy=copy)
        first, _ = env.reset(seed=0)
        kept = first.copy()
        second = env.step(np.ones(3, np.int64))[0]
        assert np.array_equal(first, kept) == copy
        assert np.shares_memory(first, second) == (not copy)


def test_seeds():
    for make in (lambda: GymnasiumEnv("cartpole"), lambda: GymnasiumVectorEnv("cartpole", 2)):
        one, two = make(), make()
        assert not np.array_equal(one.reset()[0], two.reset()[0])  # nobody gave a seed
        first, _ = one.reset(seed=3)
        later, _ = one.reset()
        assert not np.array_equal(first, later)
        np.testing.assert_array_equal(two.reset(seed=3)[0], first)
        np.testing.assert_array_equal(two.reset()[0], later)
        assert one.np_random_seed == 3


def test_drawings():
    picture, text = (gymnasium.make("puffer/cartpole-v0", render_mode=mode) for mode in ("rgb_array", "ansi"))
    picture.reset(seed=0), text.reset(seed=0)
    assert picture.render().shape == (400, 600, 3)
    vec = make_vec("cartpole", num_envs=2, seed=0)
    vec.reset()
    assert text.render() == vec.render(0)
    rows = GymnasiumVectorEnv("cartpole", 2, render_mode="ansi")
    rows.reset(seed=0)
    assert rows.render() == (vec.render(0), vec.render(1))
    agents = PettingZooParallel("cartpole", 2, render_mode="ansi")
    agents.reset(seed=0)
    assert agents.render() == vec.render(0)
    assert GymnasiumEnv("cartpole").render() is GymnasiumVectorEnv("cartpole").render() is None
    assert GymnasiumEnv(SWITCHES).metadata == {"render_modes": [], "render_fps": 50}
    for kind in (GymnasiumEnv, GymnasiumVectorEnv, PettingZooParallel):
        with pytest.raises(UnknownName, match="render mode of my switches 'ansi'"):
            kind(SWITCHES, render_mode="ansi")


def test_other_dtypes_and_actions_of_bits():
    env = GymnasiumVectorEnv(SWITCHES, 2, autoreset_mode="SameStep")
    obs, _ = env.reset(seed=0)
    assert obs.dtype == np.uint8
    assert obs in env.observation_space
    obs, reward, terminated, _, infos = env.step(np.array([[1, 0, 0, 1], [1, 1, 1, 1]], np.int8))
    np.testing.assert_array_equal(obs, [[[255, 0], [0, 255]], [[0, 0], [0, 0]]])
    assert infos["final_obs"][1].tolist() == [[255, 255], [255, 255]]
    assert infos["final_obs"][1].dtype == np.uint8
    assert (reward.tolist(), terminated.tolist(), infos["cost"].tolist()) == ([0.5, 1.0], [False, True], [0.5, 0.5])
    assert infos["final_info"]["cost"].tolist() == [0, 0.5]


def test_registration_is_complete_and_repeatable():
    register_envs()
    for name in NAMES:
        spec = gymnasium.spec(f"puffer/{name}-v0")
        assert spec.max_episode_steps is None  # the limit is in the environment
        assert GymnasiumEnv(name).spec == spec
    assert GymnasiumEnv(SWITCHES).spec.id == "puffer/my_switches-v0"
    changed = GymnasiumEnv("cartpole", config={"max_steps": 9}).spec
    assert changed.make().unwrapped._vec.spec.max_episode_steps == 9


def test_agents_leave_when_their_episode_ends():
    env = PettingZooParallel("cartpole", 4)
    obs, infos = env.reset(seed=2)
    vec = make_vec("cartpole", num_envs=4, autoreset="disabled", seed=2)
    vec.reset()
    assert list(obs) == list(infos) == env.agents == env.possible_agents == [f"agent_{i}" for i in range(4)]
    rng, left = np.random.default_rng(0), 4
    while env.agents:
        before = env.agents
        assert env.num_agents == left
        action = rng.integers(0, 2, 4)
        obs, reward, terminated, truncated, infos = env.step({agent: action[int(agent[-1])] for agent in before})
        step = vec.step(action.astype(np.int32))
        assert list(obs) == list(reward) == list(terminated) == list(truncated) == list(infos) == before
        for agent in before:
            i = int(agent[-1])
            np.testing.assert_array_equal(obs[agent], step.obs[i])
            assert (reward[agent], terminated[agent], truncated[agent]) == (
                step.reward[i],
                step.terminated[i],
                step.truncated[i],
            )
            assert (agent in env.agents) == (not terminated[agent])
        left = len(env.agents)
    assert env.reset(seed=2)[0].keys() == set(env.possible_agents)
    with pytest.raises(EnvError, match="no action of agent_1, agent_3"):
        env.step({"agent_0": 0, "agent_2": 0})
    env.close()
    env.close()


class TestErrors:
    def test_one(self):
        env = GymnasiumEnv("cartpole")
        with pytest.raises(EnvError, match="reset"):
            env.step(0)
        env.reset(seed=0)
        with pytest.raises(EnvError, match="outside its space"):
            env.step(2)
        while not env.step(1)[2]:
            pass
        with pytest.raises(EnvError, match="the episode has ended"):
            env.step(1)
        env.close()
        with pytest.raises(EnvError, match="closed"):
            env.reset()

    @pytest.mark.parametrize(
        ("action", "match"),
        [
            (np.zeros(3, np.int64), r"got int64 \(3,\)"),
            (np.zeros(2), r"got float64 \(2,\)"),
            (np.array([0, 2**32]), "must fit int32, got 4294967296"),
            (np.zeros((2, 1), np.int64), r"got int64 \(2, 1\)"),
        ],
    )
    def test_actions(self, action, match):
        env = GymnasiumVectorEnv("cartpole", 2)
        env.reset()
        with pytest.raises(ShapeError, match=match):
            env.step(action)

    def test_actions_of_agents(self):
        env = PettingZooParallel("cartpole", 2)
        env.reset()
        with pytest.raises(ShapeError, match=r"must have shape \(2,\)"):
            env.step({"agent_0": 0, "agent_1": [0, 1]})

    @pytest.mark.parametrize("name", ["cartpole", PAIRS], ids=["cartpole", "pairs"])
    def test_a_reset_row_is_not_reset_again(self, name):
        env = GymnasiumVectorEnv(name, 2)
        env.reset(seed=0)
        action = np.ones(env.action_space.shape, np.int64)
        while not (ended := env.step(action)[2]).any():
            pass
        env.reset(options={"reset_mask": ended})
        assert env.step(action)[1][ended].all()  # paid: a step of the new episode

    def test_resets(self):
        env = GymnasiumVectorEnv("cartpole", 2, autoreset_mode="Disabled")
        env.reset(seed=0)
        while not env.step(np.ones(2, np.int64))[2].any():
            pass
        with pytest.raises(EnvError, match="have ended"):
            env.step(np.ones(2, np.int64))
        for mask in ([True, True], np.ones(2, np.uint8), np.ones(3, bool)):
            with pytest.raises(ShapeError, match=r"bool array of shape \(2,\)"):
                env.reset(options={"reset_mask": mask})
        with pytest.raises(EnvError, match="seed or a reset_mask"):
            env.reset(seed=1, options={"reset_mask": np.ones(2, bool)})
        env.reset()
        env.step(np.ones(2, np.int64))

    def test_names_and_settings(self):
        with pytest.raises(UnknownName, match="did you mean cartpole"):
            GymnasiumEnv("cartpol")
        with pytest.raises(UnknownName, match="autoreset mode 'same'"):
            GymnasiumVectorEnv("cartpole", autoreset_mode="same")
        with pytest.raises(ConfigError, match="has its settings already"):
            GymnasiumEnv(SWITCHES, config={"max_steps": 3})
        with pytest.raises(ConfigError, match="num_envs"):
            PettingZooParallel("cartpole", 0)
        nested = replace(SWITCHES, obs_space=Tuple([Discrete(2)]))
        with pytest.raises(ConfigError, match="one agent with flat observations"):
            GymnasiumEnv(nested)

    @pytest.mark.parametrize(
        ("module", "package", "extra"),
        [
            ("gymnasium", "gymnasium", "gymnasium"),
            ("pettingzoo", "pettingzoo", "pettingzoo"),
            ("sb3", "stable_baselines3", "sb3"),
        ],
    )
    def test_missing_packages(self, module, package, extra, monkeypatch):
        monkeypatch.setitem(sys.modules, package, None)
        monkeypatch.delitem(sys.modules, f"pufferlib_core.adapters.{module}", raising=False)
        with pytest.raises(MissingExtra, match=re.escape(f"pufferlib-core[{extra}]")):
            importlib.import_module(f"pufferlib_core.adapters.{module}")


def test_nothing_else_imports_these_packages():
    modules = "algorithms.ppo backends.native loops.api spaces testing vector adapters"
    program = f"import sys, {', '.join('pufferlib_core.' + name for name in modules.split())}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"gymnasium", "pettingzoo", "stable_baselines3"} & set(done.stdout.split())
