"""The space of actions that mix choices and real numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from pufferlib_core.errors import SpaceError
from pufferlib_core.spaces.flat import Array, Box, MultiDiscrete
from pufferlib_core.spaces.nested import Dict


class Mixed(Dict):
    """K choices and A real numbers at once: a `Dict` of `choices` and `numbers` whose values are records.

    A record has the dtype `[("choices", "<i4", (K,)), ("numbers", "<f4", (A,))]`: K + A words of 4 bytes without gaps, so that
    arrays of actions are contiguous and the core reads them where they lie.

    Raises:
        SpaceError: if `choices` is no `MultiDiscrete`, or `numbers` no `Box` of float32 of shape (A,).
    """

    def __init__(self, choices: MultiDiscrete, numbers: Box) -> None:
        if not isinstance(choices, MultiDiscrete):
            raise SpaceError(f"Mixed: choices must be a MultiDiscrete, got {choices!r}")
        if not isinstance(numbers, Box) or numbers.dtype != "float32" or len(numbers.shape) != 1:
            raise SpaceError(f"Mixed: numbers must be a Box of float32 of shape (A,), got {numbers!r}")
        super().__init__({"choices": choices, "numbers": numbers})

    shape = ()

    @property
    def choices(self) -> MultiDiscrete:
        """The K choices."""
        part = self.parts[0][1]
        assert isinstance(part, MultiDiscrete)
        return part

    @property
    def numbers(self) -> Box:
        """The A real numbers."""
        part = self.parts[1][1]
        assert isinstance(part, Box)
        return part

    @property
    def nvec(self) -> tuple[int, ...]:
        """Options of each choice; action masks speak of them, the numbers have none."""
        return self.choices.nvec

    @property
    def size(self) -> int:
        """Choices and numbers together, K + A."""
        return self.choices.size + self.numbers.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of a record."""
        return np.dtype([("choices", np.int32, (self.choices.size,)), ("numbers", np.float32, (self.numbers.size,))])

    def record(self, choices: Any, numbers: Any) -> Array:
        """One action: an array of shape () of `dtype`."""
        value = np.zeros((), self.dtype)
        value["choices"], value["numbers"] = choices, numbers
        return value

    def validate(self, value: Any, where: str = "value") -> None:
        """Raises SpaceError, naming the first place of a record, or a mapping of the same parts, that breaks the rule."""
        names = getattr(value, "dtype", np.dtype(np.int32)).names
        super().validate(value if names is None else {name: value[name] for name in names}, where)

    def sample(self, rng: np.random.Generator) -> Any:
        """A record, each part by itself."""
        return self.record(self.choices.sample(rng), self.numbers.sample(rng))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"type": "Mixed", "choices": self.choices.to_json(), "numbers": self.numbers.to_json()}


def sample_allowed(space: Any, rng: np.random.Generator, action_mask: Array | None) -> Any:
    """A uniform value of an action space among the choices that a mask allows; any value if it is None.

    Args:
        space: an `ActionSpace`.
        rng: where it draws from.
        action_mask: (choices,) non-zero where a choice is allowed; numbers have no masks.
    """
    if action_mask is None or isinstance(space, Box):
        return space.sample(rng)
    ends = np.cumsum(space.nvec)
    allowed = (np.flatnonzero(part) for part in np.split(action_mask, ends[:-1]))
    chosen = np.array([rng.choice(choices) for choices in allowed], np.int32)
    if isinstance(space, Mixed):
        return space.record(chosen, space.numbers.sample(rng))
    return chosen.reshape(space.shape)
