"""Stable-Baselines3 as a client: run by the gate `peers` of tools/check.py, because its packages are heavy."""

from __future__ import annotations

import numpy as np
import pytest
from pufferlib_core import make_vec
from pufferlib_core.adapters.gymnasium import GymnasiumEnv
from pufferlib_core.adapters.sb3 import SB3VecEnv
from pufferlib_core.errors import ConfigError, EnvError, ShapeError, UnknownName
from pufferlib_core.vector import env_names
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecMonitor, VecNormalize


# what SB3 recommends about the spaces themselves, which are those of the task
@pytest.mark.filterwarnings("ignore:We recommend you to use a symmetric and normalized Box action space")
@pytest.mark.filterwarnings("ignore:Your observation .* has an unconventional shape")
@pytest.mark.parametrize("name", env_names())
def test_their_checker_passes(name):
    check_env(GymnasiumEnv(name))


def test_ppo_learns_cartpole():
    model = PPO(
        "MlpPolicy", SB3VecEnv("cartpole", 16), n_steps=64, batch_size=256, n_epochs=8, learning_rate=2e-3, seed=0, device="cpu"
    )  # fmt: skip
    before, after = mean_return(model), mean_return(model.learn(30_000))
    assert len(model.ep_info_buffer) > 50  # it found our `episode`
    assert before < 40
    assert after > 150


def mean_return(model):
    """Of its stochastic policy: an untrained network's best action may balance by accident."""
    return evaluate_policy(model, SB3VecEnv("cartpole", 16), n_eval_episodes=32, deterministic=False, warn=False)[0]


@pytest.mark.parametrize("name", ["cartpole", "pendulum", "memory"])
def test_rows_equal_those_of_a_vec_env(name):
    n = 5
    env, vec = SB3VecEnv(name, n), make_vec(name, num_envs=n, seed=11)
    assert env.seed(11) == [11, 12, 13, 14, 15]
    np.testing.assert_array_equal(env.reset(), vec.reset().obs)
    endings = cuts = 0
    for _ in range(220):
        action = np.stack([env.action_space.sample() for _ in range(n)])
        obs, reward, done, infos = env.step(action)
        step = vec.step(action.astype(vec.action_dtype))
        np.testing.assert_array_equal(obs, step.obs)
        np.testing.assert_array_equal(reward, step.reward)
        np.testing.assert_array_equal(done, (step.terminated | step.truncated) != 0)
        assert not np.shares_memory(obs, env._vec.latest.obs)
        for i, info in enumerate(infos):
            assert bool(info) == done[i]
            if done[i]:
                np.testing.assert_array_equal(info["terminal_observation"], step.final_obs[i])
                assert info["TimeLimit.truncated"] == (step.truncated[i] and not step.terminated[i])
                assert tuple(info["episode"].values()) == tuple(step.log[i].tolist()[:2])
                endings += 1
                cuts += info["TimeLimit.truncated"]
    assert endings >= n
    assert cuts == (endings if name == "pendulum" else 0)
    env.close()
    env.close()
    with pytest.raises(EnvError, match="closed"):
        env.reset()


def test_seeds_hold_for_one_reset():
    env = SB3VecEnv("cartpole", 2)
    env.seed(3)
    first, second = env.reset(), env.reset()
    env.seed(3)
    np.testing.assert_array_equal(env.reset(), first)
    np.testing.assert_array_equal(env.reset(), second)
    assert not np.array_equal(first, second)
    assert not np.array_equal(SB3VecEnv("cartpole", 2).reset(), SB3VecEnv("cartpole", 2).reset())


def test_attributes_and_methods_of_rows():
    env = SB3VecEnv("cartpole", 3, render_mode="ansi", config={"max_steps": 7})
    env.reset()
    assert [spec.max_episode_steps for spec in env.get_attr("spec")] == [7, 7, 7]
    env.set_attr("colour", "red", indices=1)
    assert env.get_attr("colour", [1]) == ["red"]
    assert not env.has_attr("colour")
    with pytest.raises(AttributeError, match="colour"):
        env.get_attr("colour")
    drawings = env.env_method("render", indices=[0, 2])
    assert drawings == [env._vec.render(0), env._vec.render(2)]
    assert env.env_is_wrapped(Monitor) == [False] * 3
    assert env.get_images() == [None] * 3


def test_pictures():
    env = SB3VecEnv("cartpole", 4, render_mode="rgb_array")
    env.reset()
    assert all(picture.shape == (400, 600, 3) for picture in env.get_images())
    assert env.render().shape == (800, 1200, 3)  # tiled by SB3
    assert env.metadata == {"render_modes": ["human", "rgb_array"], "render_fps": 50}


def test_their_wrappers_go_around_it():
    env = VecNormalize(VecMonitor(SB3VecEnv("cartpole", 4)))
    env.reset()
    for _ in range(100):
        _, _, done, infos = env.step(np.zeros(4, np.int64))
        assert all(("t" in info.get("episode", {})) == over for info, over in zip(infos, done, strict=True))


def test_errors():
    env = SB3VecEnv("cartpole", 2)
    with pytest.raises(EnvError, match="without step_async"):
        env.step_wait()
    with pytest.raises(EnvError, match="reset"):
        env.step(np.zeros(2, np.int64))
    env.reset()
    with pytest.raises(EnvError, match="outside"):
        env.step(np.array([0, 2]))
    with pytest.raises(ShapeError, match="int32"):
        env.step(np.zeros(3, np.int64))
    with pytest.raises(ConfigError, match="num_envs"):
        SB3VecEnv("cartpole", 0)
    with pytest.raises(UnknownName, match="render mode"):
        SB3VecEnv("cartpole", 2, render_mode="human")
