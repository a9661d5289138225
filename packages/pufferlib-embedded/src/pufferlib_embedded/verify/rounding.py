"""What rounding may do to the float32 program, and to the verifier itself.

The program is `lean.c`, as the core compiles it: IEEE single precision, to nearest, with gradual underflow. The model is
that of Higham, "Accuracy and Stability of Numerical Algorithms" (2nd edition, SIAM 2002), chapters 2 and 3: each operation
gives the exact result times 1 + d, |d| <= u = 2^-24; a product below the normal numbers is wrong by up to 2^-150 besides. A
sum of a bias and n products, in whatever order and whether or not additions are fused, is then wrong by at most

    gamma(n + 1) * (|b| + sum |w_i| |x_i|) + n * 2^-149,    gamma(n) = n u / (1 - n u)

relu rounds nothing. `puf_tanh` is wrong by at most 4 units in the last place (math.h), so by at most 2^-21 of its value. The
normaliser, and what is done to numbers of an action, are sequences of operations that rise with what they read, and so do
their rounded results: the ends of an interval pass through the very same operations, and nothing is lost.

The verifier calculates in float64 (u = 2^-53) by the same model; each place says what covers its own rounding. Where a bound
of the float32 error is at hand, as `layer_error`, a fraction of it is enough, since the other is 2^29 times as small.
"""

from __future__ import annotations

import numpy as np
from pufferlib_core.native import Array

SINGLE, DOUBLE = 2.0**-24, 2.0**-53  # u, unit roundoff
LEAST = 2.0**-149  # the smallest float32 above 0
TANH = 2.0**-21  # of its value: 4 ulp
TANH_DOUBLE = 2.0**-40  # of float64 tanh and of what is calculated with it, many times what it can be


def gamma(n: int, unit: float) -> float:
    """Relative error of n operations one after the other."""
    return n * unit / (1.0 - n * unit)


def layer_error(size: Array, terms: int) -> Array:
    """Bound of the rounding of a layer's sums in float32, and of their interval in float64.

    Args:
        size: |bias| + |weight| |x|, as float64 gives it.
        terms: products of each sum.

    The 2^-20 besides are 2^-44 (n + 1) of `size`; float64 takes 2^-51 (n + 1) of it for the interval, and 2^-32 of the bound.
    """
    return gamma(terms + 1, SINGLE) * (1.0 + 2.0**-20) * size + terms * LEAST


def single_below(x: Array) -> Array:
    """The largest float32 that is not above x."""
    near = np.asarray(x, np.float32)
    return np.where(near > x, np.nextafter(near, np.float32(-np.inf)), near).astype(np.float32)


def single_above(x: Array) -> Array:
    """The smallest float32 that is not below x."""
    return -single_below(-np.asarray(x))
