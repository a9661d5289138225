"""Proximal policy optimisation (Schulman et al. 2017, arXiv 1707.06347). docs/ppo.md has the equations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pufferlib_core.algorithms import AlgorithmSpec
from pufferlib_core.config import option
from pufferlib_core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class PPOConfig:
    """Settings of PPO."""

    horizon: int = option(32, "steps of each environment between updates", low=1)
    epochs: int = option(4, "passes over a segment in an update", low=1)
    minibatch: int = option(512, "rows of a gradient step; divides num_envs * horizon", low=1)
    learning_rate: float = option(3e-4, "of Adam, at the start", low=0.0)
    schedule: str = option("linear", "of the learning rate, to 0 at the end", choices=("constant", "linear", "cosine"))
    gamma: float = option(0.99, "discount of the next step's value", low=0.0, high=1.0)
    lam: float = option(0.95, "decay of the advantage trace (lambda of GAE)", low=0.0, high=1.0)
    clip: float = option(0.2, "surrogate ratio is kept in [1 - clip, 1 + clip]", low=1e-6, high=100.0)
    value_clip: float = option(0.0, "how far a value may move in an update, in units of value; 0: any", low=0.0)
    dual_clip: float = option(0.0, "above 1: bounds the objective where the advantage is negative; 0: off", low=0.0)
    value_coef: float = option(0.5, "weight of the value loss 0.5 (value - target)^2", low=0.0)
    entropy_coef: float = option(0.0, "weight of the entropy bonus", low=0.0)
    normalize_advantage: bool = option(True, "per minibatch: subtract the mean, divide by the population deviation")
    normalize_return: bool = option(False, "divide rewards by the running deviation of the discounted return")
    target_kl: float = option(0.0, "an update stops before the step of a minibatch beyond it; 0: never", low=0.0)
    max_grad_norm: float = option(0.5, "the gradient is scaled down to this global norm; 0: never", low=0.0)
    beta1: float = option(0.9, "of Adam", low=0.0, high=0.9999999)
    beta2: float = option(0.999, "of Adam", low=0.0, high=0.9999999)
    epsilon: float = option(1e-5, "of Adam", low=1e-12)
    weight_decay: float = option(0.0, "decoupled: parameters shrink by learning_rate * weight_decay a step", low=0.0)


def check_config(config: PPOConfig, num_envs: int) -> None:
    """Refuses settings that contradict each other.

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
    if 0.0 < config.dual_clip <= 1.0:
        raise ConfigError(f"ppo.dual_clip={config.dual_clip} must be above 1, or 0 for none")
    if rows >= 1 << 31:
        raise ConfigError(f"num_envs * ppo.horizon = {rows} rows must be below 2^31")


def _make(backend: Any, *args: Any, **kwargs: Any) -> Any:
    return backend.make_ppo(*args, **kwargs)


SPEC = AlgorithmSpec(
    name="ppo",
    config=PPOConfig,
    capability="ppo.update",
    make=_make,
    check=check_config,
    description="proximal policy optimisation, clipped",
)
