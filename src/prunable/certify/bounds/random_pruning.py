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
from prunable.errors import require


@dataclass(frozen=True, eq=False)
class Draws:
    """One uniform draw for each weight of a network, from one generator in layer order.

    The variances are psi of each layer. Weights at (i, i) stay if `protect_diagonal`, as in the
    paper; the released code prunes them too.
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
        """Draw for the layers of a network, of shape (outputs, inputs).

        The same generator gives the masks of `RandomizedMagnitudePruning`.
        """
        checked = tuple(check_matrix(f"layer {i}", m) for i, m in enumerate(matrices, 1))
        uniforms = tuple(rng.random(matrix.shape) for matrix in checked)
        return cls(checked, uniforms, tuple(float(m.var()) for m in checked), protect_diagonal)

    def masks(self, d: float) -> tuple[NDArray[np.bool_], ...]:
        """Masks at strength `d` >= 0; True is kept."""
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
    """A chosen strength of the pruning: 0 if no positive one is allowed, and the `reason`.

    The margin that it needs does not exceed the smallest training margin unless d is 0; `steps`
    are evaluations.
    """

    d: float
    needed: float
    margin: float
    steps: int
    reason: str


def pruning_probabilities(
    matrix: FloatArray, d: float, variance: float, *, protect_diagonal: bool = True
) -> FloatArray:
    """Probability exp(-w^2 / (d psi)) that each weight is pruned, d > 0; 0 if protected."""
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

    The range searched is that of the released code, which starts at 0; of the final bracket of
    relative width `tolerance` the safe end is taken. With `contractions` the margin needed counts
    the contraction of lemma C.1, as in the released code.
    """
    require(
        0 < lowest < highest < math.inf and 0 < tolerance < 1,
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
