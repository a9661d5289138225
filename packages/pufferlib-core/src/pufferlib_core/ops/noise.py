"""The core's counter-based random numbers and what is drawn from them, 32-bit integers only; `xp` is an array namespace.

Words are those of puffer/rng.h, bit for bit; actions are those of puffer/dist.h up to rounding.
"""

from __future__ import annotations

import math
from typing import Any

from pufferlib_core.seeding import STREAM_ACTION

Array = Any
ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA  # of the key schedule
LOW = 0xFFFFFFFF


def threefry(key: tuple[Array, Array], counter: tuple[Array, Array]) -> tuple[Array, Array]:
    """Threefry-2x32 with 20 rounds (Salmon et al., SC 2011) of uint32 arrays that broadcast against each other."""
    keys = (*key, key[0] ^ key[1] ^ PARITY)
    a, b = counter[0] + keys[0], counter[1] + keys[1]
    for k in range(5):
        for rotation in ROTATIONS[k % 2]:
            a = a + b
            b = ((b << rotation) | (b >> (32 - rotation))) ^ a
        a = a + keys[(k + 1) % 3]
        b = b + keys[(k + 2) % 3] + (k + 1)
    return a, b


def halves(number: int, *, xp: Any) -> tuple[Array, Array]:
    """Low and high word of a number of 64 bits, uint32 (1,) each."""
    return xp.asarray([number & LOW], dtype=xp.uint32), xp.asarray([number >> 32], dtype=xp.uint32)


def stream_key(seed: int, stream: int, *, xp: Any) -> tuple[Array, Array]:
    """The key of a stream of a seed, uint32 (1,) each."""
    return threefry(halves(seed, xp=xp), halves(stream, xp=xp))


def drawn(key: tuple[Array, Array], counter: tuple[Array, Array], blocks: int, *, xp: Any) -> tuple[Array, tuple[Array, Array]]:
    """The next words of streams, uint32 (2 * blocks, N), and their counters afterwards.

    Args:
        key: uint32 (N,) each.
        counter: low and high word of the next block, likewise.
        blocks: how many, of two words each.
        xp: array namespace.
    """
    words: list[Array] = []
    for _ in range(blocks):
        words += threefry(key, counter)
        low = counter[0] + 1
        counter = low, counter[1] + (low == 0)
    return xp.stack(words), counter


def unit(word: Array, *, xp: Any) -> Array:
    """Uniform in [0, 1), a multiple of 2^-24, float32."""
    return (word >> 8).astype(xp.float32) * xp.float32(2.0**-24)


def unit_open(word: Array, *, xp: Any) -> Array:
    """Uniform in (0, 1], float32."""
    return ((word >> 8) + 1).astype(xp.float32) * xp.float32(2.0**-24)


def uniform(word: Array, low: float, high: float, *, xp: Any) -> Array:
    """Uniform in [low, high), float32."""
    return xp.float32(low) + (xp.float32(high) - xp.float32(low)) * unit(word, xp=xp)


def below(word: Array, bound: int, *, xp: Any) -> Array:
    """Uniform integer in [0, bound), int32: the high half of a product of 64 bits, made of halves. 1 <= bound < 2^16."""
    upper, lower = (word >> 16) * bound, (word & 0xFFFF) * bound
    return ((upper + (lower >> 16)) >> 16).astype(xp.int32)


def action_keys(seed: int, components: int, step: int, *, xp: Any) -> tuple[Array, Array]:
    """Keys of the noise of actions at a step and those after it that share its high word, uint32 (components,) each."""
    keys = [stream_key(seed, STREAM_ACTION + component + (step >> 32 << 6), xp=xp) for component in range(components)]
    low, high = zip(*keys, strict=True)
    return xp.concatenate(low), xp.concatenate(high)


def action_words(keys: tuple[Array, Array], rows: Array, step: Array, *, xp: Any) -> Array:
    """The noise of actions, uint32 (2 * components, ...), keyed by (seed, row, step).

    Args:
        keys: `action_keys`.
        rows: numbers of the rows, uint32.
        step: low word of the step, uint32; both broadcast against each other.
        xp: array namespace.
    """
    words: list[Array] = []
    for key in zip(*keys, strict=True):
        words += threefry(key, (rows, step))
    return xp.stack(words)


def sampled(
    heads: Array, log_std: Array | None, nvec: tuple[int, ...], words: Array, *, xp: Any
) -> tuple[Array | None, Array | None, Array]:  # fmt: skip
    """Actions drawn with the noise of `action_words`: choices first, then numbers.

    Choice k is taken where sum_{j<k} p_j <= u < sum_{j<=k} p_j;  number = mean + exp(log_std) z, z by Box and Muller.

    Args:
        heads: float32 (N, sum(nvec) + A), logits of the choices and A means.
        log_std: float32 (A,); None if there are no numbers.
        nvec: choices of each component.
        words: uint32 (2 * (K + A), N).
        xp: array namespace.

    Returns:
        choices int32 (N, K) or None, numbers float32 (N, A) or None, log-probability (N,).
    """
    total, first = xp.zeros_like(heads[:, 0]), 0
    choices = []
    for c, n in enumerate(nvec):
        logits = heads[:, first : first + n]
        shifted = logits - xp.max(logits, axis=1, keepdims=True)
        p = xp.exp(shifted)
        mass = xp.sum(p, axis=1)
        threshold = unit(words[2 * c], xp=xp) * mass
        choice, picked = xp.zeros(len(heads), dtype=xp.int32), shifted[:, 0]
        running = xp.zeros_like(mass)
        for k in range(n):  # in the order of the core, whose sums these are
            taken = (p[:, k] > 0) & (running <= threshold)
            choice = xp.where(taken, xp.int32(k), choice)
            picked = xp.where(taken, shifted[:, k], picked)
            running = running + p[:, k]
        choices.append(choice)
        total = total + (picked - xp.log(mass))
        first += n
    if log_std is None:
        return xp.stack(choices, axis=1), None, total
    angle, radius = words[2 * len(nvec) :: 2].T, words[2 * len(nvec) + 1 :: 2].T
    turn = xp.float32(2 * math.pi) * unit(angle, xp=xp)
    z = xp.sqrt(-2 * xp.log(unit_open(radius, xp=xp))) * xp.cos(turn)
    half = 0.5 * math.log(2 * math.pi)
    total = total - xp.sum(0.5 * z * z + (log_std + half), axis=1)
    return xp.stack(choices, axis=1) if choices else None, heads[:, first:] + z * xp.exp(log_std), total
