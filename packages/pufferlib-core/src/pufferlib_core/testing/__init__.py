"""Conformance suites for third parties."""

from pufferlib_core.testing.backends import check_backend
from pufferlib_core.testing.envs import check_env
from pufferlib_core.testing.vecs import check_vec

__all__ = ["check_backend", "check_env", "check_vec"]
