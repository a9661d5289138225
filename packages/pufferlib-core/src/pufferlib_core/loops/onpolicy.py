"""The on-policy loop: collect a segment, update, log, keep checkpoints. `overlap` says who collects."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pufferlib_core.algorithms import AlgorithmSpec
from pufferlib_core.backends import get_backend
from pufferlib_core.backends.params import optimizer_of
from pufferlib_core.checkpoint import (
    Checkpoint,
    copy_checkpoint,
    create_run,
    mark,
    marked,
    reading,
    remove_checkpoint,
    save_checkpoint,
    system_info,
)
from pufferlib_core.checkpoint.files import write_atomically
from pufferlib_core.config import dumps_toml
from pufferlib_core.data import Segment
from pufferlib_core.errors import CheckpointError, NonFiniteError, RunError
from pufferlib_core.loops.episodes import WINDOW, Episodes, counted
from pufferlib_core.loops.nonfinite import COLLECT, UPDATE, Contents, load_planes, planes, save_bundle
from pufferlib_core.loops.overlap import InTurn, Overlap
from pufferlib_core.loops.play import play
from pufferlib_core.loops.settings import Settings
from pufferlib_core.native import Pool, default_threads
from pufferlib_core.policies import PolicySpec
from pufferlib_core.traits import Callback, EnvSpec, Logger, Progress, Step
from pufferlib_core.vector import vectorize


class Run:
    """One training run: everything that changes while it goes on. It has no folder until `open`.

    Args:
        settings: resolved.
        env: the environment.
        algorithm: the algorithm.
        resume: checkpoint to continue from.
    """

    def __init__(self, settings: Settings, env: EnvSpec, algorithm: AlgorithmSpec, resume: Checkpoint | None) -> None:
        self.settings, self.env = settings, env
        n = settings.train.num_envs * env.agents  # rows
        backend = get_backend(settings.backend, algorithm.capability)
        self.policy_spec = PolicySpec(obs_space=env.obs_space, action_space=env.action_space, config=settings.policy)
        train = settings.train
        learning, collecting = _pools(train.threads or default_threads(n), env, overlap=train.lag is not None)
        self.vec = vectorize(env, num_envs=train.num_envs, seed=settings.seed, pool=collecting, workers=train.workers)
        self.algorithm = algorithm
        self.engine = backend.make_engine(
            self.policy_spec, settings.options, options=settings.backend_options, num_envs=n, seed=settings.seed, pool=learning
        )
        self.state = algorithm.init(self.engine, self.policy_spec, settings.options, num_envs=n, seed=settings.seed)
        form = self.vec, settings.options.horizon, self.policy_spec.carry
        self.collection: InTurn | Overlap = (
            InTurn(self.engine, *form) if train.lag is None else Overlap(self.engine.collector(collecting), *form, train.lag)
        )
        self.episodes = Episodes()
        self.steps = 0  # of all environments together
        self.best = -math.inf  # of evaluations, or of the last episodes at checkpoints
        self.best_steps: int | None = None  # of the checkpoint that had it
        self.best_by = "evaluation" if settings.train.evaluate_every else "training"
        self._best_before: Path | None = None  # that checkpoint, of the run that this one continues
        self.evaluation: dict[str, float] | None = None  # of the policy as it is now
        self.resumed_from = None if resume is None else resume.path
        self.phase = COLLECT
        if resume is None:
            self._first(self.vec.reset())
        else:
            self._restore(resume)
        self.engine.push()
        self.engine.load(self.state)
        self.start_steps = self.steps
        self.before = self.contents()  # what cannot be saved is found now, and not at the first checkpoint
        self.last: Path | None = None
        self._written: list[Path] = []  # checkpoints in the folder, by steps

    def _restore(self, checkpoint: Checkpoint) -> None:
        if checkpoint.manifest.get("space_fingerprint") != self.policy_spec.space_fingerprint:
            raise CheckpointError(
                f"{checkpoint.path} was trained on {checkpoint.manifest.get('env')}, whose spaces differ from those of "
                f"{self.settings.env}"
            )
        with reading(checkpoint.path):
            before = PolicySpec.from_json(checkpoint.manifest["policy"]).config
            self.policy_spec.check_same_network(before, checkpoint.path)
            envs, saved = checkpoint.files["envs"], checkpoint.files["policy"] | checkpoint.files["trainer"]
            held = len(envs["obs"]) // self.env.agents
            self.steps, best = counted(checkpoint.state["steps"]), checkpoint.state["best"]
            if best is not None and checkpoint.state.get("best_by", "training") == self.best_by:
                self.best, at = float(best), checkpoint.state.get("best_steps")
                self.best_steps = None if at is None else counted(at)
            if self.best_steps is not None:
                self._best_before = checkpoint.path.with_name(f"{self.best_steps:012d}")
            self.episodes.load(checkpoint.state["episodes"])
        theirs, ours = optimizer_of(saved), optimizer_of(self.state)
        if theirs != ours:
            raise CheckpointError(
                f"{checkpoint.path} holds the moments of {theirs}, the settings say ppo.optimizer={ours}: it cannot change on "
                f"resume, choose {theirs}"
            )
        if held != self.settings.train.num_envs:
            raise CheckpointError(
                f"{checkpoint.path} holds {held} environments, the settings say "
                f"{self.settings.train.num_envs}: train.num_envs cannot change on resume"
            )
        if self.segment.carry is not None:
            self.segment.carry[0] = _held(checkpoint, envs, "carry", self.segment.carry[0])
        self.vec.set_state(envs)
        self._first(self.vec.latest)
        self._put_ahead(checkpoint)
        for name, array in self.state.items():
            array[...] = _held(checkpoint, saved, name, array)

    def _put_ahead(self, checkpoint: Checkpoint) -> None:
        """The segment that was collected and not learnt from yet, if there was one."""
        saved = checkpoint.files.get("ahead")
        if saved is None:
            return
        told, steps = f"{checkpoint.path} holds a segment that was collected ahead", self.segment.steps
        if not isinstance(self.collection, Overlap):
            raise CheckpointError(f"{told}: set train.lag to 1, or to 0, to learn from it")
        if reason := self.algorithm.synchronous(self.settings.options):
            raise CheckpointError(f"{told}: {reason}")
        with reading(checkpoint.path):
            held = len(saved["reward"])
        if held != steps:
            raise CheckpointError(f"{told}, of {held} steps: ppo.horizon cannot change to {steps} before it is learnt from")
        self.collection.put_ahead(lambda segment: load_planes(segment, saved, checkpoint.path / "ahead.safetensors"))

    @property
    def segment(self) -> Segment:
        """See `InTurn.segment`."""
        return self.collection.segment

    @property
    def first_step(self) -> int:
        """Of each environment, in the segment that is collected next."""
        ahead = self.collection.ahead
        return self.steps // self.vec.rows + (0 if ahead is None else ahead.steps)

    def close(self) -> None:
        """Ends thread and environments."""
        try:
            self.collection.close()
        finally:
            self.vec.close()

    def _first(self, step: Step) -> None:
        """Row 0 of the segment."""
        self.segment.obs[0] = step.obs
        if self.segment.action_mask is not None and step.action_mask is not None:
            self.segment.action_mask[0] = step.action_mask

    @property
    def done(self) -> bool:
        """Whether the run has all its steps, or has reached its goal."""
        train = self.settings.train
        goal = train.stop_return
        reached = goal is not None and len(self.episodes.returns) == WINDOW and self.episodes.return_mean >= goal
        return self.steps >= train.timesteps or reached

    def open(self) -> None:
        """Makes the folder of the run, with config.toml and system.json."""
        settings = self.settings
        self.dir = create_run(Path(settings.out), settings.env, settings.algorithm, settings.seed)
        write_atomically(self.dir / "config.toml", dumps_toml(settings.to_dict()).encode())
        write_atomically(self.dir / "system.json", (json.dumps(system_info(), indent=1) + "\n").encode())

    def advance(self) -> dict[str, float]:
        """Collects a segment and updates; returns the metrics."""
        self.before = self.contents()
        self.evaluation = None
        self.phase = COLLECT
        if self.algorithm.prepare is not None:
            self.algorithm.prepare(self.engine, self.state, self.settings.options, fraction=self._fraction)
        finished = self.collection.take(self.state, self.first_step)
        self.episodes.add(self.segment, finished)
        begin = time.perf_counter()
        self.phase = UPDATE
        if self.steps + self.segment.rows < self.settings.train.timesteps:
            self.collection.go_on(self.state, self.first_step + self.segment.steps)
        metrics = self.update()
        self.steps += self.segment.rows
        metrics["time/update"] = time.perf_counter() - begin
        self.phase = COLLECT
        metrics |= self.collection.settle()
        metrics["episode/return_mean"] = self.episodes.return_mean
        metrics["episode/length_mean"] = self.episodes.length_mean
        metrics["episode/count"] = float(self.episodes.count)
        return metrics

    def update(self) -> dict[str, float]:
        """Learns from the segment; returns the losses."""
        self.state, metrics = self.algorithm.update(
            self.engine, self.state, self.segment, self.settings.options, fraction=self._fraction
        )
        return metrics

    @property
    def _fraction(self) -> float:
        """The part of the run that is done."""
        return min(1.0, self.steps / self.settings.train.timesteps)

    def due(self, every: int) -> bool:
        """Whether the last update reached or passed a multiple of `every` steps; with 0 never."""
        return every > 0 and self.steps // every > (self.steps - self.segment.rows) // every

    def evaluate(self) -> dict[str, float]:
        """Plays on environments of its own with the current policy; returns metrics. Nothing of the run changes."""
        train, begin = self.settings.train, time.perf_counter()
        scores = play(
            self.engine.policy, self.env, episodes=train.evaluate_episodes, seed=self.settings.seed, greedy=True
        )  # fmt: skip
        self.evaluation = {f"eval/{name.removeprefix('episode_')}": float(value) for name, value in scores.items()}
        return self.evaluation | {"time/evaluate": time.perf_counter() - begin}

    def contents(self) -> Contents:
        """Copies of what a checkpoint holds of the run as it stands, between two updates."""
        self.engine.pull()
        state = self.vec.state() | {"obs": self.vec.tree.plain(self.segment.obs[0])}
        if self.segment.action_mask is not None:
            state["action_mask"] = self.segment.action_mask[0]
        if self.segment.carry is not None:
            state["carry"] = self.segment.carry[0]
        files = {"policy": {}, "trainer": {}, "envs": {name: array.copy() for name, array in state.items()}}
        acting = self.policy_spec.acting_names(self.state)
        for name, array in self.state.items():
            files["policy" if name in acting else "trainer"][name] = array.copy()
        if self.collection.ahead is not None:  # nobody writes there before the next contents are taken
            files["ahead"] = planes(self.collection.ahead)
        best = {"best": self.best if math.isfinite(self.best) else None, "best_steps": self.best_steps, "best_by": self.best_by}
        return Contents(self.steps, files, {"steps": self.steps, "episodes": self.episodes.state()} | best)

    def save(self, folder: Path, contents: Contents) -> Path:
        """Writes a checkpoint below a folder."""
        return save_checkpoint(
            folder,
            contents.steps,
            files=contents.files,
            state=contents.state | {"settings": self.settings.to_dict()},
            manifest={
                "env": self.settings.env,
                "algorithm": self.settings.algorithm,
                "backend": self.settings.backend,
                "seed": self.settings.seed,
                "policy": self.policy_spec.to_json(),
                "space_fingerprint": self.policy_spec.space_fingerprint,
                "exact": self.vec.exact and not self.engine.inexact,
                "exact_reason": self.engine.inexact or self.vec.exact_reason,
                "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            },
        )

    def checkpoint(self) -> Path:
        """Saves the run as it stands, between two updates; the same step twice gives the same folder."""
        if self.last is not None and self.last.name == f"{self.steps:012d}":
            return self.last
        if self.best_by == "training":
            score = self.episodes.return_mean
        else:
            score = math.nan if self.evaluation is None else self.evaluation["eval/return_mean"]
        improved = score > self.best  # NaN is not
        if improved:
            self.best, self.best_steps = score, self.steps
        self.last = self.save(self.dir, self.contents())
        self._written.append(self.last)
        mark(self.dir, "latest", self.last)
        if improved or not (self.dir / "best").exists():
            mark(self.dir, "best", self.last if improved else self._inherited() or self.last)
        self._forget()
        return self.last

    def _inherited(self) -> Path | None:
        """A copy of the best checkpoint of the run that this one continues, where that is still the best."""
        if self._best_before is None or self.best_steps == self.steps:
            return None
        try:
            copy = copy_checkpoint(self._best_before, self.dir)
        except CheckpointError as error:
            warnings.warn(f"the best checkpoint so far cannot be taken over ({error}); best begins anew", stacklevel=3)
            self.best, self.best_steps = -math.inf, None
            return None
        self._written.insert(0, copy)
        return copy

    def _forget(self) -> None:
        """Deletes the checkpoints of this run that need not stay."""
        keep = self.settings.train.keep
        if keep == 0:
            return
        stay = {marked(self.dir, "latest"), marked(self.dir, "best")}
        for folder in self._written[:-keep]:
            if folder in stay:
                continue
            self._written.remove(folder)
            try:
                remove_checkpoint(folder)
            except CheckpointError as error:
                warnings.warn(f"{error}; it stays", stacklevel=3)


def _held(checkpoint: Checkpoint, saved: Mapping[str, Any], name: str, like: Any) -> Any:
    """An array of a checkpoint that must be like another one.

    Raises:
        CheckpointError: if it is not.
    """
    came = saved.get(name)
    if came is None or came.shape != like.shape or came.dtype != like.dtype:
        what = "is missing" if came is None else f"is {came.dtype} {came.shape}"
        raise CheckpointError(f"{checkpoint.path}: {name} must be {like.dtype} {like.shape}, it {what}")
    return came


def _pools(threads: int, env: EnvSpec, *, overlap: bool) -> tuple[Pool, Pool]:
    """Threads of the core, to learn and to collect with: the same, or a part each where both may go on at once."""
    if not overlap:
        pool = Pool(threads)
        return pool, pool
    collecting = max(1, threads // 2) if env.table is not None else 1  # others only act there
    return Pool(max(1, threads - collecting)), Pool(collecting)


def loop(run: Run, loggers: Sequence[Logger], callbacks: Sequence[Callback]) -> dict[str, Any]:
    """Trains until the run is done or a callback returns True, and always leaves a checkpoint.

    Returns:
        seconds and steps of this session.

    Raises:
        NonFiniteError: after the reproduction bundle is written; the last good checkpoint stays.
    """
    settings = run.settings
    train = settings.train
    begin = time.perf_counter()
    stopped = False
    while not run.done and not stopped:
        try:
            metrics = run.advance()
        except NonFiniteError as error:
            try:
                bundle = str(save_bundle(run.dir, error, run.phase, run.segment, lambda folder: run.save(folder, run.before)))
            except (OSError, RunError, CheckpointError) as failed:
                bundle = f"could not be written ({failed})"
            raise NonFiniteError(f"{error}; reproduction bundle: {bundle}") from error
        if train.evaluate_every and (run.due(train.evaluate_every) or run.done):
            try:
                metrics |= run.evaluate()
            except BaseException:  # Ctrl-C, or an environment that fails: what was learnt stays, without the score
                run.checkpoint()
                raise
        elapsed = time.perf_counter() - begin
        metrics["time/elapsed"] = elapsed
        metrics["time/steps_per_second"] = (run.steps - run.start_steps) / elapsed
        for logger in loggers:
            logger.write(run.steps, metrics)
        progress = Progress(run.steps, train.timesteps, int(run.state["updates"][0]), metrics)
        answers = [callback(progress) for callback in callbacks]  # every callback is called
        stopped = any(answer is True for answer in answers)
        if run.due(train.checkpoint_every) or run.evaluation is not None:
            run.checkpoint()
    seconds = time.perf_counter() - begin
    run.checkpoint()
    return {"seconds": seconds, "steps": run.steps - run.start_steps}


def summary(run: Run, checkpoint: Path, session: Mapping[str, Any]) -> dict[str, Any]:
    """The object that `puffer train --json` prints.

    Args:
        run: as it stands.
        checkpoint: its last one; that which it continues if it was complete already.
        session: `startup_seconds`, and `seconds` and `steps` of this session (see `loop`).
    """
    settings, mean, run_dir = run.settings, run.episodes.return_mean, checkpoint.parent.parent
    return {
        "env": settings.env,
        "algorithm": settings.algorithm,
        "backend": settings.backend,
        "seed": settings.seed,
        "steps": run.steps,
        "seconds": session["seconds"],
        "startup_seconds": session["startup_seconds"],
        "steps_per_second": session["steps"] / session["seconds"] if session["seconds"] > 0 else 0.0,
        "episode_return_mean": mean if math.isfinite(mean) else None,
        "episodes": run.episodes.count,
        "run_dir": str(run_dir),
        "checkpoint": str(checkpoint),
        "best_checkpoint": str(marked(run_dir, "best") or checkpoint),
        "resumed_from": None if run.resumed_from is None else str(run.resumed_from),
    }
