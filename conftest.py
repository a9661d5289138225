"""Options of all tests."""

from __future__ import annotations

import pytest

# Needs the group `peers`; it holds no doctests, and tests/peers imports it.
collect_ignore = ["packages/pufferlib-core/src/pufferlib_core/adapters/sb3.py"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds --seeds."""
    parser.addoption("--seeds", type=int, default=1, help="seeds of each learning test; `tools/check.py --full` takes 3")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `learning_seed` runs once for each."""
    if "learning_seed" in metafunc.fixturenames:
        metafunc.parametrize("learning_seed", range(metafunc.config.getoption("--seeds")))
