"""Randomized magnitude pruning with masks that grow with its strength, and the choice of it.

Algorithm 1 of Guha, Dubey and Huo (2023). Every weight has one uniform draw u for all
strengths: it is pruned where u < exp(-w^2 / (d psi)), so larger `d` prune supersets, and the
margin that pruning needs is one function of `d` that can be bisected. The released code draws
anew at every step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunable.certify.bounds.facts import FloatArray, NetworkFacts
from prunable.certify.bounds.matrix_facts import check_matrix, spectral_norm
from prunable.certify.bounds.pruning_moments import check_strength
from prunable.certify.bounds.sketched_network import needed_margin
from prunable.errors import InputError


@dataclass(frozen=True, eq=False)
class Draws:
    """Uniform draws for the weights of a network, from one generator in layer order.

    Attributes
    ----------
    matrices : tuple of ndarray
        Layers, float64.
    uniforms : tuple of ndarray
        One draw for each weight.
    variances : tuple of float
        psi of each layer.
    protect_diagonal : bool
        Whether weights at (i, i) stay, as in the paper; the released code prunes them too.
    """

    matrices: tuple[FloatArray, ...]
    uniforms: tuple[FloatArray, ...]
    variances: tuple[float, ...]
    protect_diagonal: bool = True

    @classmethod
    def of(
        cls,
        matrices: Sequence[ArrayLike],
        rng: np.random.Generator,
        *,
        protect_diagonal: bool = True,
    ) -> Draws:
        """Draw for the layers of a network.

        Parameters
        ----------
        matrices : sequence of array_like, shape (outputs, inputs)
        rng : numpy.random.Generator
            The same generator gives the masks of `RandomizedMagnitudePruning`.
        protect_diagonal : bool

        Raises
        ------
        InputError
            If a matrix is empty, not 2-d or not finite.
        """
        checked = tuple(check_matrix(f"layer {i}", m) for i, m in enumerate(matrices, 1))
        uniforms = tuple(rng.random(matrix.shape) for matrix in checked)
        return cls(checked, uniforms, tuple(float(m.var()) for m in checked), protect_diagonal)

    def masks(self, d: float) -> tuple[NDArray[np.bool_], ...]:
        """Keep weights at strength `d`; True is kept.

        Raises
        ------
        InputError
            If `d` is negative or NaN.
        """
        check_strength(d, "Draws.masks")
        if d == 0:
            return tuple(np.ones(m.shape, dtype=np.bool_) for m in self.matrices)
        return tuple(
            u >= pruning_probabilities(m, d, v, protect_diagonal=self.protect_diagonal)
            for m, u, v in zip(self.matrices, self.uniforms, self.variances, strict=True)
        )

    def pruned(self, d: float) -> tuple[FloatArray, ...]:
        """Layers after pruning at strength `d`."""
        return tuple(np.where(k, m, 0.0) for m, k in zip(self.matrices, self.masks(d), strict=True))

    def changes(self, d: float) -> tuple[float, ...]:
        """Spectral norms of what pruning at strength `d` takes from the layers."""
        return tuple(
            0.0 if keep.all() else spectral_norm(np.where(keep, 0.0, matrix))
            for matrix, keep in zip(self.matrices, self.masks(d), strict=True)
        )


@dataclass(frozen=True)
class Strength:
    """A chosen strength of the pruning.

    Attributes
    ----------
    d : float
        0 if no positive one is allowed.
    needed : float
        Margin that pruning at `d` needs.
    margin : float
        Smallest training margin, which `needed` does not exceed unless d is 0.
    steps : int
        Evaluations.
    reason : str
        Why the search ended.
    """

    d: float
    needed: float
    margin: float
    steps: int
    reason: str


def pruning_probabilities(
    matrix: FloatArray, d: float, variance: float, *, protect_diagonal: bool = True
) -> FloatArray:
    """Probability exp(-w^2 / (d psi)) that each weight is pruned; d > 0.

    Returns
    -------
    ndarray
        Shape of `matrix`; 0 on a protected diagonal.
    """
    if math.isinf(d):
        probability = np.ones(matrix.shape)
    else:
        with np.errstate(under="ignore", over="ignore"):
            probability = np.exp(-(matrix**2) * (1 / (d * (variance or 1.0))))
    if protect_diagonal:
        np.fill_diagonal(probability, 0.0)
    return probability


def choose_strength(
    facts: NetworkFacts,
    draws: Draws,
    *,
    highest: float = 10.0,
    lowest: float = 1e-6,
    tolerance: float = 1e-3,
    contractions: bool = True,
) -> Strength:
    """Find the strength at which pruning uses up the smallest training margin, by bisection.

    Parameters
    ----------
    facts : NetworkFacts
        Of the dense network.
    draws : Draws
    highest, lowest : float
        Ends of the range searched; 10 and 0 in the released code.
    tolerance : float
        Relative width of the final bracket, of which the safe end is taken.
    contractions : bool
        Whether the margin needed counts the contraction of lemma C.1, as the released code.

    Returns
    -------
    Strength
        With needed <= margin, or d = 0.

    Raises
    ------
    InputError
        If an argument is out of range.
    """
    if not (0 < lowest < highest < math.inf and 0 < tolerance < 1):
        raise InputError.parameter(
            "lowest, highest, tolerance",
            "choose_strength",
            "0 < lowest < highest and 0 < tolerance < 1",
            (lowest, highest, tolerance),
        )
    margin = float(facts.margins.min())
    if margin <= 0:
        return Strength(0.0, 0.0, margin, 0, "the smallest training margin is not positive")

    def needs(d: float) -> float:
        return needed_margin(facts, draws.changes(d), contractions=contractions)

    needed = needs(highest)
    if needed <= margin:
        return Strength(highest, needed, margin, 1, "the end of the range is allowed")
    low_needed = needs(lowest)
    if low_needed > margin:
        reason = f"even d = {lowest:g} needs {low_needed:.4g}, more than the smallest margin"
        return Strength(0.0, 0.0, margin, 2, reason)
    low, high, steps = lowest, highest, 2
    while high > low * (1 + tolerance):
        # on the scale of logarithms down to one octave, as small strengths matter too
        middle = math.sqrt(low * high) if high > 2 * low else (low + high) / 2
        needed = needs(middle)
        steps += 1
        if needed <= margin:
            low, low_needed = middle, needed
        else:
            high = middle
    return Strength(low, low_needed, margin, steps, "margin used up")
