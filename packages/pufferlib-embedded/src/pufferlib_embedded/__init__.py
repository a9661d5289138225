"""Policies as C for small devices.

Importing this package loads nothing but this file.
"""

from __future__ import annotations

__version__ = "0.1.0"
