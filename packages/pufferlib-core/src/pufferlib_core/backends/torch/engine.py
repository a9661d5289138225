"""PPO by torch: the formulas of `ops`, torch's own gradients, its AdamW, and Muon."""

from __future__ import annotations

import copy
import ctypes
import functools
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import array_api_compat.torch as xp
import numpy as np
import torch
from torch import Tensor

from pufferlib_core.backends import Collector
from pufferlib_core.backends.acting import CoreCollector, core_collector, minibatch_order
from pufferlib_core.backends.params import moments, served
from pufferlib_core.backends.torch import TorchConfig
from pufferlib_core.backends.torch.modules import initial_values, make_network, saved_network
from pufferlib_core.backends.torch.network import TorchPolicy, place
from pufferlib_core.collect import collect
from pufferlib_core.data import Segment, aligned_zeros
from pufferlib_core.errors import ConfigError, NonFiniteError
from pufferlib_core.native import Array, Pool
from pufferlib_core.ops.distributions import mixed
from pufferlib_core.ops.normalize import Moments
from pufferlib_core.ops.optim import muon
from pufferlib_core.ops.ppo import Coefficients, loss, normalize_advantage
from pufferlib_core.policies import PolicySpec
from pufferlib_core.vector import VecEnv
from pufferlib_core.vector.base import choices_of, numbers_of

if TYPE_CHECKING:
    from pufferlib_core.algorithms.ppo import PPOConfig

Rows = dict[str, Tensor]  # planes of a segment, (rows, ...), by name
TAKEN = ("choices", "numbers", "action_mask")  # what the loss reads beside the network and `planes`
MOMENTS = ("exp_avg", "exp_avg_sq")  # as torch's Adam names what `backends.params.moments` names; Muon has the first
METRICS = ("loss", "policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction", "grad_norm")
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
CACHED = 1 << 18  # numbers of a layer's outputs that stay in a core's cache
FIRST_SCALE = 65536.0  # of the loss in fp16, in every update anew: so no checkpoint has to hold one


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


