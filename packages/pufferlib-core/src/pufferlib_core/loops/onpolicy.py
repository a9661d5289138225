"""The on-policy loop: collect a segment, update, log, keep checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pufferlib_core.algorithms import AlgorithmSpec
from pufferlib_core.backends import get_backend
from pufferlib_core.checkpoint import Checkpoint, create_run, mark, reading, save_checkpoint, system_info
from pufferlib_core.checkpoint.files import write_atomically
from pufferlib_core.config import dumps_toml
from pufferlib_core.errors import CheckpointError, NonFiniteError, RunError
from pufferlib_core.loops.episodes import WINDOW, Episodes
from pufferlib_core.loops.settings import Settings
from pufferlib_core.native import Pool, default_threads
from pufferlib_core.policies import OWN, PolicySpec
from pufferlib_core.traits import Callback, EnvSpec, Logger, Progress, Step
from pufferlib_core.vector import vectorize


class Run:
    """One training run: everything that changes while it goes on.

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
        self.pool = Pool(settings.train.threads or default_threads(n))
        train = settings.train
        self.vec = vectorize(env, num_envs=train.num_envs, seed=settings.seed, pool=self.pool, workers=train.workers)
        self.algorithm = algorithm
        self.engine = backend.make_engine(
            self.policy_spec, settings.options, options=settings.backend_options, num_envs=n, seed=settings.seed, pool=self.pool
        )
        self.state = algorithm.init(self.engine, self.policy_spec, settings.options, num_envs=n, seed=settings.seed)
        self.segment = self.vec.allocate(settings.options.horizon, self.policy_spec.carry)
        self.episodes = Episodes()
        self.steps = 0  # of all environments together
        self.best = -math.inf
        if resume is None:
            self._first(self.vec.reset())
        else:
            self._restore(resume)
        if env.table is None:
            self.vec.state()  # what cannot be saved is found now, and not at the first checkpoint
        self.engine.push()
        self.engine.load(self.state)
        self.start_steps = self.steps
        self.dir = create_run(Path(settings.out), settings.env, settings.algorithm, settings.seed)
        self.last: Path | None = None

    def _restore(self, checkpoint: Checkpoint) -> None:
        if checkpoint.manifest.get("space_fingerprint") != self.policy_spec.space_fingerprint:
            raise CheckpointError(
                f"{checkpoint.path} was trained on {checkpoint.manifest.get('env')}, whose spaces differ from those of "
                f"{self.settings.env}"
            )
        with reading(checkpoint.path):
            envs, saved = checkpoint.files["envs"], checkpoint.files["policy"] | checkpoint.files["trainer"]
            held = len(envs["obs"]) // self.env.agents
            self.steps, best = checkpoint.state["steps"], checkpoint.state["best"]
            self.best = best if best is not None else -math.inf
            self.episodes.load(checkpoint.state["episodes"])
        if held != self.settings.train.num_envs:
            raise CheckpointError(
                f"{checkpoint.path} holds {held} environments, the settings say "
                f"{self.settings.train.num_envs}: train.num_envs cannot change on resume"
            )
        if self.segment.carry is not None:
            self.segment.carry[0] = _held(checkpoint, envs, "carry", self.segment.carry[0])
        self.vec.set_state(envs)
        self._first(self.vec.latest)
        for name, array in self.state.items():
            array[...] = _held(checkpoint, saved, name, array)

    def _first(self, step: Step) -> None:
        """Row 0 of the segment."""
        self.segment.obs[0] = step.obs
        if self.segment.action_mask is not None and step.action_mask is not None:
            self.segment.action_mask[0] = step.action_mask

    @property
    def done(self) -> bool:
        """Whether the run has all its steps, or has reached its goal."""
        goal = self.settings.train.stop_return
        reached = goal is not None and len(self.episodes.returns) == WINDOW and self.episodes.return_mean >= goal
        return self.steps >= self.settings.train.timesteps or reached

    def advance(self) -> dict[str, float]:
        """Collects a segment and updates; returns the metrics."""
        begin = time.perf_counter()
        finished = self.engine.collect(self.vec, self.segment, self.steps // self.vec.rows)
        self.episodes.add(self.segment, finished)
        middle = time.perf_counter()
        fraction = min(1.0, self.steps / self.settings.train.timesteps)
        self.state, metrics = self.algorithm.update(
            self.engine, self.state, self.segment, self.settings.options, fraction=fraction
        )
        self.segment.roll()
        self.steps += self.segment.rows
        metrics["episode/return_mean"] = self.episodes.return_mean
        metrics["episode/length_mean"] = self.episodes.length_mean
        metrics["episode/count"] = float(self.episodes.count)
        metrics["time/collect"] = middle - begin
        metrics["time/update"] = time.perf_counter() - middle
        return metrics

    def checkpoint(self) -> Path:
        """Saves the run as it stands, between two updates; the same step twice gives the same folder."""
        if self.last is not None and self.last.name == f"{self.steps:012d}":
            return self.last
        improved = not math.isnan(self.episodes.return_mean) and self.episodes.return_mean > self.best
        self.best = max(self.best, self.episodes.return_mean) if improved else self.best
        self.engine.pull()
        state = self.vec.state() | {"obs": self.vec.tree.plain(self.segment.obs[0])}
        if self.segment.action_mask is not None:
            state["action_mask"] = self.segment.action_mask[0]
        if self.segment.carry is not None:
            state["carry"] = self.segment.carry[0]
        acting = self.policy_spec.acting_names() | {name for name in self.state if name.startswith(OWN)}
        policy = {name: array for name, array in self.state.items() if name in acting}
        trainer = {name: array for name, array in self.state.items() if name not in acting}
        self.last = save_checkpoint(
            self.dir,
            self.steps,
            files={"policy": policy, "trainer": trainer, "envs": state},
            state={
                "steps": self.steps,
                "best": self.best if math.isfinite(self.best) else None,
                "episodes": self.episodes.state(),
                "settings": self.settings.to_dict(),
            },
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
        mark(self.dir, "latest", self.last)
        if improved or not (self.dir / "best").exists():
            mark(self.dir, "best", self.last)
        return self.last

    def describe(self) -> None:
        """Writes config.toml and system.json."""
        import json

        write_atomically(self.dir / "config.toml", dumps_toml(self.settings.to_dict()).encode())
        write_atomically(self.dir / "system.json", (json.dumps(system_info(), indent=1) + "\n").encode())

    def save_failure(self, error: NonFiniteError) -> Path:
        """Writes what reproduces a NaN: the segment, the state and the message."""
        self.engine.pull()
        folder = self.dir / "failure"
        folder.mkdir(exist_ok=True)
        arrays = {name: getattr(self.segment, name) for name in ("obs", "action", "logprob", "value", "next_value", "reward",
                                                                 "terminated", "truncated", "valid")}  # fmt: skip
        np.savez_compressed(folder / "segment.npz", **arrays)
        np.savez_compressed(folder / "state.npz", **self.state)  # type: ignore[arg-type]  # numpy types every keyword as its flag
        text = f"{error}\nsteps {self.steps}, seed {self.settings.seed}, environment {self.settings.env}\n"
        write_atomically(folder / "README.txt", text.encode())
        return folder


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


def loop(run: Run, loggers: Sequence[Logger], callbacks: Sequence[Callback]) -> dict[str, Any]:
    """Trains until the run is done or a callback returns True, and always leaves a checkpoint.

    Returns:
        seconds and steps of this session.

    Raises:
        NonFiniteError: after the reproduction bundle is written; the last good checkpoint stays.
    """
    settings = run.settings
    every = settings.train.checkpoint_every
    due = run.steps + every
    begin = time.perf_counter()
    stopped = False
    while not run.done and not stopped:
        try:
            metrics = run.advance()
        except NonFiniteError as error:
            try:
                bundle = str(run.save_failure(error))
            except (OSError, RunError) as failed:
                bundle = f"could not be written ({failed})"
            raise NonFiniteError(f"{error}; reproduction bundle: {bundle}") from error
        elapsed = time.perf_counter() - begin
        metrics["time/elapsed"] = elapsed
        metrics["time/steps_per_second"] = (run.steps - run.start_steps) / elapsed
        for logger in loggers:
            logger.write(run.steps, metrics)
        progress = Progress(run.steps, settings.train.timesteps, int(run.state["updates"][0]), metrics)
        answers = [callback(progress) for callback in callbacks]  # every callback is called
        stopped = any(answer is True for answer in answers)
        if every and run.steps >= due:
            run.checkpoint()
            due += every
    seconds = time.perf_counter() - begin
    run.checkpoint()
    return {"seconds": seconds, "steps": run.steps - run.start_steps}


def summary(run: Run, session: Mapping[str, Any], startup: float) -> dict[str, Any]:
    """The object that `puffer train --json` prints."""
    mean = run.episodes.return_mean
    best = (run.dir / "best").read_text().strip()
    return {
        "env": run.settings.env,
        "algorithm": run.settings.algorithm,
        "backend": run.settings.backend,
        "seed": run.settings.seed,
        "steps": run.steps,
        "seconds": session["seconds"],
        "startup_seconds": startup,
        "steps_per_second": session["steps"] / session["seconds"] if session["seconds"] > 0 else 0.0,
        "episode_return_mean": mean if math.isfinite(mean) else None,
        "episodes": run.episodes.count,
        "run_dir": str(run.dir),
        "checkpoint": str(run.last),
        "best_checkpoint": str(run.dir / "checkpoints" / best),
    }
