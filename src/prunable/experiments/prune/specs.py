"""Specifications of runs that measure and prune a trained network."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from prunable.experiments.train.specs import MeanFieldSpec
from prunable.runs.spec import Spec


class EvaluateSpec(Spec):
    """Measures and prunes one trained network.

    Parameters
    ----------
    train : TrainSpec
        The network.
    tolerance : float
        Bound of both pruning criteria: relative Frobenius error <= tolerance, and
        squared relative error <= tolerance.
    eps : tuple of float
        Grid of the curve kappa(eps).
    keep : tuple of float
        Grid of shares kept for the accuracy curve.
    norm_decades : (float, float)
        log10 range of the histogram of unit norms; outliers fall in the end bins.
    norm_bins : int
    """

    stage: ClassVar[str] = "prunable.experiments.train.stages:evaluate_stage"

    train: MeanFieldSpec
    tolerance: float = Field(default=0.1, gt=0, lt=1)
    eps: tuple[float, ...]
    keep: tuple[float, ...]
    norm_decades: tuple[float, float] = (-1.0, 3.0)
    norm_bins: int = Field(default=80, ge=1)


class PruneSpec(Spec):
    """Prunes one trained network to a share of its units.

    Parameters
    ----------
    train : TrainSpec
        The network.
    kappa : float
        Share of hidden units kept.
    """

    stage: ClassVar[str] = "prunable.experiments.train.stages:prune_stage"

    train: MeanFieldSpec
    kappa: float = Field(ge=0, le=1)
