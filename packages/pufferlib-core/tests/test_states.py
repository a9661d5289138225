"""States of environments written in Python: what they may hold, exact resume, forks."""

from __future__ import annotations

import collections
import json
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pufferlib_core import check_env, load_checkpoint, make_vec, train
from pufferlib_core.errors import EnvError, ShapeError
from pufferlib_core.vector import env_spec
from pufferlib_core.vector.states import joined, pack_state, parted, unpack_state

NAMES = ["SavedLine", "SavedDoors", "SavedTeam", "BATCH", "stacked"]
CARTPOLE = "gymnasium:states_by_name:SavedCartPole-v0"
plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
arrays = hnp.arrays(
    st.sampled_from(["f4", "<f8", ">i2", "?", "u8", "c16", "S3", "U2"]), hnp.array_shapes(min_dims=0, max_dims=3)
)
trees = st.recursive(
    plain | arrays,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


def same(a, b):
    assert type(a) is type(b)
    if isinstance(a, np.ndarray):
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    elif isinstance(a, dict):
        assert list(a) == list(b)
        assert all(same(a[key], b[key]) for key in a)
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        assert all(same(x, y) for x, y in zip(a, b, strict=True))
    else:
        assert a == b
    return True


@given(trees)
def test_states_come_back(value):
    data = pack_state(value)
    same(unpack_state(data), value)
    assert pack_state(unpack_state(data)) == data


def test_numbers_of_numpy_and_generators_come_back():
    for kind in (np.random.PCG64, np.random.MT19937, np.random.Philox):
        rng, other = np.random.Generator(kind(3)), np.random.Generator(kind(4))
        rng.normal(size=5)
        other.bit_generator.state = unpack_state(pack_state(rng.bit_generator.state))
        assert (rng.normal(size=9) == other.normal(size=9)).all()
    same(
        unpack_state(pack_state((np.float32(0.1), np.int8(-3), np.bool_(True)))), (np.float32(0.1), np.int8(-3), np.bool_(True))
    )
    assert np.isnan(unpack_state(pack_state(float("nan"))))


class Pair(collections.namedtuple("Pair", "a b")):
    """A tuple that would not come back as what it is."""


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [1, object()]}, r"state\['a'\]\[1\] is a object, a state may hold None, bool"),
        (np.random.default_rng(), "Generator.*bit_generator.state"),
        (np.array([None]), "state is a ndarray"),
        ({1: 2}, "state is a dict, .*with str keys"),
        (Pair(1, 2), "state is a Pair"),
        ({1, 2}, "state is a set"),
    ],
)
def test_what_no_state_may_hold(value, message):
    with pytest.raises(EnvError, match=message):
        pack_state(value)


@pytest.mark.parametrize(
    "data", [b"", b"{", b'{"array":["f4",[2]]}\n1234', b'{"x":[]}\n', b'{"bytes":2}\n123', b'{"object":["O",[1]]}\n']
)
def test_bytes_of_something_else(data):
    with pytest.raises(ShapeError, match="not the bytes of a state"):
        unpack_state(data)


@given(st.lists(st.binary()))
def test_joined_states_part_again(packed):
    assert parted(joined(packed)) == packed


def play(vec, rng, steps):
    """Rows of random allowed actions, as bytes."""
    seen = []
    for _ in range(steps):
        mask = vec.latest.action_mask
        scores = rng.random((vec.rows, *(() if vec.action_shape[1:] else (2 if mask is None else mask.shape[1],))))
        action = (scores if mask is None else scores * mask).argmax(1).astype(np.int32)
        step = vec.step(action)
        if vec.autoreset == "disabled" and rng.random() < 0.3:
            vec.reset_some(step.valid == 0)
        seen.append(b"".join(getattr(step, name).tobytes() for name in ("obs", "reward", "terminated", "truncated", "valid")))
        ended = (step.terminated | step.truncated) != 0
        seen.append(step.log[ended].tobytes() + step.final_obs[ended].tobytes())
    return seen


