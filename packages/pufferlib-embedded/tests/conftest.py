"""What the tests of exports share; `wander` can be imported, by whose name checkpoints know their environments."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pufferlib_core import train

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def cartpole(tmp_path_factory):
    """A checkpoint of CartPole that normalises its observations."""
    folder = tmp_path_factory.mktemp("runs")
    options = {"train.timesteps": 4096, "policy.normalize_obs": True, "policy.hidden": [16, 16]}
    return train("cartpole", options=options, out=str(folder), seed=1).checkpoint
