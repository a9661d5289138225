"""Rows of a policy in the environment that it was trained in: what calibration sees, and what integers are compared on."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from pufferlib_core.backends.acting import HostPolicy
from pufferlib_core.checkpoint import Checkpoint
from pufferlib_core.data import handed_on
from pufferlib_core.errors import ConfigError, PufferError
from pufferlib_core.loops.api import policy_of
from pufferlib_core.loops.evaluate import trained_env
from pufferlib_core.loops.play import Player, play
from pufferlib_core.native import Array
from pufferlib_core.ops.distributions import kl
from pufferlib_core.policies import PolicySpec
from pufferlib_core.seeding import STREAM_EVAL_ENV
from pufferlib_core.spaces import fingerprint
from pufferlib_core.traits import EnvSpec
from pufferlib_core.vector import vectorize

ENVS = 16
EPISODES = 100
CALIBRATED, HELD_OUT, PLAYED = 0, 1, 2  # seeds


class Rollout(NamedTuple):
    """T steps of N rows, in order."""

    obs: Array  # (T, N, inputs), as the network reads them
    valid: Array  # bool (T, N): somebody acted
    ended: Array  # bool (T, N): an episode ended with the row
    cell: float  # the largest size of what the policy handed on, but for its outputs h: of c of an LSTM

    @property
    def rows(self) -> Array:
        """Observations on which somebody acted, (rows, inputs)."""
        return self.obs[self.valid]


def environment(checkpoint: Checkpoint, policy: PolicySpec, *, instead: str) -> EnvSpec:
    """That of a checkpoint, with its settings.

    Raises:
        ConfigError: if it cannot be made here, or has other spaces than the policy; it ends with what to do `instead`.
    """
    name = str(checkpoint.manifest["env"])
    try:
        env = trained_env(name, checkpoint)
    except PufferError as error:
        raise ConfigError(f"{name}, where the policy was trained, cannot be made here: {error}; {instead}") from error
    if fingerprint(*env.spaces) != policy.space_fingerprint:
        raise ConfigError(f"{name} has other spaces now than when the policy was trained: {instead}")
    return env


def rollout(
    checkpoint: Checkpoint, env: EnvSpec, spec: PolicySpec, *, rows: int, seed: int, greedy: bool = False, envs: int = ENVS
) -> Rollout:
    """At least `rows` rows of the policy as floats, on which somebody acted.

    Args:
        checkpoint: of the policy.
        env: its environment.
        spec: the policy.
        rows: of all environments together.
        seed: of environments and noise.
        greedy: take the most likely actions; sampled ones lead to more states.
        envs: rows side by side; with fewer each goes further into its episodes.
    """
    num_envs = max(1, envs // env.agents)
    vec = vectorize(env, num_envs=num_envs, threads=1, seed=seed, first_stream=STREAM_EVAL_ENV)
    obs, valid, ended, cell = [], [], [], 0.0
    first = spec.config.core_size if spec.config.core == "lstm" else spec.carry
    own = spec.carry // (2 if spec.config.separate else 1)
    try:
        step = vec.reset()
        player = Player(policy_of(checkpoint), vec, seed=seed, greedy=greedy)
        while rows > 0:
            seen = step.obs
            plain = seen.dtype == spec.tree.feature_dtype and seen.shape[1:] == (spec.tree.width,)
            obs.append(seen.copy() if plain else spec.tree.features(seen).copy())
            step = player.step(step)
            valid.append(step.valid != 0)
            rows -= int(valid[-1].sum())
            ended.append((step.terminated | step.truncated) != 0)
            if player.carry is not None and own > first:
                cell = max(cell, float(np.abs(player.carry[:, first:own]).max()))
    finally:
        vec.close()
    return Rollout(np.stack(obs), np.stack(valid), np.stack(ended), cell)


def compare(policy: HostPolicy, ours: HostPolicy, held_out: Rollout) -> dict[str, Any]:
    """How far `ours` is from a policy on the observations of a rollout; each has a memory of its own.

    Returns:
        Mean and largest divergence KL(policy || ours) of the distributions over actions, the share of rows whose most likely
        choices are the same (None: there are none), and the largest difference of the means of numbers (likewise).
    """
    spec, log_stds = policy.spec, (policy.log_std(), ours.log_std())
    carries = [np.zeros((held_out.obs.shape[1], spec.carry), np.float32) if spec.carry else None for _ in range(2)]
    divergences, agreed, apart = [], [], 0.0
    for obs, valid, ended in zip(held_out.obs, held_out.valid, held_out.ended, strict=True):
        heads = []
        for k, each in enumerate((policy, ours)):
            outputs, _, after = each.outputs(obs, carries[k])
            heads.append(outputs[valid].astype(np.float64))
            before = carries[k]
            if before is not None and after is not None:
                carries[k] = handed_on(before, after, ended, valid)
        divergences.append(kl(heads[0], heads[1], log_stds, spec.nvec, xp=np))
        agreed.append(_same_choices(heads[0], heads[1], spec.nvec))
        if spec.numbers and valid.any():
            apart = max(apart, float(np.abs(heads[0] - heads[1])[:, sum(spec.nvec) :].max()))
    found = np.concatenate(divergences)
    return {
        "rows": len(found),
        "kl_mean": float(found.mean()),
        "kl_max": float(found.max()),
        "greedy_agreement": float(np.concatenate(agreed).mean()) if spec.nvec else None,
        "number_difference_max": apart if spec.numbers else None,
    }


def _same_choices(some: Array, others: Array, nvec: tuple[int, ...]) -> Array:
    """Whether every choice is the same, bool (N,)."""
    same, first = np.ones(len(some), bool), 0
    for n in nvec:
        same &= some[:, first : first + n].argmax(axis=1) == others[:, first : first + n].argmax(axis=1)
        first += n
    return same


def returns(checkpoint: Checkpoint, ours: HostPolicy, env: EnvSpec) -> dict[str, float]:
    """Returns of the policy and of `ours` over whole episodes of most likely actions, in the same environments."""
    theirs, found = (
        play(policy, env, episodes=EPISODES, seed=PLAYED, greedy=True)["episode_return_mean"]
        for policy in (policy_of(checkpoint), ours)
    )
    return {"episodes": EPISODES, "float32": theirs, "int8": found, "difference": found - theirs}
