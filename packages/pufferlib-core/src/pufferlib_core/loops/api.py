"""What a user calls: train and load_policy."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pufferlib_core.backends import backend_specs, get_backend
from pufferlib_core.checkpoint import Checkpoint, load_checkpoint, newest_checkpoint, path_of, reading
from pufferlib_core.config import from_dict, nest, settings_of
from pufferlib_core.errors import CheckpointError, ConfigError
from pufferlib_core.loggers import JsonlLogger
from pufferlib_core.loops.onpolicy import Run, loop, summary
from pufferlib_core.loops.settings import resolve
from pufferlib_core.policies import PolicySpec
from pufferlib_core.traits import Callback, Logger

AUTO = "auto"  # what `resume` may be besides a path
LOGGER = ("start", "write", "close")
SHORTHANDS = ("timesteps", "num_envs", "threads", "checkpoint_every", "keep", "evaluate_every", "evaluate_episodes")


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
        resume: checkpoint or run folder to continue; its settings apply, `options` and `settings` change them. "auto":
            the newest run of this environment, algorithm and seed in `out` that has a checkpoint that loads (damaged
            ones are passed over with a warning); if there is none, a new one. If the run is complete, nothing is done.
        loggers: receive metrics besides the run's own metrics.jsonl.
        callbacks: called with a `Progress` after each update; one that returns True stops the run.
        **settings: `algorithm`, `backend`, `seed`, `out`, and as shorthands `timesteps` (explicit, it switches early
            stopping off), `num_envs`, `threads`, `checkpoint_every`, `keep`, `evaluate_every` and `evaluate_episodes`.

    Returns:
        Summary and folders.

    Raises:
        PufferError: a subclass for each kind of mistake.
    """
    begin = time.perf_counter()
    loggers, callbacks = _each(loggers, "loggers", *LOGGER), _each(callbacks, "callbacks", "__call__")
    given = nest(options) | ({} if env is None else {"env": env})
    shorthands = {name: settings.pop(name) for name in SHORTHANDS if name in settings}
    chosen: dict[str, Any] = {name: value for name, value in shorthands.items() if value is not None}
    if "timesteps" in chosen:
        chosen["stop_return"] = None
    given |= {name: str(value) if isinstance(value, Path) else value for name, value in settings.items() if value is not None}
    section = given.get("train", {})
    if chosen and isinstance(section, dict):  # else it is refused below
        given["train"] = section | chosen
    checkpoint = _origin(resume, given)
    resolved, spec, algorithm = resolve(base_settings(checkpoint), given)
    for name in sorted(set(given) & set(backend_specs()) - {resolved.backend}):
        warnings.warn(f"settings of {name} have no effect: the back end is {resolved.backend}", stacklevel=2)
    run = Run(resolved, spec, algorithm, checkpoint)
    if checkpoint is not None and run.done:
        run.close()
        session = {"seconds": 0.0, "steps": 0, "startup_seconds": time.perf_counter() - begin}
        return _result(summary(run, checkpoint.path, session))
    run.open()
    everywhere: list[Logger] = [JsonlLogger(run.dir / "metrics.jsonl"), *loggers]
    try:
        for logger in everywhere:
            where = {"run_dir": str(run.dir), "resume": resume, "resumed_from": run.resumed_from}
            logger.start(resolved.to_dict() | {name: None if at is None else str(at) for name, at in where.items()})
        startup = time.perf_counter() - begin
        session = loop(run, everywhere, callbacks)
    finally:
        for logger in everywhere:
            logger.close()
        run.close()
    session["startup_seconds"] = startup
    return _result(summary(run, run.checkpoint(), session))


def _each(given: Any, where: str, *methods: str) -> list[Any]:
    """What a list holds, each of which has these methods.

    Raises:
        ConfigError: if it is no list, or one has not.
    """
    if isinstance(given, (list, tuple)) and all(callable(getattr(one, name, None)) for one in given for name in methods):
        return list(given)
    raise ConfigError(f"{where} must be a list of objects with {', '.join(methods)}; got {given!r}")


