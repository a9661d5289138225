"""Conformance suites for third parties."""

from pufferlib_core.testing.envs import check_env
from pufferlib_core.testing.vecs import check_vec

__all__ = ["check_env", "check_vec"]
