"""Worker processes: the same trajectories, and a clear end whatever happens to them."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from envs_by_name import REPORTS
from pufferlib_core import make_vec, train
from pufferlib_core.data import Segment
from pufferlib_core.errors import ConfigError, EnvError, ShapeError
from pufferlib_core.native import ffi, lib
from pufferlib_core.vector import PythonVec, crew, env_spec, vectorize

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")

N = 7
LINE, FRAGILE = "envs_by_name:Line", "envs_by_name:Fragile"
# Workers then start with these modules in memory; the server is this test process's own.
multiprocessing.set_forkserver_preload(["pytest", "pufferlib_core.vector.worker"])


def pids():
    return [process.pid for process in multiprocessing.active_children()]


def gone(numbers, seconds=0.0):
    """Whether none of these processes is alive; a zombie is not, whoever should have reaped it."""
    end = time.monotonic() + seconds
    while (some := any(_alive(pid) for pid in numbers)) and time.monotonic() < end:
        time.sleep(0.02)
    return not some


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def actions(t, n=N):
    return np.random.default_rng(t).integers(0, 2, n).astype(np.int32)


def same(a, b):
    """Every plane, where it means something."""
    for name in ("reward", "cost", "terminated", "truncated", "valid", *(() if a.obs.dtype.fields else ("obs",))):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), name)
    ended = (a.terminated | a.truncated) != 0
    np.testing.assert_array_equal(a.log[ended], b.log[ended])
    return ended


@pytest.mark.parametrize("mode", ["same_step", "next_step", "disabled"])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_trajectories_are_those_of_the_calling_thread(mode, workers):
    one = make_vec(LINE, num_envs=N, autoreset=mode, seed=3)
    many = make_vec(LINE, num_envs=N, autoreset=mode, seed=3, workers=workers)
    np.testing.assert_array_equal(one.reset().obs, many.reset().obs)
    seen, waiting = 0, np.zeros(N, bool)
    for t in range(80):
        if t % 2:
            a, b = one.step(actions(t)), many.step(actions(t))
        else:
            one.send(actions(t)), many.send(actions(t))
            a, b = one.recv(), many.recv()
        ended = same(a, b)
        np.testing.assert_array_equal(a.final_obs[ended], b.final_obs[ended])
        assert a.finished == b.finished == ended.sum()
        seen, waiting = seen + ended.sum(), waiting | ended
        if mode == "disabled" and waiting.sum() > 3:
            np.testing.assert_array_equal(one.reset_some(waiting).obs, many.reset_some(waiting).obs)
            waiting[:] = False
    assert seen > 20
    for seed in (5, None):
        np.testing.assert_array_equal(one.reset(seed).obs, many.reset(seed).obs)
        same(one.step(actions(0)), many.step(actions(0)))
    state = many.state()
    assert {name: value.tobytes() for name, value in state.items()} == {k: v.tobytes() for k, v in one.state().items()}
    one.set_state(state), many.set_state(state)
    same(one.step(actions(1)), many.step(actions(1)))
    many.close()


@pytest.mark.parametrize("name", ["Fetch", "Team"])
@pytest.mark.parametrize("mode", ["same_step", "next_step", "disabled"])
def test_nested_observations_and_populations(name, mode):
    name = f"envs_by_name:{name}"
    one, many = (make_vec(name, num_envs=3, autoreset=mode, seed=2, workers=workers) for workers in (0, 2))
    a, b = one.allocate(20), many.allocate(20)
    a.obs[0], b.obs[0] = one.reset().obs, many.reset().obs
    rng = np.random.default_rng(0)
    ended = np.zeros(one.rows, bool)
    for t in range(20):
        action = rng.integers(0, 2, one.action_shape).astype(np.int32)
        x, y = one.step(action, out=(a, t)), many.step(action, out=(b, t))
        assert x.obs.tobytes() == y.obs.tobytes()
        ended |= same(x, y)
        if mode == "disabled" and ended.all():
            assert one.reset_some(ended).obs.tobytes() == many.reset_some(ended).obs.tobytes()
            ended[:] = False
    assert a.obs.tobytes() == b.obs.tobytes()
    many.close()


def test_segments_are_written_by_the_workers():
    one, many = make_vec(LINE, num_envs=N, seed=1), make_vec(LINE, num_envs=N, seed=1, workers=2)
    a, b, foreign = one.allocate(20), many.allocate(20), one.allocate(20)
    assert b.obs.ctypes.data % 64 == b.reward.ctypes.data % 64 == b.action.ctypes.data % 64 == 0
    start = one.reset().obs
    np.testing.assert_array_equal(start, many.reset().obs)
    steps = np.stack([actions(t) for t in range(20)])
    assert one.run(steps, a) == many.run(steps, b) > 5
    same(a, b)
    np.testing.assert_array_equal(many.latest.obs, start)
    for segment in (b, foreign):
        for t in range(20):
            x, y = one.step(steps[t], out=(a, t)), many.step(steps[t], out=(segment, t))
            ended = same(x, y)
            np.testing.assert_array_equal(x.final_obs[ended], y.final_obs[ended])
            assert x.finished == y.finished
        np.testing.assert_array_equal(a.action, segment.action)
    with pytest.raises(ShapeError, match="row 20"):
        many.step(steps[0], out=(b, 20))
    with pytest.raises(ConfigError, match="at least 1 step"):
        many.allocate(0)
    many.close()


def test_memory_of_segments_goes_when_they_are_dropped():
    vec = make_vec(LINE, num_envs=N, workers=1)
    vec.reset()
    worker = pids()[-1]

    def mapped():
        return [Path(f"/proc/{pid}/maps").read_text().count("memfd:pufferlib") for pid in (worker, os.getpid())]

    before = mapped()
    segments = [vec.allocate(100) for _ in range(3)]
    vec.step(actions(0), out=(segments[2], 99))
    assert mapped() == [count + 3 for count in before]
    del segments
    vec.step(actions(0))
    assert mapped() == before
    vec.close()


def test_batches_are_seeded_by_worker():
    vec = make_vec("envs_by_name:BATCH", num_envs=6, workers=2, seed=2)
    starts = vec.reset().obs[:, 0].tolist()
    assert len(set(starts[:3])) == len(set(starts[3:])) == 1
    assert starts[0] != starts[5]
    vec.close()


@pytest.mark.parametrize(("action", "message"), REPORTS)
def test_failures_end_everything(action, message):
    vec = make_vec(FRAGILE, num_envs=N, workers=2, seed=9, timeout=1)
    vec.reset()
    workers = pids()
    chosen = np.zeros(N, np.int32)
    vec.step(chosen)
    chosen[4] = action
    begin = time.monotonic()
    with pytest.raises(EnvError, match=message):
        vec.step(chosen)
    assert time.monotonic() - begin < 5
    assert gone(workers)
    with pytest.raises(EnvError, match="closed"):
        vec.step(chosen)
    vec.close()


def test_a_worker_killed_between_steps_is_noticed():
    vec = make_vec(LINE, num_envs=N, workers=2)
    vec.reset()
    workers = pids()
    vec.send(actions(0))
    os.kill(workers[0], signal.SIGKILL)
    with pytest.raises(EnvError, match="killed by signal 9"):
        vec.recv(), vec.step(actions(1))
    with pytest.raises(EnvError, match="closed"):
        vec.allocate(2)
    assert gone(workers)


def test_failures_at_start_and_end(monkeypatch):
    with pytest.raises(EnvError, match=r"failsinworkers: worker [01] (.|\n)*AssertionError: no test here"):
        make_vec("envs_by_name:FailsInWorkers", num_envs=2, workers=2)
    vec = make_vec("envs_by_name:FailsToClose", num_envs=2, workers=1)
    vec.reset()
    with pytest.raises(EnvError, match="cannot close"):
        vec.close()
    vec.close()
    monkeypatch.setattr(crew, "START_SECONDS", 0.5)
    with pytest.raises(EnvError, match=r"worker [01] \(environments (0 to 0|1 to 1), .*did not answer within 0.5 seconds"):
        make_vec("envs_by_name:HangsInWorkers", num_envs=2, workers=2)
    assert pids() == []


def test_nothing_is_left_behind():
    def use():
        vec = make_vec(LINE, num_envs=N, workers=2)
        vec.reset()
        vec.step(actions(0), out=(vec.allocate(3), 0))
        return vec

    use().close()
    gc.collect()
    before = sorted(os.listdir("/proc/self/fd"))
    vec = use()
    workers = pids()
    assert len(workers) == 2
    vec.close()
    vec.close()
    assert gone(workers)
    vec = use()
    workers = pids()
    del vec
    gc.collect()
    assert gone(workers)
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_calls_out_of_order_are_refused():
    vec = make_vec(LINE, num_envs=N, workers=1)
    with pytest.raises(EnvError, match=r"reset\(\) before send"):
        vec.send(actions(0))
    vec.reset()
    with pytest.raises(EnvError, match="without send"):
        vec.recv()
    with pytest.raises(EnvError, match=r"action\[0\] = 2 is outside"):
        vec.step(np.full(N, 2, np.int32))
    vec.send(actions(0))
    for call in (lambda: vec.send(actions(0)), lambda: vec.step(actions(0)), vec.reset, lambda: vec.allocate(1)):
        with pytest.raises(EnvError, match="recv"):
            call()
    vec.close()
    with pytest.raises(EnvError, match="closed"):
        vec.recv()


def test_settings_are_checked():
    for workers, message in ((8, "from 0 to num_envs=7"), (True, "whole number"), (-1, "whole number"), (1.0, "whole number")):
        with pytest.raises(ConfigError, match=message):
            make_vec(LINE, num_envs=N, workers=workers)
    with pytest.raises(ConfigError, match="cartpole is native, it uses threads"):
        make_vec("cartpole", num_envs=N, workers=2)
    nameless = replace(env_spec(LINE), origin=None)
    with pytest.raises(ConfigError, match="can be imported"):
        vectorize(nameless, num_envs=N, workers=2)
    with pytest.raises(ConfigError, match="above 0 seconds"):
        make_vec(LINE, num_envs=N, workers=2, timeout=0)
    assert isinstance(vectorize(env_spec(LINE), num_envs=N, workers=0), PythonVec)


SCRIPT = """
import multiprocessing
import signal

