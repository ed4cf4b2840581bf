"""Settings of figures 3 and 7 of the 2020 paper."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from prunable.errors import InputError, require
from prunable.predict.linear.curves import Wanted
from prunable.predict.linear.names import Method
from prunable.predict.linear.problem import LinearGaussianProblem

PresetName = Literal["fig3a", "fig3b", "fig7a", "fig7b"]

PRESETS: dict[str, str] = {
    "fig3a": "spiked latent weights, identity covariance",
    "fig3b": "identical latent weights, spiked covariance",
    "fig7a": "spiked latent weights, identity covariance, with retraining",
    "fig7b": "identical latent weights, spiked covariance, with retraining",
}

# The paper gives s / p and n / p; spike and p are our choice, see docs/predict.md.
SPIKE = 25.0
P = 1000


@dataclass(frozen=True, eq=False)
class Preset:
    """One panel of a figure; `wanted` are its curves."""

    name: str
    title: str
    problem: LinearGaussianProblem
    n: int
    s: int
    wanted: Wanted


def preset(name: str, *, p: int = P, sigma: float = 0.0) -> Preset:
    """Build a panel of `PRESETS` with n = 0.3 p and s = 0.1 p, p a multiple of 10.

    "a" are spiked latent weights, "b" a spiked covariance; fig7 adds retraining.

    >>> panel = preset("fig3a", p=100)
    >>> panel.n, panel.s, panel.title
    (30, 10, 'spiked latent weights, identity covariance')
    """
    require(name in PRESETS, "preset", "preset", f"one of {', '.join(PRESETS)}", name)
    if p < 10 or p % 10:
        raise InputError.parameter("p", "preset", "a positive multiple of 10", p)
    s, n = p // 10, 3 * p // 10
    spiked = np.where(np.arange(p) < s, SPIKE, 1.0)
    flat = np.ones(p)
    covariance, weights = (flat, np.sqrt(spiked)) if name.endswith("a") else (spiked, flat)
    problem = LinearGaussianProblem.diagonal(covariance, weights / np.sqrt(p), sigma)
    retrained = (Method.MAGNITUDE, Method.HESSIAN) if name.startswith("fig7") else ()
    return Preset(name, PRESETS[name], problem, n, s, Wanted(retrain_by=retrained))
