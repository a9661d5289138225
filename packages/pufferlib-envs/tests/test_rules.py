"""The small environments against a few lines of Python that say the same rules, and their best policies."""

from __future__ import annotations

import dataclasses
import json
import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pufferlib_core import make_vec
from pufferlib_core.errors import ConfigError
from pufferlib_core.native import check, ffi, lib
from pufferlib_core.spaces import Box
from pufferlib_core.testing import check_env
from pufferlib_core.vector import VecEnv, env_names, env_spec
from pufferlib_envs._spec import c_config

N = 200
GOLDEN = runpy.run_path(str(Path(__file__).parents[3] / "tools/golden.py"))


def integers(vec: VecEnv, count: int) -> np.ndarray:
    """The first int32 numbers of every environment's state, (N, count)."""
    return vec.state()["records"][:, : 4 * count].copy().view(np.int32)


def play(vec: VecEnv, policy: Callable[[VecEnv, np.ndarray], np.ndarray], steps: int) -> float:
    """Mean return of the episodes that end within some steps."""
    step, returns = vec.reset(), []
    for _ in range(steps):
        step = vec.step(np.ascontiguousarray(policy(vec, step.obs), vec.action_dtype))
        returns += step.log["episode_return"][(step.terminated | step.truncated) != 0].tolist()
    return float(np.mean(returns))


def last(step) -> np.ndarray:
    """Observations that the actions led to, those that ended episodes included."""
    over = (step.terminated | step.truncated) != 0
    return np.where(over.reshape(-1, *[1] * (step.obs.ndim - 1)), step.final_obs, step.obs)


