"""The contract of vector environments."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from pufferlib_core.data import Segment, aligned_zeros
from pufferlib_core.errors import ConfigError, EnvError, PufferError, ShapeError
from pufferlib_core.native import Array
from pufferlib_core.seeding import STREAM_SAMPLE
from pufferlib_core.spaces import Box, sample_allowed
from pufferlib_core.traits import EPISODE, Step
from pufferlib_core.vector import VecEnv, vectorize
from pufferlib_core.vector.base import AUTORESET, segment_planes

PLANES = ("obs", "reward", "cost", "terminated", "truncated", "valid", "action_mask")
SEED = 7


class MakeVec(Protocol):
    """Makes the vector environment that is checked."""

    def __call__(self, *, num_envs: int, autoreset: str, seed: int) -> VecEnv:
        """N environments."""


def check_vec(make: MakeVec, *, steps: int = 60, num_envs: int = 7, serial: bool = True) -> None:
    """Runs a kind of vector environment against the contract of `VecEnv`.

    Planes have their shapes and dtypes. The three autoreset modes do what they say, and rows are those of `vectorize` on the
    calling thread for the same environment and seed. `step` with and without `out`, `send`, `send_part` in any order and
    `run` give the same rows. A state is taken up again. Calls that are refused (before `reset`, after `close`, while a step
    is under way, with wrong actions) change nothing.

    Args:
        make: called as `make(num_envs=..., autoreset=..., seed=...)`, several times.
        steps: of each run; enough for several episodes to end.
        num_envs: N.
        serial: False: rows may differ from those of the calling thread (a batch that is seeded by worker).

    Raises:
        EnvError: saying which rule was broken, and where.
    """
    for mode in AUTORESET:
        vec = make(num_envs=num_envs, autoreset=mode, seed=SEED)
        _check_planes(vec)
        _check_mode(vec, steps, serial)
        vec.close()
    actions, rows = _course(make(num_envs=num_envs, autoreset="same_step", seed=SEED), steps)
    for form in (_by_segment, _by_foreign_segment, _by_send, _by_run, _by_parts, _by_parts_in_place):
        vec = make(num_envs=num_envs, autoreset="same_step", seed=SEED)
        vec.reset()
        form(vec, actions, rows)
        vec.close()
    for check in (_check_state, _check_refusals, _check_seeds):
        check(make(num_envs=num_envs, autoreset="same_step", seed=SEED), actions, rows)


def _expect(holds: Any, vec: VecEnv, rule: str) -> None:
    if not holds:
        raise EnvError(f"{vec.spec.name}: {type(vec).__name__}: {rule}")


def _check_same(vec: VecEnv, what: str, came: Step, expected: Step, *, final: bool = True) -> None:
    """Equal bytes in every plane, where it means something."""
    for name in PLANES:
        a, b = getattr(came, name), getattr(expected, name)
        same = b is None if a is None else b is not None and _bytes(a) == _bytes(b)
        _expect(same, vec, f"{name} differs {what}")
    ended = _ended(expected)
    for name in ("log", "final_obs")[: 1 + final]:
        same = _bytes(getattr(came, name), ended) == _bytes(getattr(expected, name), ended)
        _expect(same, vec, f"{name} differs {what}")


def _bytes(plane: Array, rows: Array | slice = slice(None)) -> bytes:
    """Bytes of rows, one row after the other: numpy leaves out the padding of structures when it copies them."""
    raw = np.ascontiguousarray(plane).view(np.uint8).reshape(len(plane), -1)
    return raw[rows].tobytes()


def _ended(step: Step) -> Array:
    ended: Array = (step.terminated | step.truncated) != 0
    return ended


def _copy(step: Step) -> Step:
    copies = (plane if plane is None else np.frombuffer(_bytes(plane), plane.dtype).reshape(plane.shape) for plane in step[:9])
    return Step._make([*copies, step.finished])


def _sample(vec: VecEnv, rng: np.random.Generator, step: Step) -> Array:
    masks = [None] * vec.rows if step.action_mask is None else step.action_mask
    return np.array([sample_allowed(vec.action_space, rng, mask) for mask in masks], vec.action_dtype).reshape(vec.action_shape)


def _course(vec: VecEnv, steps: int) -> tuple[Array, list[Step]]:
    """Actions, and what they cause: the first rows and those of every step."""
    rng, rows, actions = np.random.default_rng(STREAM_SAMPLE), [_copy(vec.reset())], []
    for _ in range(steps):
        actions.append(_sample(vec, rng, rows[-1]))
        rows.append(_copy(vec.step(actions[-1])))
    vec.close()
    return np.stack(actions), rows


def _check_planes(vec: VecEnv) -> None:
    n, obs = vec.rows, (vec.rows, *vec.tree.shape)
    _expect(n == vec.num_envs * vec.spec.agents, vec, f"rows is {n}, not num_envs * agents")
    covered = [row for rows in vec.parts for row in range(n)[rows]]
    _expect(covered == list(range(n)), vec, f"parts {vec.parts} are not all rows in turn")
    _expect(all(rows.start % vec.spec.agents == 0 for rows in vec.parts), vec, f"parts {vec.parts} tear an environment apart")
    step, segment = vec.reset(), vec.allocate(3)
    flags = dict.fromkeys(("terminated", "truncated", "valid"), (np.uint8, (n,)))
    kinds: dict[str, tuple[Any, tuple[int, ...]]] = {
        "obs": (vec.tree.dtype, obs), "final_obs": (vec.tree.dtype, obs), "log": (EPISODE, (n,)), **flags,
        "reward": (np.float32, (n,)), "cost": (np.float32, (n,)),
    }  # fmt: skip
    if step.action_mask is not None:
        kinds["action_mask"] = (np.uint8, (n, step.action_mask.shape[-1]))
    for place, rows in (("a step", step), ("a segment", segment.row(0))):
        for name, (dtype, shape) in kinds.items():
            plane = getattr(rows, name)
            came = f"{plane.dtype} {plane.shape}"
            _expect((plane.dtype, plane.shape) == (np.dtype(dtype), shape), vec, f"{name} of {place} is {came}")
    action = (segment.action.dtype, segment.action.shape)
    _expect(action == (vec.action_dtype, (3, *vec.action_shape)), vec, f"actions of a segment are {action}")
    _expect(step.valid.all() or vec.spec.agents > 1, vec, "a row is not valid after reset")
    left = any(plane.any() for plane in (step.reward, step.cost, step.terminated, step.truncated))
    _expect(not left, vec, "reward, cost or a flag is not 0 after reset")


def _check_mode(vec: VecEnv, steps: int, serial: bool) -> None:
    """Autoreset, final observations and counts; the rows of the calling thread."""
    mode, rng = vec.autoreset, np.random.default_rng(STREAM_SAMPLE)
    other = vectorize(vec.spec, num_envs=vec.num_envs, autoreset=mode, seed=SEED, threads=1) if serial else None
    before, total = _copy(vec.reset(SEED)), 0
    if other is not None:
        _check_same(vec, "from the calling thread after reset", before, other.reset())
    waiting = np.zeros(vec.rows, bool)
    for t in range(steps):
        action = _sample(vec, rng, before)
        step = vec.step(action)
        at = f"at step {t} ({mode})"
        if other is not None:
            _check_same(vec, f"from the calling thread {at}", step, other.step(action))
        ended = _ended(step)
        total += int(ended.sum())
        _expect(step.finished == ended.sum(), vec, f"finished is {step.finished}, not {ended.sum()}, {at}")
        if vec.spec.agents == 1:
            _check_rows(vec, step, before, waiting, at)
        waiting = ended if mode == "next_step" else (waiting | ended) & (mode == "disabled")
        before = _copy(step)
        if mode == "disabled" and waiting.all():
            before = _copy(vec.reset_some(waiting))
            if other is not None:
                _check_same(vec, f"from the calling thread after reset_some {at}", before, other.reset_some(waiting))
            waiting[:] = False
    _expect(total > 0, vec, f"no episode ended in {steps} steps: the check needs more")
    if other is not None:
        other.close()


def _check_rows(vec: VecEnv, step: Step, before: Step, waiting: Array, at: str) -> None:
    """Rows of environments with one agent, of which those of `waiting` had ended before."""
    _expect(((step.valid == 0) == waiting).all(), vec, f"valid is not 0 for exactly those that wait for a reset {at}")
    dead = any(plane[waiting].any() for plane in (step.reward, step.cost, step.terminated, step.truncated))
    _expect(not dead, vec, f"reward, cost or a flag in a row that is not valid {at}")
    ended = _ended(step)
    if vec.autoreset != "same_step":
        kept = _bytes(step.obs, ended) == _bytes(step.final_obs, ended)
        _expect(kept, vec, f"obs of a row that ended is not its final observation {at}")
    if vec.autoreset == "disabled":
        _expect(_bytes(step.obs, waiting) == _bytes(before.obs, waiting), vec, f"obs of a row that waits changed {at}")


def _by_segment(vec: VecEnv, actions: Array, rows: list[Step]) -> None:
    _into(vec, vec.allocate(len(actions)), actions, rows, "from steps when written into a segment")


def _by_foreign_segment(vec: VecEnv, actions: Array, rows: list[Step]) -> None:
    masks = rows[0].action_mask
    size = 0 if masks is None else masks.shape[1]
    segment = segment_planes(vec.spec, len(actions), vec.num_envs, size, aligned_zeros)
    _into(vec, segment, actions, rows, "from steps when written into memory of others")


def _into(vec: VecEnv, segment: Segment, actions: Array, rows: list[Step], what: str) -> None:
    latest = _bytes(vec.latest.obs)
    for t, action in enumerate(actions):
        step = vec.step(action, out=(segment, t))
        _check_same(vec, f"{what}, at step {t}", step, rows[t + 1])
        _check_same(vec, f"{what}, at step {t}", segment.row(t), rows[t + 1])
    _expect(segment.action.tobytes() == actions.tobytes(), vec, "a segment does not keep the actions")
    _expect(_bytes(vec.latest.obs) == latest, vec, "a step with `out` changes `latest`")


def _by_send(vec: VecEnv, actions: Array, rows: list[Step]) -> None:
    for t, action in enumerate(actions):
        vec.send(action)
        step = vec.recv()
        _check_same(vec, f"between send and step, at step {t}", step, rows[t + 1])
        _expect(step.finished == rows[t + 1].finished, vec, f"recv counts {step.finished} episodes at step {t}")


def _by_run(vec: VecEnv, actions: Array, rows: list[Step]) -> None:
    segment = vec.allocate(len(actions))
    finished = vec.run(actions, segment)
    _expect(finished == sum(step.finished for step in rows), vec, f"run counts {finished} episodes")
    for t in range(len(actions)):
        _check_same(vec, f"between run and step, at step {t}", segment.row(t), rows[t + 1], final=False)


def _by_parts(vec: VecEnv, actions: Array, rows: list[Step]) -> None:
    _staggered(vec, None, actions, rows)


def _by_parts_in_place(vec: VecEnv, actions: Array, rows: list[Step]) -> None:
    segment = vec.allocate(len(actions))
    _staggered(vec, segment, actions, rows)
    for t in range(len(actions)):
        _check_same(vec, f"between send_part and step, at step {t}", segment.row(t), rows[t + 1], final=False)
    _expect(segment.action.tobytes() == actions.tobytes(), vec, "send_part: a segment does not keep the actions")


def _staggered(vec: VecEnv, segment: Segment | None, actions: Array, rows: list[Step]) -> None:
    """Every part goes its own way: which one is sent next, and how many are under way, is a matter of chance."""
    rng = np.random.default_rng(STREAM_SAMPLE)
    done, away = dict.fromkeys(range(len(vec.parts)), 0), set[int]()
    while any(t < len(actions) for t in done.values()):
        idle = [part for part, t in done.items() if t < len(actions) and part not in away]
        if idle and (not away or rng.random() < 0.5):
            part = int(rng.choice(idle))
            vec.send_part(part, actions[done[part], vec.parts[part]], None if segment is None else (segment, done[part]))
            away.add(part)
            _expect(vec.under_way == len(away), vec, f"under_way is {vec.under_way}, not {len(away)}")
            continue
        part, step = vec.recv_part()
        _expect(part in away, vec, f"recv_part gives part {part}, which was not sent")
        expected = rows[done[part] + 1].part(vec.parts[part])
        _check_same(vec, f"between send_part and step, at step {done[part]} of part {part}", step, expected)
        _expect(step.finished == _ended(expected).sum(), vec, f"recv_part counts {step.finished} episodes")
        away.remove(part)
        done[part] += 1


def _check_state(vec: VecEnv, actions: Array, rows: list[Step]) -> None:
    """Exact ones go on bit for bit; the others start episodes that depend on the state alone."""
    vec.reset()
    half = len(actions) // 2
    for action in actions[:half]:
        vec.step(action)
    state = {name: array.copy() for name, array in vec.state().items()}
    _expect("obs" in state, vec, "a state has no obs")
    seen = []
    for _ in range(2):
        vec.set_state(state)
        _expect(vec.latest.valid.all() or vec.spec.agents > 1 or vec.exact, vec, "a row is not valid after set_state")
        first = [] if vec.exact else [_copy(vec.latest)]
        seen.append(first + [_copy(vec.step(action)) for action in (actions[half:] if vec.exact else actions[:1])])
    for k, (a, b) in enumerate(zip(seen[0], rows[half + 1 :] if vec.exact else seen[1], strict=True)):
        _check_same(vec, f"after set_state, {k} steps on", a, b)
    _refused(vec, ShapeError, "set_state of other environments", lambda: vec.set_state(state | {"obs": state["obs"][1:]}))
    vec.close()


def _refused(vec: VecEnv, error: type[PufferError], what: str, call: Callable[[], object]) -> None:
    try:
        call()
    except error:
        return
    except Exception as other:
        raise EnvError(f"{vec.spec.name}: {type(vec).__name__}: {what} raises {type(other).__name__}: {other}") from other
    raise EnvError(f"{vec.spec.name}: {type(vec).__name__}: {what} does not raise {error.__name__}")


def _check_refusals(vec: VecEnv, actions: Array, rows: list[Step]) -> None:
    """What is refused is refused by name, and changes nothing."""
    good, part = actions[0], actions[0][vec.parts[0]]
    segment = vec.allocate(1)
    calls: dict[str, Callable[[], object]] = {
        "step": lambda: vec.step(good), "send": lambda: vec.send(good), "send_part": lambda: vec.send_part(0, part),
        "run": lambda: vec.run(actions[:1], segment), "reset_some": lambda: vec.reset_some(np.ones(vec.rows, bool)),
    }  # fmt: skip
    for name, call in calls.items():
        _refused(vec, EnvError, f"{name}() before reset()", call)
    vec.reset()
    for bad, what in ((good.astype(np.float64), "a wrong dtype"), (good[1:], "a wrong shape")):
        for take in (vec.step, vec.send):
            _refused(vec, ShapeError, f"{take.__name__}() with {what}", functools.partial(take, bad))
    _refused(vec, ShapeError, "send_part() with a wrong dtype", lambda: vec.send_part(0, part.astype(np.float64)))
    if not isinstance(vec.action_space, Box):
        outside = good.copy()
        outside[-1] = 1 << 20
        last = len(vec.parts) - 1
        _refused(vec, EnvError, "step() with an action outside its space", lambda: vec.step(outside))
        _refused(vec, EnvError, "send_part() with such an action", lambda: vec.send_part(last, outside[vec.parts[last]]))
    _refused(vec, ShapeError, "step() into a row that is not there", lambda: vec.step(good, out=(segment, 1)))
    _refused(vec, ConfigError, "allocate(0)", lambda: vec.allocate(0))
    _refused(vec, EnvError, "a part that is not there", lambda: vec.send_part(len(vec.parts), part))
    _refused(vec, EnvError, "recv() without send()", vec.recv)
    _refused(vec, EnvError, "recv_part() without send_part()", vec.recv_part)
    vec.send(good)
    for name, call in calls.items():
        _refused(vec, EnvError, f"{name}() while a step is under way", call)
    _check_same(vec, "after calls that were refused", vec.recv(), rows[1])
    vec.send_part(0, actions[1][vec.parts[0]])
    for name, call in calls.items():
        _refused(vec, EnvError, f"{name}() while a part is under way", call)
    _check_same(vec, "after calls that were refused", vec.recv_part()[1], rows[2].part(vec.parts[0]))
    vec.close()
    vec.close()
    for name, call in calls.items():
        _refused(vec, EnvError, f"{name}() after close()", call)


def _check_seeds(vec: VecEnv, actions: Array, rows: list[Step]) -> None:
    """A seed starts everything anew."""
    vec.reset(SEED + 1)
    vec.step(actions[0])
    _check_same(vec, "after reset with a seed", vec.reset(SEED), rows[0])
    _check_same(vec, "after reset with a seed and a step", vec.step(actions[0]), rows[1])
    vec.close()
