"""A segment and what is learnt from it, in one compiled function: collection, statistics, advantages, descent."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from pufferlib_core.backends.jax.network import Params, Read, Traced
from pufferlib_core.backends.jax.resident import Rows, Scene
from pufferlib_core.ops.normalize import merge
from pufferlib_core.ops.ppo import Coefficients
from pufferlib_core.ops.returns import discounted_row, gae_row

if TYPE_CHECKING:
    from pufferlib_core.algorithms.ppo import PPOConfig


class Returns(NamedTuple):
    """What `normalize_return` knows before a segment, float32."""

    moments: tuple[Traced, Traced, Traced]  # mean, variance, rows
    running: Traced  # (N,)


class Made(NamedTuple):
    """What one call leaves."""

    scene: Scene
    rows: Rows
    descent: Any  # `engine.Descent`
    finite: Traced  # whether observations and rewards are
    obs: tuple[Traced, Traced] | None  # mean and variance, where observations are normalised
    returns: tuple[Traced, Traced] | None  # likewise of discounted returns
    running: Traced | None
    spread: tuple[Traced, Traced]  # variance of target - value, and of the target


def learner(collect: Callable[..., tuple[Scene, Rows]], descend: Callable[..., Any], config: PPOConfig) -> Callable[..., Made]:
    """The function of one update.

    Args:
        collect: see `resident.collector`.
        descend: of (learning, read, planes, carry, order, coefficients); planes are (T, N, ...), `learning` begins with the
            parameters.
        config: of the algorithm, with gae.
    """

    def learn(
        learning: tuple[Params, Any, Params], scene: Scene, read: Read, returns: Returns | None, noise: tuple[Any, Traced],
        order: Traced, coefficients: Coefficients,
    ) -> Made:  # fmt: skip
        last, rows = collect(learning[0], read, scene, *noise)
        ended = rows.terminated | rows.truncated
        reward, batch, running = rows.reward, None, None
        if returns is not None:

            def add(sums: Traced, row: tuple[Traced, Traced]) -> tuple[Traced, Traced]:
                return discounted_row(sums, *row, config.gamma, xp=jnp)[::-1]

            running, sums = lax.scan(add, returns.running, (rows.reward, ended))
            batch = sums.mean(), sums.var()
            reward = reward * lax.rsqrt(merge(returns.moments, (*batch, sums.size))[1] + 1e-8)

        def back(later: Traced, row: tuple[Traced, ...]) -> tuple[Traced, Traced]:
            advantage = gae_row(later, *row, gamma=config.gamma, lam=config.lam, xp=jnp)
            return advantage, advantage

        given = reward, rows.value, rows.next_value, rows.terminated, rows.truncated
        advantage = lax.scan(back, jnp.zeros_like(reward[0]), given, reverse=True)[1]
        target = advantage + rows.value
        planes = {
            "features": rows.features, "old_logprob": rows.logprob, "old_value": rows.value, "advantage": advantage,
            "target": target, "ended": ended,
        }  # fmt: skip
        planes |= {} if rows.choices is None else {"choices": rows.choices}
        planes |= {} if rows.numbers is None else {"numbers": rows.numbers}
        features = rows.features.reshape(-1, rows.features.shape[-1])
        return Made(
            last, rows, descend(learning, read, planes, scene.carry, order, coefficients),
            jnp.isfinite(rows.features).all() & jnp.isfinite(rows.reward).all(),
            None if read is None else (features.mean(axis=0), features.var(axis=0)),
            batch, running, (jnp.var(target - rows.value), jnp.var(target)),
        )  # fmt: skip

    return learn
