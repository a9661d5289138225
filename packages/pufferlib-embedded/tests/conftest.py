"""Lets tests import `wander`, by whose name checkpoints know their environments."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
