"""Settings of figures 3 and 7 of the 2020 paper."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from prunable.errors import InputError
from prunable.predict.linear.curve import Wanted
from prunable.predict.linear.problem import LinearGaussianProblem
from prunable.predict.linear.pruning_risk import Method

# The paper gives s / p and n / p; spike and p are our choice, see docs/predict.md.
SPIKE = 25.0
P, N, S = 1000, 300, 100


@dataclass(frozen=True, eq=False)
class Preset:
    """One panel of a figure.

    Attributes
    ----------
    name, title : str
    problem : LinearGaussianProblem
    n, s : int
    wanted : Wanted
        The curves of the panel.
    """

    name: str
    title: str
    problem: LinearGaussianProblem
    n: int
    s: int
    wanted: Wanted


def preset(name: str, *, p: int = P, sigma: float = 0.0) -> Preset:
    """Build a panel by its name.

    Parameters
    ----------
    name : str
        "fig3a" or "fig7a", spiked latent weights; "fig3b" or "fig7b", a spiked covariance.
    p : int
        Features, a multiple of 10; n = 0.3 p and s = 0.1 p.
    sigma : float
        Standard deviation of the noise, >= 0.

    Returns
    -------
    Preset

    Raises
    ------
    InputError
        If there is no such panel, or `p` is no positive multiple of 10.
    """
    if name not in PRESETS:
        raise InputError.parameter("preset", "preset", f"one of {', '.join(PRESETS)}", name)
    if p < 10 or p % 10:
        raise InputError.parameter("p", "preset", "a positive multiple of 10", p)
    s, n = p // 10, 3 * p // 10
    spiked = np.where(np.arange(p) < s, SPIKE, 1.0)
    flat = np.ones(p)
    covariance, weights = (flat, np.sqrt(spiked)) if name.endswith("a") else (spiked, flat)
    problem = LinearGaussianProblem.diagonal(covariance, weights / np.sqrt(p), sigma)
    retrained = (Method.MAGNITUDE, Method.HESSIAN) if name.startswith("fig7") else ()
    return Preset(name, PRESETS[name], problem, n, s, Wanted(retrain_by=retrained))


PRESETS = {
    "fig3a": "spiked latent weights, identity covariance",
    "fig3b": "identical latent weights, spiked covariance",
    "fig7a": "spiked latent weights, identity covariance, with retraining",
    "fig7b": "identical latent weights, spiked covariance, with retraining",
}
