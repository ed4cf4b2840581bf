"""Symmetric alpha-stable laws: values, quantiles and draws; no torch."""

from prunable.numerics.checks import check_alpha, check_scale
from prunable.numerics.stable.law import StableLaw
from prunable.numerics.stable.moments import absolute_moment, continued_moment, truncated_moment
from prunable.numerics.stable.sampling import (
    positive_transform,
    sample_isotropic,
    sample_symmetric,
    symmetric_transform,
)

__all__ = [
    "StableLaw",
    "absolute_moment",
    "check_alpha",
    "check_scale",
    "continued_moment",
    "positive_transform",
    "sample_isotropic",
    "sample_symmetric",
    "symmetric_transform",
    "truncated_moment",
]
