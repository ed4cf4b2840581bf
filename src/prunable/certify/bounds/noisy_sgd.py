"""Risk of a network of one hidden layer trained by SGD with heavy-tailed noise, and pruned.

Wan, Zaidi and Simsekli (2023) obtain it by giving their theorem 3.1 to the generalization bound of
Barsbey et al. (2021), theorem 5 of its long version: theorem 3.1 is hypothesis H1.
"""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from prunable.certify.bounds.assumptions import Assumption, at_most
from prunable.certify.bounds.base import BoundResult
from prunable.certify.bounds.checks import check_positive
from prunable.certify.bounds.compressed_network import pruned_network_bound
from prunable.certify.bounds.compression import Compression, NormBound, Observed
from prunable.certify.bounds.matrix_facts import check_matrix
from prunable.errors import require
from prunable.numerics.dynamics.compression import largest_step
from prunable.numerics.weights.selection import kept_count

SOURCE = "Wan, Zaidi, Simsekli (2023), after theorem 3.1; Barsbey et al. (2021), theorem 5"
# The two theorems ask for activations that exclude each other.
ACTIVATION = Assumption(
    "units are bounded with bounded derivatives (assumption 1), and ReLU (theorem 5)",
    "violated",
    "no unit is both",
    math.inf,
)


def noisy_sgd_bound(
    margins: ArrayLike,
    hidden: ArrayLike,
    output: ArrayLike,
    *,
    kappa: float,
    epsilon: float,
    alpha: float,
    lr: float,
    input_norm: float,
    delta: float = 0.05,
    tau: float | None = None,
) -> BoundResult:
    """Bound the risk of the network of which floor(kappa n) of n hidden units are kept.

    Theorem 5 at the layers' weights, the output layer unpruned, with H1 at `epsilon`: it fails with
    probability `epsilon` by theorem 3.1, if n is large enough, which nobody has put in numbers, and
    the step size at most n^(-alpha/2 - 1). Both are assumptions, as is that the change of the
    hidden layer at hand is at most epsilon.

    Parameters
    ----------
    margins : (examples,) of the network before pruning, on the training set.
    hidden, output : (n, inputs), a row a unit, and (outputs, n), fixed in training, 1/n included.
    kappa : Share of units kept, those of largest norm, in (0, 1); at least one must be.
    epsilon : In (0, 1), with epsilon + delta < 1.
    alpha, lr : Tail index of the noise, in (1, 2), and step size eta.
    input_norm : Largest norm of an input.
    delta, tau : As in `NormBound` and `Observed`.
    """
    where = "noisy_sgd_bound"
    first, second = check_matrix("hidden", hidden), check_matrix("output", output)
    units = len(first)
    fits = second.shape[1] == units
    require(fits, "output", where, f"a matrix of {units} columns, one a unit", second.shape)
    require(0 < epsilon < 1 - delta, "epsilon", where, "positive and below 1 - delta", epsilon)
    check_positive(lr, "lr", where)
    kept = kept_count(kappa, units, "floor")
    require(kept > 0, "kappa", where, f"so large that one of {units} units is kept", kappa)
    norms = np.sort(np.linalg.norm(first, axis=1))
    whole = float(np.linalg.norm(norms))
    error = float(np.linalg.norm(norms[: units - kept])) / check_positive(whole, "hidden", where)
    compression = Compression(
        sizes=(first.size, second.size),
        kept=(kept * first.shape[1], second.size),
        errors=(error, 0.0),
        epsilon=epsilon,
        failure=epsilon,
    )
    seen = Observed(margins, compression, input_norm=input_norm, tau=tau)
    found = pruned_network_bound(seen, NormBound(math.hypot(whole, np.linalg.norm(second)), delta))
    step = at_most(
        "eta <= n^(-alpha/2 - 1)",
        math.log(lr),
        math.log(largest_step(units, alpha)),
        f"n = {units}, alpha = {alpha:g}",
    )
    large = Assumption("n is at least N(kappa, epsilon, t)", "unchecked", f"n = {units} units")
    return replace(
        found,
        name="network of noisy SGD, pruned by units",
        assumptions=(*found.assumptions, step, large, ACTIVATION),
        source=SOURCE,
    )