@pytest.mark.parametrize("mode", ["same_step", "next_step", "disabled"])
@pytest.mark.parametrize("name", [*(f"states_by_name:{name}" for name in NAMES), CARTPOLE])
def test_restored_states_continue(name, mode):
    vec, other = (make_vec(name, num_envs=5, autoreset=mode, seed=seed) for seed in (1, 2))
    assert vec.exact
    vec.reset()
    play(vec, np.random.default_rng(0), 33)
    state = vec.state()
    went = play(vec, np.random.default_rng(5), 40)
    assert len(set(went)) > 5
    for target in (other, vec):  # one that was never reset, and one in the middle of other episodes
        target.set_state(state)
        assert play(target, np.random.default_rng(5), 40) == went


@pytest.mark.parametrize(
    ("name", "workers"), [("SavedLine", (0, 2)), ("SavedLine", (3, 0)), ("SavedTeam", (2, 3)), ("BATCH", (2, 2))]
)
def test_states_go_through_workers(name, workers):
    one, two = (make_vec(f"states_by_name:{name}", num_envs=5, seed=k, workers=n) for k, n in enumerate(workers))
    one.reset()
    play(one, np.random.default_rng(0), 20)
    two.set_state(one.state())
    assert play(one, np.random.default_rng(1), 30) == play(two, np.random.default_rng(1), 30)
    assert "get_state" in two.exact_reason
    one.close(), two.close()


def test_batches_need_the_same_number_of_workers():
    one, two = (make_vec("states_by_name:BATCH", num_envs=4, workers=workers) for workers in (0, 2))
    one.reset()
    with pytest.raises(ShapeError, match="holds 1 inner states, 2 expected; a batch has one for each worker"):
        two.set_state(one.state())
    two.close()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("envs_by_name:Line", "the environment Line has no get_state"),
        ("states_by_name:skipping", "the wrapper Skip has no get_state"),
        ("gymnasium:CartPole-v1", "the environment CartPoleEnv has no get_state"),
        ("envs_by_name:BATCH", "the batch Batch has no get_state"),
    ],
)
@pytest.mark.parametrize("workers", [0, 1])
def test_why_not(name, reason, workers):
    vec = make_vec(name, num_envs=2, workers=workers)
    assert not vec.exact
    assert reason in vec.exact_reason
    vec.close()


def test_wrong_states_are_refused():
    vec, disabled = (make_vec("states_by_name:SavedLine", num_envs=2, autoreset=mode) for mode in ("same_step", "disabled"))
    vec.reset()
    state = vec.state()
    for name in ("return", "waiting", "bytes"):
        with pytest.raises(ShapeError, match=f"has no {name}"):
            vec.set_state({key: value for key, value in state.items() if key != name})
    with pytest.raises(ShapeError, match=r"length must have shape \(2,\) of int32, got \(1,\)"):
        vec.set_state(state | {"length": state["length"][:1]})
    with pytest.raises(ShapeError, match="has no last"):
        disabled.set_state(state)
    with pytest.raises(ShapeError, match="wait for a reset"):
        vec.set_state(state | {"waiting": np.ones(2, np.uint8)})
    unsound = make_vec("states_by_name:Unsound", num_envs=2)
    unsound.reset()
    with pytest.raises(EnvError, match=r"state\['own'\]\['env'\]\['rng'\] is a Generator"):
        unsound.state()


