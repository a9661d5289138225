"""The classic environments against Gymnasium's own, from the same states."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from pufferlib_core import make_vec
from pufferlib_core.spaces import Box
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


def margin(name: str, state: np.ndarray) -> float:
    """How far a state is from the threshold that ends the episode."""
    if name == "acrobot":
        return abs(-np.cos(state[0]) - np.cos(state[0] + state[1]) - 1.0)
    return abs(state[0] - (0.45 if name == "mountain_car_continuous" else 0.5))


@pytest.mark.parametrize(
    ("name", "env_id", "rtol", "atol"),
    [
        ("mountain_car", "MountainCar-v0", 1e-5, 1e-7),
        ("mountain_car_continuous", "MountainCarContinuous-v0", 1e-5, 1e-7),
        ("acrobot", "Acrobot-v1", 1e-5, 2e-5),
    ],
)
def test_classic_control_agrees_step_by_step_from_gymnasiums_state(name, env_id, rtol, atol):
    env = gymnasium.make(env_id).unwrapped
    vec = make_vec(name, num_envs=1)
    rng = np.random.default_rng(0)
    checked = ended = trial = 0
    while checked < 4000:
        trial += 1
        env.reset(seed=trial)
        vec.reset()
        if name == "acrobot":  # all over the state space
            env.state = rng.uniform(-1, 1, 4) * [np.pi, np.pi, 4 * np.pi, 9 * np.pi]
        for _ in range(200):
            before = np.array(env.state, np.float64)
            set_numbers(vec, before[None])
            pumping = name != "acrobot" and rng.random() < 0.8  # with the motion, so that some episodes reach the goal
            push = (2 if env.state[1] >= 0 else 0) if pumping else int(rng.integers(3))
            action = np.array([push - 1.0], np.float32) if name == "mountain_car_continuous" else push
            obs, reward, terminated, _, _ = env.step(action)
            step = vec.step(action[None] if name == "mountain_car_continuous" else np.array([action], np.int32))
            over = bool(step.terminated[0] | step.truncated[0])
            # Above 4 rad/s a step of 0.2 s turns a link so far that the rounding of the state itself is amplified.
            loose = 200.0 if name == "acrobot" and np.abs(before[2:]).max() > 4 else 1.0
            np.testing.assert_allclose(step.final_obs[0] if over else step.obs[0], obs, rtol=loose * rtol, atol=loose * atol)
            assert step.reward[0] == pytest.approx(reward, rel=1e-6)
            assert bool(step.terminated[0]) == terminated or margin(name, np.asarray(env.state)) < 1e-6
            checked += 1
            if terminated:
                ended += 1
                break
    assert ended > 3


CLASSIC = [
    ("cartpole", "CartPole-v1"), ("pendulum", "Pendulum-v1"), ("acrobot", "Acrobot-v1"), ("mountain_car", "MountainCar-v0"),
    ("mountain_car_continuous", "MountainCarContinuous-v0"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "env_id"), CLASSIC)
def test_spaces_and_limits_are_gymnasiums(name, env_id):
    env = gymnasium.make(env_id)
    vec = make_vec(name, num_envs=2)
    assert vec.spec.max_episode_steps == env.spec.max_episode_steps
    assert vec.obs_space.shape == env.observation_space.shape
    for ours, theirs in ((vec.obs_space.low, env.observation_space.low), (vec.obs_space.high, env.observation_space.high)):
        np.testing.assert_allclose(np.reshape(ours, vec.obs_space.shape), theirs, rtol=1e-6)
    if isinstance(vec.action_space, Box):
        np.testing.assert_array_equal(vec.action_space.low, env.action_space.low)
        np.testing.assert_array_equal(vec.action_space.high, env.action_space.high)
    else:
        assert vec.action_space.n == env.action_space.n


@pytest.mark.parametrize(("name", "env_id"), CLASSIC)
def test_first_observations_come_from_gymnasiums_distribution(name, env_id):
    ours = make_vec(name, num_envs=3000, seed=1).reset().obs
    theirs = np.array([env.reset(seed=s)[0] for env in [gymnasium.make(env_id)] for s in range(3000)])
    np.testing.assert_allclose(ours.mean(0), theirs.mean(0), atol=5 * (ours.std(0).max() / np.sqrt(1500)) + 1e-9)
    np.testing.assert_allclose(ours.std(0), theirs.std(0), rtol=0.08, atol=1e-9)
    np.testing.assert_allclose(ours.min(0), theirs.min(0), atol=0.02 * np.ptp(theirs) + 1e-9)
    np.testing.assert_allclose(ours.max(0), theirs.max(0), atol=0.02 * np.ptp(theirs) + 1e-9)


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
