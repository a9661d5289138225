"""Checkpoints and run folders: written atomically, verified on loading, never overwritten."""

from pufferlib_core.checkpoint.files import Checkpoint, load_checkpoint, reading, resolve, save_checkpoint
from pufferlib_core.checkpoint.runs import create_run, mark, system_info

__all__ = ["Checkpoint", "create_run", "load_checkpoint", "mark", "reading", "resolve", "save_checkpoint", "system_info"]
