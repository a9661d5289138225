"""Vector environments: contract, autoreset modes, states, determinism, errors."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from pufferlib_core import make_vec, native
from pufferlib_core.errors import ConfigError, EnvError, NativeError, ShapeError, UnknownName
from pufferlib_core.spaces import Box, Discrete
from pufferlib_core.testing import check_env
from pufferlib_core.traits import EnvSpec
from pufferlib_core.vector import VecEnv, env_names, env_spec, vectorize


def actions_of(vec: VecEnv, steps: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if isinstance(vec.action_space, Box):
        return rng.uniform(-2, 2, (steps, *vec.action_shape)).astype(np.float32)
    return rng.integers(0, 2, (steps, *vec.action_shape)).astype(np.int32)


@pytest.mark.parametrize("name", ["cartpole", "pendulum"])
def test_environments_keep_the_contract(name):
    check_env(env_spec(name))


@pytest.mark.parametrize("name", ["cartpole", "pendulum"])
def test_every_isa_gives_the_same_bytes(name, monkeypatch):
    seen = set()
    for isa in native.isa_names():
        monkeypatch.setenv("PUFFER_ISA", isa)
        native.isa.cache_clear()
        vec = make_vec(name, num_envs=77, threads=2, seed=5)
        vec.reset()
        total = b"".join(vec.step(action).obs.tobytes() for action in actions_of(vec, 300))
        seen.add(total + vec.state()["records"].tobytes())
    native.isa.cache_clear()
    assert len(seen) == 1


def test_first_environment_reset_is_the_documented_stream():
    vec = make_vec("cartpole", num_envs=3, seed=9)
    first = vec.reset().obs.copy()
    words = np.empty(4, np.uint32)
    native.check(native.lib.puf_rng_fill(9, 2, 0, native.ffi.from_buffer("uint32_t[]", words), 2), "rng")
    expected = np.float32(-0.05) + np.float32(0.1) * ((words >> 8).astype(np.float32) * np.float32(2**-24))
    assert first[2] == pytest.approx(expected, abs=1e-8)


def run_modes(mode: str, steps: int = 120):
    vec = make_vec("cartpole", num_envs=4, autoreset=mode, seed=3)
    vec.reset()
    rows = []
    for action in actions_of(vec, steps):
        step = vec.step(action)
        rows.append([plane.copy() for plane in step[:8]])
    return rows


def test_same_step_returns_the_next_first_observation_and_keeps_the_last():
    ended = 0
    for obs, _, _, terminated, _, valid, final_obs, log in run_modes("same_step"):
        assert valid.all()
        for i in np.flatnonzero(terminated):
            ended += 1
            assert (np.abs(obs[i]) <= 0.05).all()
            assert abs(final_obs[i, 2]) > 0.2 or abs(final_obs[i, 0]) > 2.4
            assert log["episode_return"][i] == log["episode_length"][i] > 7
    assert ended > 8


def test_next_step_resets_in_a_row_that_is_not_valid():
    rows = run_modes("next_step")
    for now, after in itertools.pairwise(rows):
        for i in np.flatnonzero(now[3]):
            assert abs(now[0][i, 2]) > 0.2 or abs(now[0][i, 0]) > 2.4  # the last observation itself
            assert after[5][i] == 0
            assert after[1][i] == 0
            assert after[3][i] == 0
            assert (np.abs(after[0][i]) <= 0.05).all()


def test_disabled_waits_for_reset():
    vec = make_vec("cartpole", num_envs=4, autoreset="disabled", seed=3)
    vec.reset()
    right = np.ones(4, np.int32)
    for _ in range(30):
        step = vec.step(right)
    assert not step.valid.any()
    frozen = step.obs.copy()
    assert (vec.step(right).obs == frozen).all()
    vec.reset_some(np.array([True, False, True, False]))
    step = vec.step(right)
    assert step.valid.tolist() == [1, 0, 1, 0]


def test_the_time_limit_truncates():
    vec = make_vec("pendulum", num_envs=2, seed=0)
    vec.reset()
    torque = np.zeros((2, 1), np.float32)
    ended = [bool(vec.step(torque).truncated.all()) for _ in range(400)]
    assert [t for t, over in enumerate(ended, 1) if over] == [200, 400]


def test_segments_are_written_in_place_and_run_equals_steps():
    one, two = (make_vec("cartpole", num_envs=33, seed=1) for _ in range(2))
    actions = actions_of(one, 40)
    first, second = one.allocate(40), two.allocate(40)
    first.obs[0], second.obs[0] = one.reset().obs, two.reset().obs
    for t in range(40):
        one.step(actions[t], out=(first, t))
    assert two.run(actions, second) == int((first.terminated | first.truncated).sum())
    for name in ("obs", "reward", "cost", "terminated", "truncated", "valid"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()
    assert (first.action == actions).all()
    second.roll()
    assert (second.obs[0] == second.obs[-1]).all()


def test_fork_copies_the_random_stream():
    vec = make_vec("cartpole", num_envs=3, seed=1)
    vec.reset()
    vec.fork(0, [1, 2])
    for action in np.repeat(np.random.default_rng(0).integers(0, 2, (200, 1)), 3, axis=1).astype(np.int32):
        obs = vec.step(action).obs
        assert (obs[0] == obs[1]).all()
        assert (obs[0] == obs[2]).all()


def test_send_and_recv():
    vec = make_vec("cartpole", num_envs=1)
    vec.reset()
    with pytest.raises(EnvError, match="without send"):
        vec.recv()
    vec.send(np.zeros(1, np.int32))
    with pytest.raises(EnvError, match=r"recv\(\) first, a step is under way"):
        vec.send(np.zeros(1, np.int32))
    assert vec.recv().reward[0] == 1


def test_reset_with_a_seed_repeats():
    vec = make_vec("cartpole", num_envs=4)
    first = vec.reset(seed=11).obs.copy()
    second = vec.reset().obs.copy()
    assert (first != second).any()
    assert (vec.reset(seed=11).obs == first).all()


def test_rendering():
    vec = make_vec("cartpole", num_envs=1)
    vec.reset()
    assert "theta" in vec.render()
    picture = vec.render(mode="rgb_array")
    assert picture.shape == (400, 600, 3)
    assert 0.005 < (picture != 255).any(axis=2).mean() < 0.2
    with pytest.raises(UnknownName, match="render mode"):
        vec.render(mode="svg")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: make_vec("cartpol", num_envs=1), UnknownName, "did you mean cartpole"),
        (lambda: make_vec("cartpole", num_envs=0), ConfigError, "num_envs=0"),
        (lambda: make_vec("cartpole", num_envs=1, autoreset="sometimes"), UnknownName, "autoreset mode"),
        (lambda: make_vec("cartpole", num_envs=1, seed=-1), ConfigError, "seed"),
        (lambda: make_vec("no_module_x:make", num_envs=1), EnvError, "no module named"),
        (lambda: make_vec("json:nothing", num_envs=1), EnvError, "has no 'nothing'"),
        (lambda: make_vec("time:time", num_envs=1), EnvError, "or of PettingZoo; got float"),
        (lambda: make_vec("cartpole", num_envs=1).step(np.zeros(1, np.int32)), EnvError, "call reset"),
        (lambda: make_vec("cartpole", num_envs=1).allocate(0), ConfigError, "at least 1 step"),
    ],
)
def test_mistakes_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_wrong_actions_are_refused_and_nothing_is_stepped():
    vec = make_vec("cartpole", num_envs=2)
    before = vec.reset().obs.copy()
    with pytest.raises(ShapeError, match="action must be int32, got int64"):
        vec.step(np.zeros(2, np.int64))
    with pytest.raises(ShapeError, match="must have shape"):
        vec.step(np.zeros(3, np.int32))
    with pytest.raises(EnvError, match=r"action\[1\] = 2 is outside"):
        vec.step(np.array([0, 2], np.int32))
    assert (vec._step.obs == before).all()
    vec.close()
    with pytest.raises(EnvError, match="closed"):
        vec.step(np.zeros(2, np.int32))


def test_a_state_of_another_size_is_refused():
    vec = make_vec("cartpole", num_envs=2)
    vec.reset()
    with pytest.raises(ShapeError, match="records"):
        vec.set_state({"records": np.zeros((3, 44), np.uint8), "obs": np.zeros((3, 4), np.float32)})
    broken = vec.state()
    broken["records"][1, -8:] = 255
    with pytest.raises(NativeError, match="environment 1"):
        vec.set_state(broken)


def test_spaces_must_match_the_table():
    table = env_spec("cartpole").table
    wrong = EnvSpec(name="wrong", obs_space=Box(-1, 1, (5,)), action_space=Discrete(2), max_episode_steps=1, table=table)
    with pytest.raises(EnvError, match="do not match"):
        vectorize(wrong, num_envs=1)


def test_installed_environments_are_listed():
    assert {"cartpole", "pendulum"} <= set(env_names())


def test_an_ended_episode_does_not_enter_a_mode_that_would_never_restart_it():
    waiting, going = (make_vec("cartpole", num_envs=1, autoreset=mode) for mode in ("disabled", "same_step"))
    waiting.reset()
    for _ in range(60):
        waiting.step(np.ones(1, np.int32))
    with pytest.raises(NativeError, match="set_state of environment 0"):
        going.set_state(waiting.state())
    again = make_vec("cartpole", num_envs=1, autoreset="next_step")
    again.set_state(waiting.state())
    assert again.step(np.ones(1, np.int32)).valid[0] == 0  # the row that resets
