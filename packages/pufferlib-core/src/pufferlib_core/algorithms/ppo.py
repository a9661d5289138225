"""Proximal policy optimisation (Schulman et al. 2017, arXiv 1707.06347). docs/algorithms/ppo.md has the equations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import array_api_compat.numpy as xp
import numpy as np

from pufferlib_core.algorithms import AlgorithmSpec, State
from pufferlib_core.collect import outputs, valued
from pufferlib_core.config import option
from pufferlib_core.data import Segment
from pufferlib_core.errors import ConfigError
from pufferlib_core.native import MOST_ROWS, Array, gae, lib, prioritized, vtrace
from pufferlib_core.ops.distributions import kl, mixed
from pufferlib_core.ops.normalize import Moments
from pufferlib_core.ops.ppo import Coefficients
from pufferlib_core.ops.returns import discounted_row
from pufferlib_core.ops.turns import OwnTurns, settle
from pufferlib_core.policies import PolicyConfig, PolicySpec
from pufferlib_core.vector.base import choices_of, numbers_of

SCHEDULES = ("constant", "linear", "cosine")
Planes = tuple[Array, Array, Array]  # next_value, terminated, truncated


@dataclass(frozen=True, kw_only=True)
class PPOConfig:
    """Settings of PPO."""

    horizon: int = option(32, "steps of each environment between updates", low=1)
    epochs: int = option(4, "passes over a segment in an update", low=1)
    minibatch: int = option(512, "rows of a gradient step; divides num_envs * horizon", low=1)
    optimizer: str = option(
        "adam", "adam (with weight_decay: AdamW), or muon, for hidden layers, with adam for the rest", choices=("adam", "muon")
    )
    learning_rate: float = option(3e-4, "of the optimizer, at the start", low=0.0)
    schedule: str = option("linear", "of the learning rate, to 0 at the end", choices=SCHEDULES)
    gamma: float = option(0.99, "discount of the next step's value", low=0.0, high=1.0)
    lam: float = option(0.95, "decay of the advantage trace (lambda of GAE)", low=0.0, high=1.0)
    advantage: str = option("gae", "estimator of advantages and value targets", choices=("gae", "vtrace"))
    rho_clip: float = option(1.0, "vtrace: bound of the importance ratio of a temporal difference", low=0.0)
    c_clip: float = option(1.0, "vtrace: bound of the importance ratio of the trace", low=0.0)
    clip: float = option(0.2, "surrogate ratio is kept in [1 - clip, 1 + clip]", low=1e-6, high=100.0)
    clip_schedule: str = option("constant", "of clip, to 0 at the end", choices=SCHEDULES)
    value_clip: float = option(0.0, "how far a value may move in an update, in units of value; 0: any", low=0.0)
    dual_clip: float = option(0.0, "above 1: bounds the objective where the advantage is negative; 0: off", low=0.0)
    value_coef: float = option(0.5, "weight of the value loss 0.5 (value - target)^2", low=0.0)
    entropy_coef: float = option(0.0, "weight of the entropy bonus", low=0.0)
    entropy_schedule: str = option("constant", "of entropy_coef, to 0 at the end", choices=SCHEDULES)
    kl_coef: float = option(0.0, "weight of a penalty on the divergence from the policy that collected, at the start", low=0.0)
    kl_target: float = option(0.0, "divergence of an update to which kl_coef adapts itself; 0: it stays", low=0.0)
    prioritize: float = option(
        0.0, "draw environments by advantage to this power (alpha); 0: take each once", low=0.0, high=100.0
    )
    priority_beta: float = option(0.4, "correction for that draw at the start; it is full (1) at the end", low=0.0, high=1.0)
    normalize_advantage: bool = option(True, "per minibatch: subtract the mean, divide by the population deviation")
    normalize_return: bool = option(False, "divide rewards by the running deviation of the discounted return")
    target_kl: float = option(0.0, "an update stops before the step of a minibatch beyond it; 0: never", low=0.0)
    max_grad_norm: float = option(0.5, "the gradient is scaled down to this global norm; 0: never", low=0.0)
    beta1: float = option(0.9, "of Adam", low=0.0, high=0.9999999)
    beta2: float = option(0.999, "of Adam", low=0.0, high=0.9999999)
    epsilon: float = option(1e-5, "of Adam", low=1e-12)
    momentum: float = option(0.95, "of Muon", low=0.0, high=0.9999999)
    weight_decay: float = option(0.0, "decoupled: parameters shrink by learning_rate * weight_decay a step", low=0.0)


def check_config(config: PPOConfig, policy: PolicyConfig, num_envs: int) -> None:
    """Refuses settings that contradict each other; `num_envs` are rows, one for each agent.

    Raises:
        ConfigError: naming the rule and the nearest legal value.
    """
    rows = config.horizon * num_envs
    if rows % config.minibatch:
        divisors = [d for d in range(1, min(rows, 1 << 20) + 1) if rows % d == 0]
        near = min(divisors, key=lambda d: abs(d - config.minibatch))
        raise ConfigError(
            f"ppo.minibatch={config.minibatch} does not divide num_envs * horizon = {rows}; nearest that does: {near}"
        )
    if policy.core != "none" and config.minibatch % config.horizon:
        raise ConfigError(
            f"ppo.minibatch={config.minibatch} must hold whole sequences of ppo.horizon={config.horizon} steps, because "
            f"policy.core={policy.core}: choose a multiple"
        )
    if config.prioritize and config.minibatch % config.horizon:
        raise ConfigError(
            f"ppo.minibatch={config.minibatch} must hold whole sequences of ppo.horizon={config.horizon} steps, because "
            f"ppo.prioritize={config.prioritize} draws environments: choose a multiple"
        )
    if config.kl_target and not config.kl_coef:
        raise ConfigError(f"ppo.kl_target={config.kl_target} adapts ppo.kl_coef, which is 0: begin with 0.2, say")
    if 0.0 < config.dual_clip <= 1.0:
        raise ConfigError(f"ppo.dual_clip={config.dual_clip} must be above 1, or 0 for none")
    if config.optimizer == "muon" and policy.module:
        raise ConfigError(
            f"ppo.optimizer=muon serves hidden layers, and which of a module's these are is not known: choose adam for "
            f"policy.module={policy.module}"
        )
    if 0.0 < config.prioritize < 1e-6:
        raise ConfigError(f"ppo.prioritize={config.prioritize} must be at least 1e-6, or 0 for none")
    if config.prioritize and rows * config.epochs > MOST_ROWS:
        raise ConfigError(f"ppo.epochs={config.epochs} of {rows} rows by priority must be at most {MOST_ROWS // rows}")
    if rows >= 1 << 31:
        raise ConfigError(f"num_envs * ppo.horizon = {rows} rows must be below 2^31")


def synchronous(config: PPOConfig) -> str:
    """Why these settings learn only from what the current policy collected; empty: they learn from older ones', too."""
    if config.advantage == "vtrace":
        return ""
    return f"ppo.advantage={config.advantage} takes what an older policy did for the current one's: set it to vtrace"


