"""How far outputs move if every layer moves a little in spectral norm.

Lemma B.2 (Neyshabur et al. 2017) and its descendants in Guha, Dubey and Huo (2023): 4.3 for
pruning, 4.4 for rounding too, and C.1 to C.4, in which layers that narrow contract typical
inputs by a factor kappa_l < 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from prunable.certify.bounds.base import (
    PRODUCT,
    SUM,
    Assumption,
    BoundResult,
    Term,
    at_most,
    check_n,
    check_positive,
    safe_log,
)
from prunable.certify.bounds.pruning_moments import SOURCE
from prunable.errors import InputError


def spectral_perturbation(
    input_norm: float,
    spectral: Sequence[float],
    changes: Sequence[float],
    *,
    contractions: Sequence[float] | None = None,
    lipschitz: float = 1.0,
) -> BoundResult:
    """Bound the change of the outputs: lemma B.2, with contractions lemma C.2.

    Parameters
    ----------
    input_norm : float
        ||x^0||, >= 0.
    spectral, changes : sequence of float
        ||A^l||_2 and ||U^l||_2, or bounds of the latter, >= 0.
    contractions : sequence of float, optional
        kappa_l of lemma C.1, in (0, 1]; 1 if None.
    lipschitz : float
        Of the activations; 1 for ReLU.

    Returns
    -------
    BoundResult
        e ||x^0|| (prod L_l kappa_l ||A^l||_2) sum ||U^l||_2 / ||A^l||_2. Without contractions
        it cannot fail.

    Raises
    ------
    InputError
        If an argument is out of range.
    """
    where = "spectral_perturbation"
    if not 0 <= input_norm < math.inf:
        raise InputError.parameter("input_norm", where, "finite and >= 0", input_norm)
    if not spectral or len(spectral) != len(changes):
        raise InputError.parameter("changes", where, "one number a layer", len(changes))
    factors = list(contractions) if contractions is not None else [1.0] * len(spectral)
    if len(factors) != len(spectral) or not all(0 < k <= 1 for k in factors):
        raise InputError.parameter("contractions", where, "in (0, 1], one a layer", factors)
    for name, values in (("spectral", spectral), ("changes", changes)):
        for value in values:
            if not 0 <= value < math.inf:
                raise InputError.parameter(name, where, "finite and >= 0", value)
    check_positive(lipschitz, "lipschitz", where)
    relative = [
        Term(f"||U_{i}||/||A_{i}||", f"layer {i}", _log_ratio(u, a))
        for i, (u, a) in enumerate(zip(changes, spectral, strict=True), 1)
    ]
    product = math.fsum(safe_log(a) for a in spectral) if all(spectral) else -math.inf
    narrow = Term(
        "prod L kappa_l", "Lipschitz constants and contractions", _log_all(factors, lipschitz)
    )
    terms = (
        Term("e", "limit of (1 + 1/L)^L", 1.0, "lemma B.2"),
        Term.of("||x||", input_norm, "norm of the input"),
        Term("prod||A_l||_2", "product of spectral norms", product),
        narrow,
        Term.made("sum||U_l||/||A_l||", SUM, relative, "relative changes", "lemma B.2"),
    )
    worst = max(range(len(relative)), key=lambda i: relative[i].log_value)
    small = at_most(
        "||U_l|| <= ||A_l||/L",
        relative[worst].log_value,
        -math.log(len(spectral)),
        f"relative change of layer {worst + 1}",
    )
    assumptions = [small]
    if contractions is not None and min(factors) < 1:
        assumptions.append(Assumption("layers that narrow contract", "unchecked", "see lemma C.1"))
    return BoundResult(
        "perturbation by spectral norms",
        terms,
        PRODUCT,
        tuple(assumptions),
        f"{SOURCE}, lemma {'B.2' if contractions is None else 'C.2'}",
        quantity="perturbation",
    )


def contraction(
    inputs: int,
    outputs: int,
    n: int,
    *,
    failure: float = 0.01,
    a: float = 1.0,
    m: float = 1.0,
    variant: Literal["paper", "authors-code"] = "paper",
) -> float:
    """Contraction kappa_l of a layer that narrows: lemma C.1.

    Parameters
    ----------
    inputs, outputs : int
        Dimensions of the layer.
    n : int
        Training examples.
    failure : float
        Probability with which some example is not contracted, in (0, 1).
    a, m : float
        Constants of condition C.1: P(|<v, x>| >= t ||x||) <= a exp(-m d t^2).
    variant : {"paper", "authors-code"}
        The union over all outputs and examples, or the released code's over examples alone
        with a = m = 1.

    Returns
    -------
    float
        min(1, t sqrt(outputs)); 1 for layers that do not narrow.

    Raises
    ------
    InputError
        If an argument is out of range.
    """
    where = "contraction"
    check_n(n, where)
    if inputs < 1 or outputs < 1:
        raise InputError.parameter("inputs, outputs", where, ">= 1", (inputs, outputs))
    if not 0 < failure < 1:
        raise InputError.parameter("failure", where, "inside (0, 1)", failure)
    if outputs >= inputs:
        return 1.0
    if variant == "authors-code":
        t = math.sqrt(math.log(n / failure) / inputs)
    else:
        check_positive(a, "a", where)
        check_positive(m, "m", where)
        t = math.sqrt(max(math.log(a * outputs * n / failure), 0.0) / (m * inputs))
    return min(1.0, t * math.sqrt(outputs))


def pruning_perturbation(
    input_norm: float,
    spectral: Sequence[float],
    errors: Sequence[float],
    *,
    markov: Sequence[float],
    contractions: Sequence[float] | None = None,
    contraction_failure: float = 0.0,
) -> BoundResult:
    """Bound what randomized pruning does to the outputs: lemma 4.3, with contractions C.3.

    Parameters
    ----------
    input_norm, spectral, contractions
        See `spectral_perturbation`.
    errors : sequence of float
        Gamma_l of `layer_error`.
    markov : sequence of float
        epsilon_l >= 1 of each layer.
    contraction_failure : float
        Probability with which a contraction fails, all layers together.

    Returns
    -------
    BoundResult
        Its `delta` is the sum of 1 / epsilon_l.

    Raises
    ------
    InputError
        If an argument is out of range.
    """
    return rounding_perturbation(
        input_norm,
        spectral,
        errors,
        [0] * len(errors),
        [0.0] * len(errors),
        markov=markov,
        contractions=contractions,
        contraction_failure=contraction_failure,
    )


def rounding_perturbation(
    input_norm: float,
    spectral: Sequence[float],
    errors: Sequence[float],
    counts: Sequence[int],
    steps: Sequence[float],
    *,
    markov: Sequence[float],
    contractions: Sequence[float] | None = None,
    contraction_failure: float = 0.0,
    tight: bool = False,
) -> BoundResult:
    """Bound what pruning and rounding do to the outputs: lemma 4.4, with contractions C.4.

    Parameters
    ----------
    input_norm, spectral, errors, markov, contractions, contraction_failure
        See `pruning_perturbation`.
    counts : sequence of int
        J_l, weights that pruning left.
    steps : sequence of float
        rho_l: entries are rounded to its nearest multiple.
    tight : bool
        Whether a layer's rounding costs rho_l sqrt(J_l) / 2, its Frobenius norm, in place of
        the paper's rho_l J_l.

    Returns
    -------
    BoundResult

    Raises
    ------
    InputError
        If an argument is out of range.
    """
    where = "rounding_perturbation"
    if len(markov) != len(errors) or not all(e >= 1 for e in markov):
        raise InputError.parameter("markov", where, ">= 1, one a layer", list(markov))
    changes = [
        e * g + rounding_error(step, count, tight=tight)
        for e, g, count, step in zip(markov, errors, counts, steps, strict=True)
    ]
    base = spectral_perturbation(input_norm, spectral, changes, contractions=contractions)
    rounded = any(steps)
    letter = "C." if contractions is not None else "4."
    return BoundResult(
        "perturbation by pruning and rounding" if rounded else "perturbation by pruning",
        base.terms,
        base.rule,
        base.assumptions,
        f"{SOURCE}, lemma {letter}{4 if rounded else 3}",
        delta=math.fsum(1 / e for e in markov) + contraction_failure,
        quantity="perturbation",
    )


def rounding_error(step: float, count: int, *, tight: bool = False) -> float:
    """Bound on the spectral norm of rounding `count` entries to multiples of `step`: lemma 4.4."""
    if not 0 <= step < math.inf or count < 0:
        raise InputError.parameter("step, count", "rounding_error", ">= 0", (step, count))
    return step / 2 * math.sqrt(count) if tight else step * count


def largest_step(spectral: float, error: float, count: int, layers: int) -> float:
    """Largest rho_l that lemma 4.4 allows, (||A_l||_2 / L - eps_l Gamma_l) / J_l.

    Parameters
    ----------
    spectral : float
        ||A_l||_2.
    error : float
        eps_l Gamma_l.
    count : int
        J_l.
    layers : int
        L.

    Returns
    -------
    float
        Negative or zero if pruning alone is already too much.
    """
    return (spectral / layers - error) / max(count, 1)


def _log_ratio(change: float, norm: float) -> float:
    if change == 0:
        return -math.inf
    return math.log(change / norm) if norm > 0 else math.inf


def _log_all(contractions: Sequence[float], lipschitz: float) -> float:
    return math.fsum(math.log(k * lipschitz) for k in contractions)
