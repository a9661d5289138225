"""Compiled functions of JAX are kept, here and between runs: many tests compile the same ones."""

import os
from pathlib import Path

KEPT = Path(__file__).resolve().parents[2] / "build/jax"

os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(KEPT))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