def init(engine: Any, spec: PolicySpec, config: PPOConfig, *, num_envs: int, seed: int) -> State:
    """The state of a new run: parameters and the optimiser's (the engine's memory), normalisers, counter of updates."""
    state: State = engine.tensors(seed) | {"updates": np.zeros(1, np.int64)}
    if spec.config.normalize_obs:
        state |= Moments.empty(spec.tree.width).arrays("obs_norm/")
    if config.normalize_return:
        state |= Moments.empty(1).arrays("return_norm/") | {"return_norm/running": np.zeros(num_envs)}
    if config.kl_coef:
        state["kl_coef"] = np.array([config.kl_coef])
    return state


def discounted(reward: Array, ended: Array, running: Array, gamma: float | Array) -> tuple[Array, Array]:
    """Discounted sums of past rewards, what `normalize_return` measures: float64 (T, N), and the sums to go on with (N,).

    `gamma` may differ between rows (T, N).
    """
    sums = np.empty(reward.shape)
    decay = np.broadcast_to(gamma, reward.shape)
    for t in range(len(reward)):
        sums[t], running = discounted_row(running, reward[t], ended[t], decay[t], xp=np)
    return sums, running


def observe_segment(state: State, segment: Segment, config: PPOConfig) -> State:
    """What the normalisers learn from a segment; only valid rows count."""
    new = dict(state)
    valid = segment.valid.ravel() != 0
    if "obs_norm/mean" in state:
        rows = segment.features[:-1].reshape(segment.rows, -1)
        new |= Moments.of(state, "obs_norm/").merged(rows if valid.all() else rows[valid]).arrays("obs_norm/")
    if "return_norm/mean" in state:
        ended = (segment.terminated | segment.truncated) != 0
        reward = segment.reward
        gamma: float | Array = config.gamma
        if segment.turns:  # what a turn leads to counts with it, and time passes with turns
            reward = settle(reward, segment.next_value, segment.terminated, segment.truncated, segment.valid).reward
            gamma = np.where(segment.valid != 0, gamma, 1.0)
        sums, new["return_norm/running"] = discounted(reward, ended, state["return_norm/running"], gamma)
        new |= Moments.of(state, "return_norm/").merged(sums.reshape(-1, 1)[valid]).arrays("return_norm/")
    return new