@functools.cache
def keep_freed_memory() -> None:
    """Lets glibc keep what torch frees for its next tensors: each would else come from the kernel, page by page, and go back.

    With minibatches of 32,768 rows that saves nine of ten page faults. Up to 1 GiB stays with the process. Elsewhere than on
    glibc nothing changes.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(M_MMAP_THRESHOLD, 32 << 20)  # the most that glibc takes
    mallopt(M_TRIM_THRESHOLD, 1 << 30)


def pieces_for(spec: PolicySpec, minibatch: int) -> int:
    """Into how many parts a minibatch is best cut on a processor: what a dense layer gives then stays in the cache.

    Elsewhere the work is in convolutions or steps of a memory, for which whole minibatches are better.
    """
    if spec.carry or spec.encoders or spec.config.module or not spec.config.hidden:
        return 1
    return min(max(1, minibatch * max(spec.config.hidden) // CACHED), minibatch)


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

    whole = False

    def __init__(
        self, spec: PolicySpec, config: PPOConfig, *, options: TorchConfig, num_envs: int, seed: int, pool: Pool
    ) -> None:
        self.spec, self.config, self.seed, self.pool = spec, config, seed, pool
        self.horizon, self.envs = config.horizon, num_envs
        self.device = device_of(options)
        self.inexact = "" if self.device.type == "cpu" else f"sums on {self.device} have no fixed order"
        # What a gradient step takes: rows, or with a memory the sequences of whole environments.
        self._units, self._each = (num_envs, config.horizon) if spec.carry else (config.horizon * num_envs, 1)
        plain = self.device.type == "cpu" and options.precision == "float32"
        self._pieces = options.accumulate or (pieces_for(spec, config.minibatch) if plain else 1)
        if self._pieces > config.minibatch // self._each:
            raise ConfigError(
                f"torch.accumulate={self._pieces} must be at most {config.minibatch // self._each}, the "
                f"{'sequences' if spec.carry else 'rows'} of a minibatch"
            )
        self._precision = options.precision
        if self.device.type == "cpu":
            keep_freed_memory()
        self._first_scale = FIRST_SCALE if options.precision == "fp16" else 1.0
        self._scale = 1.0  # of the loss, so that gradients do not vanish in fp16
        network = make_network(spec, seed)
        shapes = {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}
        learnt = {name: aligned_zeros(shape, np.float32) for name, shape in shapes.items()}
        self._adam_step = np.zeros(1, np.int64)
        self._muon = served(spec, config.optimizer)
        self._kept = {name: moments(name, self._muon) for name in shapes}
        kept = {key: aligned_zeros(shapes[name], np.float32) for name, keys in self._kept.items() for key in keys}
        self._state: dict[str, Array] = learnt | kept | {"adam/step": self._adam_step}
        self.policy = TorchPolicy(spec, place(network, learnt, self.device), self.device, self._precision)
        self._core = core_collector(spec, pool, seed) if plain else None
        self._params = dict(self.policy.network.named_parameters())
        self._moments: dict[str, dict[str, Tensor]] = {}
        self._optimizer = torch.optim.AdamW(
            [parameter for name, parameter in self._params.items() if name not in self._muon],
            betas=(config.beta1, config.beta2), eps=config.epsilon, weight_decay=config.weight_decay, fused=True,
        )  # fmt: skip
        self._unused = [name for name in ("entropy", "kl") if not getattr(config, f"{name}_coef")]
        self._raw = replace(config, normalize_advantage=False)  # advantages are normalised over whole minibatches before
        self._loss = torch.compile(self._piece_loss) if options.compile else self._piece_loss

    def tensors(self, seed: int) -> dict[str, Array]:
        """Initial parameters and the optimiser's state by name: on the CPU the memory that torch works on."""
        for name, value in initial_values(self.spec, seed).items():
            self._state[name][...] = value
        return self._state

    def push(self) -> None:
        """The arrays of `tensors` become what torch works on."""
        for name, parameter in self._params.items():
            parameter.data.copy_(torch.from_numpy(self._state[name]))
            held = zip(MOMENTS, self._kept[name], strict=False)
            self._moments[name] = {key: torch.from_numpy(self._state[kept]).to(self.device) for key, kept in held}
            if name not in self._muon:
                self._moments[name]["step"] = torch.zeros(())
                self._optimizer.state[parameter] = self._moments[name]

    def pull(self) -> None:
        """What torch works on becomes the arrays of `tensors`."""
        for name, parameter in self._params.items():
            torch.from_numpy(self._state[name]).copy_(parameter.data)
            for key, kept in zip(MOMENTS, self._kept[name], strict=False):
                torch.from_numpy(self._state[kept]).copy_(self._moments[name][key])

    def load(self, state: Mapping[str, Array]) -> None:
        """Acts from now on with the parameters as they are and the observation statistics of `state`."""
        self._load(self.policy, state)
        if self._core is not None:
            self._core.load(self._state, state)

    def _load(self, policy: TorchPolicy, state: Mapping[str, Array]) -> None:
        policy.preprocess.load(Moments.of(state, "obs_norm/") if self.spec.config.normalize_obs else None)

    def collect(self, vec: VecEnv, segment: Segment, first_step: int) -> int:
        """Fills a segment with sampled actions; returns how many episodes ended. See `pufferlib_core.collect`."""
        if self._core is not None:
            return self._core.collect(vec, segment, first_step)
        return collect(self.policy, vec, segment, seed=self.seed, first_step=first_step)

    def collector(self, pool: Pool) -> Collector:
        """See `Engine.collector`."""
        if self._core is not None:
            core = CoreCollector(self.spec, pool, self.seed)
            return Collector(core.policy, functools.partial(core.load, self._state), core.collect)
        policy = TorchPolicy(self.spec, copy.deepcopy(self.policy.network), self.device, self._precision)

        def load(state: Mapping[str, Array]) -> None:
            policy.network.load_state_dict(self.policy.network.state_dict())
            self._load(policy, state)

        def fill(vec: VecEnv, segment: Segment, first_step: int) -> int:
            return collect(policy, vec, segment, seed=self.seed, first_step=first_step)

        return Collector(policy, load, fill)

    def descend(
        self, segment: Segment, advantage: Array, target: Array, *, coefficients: Coefficients, update: int,
        order: Array | None = None, importance: Array | None = None,
    ) -> dict[str, float]:  # fmt: skip
        """See `Engine.descend`."""
        config, rows = self.config, self._load_rows(segment, advantage, target, importance)
        # As tensors: a compiled loss would be compiled anew for each number. What is never in use stays the number 0.
        weights = Coefficients(*(torch.tensor(weight, device=self.device) for weight in coefficients))
        weights = weights._replace(**{name: 0.0 for name in self._unused if getattr(coefficients, name) == 0})
        self._begin(coefficients.rate)
        self._scale = self._first_scale
        sums = dict.fromkeys(METRICS, 0.0)
        done, stopped = 0, False
        size = config.minibatch // self._each
        for epoch in range(config.epochs):
            taken = minibatch_order(self.seed, update, epoch, self._units, size) if order is None else order[epoch]
            for units in torch.from_numpy(taken).to(self.device).split(size):
                metrics = dict(zip(METRICS, self._gradient(rows, units, weights).tolist(), strict=True))
                if not math.isfinite(metrics["loss"] + metrics["grad_norm"]):
                    raise NonFiniteError(
                        f"ppo: NaN or infinity in the loss or its gradient, update {update}, "
                        f"minibatch {done}; the step was not taken"
                    )
                stopped = config.target_kl > 0 and metrics["approx_kl"] > config.target_kl
                if stopped:
                    break
                self._step(coefficients.rate)
                done += 1
                sums = {name: sums[name] + value for name, value in metrics.items()}
            if stopped:
                break
        return {name: total / max(done, 1) for name, total in sums.items() if name != "loss"}

    def _begin(self, rate: float) -> None:
        """What torch's Adam keeps beside the moments. It counts steps in float32, where 2^24 + 1 is 2^24: it is told anew."""
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        for held in self._optimizer.state.values():
            held["step"].fill_(float(self._adam_step[0]))

    def _step(self, rate: float) -> None:
        """One of the optimiser, on the gradients as they are."""
        self._optimizer.step()
        with torch.no_grad():
            for name in self._muon:
                parameter, held = self._params[name], self._moments[name]
                found, mean = muon(
                    parameter, parameter.grad, held["exp_avg"], rate=rate, decay=self.config.momentum,
                    weight_decay=self.config.weight_decay, xp=xp,
                )  # fmt: skip
                parameter.copy_(found)
                held["exp_avg"].copy_(mean)
        self._adam_step += 1

    def _load_rows(self, segment: Segment, advantage: Array, target: Array, importance: Array | None) -> Rows:
        """The planes of a segment on the device, (T * N, ...); features are normalised once. See also `_sequences`."""
        planes = [advantage, segment.logprob, segment.value, target] + ([] if importance is None else [importance])
        flat: dict[str, Any] = {"planes": np.stack([plane.reshape(-1) for plane in planes])}
        if self.spec.nvec:
            flat["choices"] = choices_of(segment.action).reshape(segment.rows, -1)
        if self.spec.numbers:
            flat["numbers"] = numbers_of(segment.action).reshape(segment.rows, -1)
        if segment.action_mask is not None:
            flat["action_mask"] = segment.action_mask[:-1].reshape(segment.rows, -1)
        if not segment.valid.all():
            flat["valid"] = segment.valid.reshape(-1) != 0
        rows = {name: torch.from_numpy(plane).to(self.device) for name, plane in flat.items()}
        features = torch.from_numpy(segment.features[:-1].reshape(segment.rows, -1)).to(self.device)
        rows["features"] = self.policy.preprocess(features)
        return rows if segment.carry is None else rows | self._sequences(segment, segment.carry[0], rows)

    def _sequences(self, segment: Segment, carry: Array, rows: Rows) -> Rows:
        """What a policy with a memory reads: features (T, N, width), where episodes end (T, N, 1), the first carry (N, C)."""
        features, ended = rows["features"], torch.from_numpy((segment.terminated | segment.truncated) != 0)
        if "valid" in rows:  # nothing of the others may reach a gradient, not even as NaN times 0
            features = torch.where(rows["valid"][:, None], features, 0.0)
        return {
            "features": features.unflatten(0, (segment.steps, segment.envs)),
            "ended": ended.to(self.device)[..., None],
            "carry": torch.from_numpy(carry).to(self.device),
        }

    def _index(self, rows: Rows, units: Tensor) -> Tensor:
        """Numbers of the rows that count, of some rows or of the sequences of some environments."""
        if self.spec.carry:
            units = (torch.arange(self.horizon, device=self.device)[:, None] * self.envs + units).flatten()
        return units[rows["valid"][units]] if "valid" in rows else units

    def _read(self, rows: Rows, units: Tensor, index: Tensor) -> Rows:
        """What the network reads of them."""
        if not self.spec.carry:
            return {"features": rows["features"][index]}
        read = {name: rows[name][:, units] for name in ("features", "ended")} | {"carry": rows["carry"][units]}
        if "valid" in rows:
            valid = rows["valid"].view(self.horizon, self.envs)[:, units]
            read |= {"valid": valid[..., None], "kept": valid.flatten().nonzero().squeeze(1)}
        return read

    def _gradient(self, rows: Rows, units: Tensor, weights: Coefficients) -> Tensor:
        """METRICS and the gradient of a minibatch, whose norm is kept below the settings' bound.

        The pieces of a minibatch add up to what it gives at once: advantages are normalised over all of it, and each piece
        counts by its rows. Where a gradient overflows in fp16 it is computed again with half the scale.
        """
        pieces = [(part, self._index(rows, part)) for part in units.tensor_split(self._pieces)]
        count = max(sum(len(index) for _, index in pieces), 1)
        planes = rows["planes"].index_select(1, torch.cat([index for _, index in pieces]))
        if self.config.normalize_advantage:
            planes[0] = normalize_advantage(planes[0], None, xp=xp)
        if len(planes) > 4:
            planes[0] *= planes[4]
        split = planes.split([len(index) for _, index in pieces], 1)
        while True:
            for parameter in self._params.values():
                parameter.grad = None
            measured: list[Tensor] = []
            for (part, index), own in zip(pieces, split, strict=True):
                taken = {name: rows[name][index] for name in TAKEN if name in rows}
                total, parts = self._loss(self._read(rows, part, index) | taken | {"planes": own}, weights)
                weight = len(index) / count
                (total * (weight * self._scale)).backward()
                named = parts | {"loss": total}
                with torch.no_grad():
                    measured.append(weight * torch.stack([named[name] for name in METRICS[:-1]]))
            gradients, metrics = self._gradients(), sum(measured[1:], start=measured[0])
            norm = torch.nn.utils.get_total_norm(gradients)
            if self._scale == 1 or torch.isfinite(norm) or not torch.isfinite(metrics[0]):
                break
            self._scale /= 2
        limit = self.config.max_grad_norm
        if limit > 0:
            torch._foreach_mul_(gradients, torch.clamp(limit / norm, max=1.0))
        return torch.cat([metrics, norm[None]])

    def _gradients(self) -> list[Tensor]:
        """Those of all parameters, 0 where a module has not used one, without the scale of the loss."""
        for parameter in self._params.values():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in self._params.values()]
        if self._scale != 1:
            torch._foreach_div_(gradients, self._scale)
        return gradients

    def _piece_loss(self, rows: Rows, weights: Coefficients) -> tuple[Tensor, dict[str, Tensor]]:
        with self.policy.autocast():
            if self.spec.carry:
                heads, value = self.policy.sequences(rows["features"], rows["carry"], rows["ended"], rows.get("valid"))
            else:
                heads, value, _ = self.policy.network(rows["features"], None)
        heads, value = heads.float(), value.float()
        if "kept" in rows:
            heads, value = heads[rows["kept"]], value[rows["kept"]]
        log_std = self.policy.network.log_std if self.spec.numbers else None
        logprob, entropy = mixed(
            heads, log_std, rows.get("choices"), rows.get("numbers"), self.spec.nvec, rows.get("action_mask"),
            squashed=self.spec.config.squash, xp=xp,
        )  # fmt: skip
        advantage, old_logprob, old_value, target = rows["planes"][:4]
        return loss(
            logprob, entropy, value, old_logprob=old_logprob, advantage=advantage, target=target, old_value=old_value,
            valid=None, config=self._raw, coefficients=weights, xp=xp,
        )  # fmt: skip


def make_engine(
    spec: PolicySpec, config: PPOConfig, *, options: TorchConfig, num_envs: int, seed: int, pool: Pool
) -> TorchEngine:
    """The engine of algorithms that need `ppo.update`."""
    return TorchEngine(spec, config, options=options, num_envs=num_envs, seed=seed, pool=pool)


def load_policy(spec: PolicySpec, tensors: Mapping[str, Array], *, options: TorchConfig, threads: int = 1) -> TorchPolicy:
    """A policy that acts, from the tensors of a checkpoint."""
    device = device_of(options)
    policy = TorchPolicy(spec, place(*saved_network(spec, tensors), device), device, options.precision)
    policy.preprocess.load(Moments.of(tensors, "obs_norm/") if spec.config.normalize_obs else None)
    return policy
