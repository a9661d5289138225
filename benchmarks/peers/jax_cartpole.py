"""CartPole-v1 in JAX: one environment's physics under vmap, many environments with automatic reset."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from common import best_rate, random_actions, serve

LIMIT = jnp.array([2.4, jnp.inf, 12 * jnp.pi / 180, jnp.inf])  # m, m/s, rad, rad/s


class Envs(NamedTuple):
    """Environments stepped together."""

    obs: jax.Array  # (N, 4)
    age: jax.Array  # (N,), steps of the running episode
    key: jax.Array


class Row(NamedTuple):
    """What a step gives, before the reset."""

    obs: jax.Array
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array


def physics(state: jax.Array, action: jax.Array) -> jax.Array:
    """State 0.02 s later (Euler): cart 1 kg, pole 0.1 kg and 0.5 m to its centre, force 10 N."""
    x, speed, angle, spin = state
    force = jnp.where(action == 1, 10.0, -10.0)
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    push = (force + 0.05 * spin**2 * sine) / 1.1
    turn = (9.8 * sine - cosine * push) / (0.5 * (4.0 / 3.0 - 0.1 * cosine**2 / 1.1))
    slide = push - 0.05 * turn * cosine / 1.1
    return jnp.stack([x + 0.02 * speed, speed + 0.02 * slide, angle + 0.02 * spin, spin + 0.02 * turn])


def reset(num_envs: int, key: jax.Array) -> Envs:
    """Environments at the start of an episode."""
    key, draw = jax.random.split(key)
    return Envs(jax.random.uniform(draw, (num_envs, 4), minval=-0.05, maxval=0.05), jnp.zeros(num_envs, jnp.int32), key)


def step(envs: Envs, action: jax.Array) -> tuple[Envs, Row]:
    """One step of every environment; those that ended start anew."""
    after, age = jax.vmap(physics)(envs.obs, action), envs.age + 1
    terminated = (jnp.abs(after) > LIMIT).any(axis=1)
    truncated = (age >= 500) & ~terminated
    fresh = reset(len(age), envs.key)
    ended = terminated | truncated
    going = Envs(jnp.where(ended[:, None], fresh.obs, after), jnp.where(ended, 0, age), fresh.key)
    return going, Row(after, jnp.ones(len(age)), terminated, truncated)


def simulate(num_envs: int, cores: int) -> dict[str, float]:
    """Steps a second, 32 steps in a compiled scan; XLA takes the cores it finds."""
    run = jax.jit(lambda envs, actions: jax.lax.scan(step, envs, actions), donate_argnums=0)
    latest = [reset(num_envs, jax.random.key(0))]
    actions = jnp.asarray(random_actions(num_envs, np.int32))

    def steps() -> None:
        latest[0], rows = run(latest[0], actions)
        jax.block_until_ready(rows)

    return best_rate(steps, actions.size)


if __name__ == "__main__":
    serve(simulate=simulate)
