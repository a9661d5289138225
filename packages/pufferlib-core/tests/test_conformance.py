"""Every kind of vector environment keeps the contract that others are held to; broken ones are told why."""

from __future__ import annotations

import functools
import multiprocessing

import pytest
from pufferlib_core import check_vec, make_vec
from pufferlib_core.errors import EnvError
from pufferlib_core.seeding import STREAM_ENV
from pufferlib_core.vector import PythonVec, env_spec

# Workers then start with these modules in memory; the server is this test process's own.
multiprocessing.set_forkserver_preload(["pytest", "pufferlib_core.vector.worker"])


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ["cartpole", "pendulum"])
def test_native_environments(name, threads):
    check_vec(functools.partial(make_vec, name, threads=threads), steps=220, num_envs=5)


@pytest.mark.parametrize(
    ("name", "workers"), [*((name, workers) for name in ("Line", "Team", "Fetch", "Doors") for workers in (0, 2)), ("Line", 3)]
)
def test_environments_in_python(name, workers):
    check_vec(functools.partial(make_vec, f"envs_by_name:{name}", workers=workers))


@pytest.mark.parametrize("workers", [0, 2])
def test_batches(workers):
    check_vec(functools.partial(make_vec, "envs_by_name:BATCH", workers=workers), serial=False)


class Late(PythonVec):
    """Its `finished` is one step late."""

    last = 0

    def _advance(self, action, rows, out):
        late, self.last = self.last, super()._advance(action, rows, out)
        return late


class Keeps(PythonVec):
    """Its segments get another reward than its steps."""

    def _advance(self, action, rows, out):
        finished = super()._advance(action, rows, out)
        if out is not None:
            rows.reward[0] += 1
        return finished


class Steps(PythonVec):
    """An action that it refuses has been taken."""

    def _check_action(self, action, rows):
        try:
            super()._check_action(action, rows)
        except EnvError:
            self._rows_of.step(action % 2, self._step)
            raise


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Late, r"line: Late: finished is \d, not \d, at step \d+ \(same_step\)"),
        (Keeps, "line: Keeps: reward differs from steps when written into a segment, at step 0"),
        (Steps, "line: Steps: .* differs after calls that were refused"),
    ],
)
def test_broken_vectors_are_told_why(kind, message):
    spec = env_spec("envs_by_name:Line")
    with pytest.raises(EnvError, match=message):
        check_vec(lambda *, num_envs, autoreset, seed: kind(spec, num_envs, autoreset, seed, STREAM_ENV))
