"""PPO in JAX in the manner of PureJaxRL: environments, collection and updates in one compiled function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax_cartpole
import numpy as np
import optax
from common import Clock, Returns, serve

UPDATES_PER_CALL = 8  # when only the speed is measured; 1 when a run stops at its goal


class State(NamedTuple):
    """Everything a run changes."""

    params: Any
    optimizer: Any
    envs: jax_cartpole.Envs
    key: jax.Array


class Rows(NamedTuple):
    """Steps of environments."""

    obs: jax.Array
    action: jax.Array
    logprob: jax.Array
    value: jax.Array
    reward: jax.Array
    done: jax.Array


def initial_network(key: jax.Array, outputs: int, gain: float) -> list[tuple[jax.Array, jax.Array]]:
    """Weights of a 64x64 network, orthogonal."""
    sizes, gains = ((4, 64), (64, 64), (64, outputs)), (2**0.5, 2**0.5, gain)
    keys = jax.random.split(key, 3)
    return [(jax.nn.initializers.orthogonal(g)(k, s), jnp.zeros(s[1])) for k, s, g in zip(keys, sizes, gains, strict=True)]


def initial_state(settings: dict[str, Any], optimizer: optax.GradientTransformation, key: jax.Array) -> State:
    """A run before its first update."""
    key, actor, critic, envs = jax.random.split(key, 4)
    params = {"actor": initial_network(actor, 2, 0.01), "critic": initial_network(critic, 1, 1.0)}
    return State(params, optimizer.init(params), jax_cartpole.reset(settings["num_envs"], envs), key)


def forward(layers: list[tuple[jax.Array, jax.Array]], rows: jax.Array) -> jax.Array:
    """Output of a network with tanh in its hidden layers."""
    for weight, bias in layers[:-1]:
        rows = jnp.tanh(rows @ weight + bias)
    weight, bias = layers[-1]
    return rows @ weight + bias


def logprob_of(logits: jax.Array, action: jax.Array) -> jax.Array:
    """Log-probability of the actions."""
    return jnp.take_along_axis(jax.nn.log_softmax(logits), action[..., None], axis=-1)[..., 0]


def loss(params: Any, rows: Rows, advantage: jax.Array) -> jax.Array:
    """Clipped surrogate and half the squared error of the value, weighted 0.5."""
    ratio = jnp.exp(logprob_of(forward(params["actor"], rows.obs), rows.action) - rows.logprob)
    scaled = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    surrogate = jnp.minimum(ratio * scaled, ratio.clip(0.8, 1.2) * scaled)
    error = forward(params["critic"], rows.obs)[..., 0] - (advantage + rows.value)
    return 0.25 * jnp.square(error).mean() - surrogate.mean()


def advantages(rows: Rows, last_value: jax.Array, gamma: float, lam: float) -> jax.Array:
    """Generalized advantages; an episode that reached its limit of steps counts as terminated, as in PureJaxRL."""

    def back(carry: tuple[jax.Array, jax.Array], row: Rows) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        advantage, after = carry
        going = 1.0 - row.done
        advantage = row.reward + gamma * going * after - row.value + gamma * lam * going * advantage
        return (advantage, row.value), advantage

    return jax.lax.scan(back, (jnp.zeros_like(last_value), last_value), rows, reverse=True)[1]


def update_of(settings: dict[str, Any], optimizer: optax.GradientTransformation) -> Callable[[State, None], tuple[State, Any]]:
    """The function that collects a segment, learns from it and tells rewards and ends of episodes."""
    batch = settings["num_envs"] * settings["horizon"]

    def act(carry: tuple[Any, jax_cartpole.Envs], key: jax.Array) -> tuple[tuple[Any, jax_cartpole.Envs], Rows]:
        params, envs = carry
        logits, value = forward(params["actor"], envs.obs), forward(params["critic"], envs.obs)[..., 0]
        action = jax.random.categorical(key, logits)
        after, row = jax_cartpole.step(envs, action)
        rows = Rows(envs.obs, action, logprob_of(logits, action), value, row.reward, row.terminated | row.truncated)
        return (params, after), rows

    def learn(carry: tuple[Any, Any], part: tuple[Rows, jax.Array]) -> tuple[tuple[Any, Any], None]:
        params, moments = carry
        change, moments = optimizer.update(jax.grad(loss)(params, *part), moments)
        return (optax.apply_updates(params, change), moments), None

    def update(state: State, _: None) -> tuple[State, Any]:
        key, play, mix = jax.random.split(state.key, 3)
        (_, envs), rows = jax.lax.scan(act, (state.params, state.envs), jax.random.split(play, settings["horizon"]))
        last_value = forward(state.params["critic"], envs.obs)[..., 0]
        data = (rows, advantages(rows, last_value, settings["gamma"], settings["lam"]))

        def epoch(carry: tuple[Any, Any], key: jax.Array) -> tuple[tuple[Any, Any], None]:
            order = jax.random.permutation(key, batch).reshape(-1, settings["minibatch"])
            parts = jax.tree.map(lambda x: x.reshape(batch, *x.shape[2:])[order], data)
            return jax.lax.scan(learn, carry, parts)

        keys = jax.random.split(mix, settings["epochs"])
        (params, moments), _ = jax.lax.scan(epoch, (state.params, state.optimizer), keys)
        return State(params, moments, envs, key), (rows.reward, rows.done)

    return update


def ppo(settings: dict[str, Any], cores: int, seed: int, seconds: float, to_goal: bool) -> dict[str, Any]:
    """Trains on CPU; the learning rate falls linearly to 0. The clock starts after compilation."""
    clock, returns = Clock(seconds, to_goal), Returns(settings["num_envs"])
    batch, calls = settings["num_envs"] * settings["horizon"], 1 if to_goal else UPDATES_PER_CALL
    rate = optax.linear_schedule(
        settings["learning_rate"], 0, settings["timesteps"] // settings["minibatch"] * settings["epochs"]
    )
    optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(rate, eps=1e-5))
    state = jax.jit(lambda key: initial_state(settings, optimizer, key))(jax.random.key(seed))
    update = update_of(settings, optimizer)
    train = jax.jit(lambda s: jax.lax.scan(update, s, length=calls), donate_argnums=0).lower(state).compile()
    clock.start()
    for steps in range(0, settings["timesteps"], batch * calls):
        state, told = train(state)
        for reward, done in zip(*(np.asarray(x).reshape(-1, settings["num_envs"]) for x in told), strict=True):
            returns.add(reward, done)
        if clock.update(steps + batch * calls, returns.mean):
            break
    return clock.result()


if __name__ == "__main__":
    serve(ppo=ppo)
