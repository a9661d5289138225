"""The modules under test: build/wasm, which the gate `wasm` has built."""

from pathlib import Path

import pytest

BUILT = Path(__file__).resolve().parents[3] / "build/wasm"


@pytest.fixture(scope="session")
def built() -> Path:
    """Folder of the modules."""
    return BUILT
