"""Magnitudes as natural logarithms: zero is -inf, and what is beyond the doubles is finite."""

import math
from collections.abc import Iterable


def number(log_value: float) -> dict[str, float | None]:
    """Show a magnitude as JSON, by "value" and "log_value".

    Zero has no logarithm, and a value beyond the doubles only its logarithm; infinity has
    neither.
    """
    value = safe_exp(log_value)
    return {
        "value": value if math.isfinite(value) else None,
        "log_value": log_value if math.isfinite(log_value) else None,
    }


def safe_log(value: float) -> float:
    """Natural logarithm; -inf of zero."""
    return math.log(value) if value > 0 else -math.inf


def log_product(values: Iterable[float]) -> float:
    """Natural logarithm of a product."""
    return math.fsum(safe_log(value) for value in values)


def safe_exp(log_value: float) -> float:
    """Exponential; inf beyond the doubles."""
    try:
        return math.exp(log_value)
    except OverflowError:
        return math.inf


def log_expm1(x: float) -> float:
    """log(exp(x) - 1) for x >= 0, without overflow; -inf at 0."""
    if x <= 0:
        return -math.inf
    return math.log(math.expm1(x)) if x < 30 else x + math.log1p(-math.exp(-x))


def show(log_value: float) -> str:
    """Write a magnitude with four digits, as a power of ten if it is huge or tiny."""
    if not math.isfinite(log_value):
        return "0" if log_value < 0 else "infinity"
    if abs(log_value) < 690:
        return f"{math.exp(log_value):.4g}"
    exponent = math.floor(log_value / math.log(10))
    return f"{math.exp(log_value - exponent * math.log(10)):.3f}e{exponent:+d}"
