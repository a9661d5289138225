"""What stopped a run, once more."""

from __future__ import annotations

from pathlib import Path

from pufferlib_core.checkpoint import load_checkpoint, path_of
from pufferlib_core.errors import CheckpointError
from pufferlib_core.loops.api import base_settings
from pufferlib_core.loops.nonfinite import COLLECT, SEGMENT, load_planes, read_bundle
from pufferlib_core.loops.onpolicy import Run
from pufferlib_core.loops.settings import resolve


def replay(path: str | Path) -> dict[str, float]:
    """Does once more what NaN or infinity stopped, from a bundle (`<run>/nonfinite`): the collection, or the update.

    Args:
        path: folder of the bundle. Nothing is written there, nor anywhere else.

    Returns:
        The losses of the update, if all is finite now: after a correction, or on a machine that sums in another order.

    Raises:
        NonFiniteError: the same as in the run.
        CheckpointError: if the bundle is damaged, or has to step environments whose states it could not save.
    """
    folder = path_of(path, "path")
    record, saved = read_bundle(folder)
    checkpoint = load_checkpoint(folder)
    settings, env, algorithm = resolve(base_settings(checkpoint))
    run = Run(settings, env, algorithm, checkpoint)
    try:
        if record["phase"] == COLLECT:
            if not run.vec.exact:
                raise CheckpointError(
                    f"{folder}: {env.name} cannot go on from a saved state ({run.vec.exact_reason}), so that its steps cannot "
                    f"be repeated; {SEGMENT} holds what came ({record['error']})"
                )
            _collect(run)
        else:
            load_planes(run.segment, saved, folder / SEGMENT)
        return run.update()
    finally:
        run.close()


def _collect(run: Run) -> None:
    """Collects what was under way: the next segment, or the one after it where that was collected ahead of its update."""
    train = run.settings.train
    twice = train.lag == 1 and run.collection.ahead is None and run.steps + run.segment.rows < train.timesteps
    for k in range(1 + twice):
        if k:
            run.segment.roll()
        run.engine.collect(run.vec, run.segment, run.first_step + k * run.segment.steps)
