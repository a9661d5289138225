"""The conformance suite of back ends passes ours, and finds each kind of fault."""

import numpy as np
import pytest
from pufferlib_core.backends import Collector, get_backend
from pufferlib_core.backends.acting import Actor
from pufferlib_core.errors import PufferError
from pufferlib_core.testing import check_backend
from pufferlib_core.testing.parity import parity
from pufferlib_core.testing.trials import CASES

NATIVE = get_backend("native")


@pytest.mark.parametrize("case", CASES)
def test_the_native_back_end_keeps_the_contract(case):
    check_backend("native", [case])


class Shifted(NATIVE.NativeEngine):
    """Initial values of its own."""

    def tensors(self, seed):
        state = super().tensors(seed)
        state["policy.weight"] += 1e-3
        return state


class WrongPolicy:
    """A policy whose methods can be replaced."""

    def __init__(self, policy):
        self._policy = policy

    def __getattr__(self, name):
        return getattr(self._policy, name)


class WrongActing(NATIVE.NativeEngine):
    """Acts with a policy that `spoil` has changed."""

    def load(self, state):
        super().load(state)
        if not isinstance(self.policy, WrongPolicy):
            inner = self.policy
            self.policy = WrongPolicy(inner)
            self.spoil(inner)


class Biased(WrongActing):
    """Values that are too large."""

    def spoil(self, inner):
        self.policy.forward = lambda *args, **options: (
            inner.forward(*args, **options)[0],
            np.float32(9) * np.ones(len(args[0])),
        )


class Unnumbered(WrongActing):
    """Noise that does not know which rows it is for."""

    def spoil(self, inner):
        self.policy.act = lambda *args, first=0, **options: inner.act(*args, **options)


class Unsquashed(WrongActing):
    """Environments get what was sampled."""

    def spoil(self, inner):
        self.policy.act = lambda *args, raw=False, **options: inner.act(*args, raw=True, **options)


class Repeating(WrongActing):
    """Actors that draw the same noise again and again."""

    def spoil(self, inner):
        self.policy.actor = lambda rows, **options: Repeats(inner, rows, **options)


class Repeats(Actor):
    def __call__(self):
        self.step = 0
        return super().__call__()


class Doubled(NATIVE.NativeEngine):
    """A loss that forgets a factor."""

    def descend(self, segment, advantage, target, **options):
        return super().descend(segment, advantage, target + np.float32(0.1), **options)


class Tilted(NATIVE.NativeEngine):
    """A gradient that is not that of the losses it tells."""

    def descend(self, segment, advantage, target, *, coefficients, **options):
        return super().descend(segment, advantage, target, coefficients=coefficients._replace(kl=3.0), **options)


class Curious(NATIVE.NativeEngine):
    """Learns from rows that are not valid."""

    def descend(self, segment, advantage, target, *, coefficients, **options):
        if not np.isnan(advantage[segment.valid == 0]).all():
            coefficients = coefficients._replace(rate=2 * coefficients.rate)
        return super().descend(segment, advantage, target, coefficients=coefficients, **options)


class Forgetful(NATIVE.NativeEngine):
    """Moments that begin anew."""

    def push(self):
        self._m[:] = 0


class Sharing(NATIVE.NativeEngine):
    """A collector that takes no copy."""

    def collector(self, pool):
        return Collector(self.policy, lambda state: None, self.collect)


class Stale(NATIVE.NativeEngine):
    """A collector that stays as it was."""

    def collector(self, pool):
        return super().collector(pool)._replace(load=lambda state: None)


@pytest.mark.parametrize(
    ("engine", "rule"),
    [
        (Shifted, "mlp, choice: broken: Initial parameters.*policy.weight differs"),
        (Biased, "Outputs, values and what is handed on.*the value is off by"),
        (Unnumbered, "Actions are those.*depends on the rows"),
        (Unsquashed, "Actions are those.*environments do not get what was sampled"),
        (Repeating, "An actor does what.*of an actor differs.*step 1"),
        (Doubled, "Losses and the gradient.*value_loss is off by"),
        (Tilted, "Losses and the gradient.*is off central differences by"),
        (Curious, "What rows that are not valid hold changes nothing.*depends on them"),
        (Sharing, "A collector acts as the engine did.*changes"),
        (Stale, "A collector acts as the engine did.*after it was loaded again"),
        (Forgetful, "Learning goes on from the arrays.*is off by"),
    ],
)
def test_each_fault_is_found(engine, rule, monkeypatch):
    monkeypatch.setattr(NATIVE, "NativeEngine", engine)
    with pytest.raises(PufferError, match=rule):
        check_backend("native", ["mlp, choice", "mlp, choices and squashed numbers"])


def test_gaps_of_a_back_end_with_itself(monkeypatch):
    first, second = parity(["native", "native"], ["mlp, choice"])
    assert (second.one_update, second.many_updates) == (0, 0)
    assert 0 < max(first.forward, first.logprob, first.entropy, first.loss) < 1e-5
    assert first.gradient < 1e-5
    monkeypatch.setattr(NATIVE, "NativeEngine", Doubled)
    (wrong,) = parity(["native"], ["mlp, choice"])
    assert wrong.loss > 1e-3