def test_catch():
    rows, columns = 7, 4
    vec = make_vec("catch", num_envs=N, config={"rows": rows, "columns": columns})
    rng = np.random.default_rng(0)
    obs = vec.reset().obs.copy()
    board = obs.reshape(N, rows, columns)
    assert (board[:, 0].sum(1) == 1).all()
    assert (np.bincount(board[:, 0].argmax(1), minlength=columns) > N / columns / 2).all()
    assert (board[:, -1].argmax(1) == columns // 2).all()
    for _ in range(30):
        ball_row, ball_column, paddle = integers(vec, 3).T
        action = rng.integers(0, 3, N).astype(np.int32)
        paddle = np.clip(paddle + action - 1, 0, columns - 1)
        expected = np.zeros((N, rows, columns), np.float32)
        expected[np.arange(N), ball_row + 1, ball_column] = 1
        expected[np.arange(N), -1, paddle] = 1
        step = vec.step(action)
        over = ball_row + 1 == rows - 1
        np.testing.assert_array_equal(last(step).reshape(N, rows, columns), expected)
        np.testing.assert_array_equal(step.terminated, over)
        np.testing.assert_array_equal(step.reward, np.where(over, np.where(paddle == ball_column, 1, -1), 0))

    def follow(vec, obs):
        _, ball, paddle = integers(vec, 3).T
        return 1 + np.sign(ball - paddle)

    assert play(make_vec("catch", num_envs=N), follow, 40) == 1.0


def test_deep_sea():
    size = 6
    vec = make_vec("deep_sea", num_envs=N, config={"size": size, "map_seed": 9})
    cells = np.arange(size * size, dtype=np.uint32)  # block (cell, 0) of the cipher keyed (map_seed, 0)
    goes_right = (GOLDEN["threefry"](9, 0, cells, np.zeros_like(cells))[0] & 1).reshape(size, size)
    assert 0 < goes_right.sum() < size * size
    rng = np.random.default_rng(0)
    vec.reset()
    for _ in range(40):
        row, column = integers(vec, 2).T
        action = rng.integers(0, 2, N).astype(np.int32)
        right = action == goes_right[row, column]
        step = vec.step(action)
        corner = right & (row == size - 1) & (column == size - 1)
        np.testing.assert_allclose(step.reward, np.where(corner, 1.0, 0.0) - np.where(right, 0.01 / size, 0.0), rtol=1e-6)
        np.testing.assert_array_equal(step.terminated, row + 1 == size)
        moved = np.clip(np.where(right, column + 1, column - 1), 0, size - 1)
        expected = np.zeros((N, size + 1, size), np.float32)
        expected[np.arange(N), row + 1, moved] = 1
        np.testing.assert_array_equal(last(step), expected[:, :size].reshape(N, -1))

    def dive(vec, obs):
        row, column = integers(vec, 2).T
        return goes_right[row, column]

    config = {"size": size, "map_seed": 9}
    assert play(make_vec("deep_sea", num_envs=N, config=config), dive, 30) == pytest.approx(0.99, abs=1e-6)


def test_squared():
    distance = 2
    side = 2 * distance + 1
    vec = make_vec("squared", num_envs=N, config={"distance": distance})
    vec.reset()
    _, _, target_row, target_column = integers(vec, 4).T
    edge = {(r, c) for r in range(side) for c in range(side) if r in (0, side - 1) or c in (0, side - 1)}
    assert {*zip(target_row.tolist(), target_column.tolist(), strict=True)} == edge
    moves = [(-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1)]
    rng = np.random.default_rng(0)
    length = np.zeros(N, np.int64)
    for _ in range(60):
        row, column, target_row, target_column = integers(vec, 4).T
        action = rng.integers(0, 8, N).astype(np.int32)
        there = np.array([row, column]) + np.array([moves[a] for a in action]).T
        inside = ((there >= 0) & (there < side)).all(0)
        reached = (there[0] == target_row) & (there[1] == target_column)
        length += 1
        step = vec.step(action)
        np.testing.assert_array_equal(step.reward, np.where(reached, 1, np.where(inside, 0, -1)))
        np.testing.assert_array_equal(step.terminated, reached | ~inside)
        np.testing.assert_array_equal(step.truncated, length == 4 * distance)
        expected = np.zeros((N, side, side), np.float32)
        expected[np.arange(N), target_row, target_column] = 1
        expected[np.flatnonzero(inside), there[0][inside], there[1][inside]] = -1
        np.testing.assert_array_equal(last(step).reshape(N, side, side), expected)
        length[(step.terminated | step.truncated) != 0] = 0

    def walk(vec, obs):
        row, column, target_row, target_column = integers(vec, 4).T
        steps = zip(np.sign(target_row - row).tolist(), np.sign(target_column - column).tolist(), strict=True)
        return np.array([moves.index(step) for step in steps])

    best = make_vec("squared", num_envs=N)
    assert play(best, walk, 20) == 1.0


@pytest.mark.parametrize("length", [0, 3])
def test_memory(length):
    vec = make_vec("memory", num_envs=N, config={"length": length, "symbols": 3})
    obs = vec.reset().obs
    symbol = integers(vec, 1)[:, 0]
    np.testing.assert_array_equal(obs[:, :3].argmax(1), symbol)
    assert (np.bincount(symbol, minlength=3) > N / 6).all()
    rng = np.random.default_rng(0)
    for t in range(4 * (length + 1)):
        symbol = integers(vec, 1)[:, 0]
        time = t % (length + 1)
        assert (vec.state()["obs"][:, 3] == (time == length)).all()
        assert (vec.state()["obs"][:, :3].any(1) == (time == 0)).all()
        action = rng.integers(0, 3, N).astype(np.int32)
        step = vec.step(action)
        np.testing.assert_array_equal(step.terminated, time == length)
        np.testing.assert_array_equal(step.reward, (time == length) & (action == symbol))
    assert play(vec, lambda vec, obs: integers(vec, 1)[:, 0], 20) == 1.0


def test_bandit():
    vec = make_vec("bandit", num_envs=20_000, config={"arms": 4, "best": 2, "high": 0.7, "low": 0.1})
    assert (vec.reset().obs == 1).all()
    for arm, chance in enumerate((0.1, 0.1, 0.7, 0.1)):
        step = vec.step(np.full(20_000, arm, np.int32))
        assert step.terminated.all()
        assert set(np.unique(step.reward)) == {0.0, 1.0}
        assert step.reward.mean() == pytest.approx(chance, abs=4 * 0.5 / np.sqrt(20_000))
    with pytest.raises(ConfigError, match=r"bandit\.best=4 must be below bandit\.arms=4"):
        env_spec("bandit", {"arms": 4, "best": 4})
    with pytest.raises(ConfigError, match=r"bandit\.low"):
        env_spec("bandit", {"low": 0.9})


@pytest.mark.parametrize("name", env_names())
def test_every_environment_keeps_the_contract(name):
    check_env(env_spec(name))


OTHERS = {  # another legal value of every setting
    "acrobot": {"link_length": 1.3, "link_mass_1": 2.0, "link_mass_2": 0.5, "link_center_1": 0.4, "link_center_2": 0.7,
                "inertia": 0.8, "gravity": 5.0, "torque": 2.0, "tau": 0.1, "max_steps": 50},
    "bandit": {"arms": 4, "best": 1, "high": 0.9, "low": 0.0},
    "cartpole": {"gravity": 5.0, "cart_mass": 2.0, "pole_mass": 0.3, "length": 0.8, "force": 5.0, "tau": 0.01, "x_limit": 0.1,
                 "theta_limit": 0.1, "max_steps": 12, "velocities": False},
    "catch": {"rows": 6, "columns": 7},
    "deep_sea": {"size": 5, "map_seed": 3},
    "memory": {"length": 1, "symbols": 4},
    "mountain_car": {"force": 0.002, "gravity": 0.001, "goal_position": -0.45, "goal_velocity": 0.001, "max_steps": 30},
    "mountain_car_continuous": {"power": 0.003, "gravity": 0.001, "goal_position": -0.45, "goal_velocity": 0.001,
                                "max_steps": 30},
    "pendulum": {"gravity": 5.0, "mass": 2.0, "length": 0.7, "max_torque": 1.0, "max_speed": 2.0, "tau": 0.02, "max_steps": 20},
    "squared": {"distance": 2},
}  # fmt: skip


def trajectory(name: str, config: dict[str, float]) -> bytes:
    vec = make_vec(name, num_envs=64, seed=3, config=config)
    rng = np.random.default_rng(0)
    parts = [vec.reset().obs.tobytes()]
    for _ in range(60):
        if isinstance(vec.action_space, Box):
            action = rng.uniform(-2, 2, vec.action_shape).astype(np.float32)
        else:
            action = (rng.integers(0, 64, vec.action_shape) % vec.action_space.n).astype(np.int32)
        step = vec.step(action)
        parts += [plane.tobytes() for plane in (step.obs, step.reward, step.terminated, step.truncated)]
    return b"".join(parts)


@pytest.mark.parametrize("name", env_names())
def test_every_setting_changes_something(name):
    spec = env_spec(name)
    fields = {field.name for field in dataclasses.fields(spec.config)}
    assert fields == set(OTHERS[name])
    base = {"goal_position": -0.45} if name.startswith("mountain") else {}
    plain = trajectory(name, base)
    assert trajectory(name, base | {f: getattr(env_spec(name, base).config, f) for f in fields}) == plain
    for field, value in OTHERS[name].items():
        if field not in base:
            assert trajectory(name, base | {field: value}) != plain, field
    check_env(env_spec(name, OTHERS[name]), steps=80)


@pytest.mark.parametrize("name", env_names())
def test_the_c_side_refuses_bad_settings_by_itself(name):
    spec = env_spec(name)
    for field in dataclasses.fields(spec.config):
        if (name, field.name) == ("deep_sea", "map_seed"):
            continue  # every map is legal
        wrong = -7 if isinstance(getattr(spec.config, field.name), int) else float("nan")
        broken = object.__new__(type(spec.config))
        for other in dataclasses.fields(spec.config):
            object.__setattr__(broken, other.name, wrong if other.name == field.name else getattr(spec.config, other.name))
        config = c_config(name, broken)
        info = ffi.new("puf_env_info *")
        status = lib.puf_env_describe(ffi.cast("void *", spec.table(0)), ffi.from_buffer(config), info)
        assert status == lib.PUF_EINVAL, field.name
    check(lib.puf_env_describe(ffi.cast("void *", spec.table(0)), ffi.NULL, ffi.new("puf_env_info *")), name)


@pytest.mark.parametrize("name", env_names())
def test_pictures_follow_the_state(name):
    vec = make_vec(name, num_envs=1, seed=5)
    rng = np.random.default_rng(1)
    vec.reset()
    seen, texts = set(), set()
    for _ in range(12):
        picture = vec.render(mode="rgb_array")
        assert picture.dtype == np.uint8
        assert picture.ndim == 3
        assert (picture != 255).any()
        seen.add(picture.tobytes())
        texts.add(vec.render())
        vec.step(np.ascontiguousarray(vec.action_space.sample(rng)[None], vec.action_dtype))
    if name == "bandit":  # it has no state to show
        assert len(seen) == len(texts) == 1
    else:
        assert len(seen) > 2
        assert len(texts) > 2


def test_hidden_velocities_leave_positions_and_everything_else_as_they_were():
    rng = np.random.default_rng(0)
    seen, hidden = (make_vec("cartpole", num_envs=70, seed=3, config={"velocities": shown}) for shown in (True, False))
    assert hidden.obs_space.shape == (2,)
    assert (seen.reset().obs[:, ::2] == hidden.reset().obs).all()
    for _ in range(200):
        action = rng.integers(0, 2, 70).astype(np.int32)
        ours, theirs = hidden.step(action), seen.step(action)
        np.testing.assert_array_equal(ours.obs, theirs.obs[:, ::2])
        np.testing.assert_array_equal(ours.terminated, theirs.terminated)
        over = ours.terminated != 0
        np.testing.assert_array_equal(ours.final_obs[over], theirs.final_obs[over][:, ::2])
    assert hidden.render() == seen.render()
    assert (hidden.render(mode="rgb_array") == seen.render(mode="rgb_array")).all()


def test_pictures_lean_the_right_way():
    from pufferlib_envs import acrobot, cartpole, mountain, pendulum

    def middle(picture, color):
        return np.argwhere((np.abs(picture.astype(int) - color) < 40).all(axis=2)).mean(axis=0)

    left, right = (cartpole.render_rgb(np.array([x, 0, 0, 0], np.float32)) for x in (-1.2, 1.2))
    assert middle(left, (0, 0, 0))[1] < middle(right, (0, 0, 0))[1] - 50
    up = pendulum.render_rgb(np.array([1, 0, 0], np.float32))
    assert middle(up, (204, 77, 77))[0] < 230
    lean = np.array([0, 1, 0], np.float32)  # a quarter turn counter-clockwise: to the left, in both drawings
    assert middle(pendulum.render_rgb(lean), (204, 77, 77))[1] < 230
    assert pendulum.render_ansi(lean).splitlines()[5].index("O") < 10
    hanging, raised = (acrobot.render_rgb(np.array([c, 0, 1, 0, 0, 0], np.float32)) for c in (1, -1))
    assert middle(hanging, (0, 204, 204))[0] > 270 > 230 > middle(raised, (0, 204, 204))[0]
    low, high = (mountain.mountain_rgb(0.5)(np.array([x, 0], np.float32)) for x in (-0.52, 0.4))
    assert middle(low, (66, 133, 244))[0] > middle(high, (66, 133, 244))[0] + 100


@pytest.mark.parametrize("name", env_names())
def test_golden_trajectories(name):
    golden = Path(__file__).parent.parent / "golden" / f"{name}.json"
    assert GOLDEN["trajectory"](name) == json.loads(golden.read_text())


def test_acrobot_stays_finite_for_every_legal_setting():
    spec = env_spec("acrobot")
    high = np.asarray(spec.obs_space.high, np.float32)
    rng = np.random.default_rng(0)
    for trial in range(150):  # half of the values at their bounds, where terms of the equations nearly cancel
        config = {}
        for field in dataclasses.fields(spec.config):
            low, top = field.metadata["low"], field.metadata["high"]
            if field.name != "max_steps":
                inside = float(np.exp(rng.uniform(np.log(low), np.log(top))))
                config[field.name] = float(rng.choice([low, top])) if rng.random() < 0.5 else inside
        vec = make_vec("acrobot", num_envs=8, seed=trial, threads=1, config=config)
        vec.reset()
        for _ in range(100):
            obs = last(vec.step(rng.integers(0, 3, 8).astype(np.int32)))
            assert np.isfinite(obs).all(), config
            assert (np.abs(obs) <= high).all(), config


@pytest.mark.parametrize("name", env_names())
def test_observations_stay_inside_their_space_over_a_million_random_steps(name):
    vec = make_vec(name, num_envs=1024, seed=6)
    rng = np.random.default_rng(6)
    space = vec.action_space
    low, high = (
        np.asarray(bound, np.float32).reshape(vec.obs_space.shape) for bound in (vec.obs_space.low, vec.obs_space.high)
    )
    vec.reset()
    for _ in range(977):
        if isinstance(space, Box):
            action = rng.uniform(np.array(space.low) * 1.5, np.array(space.high) * 1.5, vec.action_shape)
        else:
            action = rng.integers(0, space.n, vec.action_shape)
        step = vec.step(action.astype(vec.action_dtype))
        assert (step.obs >= low).all()
        assert (step.obs <= high).all()
        ended = (step.terminated | step.truncated) != 0
        assert (step.final_obs[ended] >= low).all()
        assert (step.final_obs[ended] <= high).all()