import numpy as np
from pufferlib_core import make_vec
from pufferlib_core.spaces import Box, Discrete


class Walk:
    observation_space, action_space = Box(-1, 1, (1,)), Discrete(2)

    def reset(self, seed=None, options=None):
        return [0.0], {}

    def step(self, action):
        return [0.5], 1.0, False, False, {}


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background of a shell start without it
    vec = make_vec("__main__:Walk", num_envs=4, workers=2)
    vec.reset()
    print(*[process.pid for process in multiprocessing.active_children()], flush=True)
    while True:
        assert vec.step(np.ones(4, np.int32)).obs.tolist() == [[0.5]] * 4
"""


def ends_with_its_parent(script, text, end):
    """Runs a script that prints the numbers of its two workers, ends it by a signal, and sees that they end."""
    script.write_text(text)
    parent = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    workers = [int(pid) for pid in parent.stdout.readline().split()]
    if len(workers) != 2:
        parent.kill()
        pytest.fail(parent.communicate()[1])
    time.sleep(0.1)
    if end == signal.SIGINT:
        os.killpg(parent.pid, end)  # as Ctrl-C does: workers get it too
    else:
        parent.kill()
    _, errors = parent.communicate(timeout=20)
    assert gone(workers, 5)
    if end == signal.SIGINT:
        assert errors.count("Traceback") == errors.count("KeyboardInterrupt") == 1


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_workers_of_a_script_end_with_it(tmp_path, end):
    ends_with_its_parent(tmp_path / "script.py", SCRIPT, end)


def test_a_script_without_guard_is_told(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.replace('if __name__ == "__main__":', "if True:"))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "ended with exit code 1; scripts that start workers need" in done.stderr


def test_training_does_not_depend_on_workers(tmp_path):
    options = {"train": {"num_envs": 8}, "ppo": {"horizon": 16, "minibatch": 64}}
    runs = []
    for workers in (0, 2):
        options["train"]["workers"] = workers
        runs.append(train(LINE, timesteps=512, seed=3, options=options, out=str(tmp_path)))
    policies = [(run.checkpoint / "policy.safetensors").read_bytes() for run in runs]
    assert policies[0] == policies[1]
    more = train(resume=runs[1].checkpoint, timesteps=1024, out=str(tmp_path))
    assert more.summary["steps"] == 1024
    assert pids() == []


def test_waiting_for_words():
    go, left = ffi.new("uint32_t[4]"), ffi.new("uint32_t[2]")
    begin = time.monotonic()
    assert lib.puf_park(go, 0, 20_000_000) == 0
    assert 0.01 < time.monotonic() - begin < 2
    lib.puf_post(go, 2, 2, left)
    assert (list(go), left[0]) == ([1, 0, 1, 0], 2)
    assert lib.puf_park(go + 2, 0, 20_000_000_000) == 1
    begin = time.monotonic()
    assert lib.puf_await(left, 1, 20_000_000) == 0
    assert 0.01 < time.monotonic() - begin < 2
    lib.puf_done(go + 1, 1, left)
    assert (list(go), left[0]) == ([1, 1, 1, 0], 1)
    assert lib.puf_await(left, 1, 20_000_000_000) == 1
    lib.puf_post(go, 2, 1, left)
    assert lib.puf_await(left, 1, 0) == 0
    lib.puf_done(go + 3, 1, left), lib.puf_done(go + 1, 2, left)
    assert lib.puf_load_acquire(left) == 0 == lib.puf_await(left, 0, 20_000_000_000) - 1


def test_any_memory_will_do_for_segments():
    vec = make_vec(LINE, num_envs=N, workers=1)
    vec.reset()
    other = Segment.allocate(2, N, (np.dtype(np.float32), (2,)), 0, (np.dtype(np.int32), ()))
    vec.step(actions(0), out=(other, 0))
    assert other.obs[1].any()
    vec.close()
