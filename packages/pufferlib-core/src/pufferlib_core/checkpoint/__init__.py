"""Checkpoints and run folders: written atomically, verified on loading, never overwritten."""

from pufferlib_core.checkpoint.files import (
    Checkpoint,
    checkpoints_of,
    copy_checkpoint,
    load_checkpoint,
    marked,
    path_of,
    reading,
    remove_checkpoint,
    resolve,
    save_checkpoint,
)
from pufferlib_core.checkpoint.runs import create_run, mark, newest_checkpoint, system_info

__all__ = [
    "Checkpoint",
    "checkpoints_of",
    "copy_checkpoint",
    "create_run",
    "load_checkpoint",
    "mark",
    "marked",
    "newest_checkpoint",
    "path_of",
    "reading",
    "remove_checkpoint",
    "resolve",
    "save_checkpoint",
    "system_info",
]