def targets(
    state: State, segment: Segment, config: PPOConfig, *, behaviour: Array | None = None, pool: Any = None
) -> dict[str, Array]:
    """Advantages and value targets of a segment, float32 (T, N) each.

    reward' = reward / deviation of the discounted return  (if `normalize_return`)
    gae:    target = advantage + value
    vtrace: target and advantage of equation 1 of arXiv 1802.01561

    Args:
        state: of the run.
        segment: log-probabilities and values of the policy to be learnt.
        config: of the algorithm.
        behaviour: vtrace: log-probabilities of the policy that collected, float32 (T, N); None: it is the one to be learnt.
        pool: threads.
    """
    logprobs = segment.logprob if behaviour is None else behaviour, segment.logprob
    reward = segment.reward
    if "return_norm/mean" in state:
        reward = reward * np.float32(Moments.of(state, "return_norm/").scale()[0])
    after = segment.next_value, segment.terminated, segment.truncated
    if not segment.turns:
        return _estimate(reward, logprobs, segment.value, after, config, pool)
    turns, settled = OwnTurns.of(segment.valid), settle(reward, *after, segment.valid)
    earned, next_value, terminated, truncated = (turns.gather(plane) for plane in settled)
    old, new, value = (turns.gather(plane) for plane in (*logprobs, segment.value))
    found = _estimate(earned, (old, new), value, (next_value, terminated, truncated), config, pool)
    return {name: turns.scatter(plane, segment.steps) for name, plane in found.items()}


def _estimate(
    reward: Array, logprobs: tuple[Array, Array], value: Array, after: Planes, config: PPOConfig, pool: Any
) -> dict[str, Array]:
    """Advantages and value targets of rows that follow each other."""
    if config.advantage == "gae":
        advantage = gae(reward, value, *after, gamma=config.gamma, lam=config.lam, pool=pool)
        return {"advantage": advantage, "target": advantage + value}
    target, advantage = vtrace(
        *logprobs, reward, value, *after,
        gamma=config.gamma, lam=config.lam, rho_clip=config.rho_clip, c_clip=config.c_clip,
    )  # fmt: skip
    return {"advantage": advantage, "target": target}


def coefficients(state: State, config: PPOConfig, fraction: float) -> Coefficients:
    """Those of the loss and its descent when `fraction` of the run is done."""
    return Coefficients(
        rate=_scheduled(config.schedule, config.learning_rate, fraction),
        clip=_scheduled(config.clip_schedule, config.clip, fraction),
        entropy=_scheduled(config.entropy_schedule, config.entropy_coef, fraction),
        kl=float(state["kl_coef"][0]) if "kl_coef" in state else 0.0,
    )


