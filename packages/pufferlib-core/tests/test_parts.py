"""Workers that are not in lock-step: parts that step on their own, and what is collected from them."""

from __future__ import annotations

import signal
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from envs_by_name import REPORTS
from pufferlib_core import make_vec
from pufferlib_core.backends import get_backend
from pufferlib_core.collect import collect
from pufferlib_core.errors import EnvError, NonFiniteError, ShapeError
from pufferlib_core.loops.settings import resolve
from pufferlib_core.native import Pool
from pufferlib_core.policies import PolicySpec
from test_process import FRAGILE, LINE, N, actions, ends_with_its_parent, gone, pids
from test_process import SCRIPT as WHOLE

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")

SLOW = "envs_by_name:Slow"
PLANES = ("obs", "features", "action", "logprob", "value", "next_value", "reward", "cost", "terminated", "truncated", "valid")


class Watched:
    """A vector that writes down which part came when."""

    def __init__(self, vec):
        self.vec, self.order = vec, []

    def __getattr__(self, name):
        return getattr(self.vec, name)

    def recv_part(self):
        part, step = self.vec.recv_part()
        self.order.append(part)
        return part, step


def serve(vec, part, action):
    """Steps one part for some seconds."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        vec.send_part(part, action)
        vec.recv_part()


def policy_for(env):
    """A policy of random parameters."""
    settings, spec, _ = resolve({"env": env, "policy": {"normalize_obs": False}})
    policy_spec = PolicySpec(obs_space=spec.obs_space, action_space=spec.action_space, config=settings.policy)
    options = replace(settings.options, horizon=8, minibatch=8)
    engine = get_backend("native", "ppo.update").make_engine(policy_spec, options, num_envs=1, seed=2, pool=Pool(1))
    engine.tensors(2)
    engine.load({})
    return engine.policy


def collected(env, policy, vec, *, segments=2, steps=25):
    """Bytes of every plane of segments that follow each other, and the episodes that ended."""
    segment, found = vec.allocate(steps), []
    first = vec.reset()
    segment.obs[0] = first.obs
    if first.action_mask is not None:
        segment.action_mask[0] = first.action_mask
    for k in range(segments):
        finished = collect(policy, vec, segment, seed=4, first_step=k * steps)
        ended = (segment.terminated | segment.truncated) != 0
        planes = {name: getattr(segment, name).tobytes() for name in PLANES} | {"log": segment.log[ended].tobytes()}
        masks = None if segment.action_mask is None else segment.action_mask.tobytes()
        found.append((planes, masks, finished, int(ended.sum()), int(segment.truncated.sum())))
        segment.roll()
    return found


@pytest.mark.parametrize("autoreset", ["same_step", "next_step"])
@pytest.mark.parametrize("name", ["Uneven", "UnevenTeam", "Fetch", "Doors"])
def test_what_is_collected_does_not_depend_on_who_is_ready_when(name, autoreset):
    env = f"envs_by_name:{name}"
    policy = policy_for(env)
    one = make_vec(env, num_envs=N, seed=3, autoreset=autoreset)
    expected = collected(env, policy, one)
    assert len(one.parts) == 1
    assert expected[0][3] == expected[0][2] > 3
    assert expected[0][4] > 0  # episodes that were cut off
    for workers in (1, 2, 3):
        many = Watched(make_vec(env, num_envs=N, seed=3, autoreset=autoreset, workers=workers))
        assert collected(env, policy, many) == expected
        if name == "Uneven" and workers > 1:  # the clock has mixed them
            assert many.order != sorted(range(workers)) * 50
        many.close()


def test_a_fast_part_does_not_wait_for_a_slow_one():
    vec = make_vec(SLOW, num_envs=4, workers=2, seed=1)
    vec.reset()
    segment = vec.allocate(8)
    slow, fast = np.array([5, 0], np.int32), np.array([1, 1], np.int32)
    vec.send_part(0, slow, out=(segment, 0))
    begin, busy = time.monotonic(), time.process_time()
    for t in range(8):
        vec.send_part(1, fast, out=(segment, t))
        part, step = vec.recv_part()
        assert part == 1
        assert step.obs.tolist() == segment.obs[t + 1, 2:].tolist()
    assert time.monotonic() - begin < 0.4
    assert vec.under_way == 1
    assert vec.recv_part()[0] == 0
    assert time.monotonic() - begin > 0.4
    assert time.process_time() - busy < 0.2  # nobody polls
    assert segment.action.tolist() == [[5, 0, 1, 1], *[[0, 0, 1, 1]] * 7]
    vec.close()


def test_parts_are_given_in_the_order_in_which_they_were_sent():
    vec = make_vec(LINE, num_envs=6, workers=3)
    vec.reset()
    for part in (2, 0, 1):
        vec.send_part(part, np.zeros(2, np.int32))
    time.sleep(0.2)
    assert [vec.recv_part()[0] for _ in range(3)] == [2, 0, 1]
    vec.close()


@pytest.mark.parametrize(("action", "message"), REPORTS)
@pytest.mark.parametrize("others", [False, True])
def test_failures_end_everything(action, message, others):
    """Also while other parts keep the parent busy."""
    vec = make_vec(FRAGILE, num_envs=N, workers=2, seed=9, timeout=1)
    vec.reset()
    workers, good = pids(), np.zeros(3, np.int32)
    vec.send_part(1, np.array([0, action, 0, 0], np.int32))
    begin = time.monotonic()
    with pytest.raises(EnvError, match=message):
        (serve(vec, 0, good) if others else vec.recv_part())
    assert time.monotonic() - begin < 4
    assert gone(workers)
    for call in (lambda: vec.send_part(0, good), vec.recv_part):
        with pytest.raises(EnvError, match="closed"):
            call()
    vec.close()


def test_the_timeout_counts_for_each_order():
    vec = make_vec(SLOW, num_envs=2, workers=2, timeout=0.8)
    vec.reset()
    for _ in range(3):  # 1.2 seconds in all
        vec.send_part(0, np.array([4], np.int32))
        vec.recv_part()
    vec.send_part(0, np.array([5], np.int32))
    time.sleep(0.35)
    vec.send_part(1, np.array([6], np.int32))
    assert [vec.recv_part()[0] for _ in range(2)] == [0, 1]
    vec.close()


def test_a_vector_serves_on_after_an_error_of_the_collection():
    """Also after one that is like Ctrl-C: what is under way is taken in."""
    policy, vec = policy_for(LINE), make_vec(LINE, num_envs=N, workers=2, seed=1)
    segment = vec.allocate(20)

    class Stops:
        """Stops after five calls."""

        spec = policy.spec

        def __init__(self, error):
            self.calls, self.error = 0, error

        def act(self, *args, **options):
            self.calls += 1
            if self.calls == 5:
                raise self.error
            return policy.act(*args, **options)

    for error in (KeyboardInterrupt, NonFiniteError("here")):
        segment.obs[0] = vec.reset(1).obs
        with pytest.raises(error if isinstance(error, type) else type(error)):
            collect(Stops(error), vec, segment, seed=0, first_step=0)
        assert vec.under_way == 0
        vec.step(actions(0))
    segment.obs[0] = vec.reset(1).obs
    segment.obs[0, 5, 0] = np.nan
    with pytest.raises(NonFiniteError, match="observation of environment 5 at row 0"):
        collect(policy, vec, segment, seed=0, first_step=0)
    vec.close()


def test_calls_out_of_order_are_refused():
    vec = make_vec(LINE, num_envs=N, workers=2)
    good = np.zeros(3, np.int32)
    with pytest.raises(EnvError, match=r"reset\(\) before send_part"):
        vec.send_part(0, good)
    vec.reset()
    with pytest.raises(EnvError, match="part 2 is not one of the 2 parts"):
        vec.send_part(2, good)
    with pytest.raises(ShapeError, match=r"shape \(3,\)"):
        vec.send_part(0, actions(0))
    with pytest.raises(EnvError, match="without send_part"):
        vec.recv_part()
    vec.send_part(0, good)
    segment_calls = (lambda: vec.step(actions(0)), lambda: vec.send(actions(0)), lambda: vec.send_part(0, good), vec.reset,
                     lambda: vec.allocate(2), lambda: vec.reset_some(np.ones(N, bool)))  # fmt: skip
    for call in segment_calls:
        with pytest.raises(EnvError, match=r"recv_part\(\) first"):
            call()
    assert vec.recv_part()[0] == 0
    vec.send(actions(0))
    with pytest.raises(EnvError, match=r"recv\(\) first"):
        vec.send_part(0, good)
    vec.recv()
    vec.close()


SCRIPT = (
    WHOLE.partition("    while True")[0]
    + """
    for part in range(2):
        vec.send_part(part, np.ones(2, np.int32))
    while True:
        part, step = vec.recv_part()
        assert step.obs.tolist() == [[0.5]] * 2
        vec.send_part(part, np.ones(2, np.int32))
"""
)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_workers_of_a_script_end_with_it(tmp_path, end):
    ends_with_its_parent(tmp_path / "script.py", SCRIPT, end)
