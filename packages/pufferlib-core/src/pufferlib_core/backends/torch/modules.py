"""Networks by name: those of a `PolicySpec`, and torch modules of one's own (`policy.module`)."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import torch

from pufferlib_core.backends.params import initial_params, join_params, tensor_of, views
from pufferlib_core.backends.torch.network import Network
from pufferlib_core.errors import ConfigError
from pufferlib_core.native import Array
from pufferlib_core.policies import PolicySpec


def make_network(spec: PolicySpec, seed: int) -> Any:
    """The network of a policy, on the CPU.

    Args:
        spec: the policy.
        seed: of the values that a module of one's own begins with; those of other networks are not set yet.

    Raises:
        ConfigError: if `policy.module` is not what docs/how-to/torch.md asks for.
    """
    if not spec.config.module:
        return Network(spec)
    factory = _factory(spec.config.module)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        network = factory(spec)
    _check(network, spec)
    return network.eval()  # dropout would make another policy of each minibatch than the one that acted


def initial_values(spec: PolicySpec, seed: int) -> dict[str, Array]:
    """Initial parameters by name: those that all back ends share, or those of a module of one's own."""
    if not spec.config.module:
        return views(spec, initial_params(spec, seed))
    return {name: parameter.detach().numpy() for name, parameter in make_network(spec, seed).named_parameters()}


def saved_network(spec: PolicySpec, tensors: Mapping[str, Array]) -> tuple[Any, dict[str, Array]]:
    """A network on the CPU, and its parameters from the tensors of a checkpoint, copied.

    Raises:
        ConfigError: if `policy.module` cannot be made.
        ShapeError: if a tensor is missing, or has the wrong shape or dtype.
    """
    if not spec.config.module:
        values = views(spec, join_params(spec, tensors))
        return make_network(spec, 0), values
    network = make_network(spec, 0)
    shapes = {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}
    return network, {name: tensor_of(tensors, name, shape).copy() for name, shape in shapes.items()}


def _factory(name: str) -> Any:
    module, _, attribute = name.partition(":")
    try:
        factory = getattr(importlib.import_module(module), attribute)
    except (ModuleNotFoundError, AttributeError, ValueError) as error:
        raise ConfigError(f"policy.module={name!r} must be package.module:factory, to be imported here: {error}") from error
    if not callable(factory):
        raise ConfigError(f"policy.module={name!r} must be called with a PolicySpec, but it is a {type(factory).__name__}")
    return factory


def _check(network: Any, spec: PolicySpec) -> None:
    """Refuses a module that does not fit; it is tried on two rows of zeros."""
    where = f"policy.module={spec.config.module!r}"
    if not isinstance(network, torch.nn.Module):
        raise ConfigError(f"{where} must return a torch.nn.Module, got {type(network).__name__}")
    for name, parameter in network.named_parameters():
        if parameter.dtype != torch.float32 or parameter.device.type != "cpu" or not parameter.requires_grad:
            raise ConfigError(
                f"{where}: parameter {name} must be float32, on the CPU and learnt; got {parameter.dtype}, {parameter.device}, "
                f"requires_grad={parameter.requires_grad}: constants are buffers with persistent=False"
            )
    held = sorted(set(network.state_dict()) - {name for name, _ in network.named_parameters(remove_duplicate=False)})
    if held:
        raise ConfigError(
            f"{where}: checkpoints hold parameters alone, so buffers need persistent=False; got {', '.join(held)}"
        )
    wanted: list[tuple[str, Any, tuple[int, ...]]] = []
    if spec.numbers:
        wanted.append(("its log_std", getattr(network, "log_std", None), (spec.numbers,)))
    with torch.no_grad():
        made = network(torch.zeros(2, spec.tree.width), torch.zeros(2, spec.carry) if spec.carry else None)
    if not isinstance(made, tuple) or len(made) != 3:
        raise ConfigError(f"{where}: forward must return (heads, value, carry), got {type(made).__name__}")
    wanted += [("heads", made[0], (2, spec.logits)), ("value", made[1], (2,))]
    if spec.carry:
        wanted.append(("carry", made[2], (2, spec.carry)))
    elif made[2] is not None:
        raise ConfigError(f"{where}: carry must be None; policy.core and policy.core_size say what a policy hands on")
    for what, tensor, shape in wanted:
        came = tuple(tensor.shape) if isinstance(tensor, torch.Tensor) else type(tensor).__name__
        if came != shape:
            raise ConfigError(f"{where}: {what} must be {shape} here, got {came}")