def _scheduled(name: str, start: float, fraction: float) -> float:
    kind = {"constant": lib.PUF_CONSTANT, "linear": lib.PUF_LINEAR, "cosine": lib.PUF_COSINE}[name]
    return float(lib.puf_schedule(kind, start, 0.0, fraction))


def adapted(kl_coef: float, divergence: float, target: float) -> float:
    """The penalty's weight after an update: half where it moved too little, twice where it moved too far (section 4)."""
    if divergence < target / 1.5:
        return kl_coef / 2
    return kl_coef * 2 if divergence > target * 1.5 else kl_coef


def appraised(policy: Any, heads: Array, value: Array, segment: Segment) -> Segment:
    """What another policy collected, with log-probabilities and values of this one; the former only in valid rows.

    Args:
        policy: of any back end.
        heads: what `outputs` gives for it, (T, N, logits).
        value: likewise, (T + 1, N).
        segment: as it was collected.
    """
    spec: PolicySpec = policy.spec
    kept = segment.valid != 0
    mask = None if segment.action_mask is None else segment.action_mask[:-1][kept]
    action = segment.action[kept]
    choices = choices_of(action).reshape(len(action), -1) if spec.nvec else None
    numbers = numbers_of(action).reshape(len(action), -1) if spec.numbers else None
    logprob = segment.logprob.copy()
    logprob[kept] = mixed(heads[kept], policy.log_std(), choices, numbers, spec.nvec, mask, xp=xp)[0]
    return replace(valued(segment, value), logprob=logprob)


def divergence(policy: Any, before: Array, log_std: Array | None, segment: Segment) -> float:
    """Mean divergence of the policy from what it was before an update, exact, over the valid rows of a segment."""
    spec: PolicySpec = policy.spec
    now, _ = outputs(policy, segment)
    mask = None if segment.action_mask is None else segment.action_mask[:-1].reshape(segment.rows, -1)
    kept = segment.valid.reshape(-1) != 0
    old, new = (heads.reshape(segment.rows, -1)[kept] for heads in (before, now))
    mask = None if mask is None else mask[kept]
    return float(np.mean(kl(old, new, (log_std, policy.log_std()), spec.nvec, mask, xp=xp)))


def minibatches(
    advantage: Array, segment: Segment, config: PPOConfig, *, memory: bool, fraction: float, seed: int, update: int
) -> dict[str, Array]:
    """What `Engine.descend` takes, by priority: `order` and `importance`; empty if `prioritize` is 0."""
    if not config.prioritize:
        return {}
    order, weights = prioritized(
        advantage, segment.valid, alpha=config.prioritize,
        beta=config.priority_beta + (1 - config.priority_beta) * fraction,
        epochs=config.epochs, minibatch=config.minibatch, memory=memory, seed=seed, update=update,
    )  # fmt: skip
    return {"order": order, "importance": weights}


def explained_variance(target: Array, value: Array, valid: Array) -> float:
    """1 - var(target - value) / var(target) over valid rows; 0 where the target does not vary."""
    if not valid.all():
        target, value = target[valid != 0], value[valid != 0]
    return _explained((target - value).var(), target.var()) if target.size else 0.0


def _explained(left: Any, spread: Any) -> float:
    """The part of a variance `spread` of which `left` is left."""
    return 1.0 - float(left) / float(spread) if spread > 0 else 0.0


def prepare(engine: Any, state: State, config: PPOConfig, *, fraction: float) -> None:
    """Tells an engine that collects and learns in one call (`Engine.whole`) of the update to come, before it collects."""
    if engine.whole:
        engine.expect(state, coefficients=coefficients(state, config, fraction), update=int(state["updates"][0]))


