"""Reinforcement learning on flat arrays: one C core, environments, vectorization, back ends and algorithms.

Importing this package loads nothing but this file: public names load their module when they are first used.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pufferlib_core.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
    from pufferlib_core.emulation import SpaceTree
    from pufferlib_core.errors import PufferError
    from pufferlib_core.loops.api import load_policy, train
    from pufferlib_core.loops.evaluate import evaluate
    from pufferlib_core.loops.replay import replay
    from pufferlib_core.native import gae, minibatches, vtrace
    from pufferlib_core.policies import PolicySpec
    from pufferlib_core.spaces import Box, Dict, Discrete, Mixed, MultiBinary, MultiDiscrete, Tuple
    from pufferlib_core.testing import check_env, check_vec
    from pufferlib_core.traits import BatchEnv, EnvSpec, Progress, Step
    from pufferlib_core.vector import VecEnv, env_spec, make_vec

__version__ = "0.1.0"

_WHERE = {
    "Checkpoint": "checkpoint",
    "load_checkpoint": "checkpoint",
    "save_checkpoint": "checkpoint",
    "SpaceTree": "emulation",
    "PufferError": "errors",
    "load_policy": "loops.api",
    "train": "loops.api",
    "evaluate": "loops.evaluate",
    "replay": "loops.replay",
    "gae": "native",
    "minibatches": "native",
    "vtrace": "native",
    "PolicySpec": "policies",
    "Box": "spaces",
    "Dict": "spaces",
    "Discrete": "spaces",
    "Mixed": "spaces",
    "MultiBinary": "spaces",
    "MultiDiscrete": "spaces",
    "Tuple": "spaces",
    "check_env": "testing",
    "check_vec": "testing",
    "BatchEnv": "traits",
    "EnvSpec": "traits",
    "Progress": "traits",
    "Step": "traits",
    "VecEnv": "vector",
    "env_spec": "vector",
    "make_vec": "vector",
}

__all__ = [
    "BatchEnv",
    "Box",
    "Checkpoint",
    "Dict",
    "Discrete",
    "EnvSpec",
    "Mixed",
    "MultiBinary",
    "MultiDiscrete",
    "PolicySpec",
    "Progress",
    "PufferError",
    "SpaceTree",
    "Step",
    "Tuple",
    "VecEnv",
    "__version__",
    "check_env",
    "check_vec",
    "env_spec",
    "evaluate",
    "gae",
    "include_dir",
    "load_checkpoint",
    "load_policy",
    "make_vec",
    "minibatches",
    "replay",
    "save_checkpoint",
    "source_dir",
    "train",
    "vtrace",
]


def include_dir() -> str:
    """Folder of the C headers (`#include "puffer/puffer.h"`)."""
    return str(Path(__file__).parent / "csrc" / "include")


def source_dir() -> str:
    """Folder of the C sources, for builds that compile the core themselves."""
    return str(Path(__file__).parent / "csrc")


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
