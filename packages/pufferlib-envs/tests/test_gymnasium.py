"""CartPole and Pendulum against Gymnasium's own, from the same states."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from pufferlib_core import make_vec
from pufferlib_core.vector import VecEnv

TRIALS = 40


def set_numbers(vec: VecEnv, numbers: np.ndarray) -> None:
    """Puts float32 numbers at the start of every environment's canonical state."""
    state = vec.state()
    records = state["records"]
    records[:, : numbers.shape[1] * 4] = np.ascontiguousarray(numbers, np.float32).view(np.uint8).reshape(len(records), -1)
    vec.set_state(state)


def test_cartpole_agrees_step_by_step_from_gymnasiums_state():
    env = gymnasium.make("CartPole-v1").unwrapped
    vec = make_vec("cartpole", num_envs=1)
    rng = np.random.default_rng(0)
    checked = 0
    for trial in range(TRIALS):
        env.reset(seed=trial)
        vec.reset()
        for _ in range(200):
            before = np.array(env.state, np.float64)
            set_numbers(vec, before[None])
            action = int(rng.integers(2))
            obs, reward, terminated, _, _ = env.step(action)
            step = vec.step(np.array([action], np.int32))
            ours = step.final_obs[0] if step.terminated[0] else step.obs[0]
            np.testing.assert_allclose(ours, obs, rtol=1e-5, atol=1e-6)
            assert step.reward[0] == reward
            margin = min(abs(abs(env.state[0]) - 2.4), abs(abs(env.state[2]) - 12 * np.pi / 180))
            assert bool(step.terminated[0]) == terminated or margin < 1e-6
            checked += 1
            if terminated:
                break
    assert checked > 500


def test_cartpole_stays_close_running_free():
    env = gymnasium.make("CartPole-v1").unwrapped
    vec = make_vec("cartpole", num_envs=1)
    for trial in range(TRIALS):
        env.reset(seed=trial)
        vec.reset()
        set_numbers(vec, np.array(env.state)[None])
        for t in range(20):
            obs, _, terminated, _, _ = env.step(t % 2)
            step = vec.step(np.array([t % 2], np.int32))
            if terminated:
                break
            np.testing.assert_allclose(step.obs[0], obs, rtol=1e-4, atol=1e-5)


def test_pendulum_agrees_step_by_step_from_gymnasiums_state():
    env = gymnasium.make("Pendulum-v1").unwrapped
    vec = make_vec("pendulum", num_envs=1)
    rng = np.random.default_rng(0)
    for trial in range(TRIALS):
        env.reset(seed=trial)
        vec.reset()
        for _ in range(200):
            theta, speed = env.state
            wrapped = (theta + np.pi) % (2 * np.pi) - np.pi
            if abs(abs(wrapped) - np.pi) < 1e-3:  # the reward jumps where the angle wraps
                env.state = np.array([0.5, speed])
                wrapped = 0.5
            set_numbers(vec, np.array([[wrapped, speed]]))
            torque = rng.uniform(-3, 3, 1).astype(np.float32)
            obs, reward, *_ = env.step(torque)
            step = vec.step(torque[None])
            ours = step.final_obs[0] if step.truncated[0] else step.obs[0]
            np.testing.assert_allclose(ours, obs, rtol=1e-5, atol=2e-6)
            assert step.reward[0] == pytest.approx(reward, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize(("name", "env_id"), [("cartpole", "CartPole-v1"), ("pendulum", "Pendulum-v1")])
def test_spaces_and_limits_are_gymnasiums(name, env_id):
    env = gymnasium.make(env_id)
    vec = make_vec(name, num_envs=2)
    assert vec.spec.max_episode_steps == env.spec.max_episode_steps
    assert vec.obs_space.shape == env.observation_space.shape
    np.testing.assert_allclose(np.reshape(vec.obs_space.high, vec.obs_space.shape), env.observation_space.high, rtol=1e-6)
    if name == "pendulum":
        assert (vec.action_space.low, vec.action_space.high) == ((-2.0,), (2.0,))
    else:
        assert vec.action_space.n == env.action_space.n


def test_reset_distributions():
    cartpole = make_vec("cartpole", num_envs=20_000, seed=1).reset().obs
    assert np.abs(cartpole).max() <= 0.05
    np.testing.assert_allclose(cartpole.mean(0), 0, atol=0.001)
    np.testing.assert_allclose(cartpole.std(0), 0.1 / np.sqrt(12), rtol=0.02)
    assert np.abs(np.corrcoef(cartpole.T) - np.eye(4)).max() < 0.03
    pendulum = make_vec("pendulum", num_envs=20_000, seed=1).reset().obs
    angle = np.arctan2(pendulum[:, 1], pendulum[:, 0])
    np.testing.assert_allclose(angle.std(), 2 * np.pi / np.sqrt(12), rtol=0.02)
    assert np.abs(pendulum[:, 2]).max() <= 1


def test_pictures():
    from pufferlib_envs import cartpole, pendulum

    left = cartpole.render_rgb(np.array([-1.2, 0, 0.1, 0], np.float32))
    right = cartpole.render_rgb(np.array([1.2, 0, 0.1, 0], np.float32))
    dark = [np.argwhere((picture[290:310] == 0).all(axis=2))[:, 1].mean() for picture in (left, right)]
    assert dark[0] < 300 < dark[1]
    up = pendulum.render_rgb(np.array([1, 0, 0], np.float32))
    red = np.argwhere(up[:, :, 1] < 100)
    assert red[:, 0].mean() < 250
    assert "O" in pendulum.render_ansi(np.array([0, 1, 0], np.float32))
    assert "#" in cartpole.render_ansi(np.array([9, 0, 9, 0], np.float32))