def test_a_state_that_cannot_be_saved_ends_a_run_before_it_begins(tmp_path):
    options = {"train": {"num_envs": 2}, "ppo": {"horizon": 32, "minibatch": 64}}
    with pytest.raises(EnvError, match="is a Generator, a state may hold"):
        train("states_by_name:Unsound", timesteps=1 << 40, options=options, out=str(tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


def test_states_without_episodes_start_new_ones():
    vec = make_vec("states_by_name:SavedLine", num_envs=3, seed=1)
    start = vec.reset().obs.copy()
    vec.set_state({"obs": start, "times_restored": np.array([0], np.int64)})
    assert (vec.latest.obs[:, 1] == 0).all()
    assert (vec.latest.obs != start).any()


@pytest.mark.parametrize("name", [f"states_by_name:{name}" for name in ("SavedLine", "SavedDoors", "BATCH")] + [CARTPOLE])
def test_the_suite_accepts_them(name):
    check_env(env_spec(name), steps=60, num_envs=4)


def test_the_suite_finds_what_was_left_out():
    with pytest.raises(EnvError, match="forgetful: a restored state does not continue bit for bit: other obs after 1 steps"):
        check_env(env_spec("states_by_name:Forgetful"), steps=60, num_envs=4)


@pytest.mark.parametrize(
    ("name", "workers"), [("states_by_name:SavedLine", 0), ("states_by_name:SavedLine", 2), ("gymnasium:CartPole-v1", 0)]
)
def test_forks_take_the_same_course(name, workers):
    vec = make_vec(name, num_envs=4, seed=3, workers=workers)
    vec.reset()
    rng = np.random.default_rng(0)
    for _ in range(5):
        vec.step(rng.integers(0, 2, 4).astype(np.int32))
    other = vec.latest.obs[1].copy()
    vec.fork(2, [0, 3])
    assert (vec.latest.obs[1] == other).all()
    ended = 0
    for _ in range(60):
        step = vec.step(np.repeat(rng.integers(0, 2), 4).astype(np.int32))
        assert (step.obs[[0, 3]] == step.obs[2]).all()
        assert (step.reward[[0, 3]] == step.reward[2]).all()
        if step.terminated[2] or step.truncated[2]:
            assert (step.log[[0, 3]] == step.log[2]).all()
            ended += 1
    assert ended > 0
    assert (step.obs[1] != step.obs[2]).any()
    vec.close()


def test_what_cannot_be_forked():
    for name, workers, message in (
        ("states_by_name:BATCH", 0, "of a batch cannot be forked"),
        ("envs_by_name:Line", 1, "workers cannot fork, because the environment Line has no get_state"),
    ):
        vec = make_vec(name, num_envs=2, workers=workers)
        vec.reset()
        with pytest.raises(EnvError, match=message):
            vec.fork(0, [1])
        vec.close()


SETTINGS = {
    "train": {"num_envs": 6},
    "ppo": {"horizon": 16, "minibatch": 48, "normalize_return": True},
    "policy": {"normalize_obs": True},
}
RESUME = """
import sys
from pufferlib_core import train
print(train(resume=sys.argv[1], out=sys.argv[2]).checkpoint)
"""


@pytest.mark.parametrize(
    ("name", "workers"),
    [("states_by_name:SavedLine", 0), ("states_by_name:SavedLine", 2), ("states_by_name:SavedTeam", 0),
     ("states_by_name:BATCH", 0), ("states_by_name:stacked", 0), (CARTPOLE, 0)],
)  # fmt: skip
def test_runs_resume_bit_for_bit_in_a_new_process(tmp_path, name, workers):
    """2N updates are N, a checkpoint, and N more in another process: every byte of what was learnt."""
    agents = env_spec(name).agents
    options = SETTINGS | {"train": {"num_envs": 6, "workers": workers}}
    n = 6 * 16 * agents * 4
    whole = train(name, timesteps=2 * n, seed=5, options=options, out=str(tmp_path / "whole"), checkpoint_every=n)
    half = whole.run_dir / "checkpoints" / f"{n:012d}"
    manifest = json.loads((half / "manifest.json").read_text())
    assert manifest["exact"] is True
    assert "get_state" in manifest["exact_reason"]
    command = [sys.executable, "-c", RESUME, str(half), str(tmp_path / "rest")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent)
    a, b = (load_checkpoint(path).path for path in (whole.checkpoint, done.stdout.strip().splitlines()[-1]))
    assert a != b
    for part in ("policy", "trainer", "envs"):
        assert (a / f"{part}.safetensors").read_bytes() == (b / f"{part}.safetensors").read_bytes(), part
    states = [json.loads((path / "state.json").read_text()) for path in (a, b)]
    assert states[0]["steps"] == states[1]["steps"] == 2 * n
    assert states[0]["episodes"] == states[1]["episodes"]


def test_time_limits_of_gymnasium_are_kept_here():
    spec = env_spec(CARTPOLE)
    assert spec.max_episode_steps == 30
    assert not isinstance(spec.factory(), gymnasium.wrappers.TimeLimit)
    assert env_spec("gymnasium:CartPole-v1").max_episode_steps == 500
    vec = make_vec("gymnasium:MountainCar-v0", num_envs=2)
    vec.reset()
    ends = [vec.step(np.full(2, 1, np.int32)).truncated.all() for _ in range(200)]
    assert ends.index(True) == 199
