"""What a user calls: train and load_policy."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pufferlib_core.backends import backend_specs, get_backend
from pufferlib_core.checkpoint import Checkpoint, load_checkpoint, reading
from pufferlib_core.config import from_dict, nest
from pufferlib_core.errors import CheckpointError, ConfigError
from pufferlib_core.loggers import JsonlLogger
from pufferlib_core.loops.onpolicy import Run, loop, summary
from pufferlib_core.loops.settings import resolve
from pufferlib_core.policies import PolicySpec
from pufferlib_core.traits import Callback, Logger


@dataclass(frozen=True)
class TrainResult:
    """What a run leaves behind."""

    summary: dict[str, Any]  # the object of `puffer train --json`
    run_dir: Path
    checkpoint: Path  # the last one
    best_checkpoint: Path


def train(
    env: str | None = None,
    *,
    options: Mapping[str, Any] | None = None,
    resume: str | Path | None = None,
    loggers: Sequence[Logger] = (),
    callbacks: Sequence[Callback] = (),
    **settings: Any,
) -> TrainResult:
    """Trains a policy and leaves a run folder with metrics and checkpoints.

    Args:
        env: name of the environment; may be left out when resuming.
        options: settings by section, dotted or nested: `{"ppo.gamma": 0.98, "train": {"num_envs": 128}}`.
        resume: checkpoint or run folder to continue; its settings apply, `options` and `settings` change them.
        loggers: receive metrics besides the run's own metrics.jsonl.
        callbacks: called with a `Progress` after each update; one that returns True stops the run.
        **settings: `algorithm`, `backend`, `seed`, `out`, and as shorthands `timesteps` (explicit, it switches early
            stopping off), `num_envs`, `threads` and `checkpoint_every`.

    Returns:
        Summary and folders.

    Raises:
        PufferError: a subclass for each kind of mistake.
    """
    begin = time.perf_counter()
    given = nest(options or {}) | ({} if env is None else {"env": env})
    shorthands = {
        name: settings.pop(name) for name in ("timesteps", "num_envs", "threads", "checkpoint_every") if name in settings
    }
    chosen: dict[str, Any] = {name: value for name, value in shorthands.items() if value is not None}
    if "timesteps" in chosen:
        chosen["stop_return"] = None
    section = dict(given.get("train", {})) | chosen
    given |= {name: str(value) if isinstance(value, Path) else value for name, value in settings.items() if value is not None}
    if section:
        given["train"] = section
    checkpoint = None if resume is None else load_checkpoint(resume)
    if checkpoint is not None and env is not None and checkpoint.manifest.get("env") != env:
        raise CheckpointError(f"{checkpoint.path} was trained on {checkpoint.manifest.get('env')}, not on {env}")
    base: dict[str, Any] = {}
    if checkpoint is not None:
        with reading(checkpoint.path):  # an absent stop_return means none, not the preset's
            base = checkpoint.state["settings"]
            base = base | {"train": {"stop_return": None} | base["train"]}
    resolved, spec, algorithm = resolve(base, given)
    run = Run(resolved, spec, algorithm, checkpoint)
    run.describe()
    everywhere: list[Logger] = [JsonlLogger(run.dir / "metrics.jsonl"), *loggers]
    try:
        for logger in everywhere:
            logger.start(resolved.to_dict() | {"run_dir": str(run.dir)})
        startup = time.perf_counter() - begin
        session = loop(run, everywhere, callbacks)
    finally:
        for logger in everywhere:
            logger.close()
        run.vec.close()
    result = summary(run, session, startup)
    return TrainResult(result, run.dir, Path(result["checkpoint"]), Path(result["best_checkpoint"]))


def load_policy(
    path: str | Path, *, backend: str = "native", threads: int = 1, options: Mapping[str, Any] | None = None
) -> Any:
    """A policy that acts, from a checkpoint or the latest one of a run folder.

    Args:
        path: of either.
        backend: that acts.
        threads: of the core.
        options: settings of the back end, such as `{"device": "gpu"}`; those of the run are not taken over.

    Returns:
        The back end's policy; `act(obs)` gives (action, logprob, value).

    Raises:
        CheckpointError: if it is damaged or foreign.
        ConfigError: if the back end has no such settings.
    """
    return policy_of(load_checkpoint(path), backend=backend, threads=threads, options=options)


def policy_of(
    checkpoint: Checkpoint, *, backend: str = "native", threads: int = 1, options: Mapping[str, Any] | None = None
) -> Any:
    """The policy of a checkpoint that is already loaded; see `load_policy`."""
    with reading(checkpoint.path):
        spec = PolicySpec.from_json(checkpoint.manifest["policy"])
        loaded = get_backend(backend, "infer")
        config = backend_specs()[backend].config
        if options and config is None:
            raise ConfigError(f"back end {backend} has no settings, got {', '.join(options)}")
        made = None if config is None else from_dict(config, options or {}, backend)
        return loaded.load_policy(spec, checkpoint.files["policy"], options=made, threads=threads)
