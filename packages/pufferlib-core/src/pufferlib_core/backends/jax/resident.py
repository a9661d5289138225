"""Environments beside the policy: a segment is collected by one compiled function, as csrc/rollout.c does it on the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from pufferlib_core.backends.jax.network import Net, Params, Read, Traced, preprocess
from pufferlib_core.collect import check_finite
from pufferlib_core.data import Segment
from pufferlib_core.ops.devices import Envs, advance, from_records, to_records
from pufferlib_core.ops.distributions import squash
from pufferlib_core.ops.noise import LOW, action_keys, action_words, sampled
from pufferlib_core.policies import PolicySpec
from pufferlib_core.traits import DeviceEnv, EnvSpec
from pufferlib_core.vector import VecEnv
from pufferlib_core.vector.base import choices_of, numbers_of


class Scene(NamedTuple):
    """What a segment begins with."""

    envs: Envs
    obs: Traced  # (N, width)
    carry: Traced | None  # what the policy has handed on, (N, C)


class Rows(NamedTuple):
    """Planes of a segment on the device, (T, N, ...)."""

    features: Traced
    choices: Traced | None
    numbers: Traced | None
    logprob: Traced
    value: Traced
    next_value: Traced
    reward: Traced
    terminated: Traced
    truncated: Traced
    episode_return: Traced
    episode_length: Traced
    final_obs: Traced  # before any reset


def collector(rules: DeviceEnv, env: EnvSpec, spec: PolicySpec, network: Net, steps: int) -> Callable[..., tuple[Scene, Rows]]:
    """The function of (params, read, scene, keys, first_step) that collects `steps` steps.

    Args:
        rules: of the environment.
        env: the same, as it is on the host.
        spec: the policy.
        network: likewise.
        steps: T.
    """
    single = env.action_space.shape == ()  # actions of one choice are (N,)
    limit, bounds = env.max_episode_steps, spec.squash_bounds

    def collect(params: Params, read: Read, scene: Scene, keys: tuple[Traced, Traced], first_step: Traced) -> Any:
        rows = jnp.arange(len(scene.obs), dtype=jnp.uint32)
        times = first_step + jnp.arange(steps, dtype=jnp.uint32)
        noise = jnp.moveaxis(action_words(keys, rows[None], times[:, None], xp=jnp), 1, 0)  # (T, 2 * components, N)

        def values(features: Traced, carry: Traced | None) -> Traced:
            return network.step(params, preprocess(read, features), carry)[1]

        def step(now: Scene, words: Traced) -> tuple[Scene, Any]:
            heads, value, after = network.step(params, preprocess(read, now.obs), now.carry)
            choices, numbers, logprob = sampled(heads, network.log_std(params), spec.nvec, words, xp=jnp)
            if choices is None:
                action = numbers if bounds is None else squash(numbers, *bounds, xp=jnp)
            else:
                action = choices[:, 0] if single else choices
            envs, caused = advance(rules, now.envs, action, limit, xp=jnp)
            ended = caused.terminated | caused.truncated
            carry = None if after is None else jnp.where(ended[:, None], 0.0, after)
            return Scene(envs, caused.obs, carry), ((now.obs, choices, numbers, logprob, value), caused, after)

        last, ((obs, choices, numbers, logprob, value), caused, after) = lax.scan(step, scene, noise)
        end = values(last.obs, last.carry)
        following = jnp.concatenate([value[1:], end[None]])
        next_value = jnp.where(caused.terminated, 0.0, following)
        if limit:
            # Within T steps an environment reaches its limit so often at most: a batch of known size for the network.
            most = -(-steps // limit) * len(rows)
            flat = jax.tree.map(lambda plane: plane.reshape(steps * len(rows), -1), (caused.final_obs, after))
            cut = (caused.truncated & ~caused.terminated).reshape(-1)
            at = jnp.flatnonzero(cut, size=most, fill_value=steps * len(rows))
            reached = values(*jax.tree.map(lambda plane: plane.at[at].get(mode="clip"), flat))
            next_value = next_value.reshape(-1).at[at].set(reached, mode="drop").reshape(next_value.shape)
        made = Rows(
            obs, choices, numbers, logprob, value, next_value, caused.reward, caused.terminated, caused.truncated,
            caused.episode_return, caused.episode_length, caused.final_obs,
        )  # fmt: skip
        return last, made

    return collect


class Resident:
    """Environments that live on a device, with the `NativeVec` that they were taken from and go back to.

    Args:
        vec: the environments on the host.
        spec: the policy.
        network: likewise.
        device: where they live.
        seed: of the noise of actions.
        steps: of a segment.
    """

    def __init__(self, vec: VecEnv, spec: PolicySpec, network: Net, device: Any, seed: int, steps: int) -> None:
        assert vec.spec.device is not None  # `backends.jax.check` has seen to it
        self.vec, self._device, self._seed = vec, device, seed
        self._rules = vec.spec.device()
        self._spec = spec
        self.collector = collector(self._rules, vec.spec, spec, network, steps)
        self._collect = jax.jit(self.collector)
        self.scene: Scene | None = None

    def enter(self, segment: Segment) -> Scene:
        """What the next segment begins with; the environments move to the device if they are not there."""
        if self.scene is None:
            carry = None if segment.carry is None else segment.carry[0].copy()
            scene = Scene(from_records(self._rules, self.vec.state()["records"]), segment.features[0].copy(), carry)
            self.scene = jax.device_put(scene, self._device)
        return self.scene

    def leave(self) -> None:
        """Brings the environments of the host up to date."""
        if self.scene is not None:
            records, obs = to_records(self._rules, self.scene.envs), np.array(self.scene.obs)
            self.vec.set_state({"records": records, "obs": obs.reshape(self.vec.latest.obs.shape)})

    def noise(self, first_step: int) -> tuple[Any, np.uint32]:
        """Keys of the noise of actions from a step on, and the low word of that step."""
        components = len(self._spec.nvec) + self._spec.numbers
        return action_keys(self._seed, components, first_step, xp=np), np.uint32(first_step & LOW)

    def collect(self, params: Params, read: Read, segment: Segment, first_step: int) -> int:
        """Fills a segment; returns the episodes that ended."""
        self.scene, rows = self._collect(params, read, self.enter(segment), *self.noise(first_step))
        finished = write(rows, self.scene, segment)
        refuse(segment, self.vec.spec.name, first_step)
        return finished


def write_ends(rows: Rows, after: Scene, segment: Segment) -> int:
    """Copies what the host needs in any case: ends of episodes and their statistics, and what the next segment begins with."""
    for name in ("terminated", "truncated"):
        getattr(segment, name)[...] = getattr(rows, name)
    for name in ("episode_return", "episode_length"):
        segment.log[name] = getattr(rows, name)
    segment.features[-1] = after.obs
    if segment.carry is not None:
        segment.carry[1] = after.carry
    return int(np.count_nonzero(segment.terminated | segment.truncated))


def write(rows: Rows, after: Scene, segment: Segment) -> int:
    """Copies what was collected into a segment; returns the episodes that ended."""
    for name in ("logprob", "value", "next_value", "reward"):
        getattr(segment, name)[...] = getattr(rows, name)
    segment.features[:-1] = rows.features
    if rows.choices is not None:
        choices = choices_of(segment.action)
        choices[...] = np.asarray(rows.choices).reshape(choices.shape)
    if rows.numbers is not None:
        numbers_of(segment.action)[...] = rows.numbers
    segment.cost.fill(0)
    segment.valid.fill(1)
    finished = write_ends(rows, after, segment)
    where = np.argwhere((segment.terminated | segment.truncated) != 0)
    final = np.asarray(rows.final_obs)[tuple(where.T)]
    segment.final_obs.reshape(segment.envs, -1)[where[:, 1]] = final  # later rows overwrite earlier ones
    return finished


def refuse(segment: Segment, name: str, first_step: int) -> None:
    """Refuses NaN and infinity as `pufferlib_core.collect` does.

    Raises:
        NonFiniteError: saying where.
    """
    if np.isfinite(segment.features[:-1]).all() and np.isfinite(segment.reward).all():
        return
    for t in range(segment.steps):
        check_finite(segment.features[t], "observation", name, 0, t, first_step)
        check_finite(segment.reward[t], "reward", name, 0, t, first_step)
