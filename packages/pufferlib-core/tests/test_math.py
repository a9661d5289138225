"""The claims of puffer/math.h, over a dense sample of all floats, against float64."""

from __future__ import annotations

import numpy as np
import pytest
from pufferlib_core.native import check, ffi, lib

EVERY = 1009  # a prime: every 1009th float of each sign, four million in all


def floats(low: float, high: float) -> np.ndarray:
    """Every 1009th float of [low, high], 0 <= low, and a few at the ends."""
    first, last = (int(np.float32(x).view(np.uint32)) for x in (low, high))
    return np.concatenate([np.arange(first, last, EVERY, np.uint32), np.arange(last - 9, last + 1, dtype=np.uint32)]).view(
        np.float32
    )


def core(function: str, x: np.ndarray) -> np.ndarray:
    out = np.empty_like(x)
    pointers = ffi.from_buffer("float[]", x), ffi.from_buffer("float[]", out)
    check(lib.puf_math_map(function.encode(), *pointers, x.size), function)
    return out


def ulps(got: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """Errors in units in the last place of the float nearest to the exact value."""
    return np.abs(got.astype(np.float64) - exact) / np.spacing(np.abs(exact).astype(np.float32)).astype(np.float64)


CLAIMS = {  # function: (lowest, highest, both signs, float64 function, bound in ulp)
    "sqrt": (0.0, 3.4e38, False, np.sqrt, 0.5),
    "exp": (1e-30, 87.0, True, np.exp, 1.5),
    "log": (1.2e-38, 3.4e38, False, np.log, 1.5),
    "tanh": (1e-30, 50.0, True, np.tanh, 4.0),
}


@pytest.mark.parametrize("function", CLAIMS)
def test_errors_stay_below_the_bound(function):
    low, high, both, exact, bound = CLAIMS[function]
    x = floats(low, high)
    for sign in (1, -1) if both else (1,):
        at = x * np.float32(sign)
        error = ulps(core(function, at), exact(at.astype(np.float64)))
        worst = int(error.argmax())
        assert error[worst] <= bound, f"{function}({at[worst]!r}) is {error[worst]:.2f} ulp off"


@pytest.mark.parametrize(("function", "exact"), [("sin", np.sin), ("cos", np.cos)])
def test_sine_and_cosine(function, exact):
    x = floats(1e-30, 8192.0)
    for at in (x, -x):
        error = np.abs(core(function, at).astype(np.float64) - exact(at.astype(np.float64)))
        worst = int(error.argmax())
        assert error[worst] <= 1.5e-7, f"{function}({at[worst]!r}) is {error[worst]:.2e} off"


def test_special_values():
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, -100.0, 100.0], np.float32)
    np.testing.assert_array_equal(core("exp", x), np.array([np.nan, np.inf, 0, 1, 1, 0, np.inf], np.float32))
    np.testing.assert_array_equal(core("tanh", x), np.array([np.nan, 1, -1, 0, -0.0, -1, 1], np.float32))
    np.testing.assert_array_equal(core("sqrt", x)[[0, 1, 3, 5]], np.array([np.nan, np.inf, 0, np.nan], np.float32))
