"""The price of choosing a constant of a bound after seeing the data.

A bound that holds for one fixed constant holds for a whole geometric grid of them at once,
each point with its share of the failure probability. The constant found is then moved to the
next grid point on the safe side.
"""

import math

# of the grid, in natural logarithms
STEP = 0.1
# sum over all integers k of (1 + |k|)^-2
_TOTAL = math.pi**2 / 3 - 1


def up(log_value: float) -> tuple[float, float]:
    """Move a constant up to the grid.

    Returns the grid point, at most one step above, and the natural logarithm of its share of the
    failure probability, (1 + |k|)^-2 / 2.29; shares of all points sum to 1.
    """
    k = math.ceil(log_value / STEP)
    return k * STEP, -2 * math.log1p(abs(k)) - math.log(_TOTAL)


def down(log_value: float) -> tuple[float, float]:
    """Move a constant down to the grid; as `up`."""
    rounded, share = up(-log_value)
    return -rounded, share