def _result(summary: dict[str, Any]) -> TrainResult:
    run_dir, last, best = (Path(summary[name]) for name in ("run_dir", "checkpoint", "best_checkpoint"))
    return TrainResult(summary, run_dir, last, best)


def _origin(resume: str | Path | None, given: dict[str, Any]) -> Checkpoint | None:
    """The checkpoint that a run begins from; with "auto", `given` then says where, so that a moved folder stays in use."""
    if resume is None:
        return None
    if resume != AUTO:
        checkpoint = load_checkpoint(path_of(resume, "resume"))
        if checkpoint.manifest.get("env") != given.get("env", checkpoint.manifest.get("env")):
            raise CheckpointError(f"{checkpoint.path} was trained on {checkpoint.manifest.get('env')}, not on {given['env']}")
        return checkpoint
    settings, _, _ = resolve(given)
    given["out"] = settings.out
    found, damaged = newest_checkpoint(Path(settings.out), settings.env, settings.algorithm, settings.seed)
    for reason in damaged:
        warnings.warn(f"passed over a damaged checkpoint: {reason}", stacklevel=3)
    return found


def base_settings(checkpoint: Checkpoint | None) -> dict[str, Any]:
    """The settings that a checkpoint brings; an absent stop_return means none, not the preset's."""
    if checkpoint is None:
        return {}
    with reading(checkpoint.path):
        settings = checkpoint.state["settings"]
        return dict(settings) | {"train": {"stop_return": None} | settings["train"]}


def load_policy(
    path: str | Path, *, backend: str = "native", threads: int = 1, options: Mapping[str, Any] | None = None
) -> Any:
    """A policy that acts, from a checkpoint or the latest one of a run folder, or from an exported file.

    Args:
        path: checkpoint or run folder; with `backend="onnxruntime"` also an .onnx file.
        backend: that acts.
        threads: of the native back end.
        options: settings of the back end, such as `{"providers": ("cuda",)}`.

    Args:
        path: of either.
        backend: that acts.
        threads: of the core.
        options: settings of the back end, such as `{"device": "gpu"}`; those of the run are not taken over.

    Returns:
        The back end's policy; `act(obs)` gives (action, logprob, value).

    Raises:
        CheckpointError: if it is damaged or foreign.
        ConfigError: if a setting is wrong.
    """
    return policy_of(opened(path_of(path, "path"), backend), backend=backend, threads=threads, options=options)


def opened(path: str | Path, backend: str) -> Checkpoint:
    """What `load_checkpoint` gives; an .onnx file is opened by the back end.

    Raises:
        CheckpointError: if it is missing, damaged or foreign.
        ConfigError: if the back end does not read such files, naming those that do.
    """
    if Path(path).suffix == ".onnx" and not Path(path).is_dir():
        if not Path(path).exists():
            raise CheckpointError(f"{path}: there is no such file")
        read: Checkpoint = get_backend(backend, "read-onnx").read_file(Path(path))
        return read
    return load_checkpoint(path)


def policy_of(
    checkpoint: Checkpoint, *, backend: str = "native", threads: int = 1, options: Mapping[str, Any] | None = None
) -> Any:
    """The policy of a checkpoint that is already loaded; see `load_policy`."""
    loaded = get_backend(backend, "infer")
    config = backend_specs()[backend].config
    own = settings_of(options, "options")
    if config is None and own:
        raise ConfigError(f"back end {backend!r} has no settings, got {', '.join(own)}")
    section = None if config is None else from_dict(config, own, backend)
    with reading(checkpoint.path):
        spec = PolicySpec.from_json(checkpoint.manifest["policy"])
        return loaded.load_policy(spec, checkpoint.files["policy"], options=section, threads=threads)
