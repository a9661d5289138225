"""Compiled functions of JAX are kept, here and between runs: many tests compile the same ones.

They are compiled without most optimisations, because most tests compile longer than they compute; `optimised` brings them back.
"""

import os
from pathlib import Path

import pytest

KEPT = Path(__file__).resolve().parents[2] / "build/jax"

os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(KEPT))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"


@pytest.fixture
def optimised():
    """JAX compiles as it does for users."""
    import jax

    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)