def learnt_already(state: State, learnt: Any, segment: Segment) -> tuple[State, dict[str, float], float]:
    """What an engine has learnt in one call: the state with the statistics of the segment, losses, explained variance."""
    new = dict(state)
    for prefix, batch in (("obs_norm/", learnt.obs), ("return_norm/", learnt.returns)):
        if batch is not None:
            mean, var = (np.atleast_1d(np.asarray(moment, np.float64)) for moment in batch)
            new |= Moments.of(state, prefix).joined(Moments(mean, var, float(segment.rows))).arrays(prefix)
    if learnt.running is not None:
        new["return_norm/running"] = np.asarray(learnt.running, np.float64)
    return new, learnt.losses, _explained(*learnt.spread)


def update(
    engine: Any, state: State, segment: Segment, config: PPOConfig, *, fraction: float
) -> tuple[State, dict[str, float]]:
    """Learns from a segment: targets, then epochs of minibatches by the engine.

    Args:
        engine: of the back end.
        state: of the run.
        segment: what the current policy collected; with vtrace also what one from before some updates did.
        config: of the algorithm.
        fraction: the part of the run that is done, for schedules.

    Returns:
        The new state, whose parameters and moments share the memory of the old one, and the metrics
        of docs/algorithms/ppo.md.

    Raises:
        NonFiniteError: if the loss or its gradient is not finite; the offending step was not taken.
    """
    weights = coefficients(state, config, fraction)
    lagging = config.advantage == "vtrace" and bool((segment.version != state["updates"]).any())
    made = outputs(engine.policy, segment) if lagging or config.kl_target else None
    behaviour = None
    if made is not None and lagging:  # the surrogate's ratio, too, is that to the policy before this update
        behaviour, segment = segment.logprob, appraised(engine.policy, *made, segment)
    before = (made[0], engine.policy.log_std()) if made is not None and config.kl_target else None
    learnt = engine.learnt() if engine.whole else None
    if learnt is None:
        new, losses, explained = _learn(engine, state, segment, config, weights, fraction, behaviour)
    else:
        new, losses, explained = learnt_already(state, learnt, segment)
    new["updates"] = state["updates"] + 1
    metrics = {f"losses/{name}": value for name, value in losses.items()}
    if before is not None:
        engine.load(state)  # the same statistics of observations as before
        moved = divergence(engine.policy, *before, segment)
        new["kl_coef"] = np.array([adapted(weights.kl, moved, config.kl_target)])
        metrics["losses/divergence"] = moved
    engine.load(new)
    metrics["losses/explained_variance"] = explained
    metrics["schedule/learning_rate"] = weights.rate
    metrics["schedule/gradient_steps"] = float(new["adam/step"][0])
    scheduled = {"clip": config.clip_schedule, "entropy_coef": config.entropy_schedule}
    values = {"clip": weights.clip, "entropy_coef": weights.entropy, "kl_coef": weights.kl}
    metrics |= {f"schedule/{name}": values[name] for name, kind in scheduled.items() if kind != "constant"}
    if config.kl_coef:
        metrics["schedule/kl_coef"] = weights.kl
    return new, metrics


def _learn(
    engine: Any, state: State, segment: Segment, config: PPOConfig, weights: Coefficients, fraction: float,
    behaviour: Array | None,
) -> tuple[State, dict[str, float], float]:  # fmt: skip
    """Targets and epochs of minibatches: the state with the statistics of the segment, losses, explained variance."""
    new, number = observe_segment(state, segment, config), int(state["updates"][0])
    goals = targets(new, segment, config, behaviour=behaviour, pool=engine.pool)
    spec: PolicySpec = engine.policy.spec
    drawn = minibatches(
        goals["advantage"], segment, config, memory=spec.carry > 0, fraction=fraction, seed=engine.seed, update=number
    )
    losses = engine.descend(segment, **goals, coefficients=weights, update=number, **drawn)
    return new, losses, explained_variance(goals["target"], segment.value, segment.valid)


SPEC = AlgorithmSpec(
    name="ppo",
    config=PPOConfig,
    capability="ppo.update",
    check=check_config,
    init=init,
    targets=targets,
    update=update,
    prepare=prepare,
    synchronous=synchronous,
    description="proximal policy optimisation, clipped",
)
