"""PPO by torch: the formulas of `ops`, torch's own gradients, AdamW."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import array_api_compat.torch as xp
import numpy as np
import torch
from torch import Tensor

from pufferlib_core.backends.acting import minibatch_order
from pufferlib_core.backends.params import initial_params, join_params, named, views
from pufferlib_core.backends.torch import TorchConfig
from pufferlib_core.backends.torch.network import TorchPolicy, build
from pufferlib_core.collect import collect
from pufferlib_core.data import Segment, aligned_zeros
from pufferlib_core.errors import ConfigError, NonFiniteError
from pufferlib_core.native import Array, Pool
from pufferlib_core.ops.distributions import mixed
from pufferlib_core.ops.normalize import Moments
from pufferlib_core.ops.ppo import Coefficients, loss
from pufferlib_core.policies import PolicySpec
from pufferlib_core.vector import VecEnv
from pufferlib_core.vector.base import choices_of, numbers_of

if TYPE_CHECKING:
    from pufferlib_core.algorithms.ppo import PPOConfig

Rows = dict[str, Tensor]  # planes of a segment, (rows, ...), by name


def device_of(options: TorchConfig) -> torch.device:
    """The device of the settings.

    Raises:
        ConfigError: if it is not here.
    """
    try:
        device = torch.device(options.device)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"torch.device={options.device!r} is not here: {str(error).splitlines()[0]}") from error
    torch.set_num_threads(options.threads)
    return device


class TorchEngine:
    """Parameters, optimiser, collection and descent of one PPO run.

    Args:
        spec: the policy.
        config: of the algorithm.
        options: of the back end.
        num_envs: N; `config.horizon` * N rows make an update.
        seed: of all streams.
        pool: threads of the core, for what is computed there.
    """

    def __init__(
        self, spec: PolicySpec, config: PPOConfig, *, options: TorchConfig, num_envs: int, seed: int, pool: Pool
    ) -> None:
        self.spec, self.config, self.seed, self.pool = spec, config, seed, pool
        self.rows = config.horizon * num_envs
        self.device = device_of(options)
        self.inexact = "" if self.device.type == "cpu" else f"sums on {self.device} have no fixed order"
        self._flat = [aligned_zeros(spec.params, np.float32) for _ in range(3)]  # parameters, m, v
        self._adam_step = np.zeros(1, np.int64)
        self._state = named(spec, self._flat[0], self._flat[1], self._flat[2], self._adam_step)
        self.policy = TorchPolicy(spec, build(spec, views(spec, self._flat[0]), self.device), self.device)
        self._params = dict(self.policy.network.named_parameters())
        self._optimizer = torch.optim.AdamW(
            self._params.values(), betas=(config.beta1, config.beta2), eps=config.epsilon,
            weight_decay=config.weight_decay, fused=True,
        )  # fmt: skip
        self._loss = torch.compile(self._minibatch_loss) if options.compile else self._minibatch_loss

    def tensors(self, seed: int) -> dict[str, Array]:
        """Initial parameters and Adam's state by name: on the CPU the memory that torch works on."""
        self._flat[0][:] = initial_params(self.spec, seed)
        return self._state

    def push(self) -> None:
        """The arrays of `tensors` become what torch works on."""
        for name, parameter in self._params.items():
            parameter.data.copy_(torch.from_numpy(self._state[name]))
            moments = {
                key: torch.from_numpy(self._state[f"adam/{which}/{name}"]).to(self.device)
                for key, which in (("exp_avg", "m"), ("exp_avg_sq", "v"))
            }
            self._optimizer.state[parameter] = {"step": torch.tensor(float(self._adam_step[0]))} | moments

    def pull(self) -> None:
        """What torch works on becomes the arrays of `tensors`."""
        for name, parameter in self._params.items():
            moments = self._optimizer.state[parameter]
            for key, tensor in ((name, parameter.data), (f"adam/m/{name}", moments["exp_avg"]),
                                (f"adam/v/{name}", moments["exp_avg_sq"])):  # fmt: skip
                torch.from_numpy(self._state[key]).copy_(tensor)

    def load(self, state: Mapping[str, Array]) -> None:
        """Acts from now on with the observation statistics of `state`."""
        self.policy.preprocess.load(Moments.of(state, "obs_norm/") if self.spec.config.normalize_obs else None)

    def collect(self, vec: VecEnv, segment: Segment, first_step: int) -> int:
        """Fills a segment with sampled actions; returns how many episodes ended. See `pufferlib_core.collect`."""
        return collect(self.policy, vec, segment, seed=self.seed, first_step=first_step)

    def descend(
        self, segment: Segment, advantage: Array, target: Array, *, coefficients: Coefficients, update: int,
        order: Array | None = None, importance: Array | None = None,
    ) -> dict[str, float]:  # fmt: skip
        """See `Engine.descend`."""
        config, rows = self.config, self._load_rows(segment, advantage, target, importance)
        # As tensors: a compiled loss would be compiled anew for each number.
        weights = Coefficients(*(torch.tensor(weight, device=self.device) for weight in coefficients))
        valid = None if segment.valid.all() else torch.from_numpy(segment.valid.reshape(-1) != 0).to(self.device)
        for group in self._optimizer.param_groups:
            group["lr"] = coefficients.rate
        sums: dict[str, Tensor] = {}
        done, stopped = 0, False
        for epoch in range(config.epochs):
            taken = minibatch_order(self.seed, update, epoch, self.rows, config.minibatch) if order is None else order[epoch]
            for index in torch.from_numpy(taken).to(self.device).split(config.minibatch):
                if valid is not None:
                    index = index[valid[index]]
                metrics = self._gradient({name: plane[index] for name, plane in rows.items()}, weights)
                if not torch.isfinite(metrics["loss"] + metrics["grad_norm"]):
                    raise NonFiniteError(
                        f"ppo: NaN or infinity in the loss or its gradient, update {update}, "
                        f"minibatch {epoch * (self.rows // config.minibatch) + done}; the step was not taken"
                    )
                stopped = config.target_kl > 0 and bool(metrics["approx_kl"] > config.target_kl)
                if stopped:
                    break
                self._optimizer.step()
                self._adam_step += 1
                done += 1
                sums = {name: sums.get(name, 0) + metrics[name] for name in metrics if name != "loss"}
            if stopped:
                break
        names = ("policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction", "grad_norm")
        return {name: float(sums[name]) / done if done else 0.0 for name in names}

    def _load_rows(self, segment: Segment, advantage: Array, target: Array, importance: Array | None) -> Rows:
        """The planes of a segment on the device; features are normalised once."""
        flat: dict[str, Any] = {
            "old_logprob": segment.logprob.reshape(-1),
            "old_value": segment.value.reshape(-1),
            "advantage": advantage.reshape(-1),
            "target": target.reshape(-1),
        }
        if importance is not None:
            flat["importance"] = importance.reshape(-1)
        if self.spec.nvec:
            flat["choices"] = choices_of(segment.action).reshape(self.rows, -1)
        if self.spec.numbers:
            flat["numbers"] = numbers_of(segment.action).reshape(self.rows, -1)
        if segment.action_mask is not None:
            flat["action_mask"] = segment.action_mask[:-1].reshape(self.rows, -1)
        rows = {name: torch.from_numpy(plane).to(self.device) for name, plane in flat.items()}
        features = torch.from_numpy(segment.features[:-1].reshape(self.rows, -1)).to(self.device)
        return rows | {"features": self.policy.preprocess(features)}

    def _gradient(self, rows: Rows, weights: Coefficients) -> dict[str, Tensor]:
        """Loss, its parts and the gradient, whose norm is kept below the settings' bound."""
        self._optimizer.zero_grad()
        total, parts = self._loss(rows, weights)
        total.backward()
        gradients = [parameter.grad for parameter in self._params.values() if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        limit = self.config.max_grad_norm
        if limit > 0:
            torch._foreach_mul_(gradients, torch.clamp(limit / norm, max=1.0))
        return {name: part.detach() for name, part in parts.items()} | {"loss": total.detach(), "grad_norm": norm}

    def _minibatch_loss(self, rows: Rows, weights: Coefficients) -> tuple[Tensor, dict[str, Tensor]]:
        heads, value = self.policy.network(rows["features"])
        logprob, entropy = mixed(
            heads, self.policy.network.log_std, rows.get("choices"), rows.get("numbers"), self.spec.nvec,
            rows.get("action_mask"), xp=xp,
        )  # fmt: skip
        return loss(
            logprob, entropy, value, old_logprob=rows["old_logprob"], advantage=rows["advantage"], target=rows["target"],
            old_value=rows["old_value"], valid=None, config=self.config, coefficients=weights,
            importance=rows.get("importance"), xp=xp,
        )  # fmt: skip


def make_engine(
    spec: PolicySpec, config: PPOConfig, *, options: TorchConfig, num_envs: int, seed: int, pool: Pool
) -> TorchEngine:
    """The engine of algorithms that need `ppo.update`."""
    return TorchEngine(spec, config, options=options, num_envs=num_envs, seed=seed, pool=pool)


def load_policy(spec: PolicySpec, tensors: Mapping[str, Array], *, options: TorchConfig, threads: int = 1) -> TorchPolicy:
    """A policy that acts, from the tensors of a checkpoint."""
    device = device_of(options)
    policy = TorchPolicy(spec, build(spec, views(spec, join_params(spec, tensors)), device), device)
    policy.preprocess.load(Moments.of(tensors, "obs_norm/") if spec.config.normalize_obs else None)
    return policy
