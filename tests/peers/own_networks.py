"""Networks of flax nnx for the tests of `policy.module`."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx


class Plain(nnx.Module):
    """Two heads over layers that they share."""

    def __init__(self, spec, rngs):
        self.shared = nnx.List([nnx.Linear(spec.tree.width, 32, rngs=rngs), nnx.Linear(32, 32, rngs=rngs)])
        small = nnx.initializers.orthogonal(0.01)
        self.policy = nnx.Linear(32, spec.logits, kernel_init=small, rngs=rngs)
        self.value = nnx.Linear(32, 1, rngs=rngs)
        if spec.numbers:
            self.log_std = nnx.Param(jnp.zeros(spec.numbers))

    def __call__(self, features, carry):
        for layer in self.shared:
            features = nnx.tanh(layer(features))
        return self.policy(features), self.value(features)[:, 0], carry


class Remembering(nnx.Module):
    """flax's GRU between the features and the heads; needs policy.core=gru."""

    def __init__(self, spec, rngs):
        self.cell = nnx.GRUCell(spec.tree.width, spec.carry, rngs=rngs)
        self.policy = nnx.Linear(spec.carry, spec.logits, rngs=rngs)
        self.value = nnx.Linear(spec.carry, 1, rngs=rngs)

    def __call__(self, features, carry):
        carry, seen = self.cell(carry, features)
        return self.policy(seen), self.value(seen)[:, 0], carry


class Same(nnx.Module):
    """The network that a policy with one hidden layer has anyway, so that both can be compared."""

    def __init__(self, spec, rngs):
        self.hidden = nnx.Linear(spec.tree.width, spec.config.hidden[0], rngs=rngs)
        self.policy = nnx.Linear(spec.config.hidden[0], spec.logits, rngs=rngs)
        self.value = nnx.Linear(spec.config.hidden[0], 1, rngs=rngs)

    def __call__(self, features, carry):
        hidden = nnx.tanh(self.hidden(features))
        return self.policy(hidden), self.value(hidden)[:, 0], carry


class Counting(Plain):
    """Holds statistics that nobody would save."""

    def __init__(self, spec, rngs):
        super().__init__(spec, rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)


class WithoutDeviations(Plain):
    """Forgets log_std."""

    def __init__(self, spec, rngs):
        super().__init__(spec, rngs)
        if spec.numbers:
            del self.log_std


class Misshapen(Plain):
    """Gives values of the wrong shape."""

    def __call__(self, features, carry):
        heads, value, carry = super().__call__(features, carry)
        return heads, value[:, None], carry


def number(spec, rngs):
    """No module."""
    return 7
