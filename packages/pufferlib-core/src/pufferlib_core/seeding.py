"""The random streams of a run. One seed derives them all; no stream depends on threads, batch sizes or the order of calls.

A stream is a 64-bit number; the core keys Threefry with (seed, stream). Streams drawn inside the core are listed in
csrc/seeds.h with the same numbers.
"""

from __future__ import annotations

from pufferlib_core.config import integer
from pufferlib_core.errors import ConfigError

STREAM_ENV = 0  # + index of the environment
STREAM_INIT = 1 << 48  # + tensor
STREAM_SHUFFLE = 2 << 48  # + high word of the update
STREAM_ACTION = 3 << 48  # + component of the action
STREAM_EVAL_ENV = 4 << 48  # + index of the environment
STREAM_SAMPLE = 5 << 48  # random actions of benchmarks and demos
STREAM_PRIORITY = 6 << 48  # + high word of the update: environments of prioritised minibatches


def check_seed(seed: int, where: str = "seed") -> int:
    """The seed, if it fits 64 bits.

    Raises:
        ConfigError: if not.
    """
    number = integer(seed)
    if number is None or not 0 <= number < 2**64:
        raise ConfigError(f"{where}={seed!r} must be a whole number in [0, 2^64)")
    return number
