"""How far outputs move if weights move: lemmas 1 and 3 of Barsbey et al. (2021)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from prunable.certify.bounds.base import (
    PRODUCT,
    Assumption,
    BoundResult,
    Term,
    at_most,
    check_positive,
    safe_log,
)
from prunable.certify.bounds.entropy import log_expm1
from prunable.errors import InputError

SOURCE = "Barsbey, Sefidgaran, Erdogdu, Richard, Simsekli (2021)"


def perturbation_by_ratio(
    input_norm: float, norms: Sequence[float], errors: Sequence[float]
) -> BoundResult:
    """Bound the change of the outputs by relative errors of the layers: lemma 1.

    Parameters
    ----------
    input_norm : float
        B, the largest norm of an input.
    norms : sequence of float
        Frobenius norms ||w_l||, >= 0.
    errors : sequence of float
        eps_l >= ||w_hat_l - w_l|| / ||w_l||, >= 0.

    Returns
    -------
    BoundResult
        Of the Euclidean norm of the change, B (prod (1 + eps_l) - 1) prod ||w_l||.

    Raises
    ------
    InputError
        If an argument is out of range.
    """
    _check(input_norm, norms, errors, "perturbation_by_ratio")
    growth = math.fsum(math.log1p(e) for e in errors)
    product = math.fsum(safe_log(w) for w in norms) if all(norms) else -math.inf
    terms = (
        Term.of("B", input_norm, "largest norm of an input"),
        Term("prod(1+eps_l)-1", "growth of the layers' errors", log_expm1(growth), "(C.1)"),
        Term("prod||w_l||", "product of the layers' Frobenius norms", product, "(C.1)"),
    )
    return BoundResult(
        "perturbation by relative errors",
        terms,
        PRODUCT,
        (_relu(),),
        f"{SOURCE}, lemma 1 (C.1)",
        quantity="perturbation",
    )


def uniform_perturbation(
    input_norm: float, norm: float, epsilon: float, layers: int
) -> BoundResult:
    """Bound the change of the outputs by one relative error and the norm of all weights.

    Parameters
    ----------
    input_norm : float
        B.
    norm : float
        R >= ||w||.
    epsilon : float
        Relative error of every layer, >= 0.
    layers : int
        L.

    Returns
    -------
    BoundResult
        B ((1 + eps)^L - 1) (R / sqrt(L))^L: lemma 1, second part (C.2).

    Raises
    ------
    InputError
        If an argument is out of range.
    """
    _check(input_norm, [norm], [epsilon], "uniform_perturbation")
    base = safe_log(norm) - 0.5 * math.log(layers)
    terms = (
        Term.of("B", input_norm, "largest norm of an input"),
        Term(
            "(1+eps)^L-1", "growth of the errors", log_expm1(layers * math.log1p(epsilon)), "(C.2)"
        ),
        Term("(R/sqrt(L))^L", "largest product of norms at total norm R", layers * base, "(C.2)"),
    )
    return BoundResult(
        "perturbation by one relative error",
        terms,
        PRODUCT,
        (_relu(),),
        f"{SOURCE}, lemma 1 (C.2)",
        quantity="perturbation",
    )


def perturbation_by_distance(
    input_norm: float, norms: Sequence[float], distances: Sequence[float]
) -> BoundResult:
    """Bound the change of the outputs by distances of the layers: lemma 3, part i.

    Parameters
    ----------
    input_norm : float
        B.
    norms, distances : sequence of float
        ||w_l|| and v_l >= ||w_l - w'_l||, >= 0.

    Returns
    -------
    BoundResult
        B (prod (||w_l|| + v_l) - prod ||w_l||).

    Raises
    ------
    InputError
        If an argument is out of range.
    """
    _check(input_norm, norms, distances, "perturbation_by_distance")
    product = math.fsum(safe_log(w) for w in norms) if all(norms) else -math.inf
    if math.isfinite(product):
        growth = math.fsum(math.log1p(v / w) for w, v in zip(norms, distances, strict=True))
        difference = product + log_expm1(growth)
    else:
        sums = [w + v for w, v in zip(norms, distances, strict=True)]
        difference = math.fsum(safe_log(s) for s in sums) if all(sums) else -math.inf
    terms = (
        Term.of("B", input_norm, "largest norm of an input"),
        Term(
            "prod(||w_l||+v_l)-prod||w_l||", "growth of the product of norms", difference, "lemma 3"
        ),
    )
    return BoundResult(
        "perturbation by distances",
        terms,
        PRODUCT,
        (_relu(),),
        f"{SOURCE}, lemma 3 (i)",
        quantity="perturbation",
    )


def loss_perturbation(
    input_norm: float, norm_bound: float, distance: float, layers: int, tau: float
) -> BoundResult:
    """Bound the change of the ramp loss of width `tau`: lemma 3, part ii.

    Parameters
    ----------
    input_norm : float
        B.
    norm_bound : float
        R >= ||w||.
    distance : float
        v >= ||w_l - w'_l|| of every layer.
    layers : int
        L.
    tau : float
        Width of the ramp.

    Returns
    -------
    BoundResult
        sqrt(2) B L (2 R / sqrt(L))^(L-1) v / tau, the Lipschitz constant (4.2) times v.

    Raises
    ------
    InputError
        If an argument is out of range.
    """
    _check(input_norm, [norm_bound], [distance], "loss_perturbation")
    lipschitz = lipschitz_term(input_norm, norm_bound, layers, tau)
    limit = safe_log(norm_bound) - 0.5 * math.log(layers)
    near = at_most("v < R/sqrt(L)", safe_log(distance), limit, "v", strict=True)
    terms = (lipschitz, Term.of("v", distance, "largest distance of a layer"))
    return BoundResult(
        "perturbation of the ramp loss",
        terms,
        PRODUCT,
        (near, _relu()),
        f"{SOURCE}, lemma 3 (ii)",
        quantity="perturbation",
    )


def lipschitz_term(input_norm: float, norm_bound: float, layers: int, tau: float) -> Term:
    """Lipschitz constant of the ramp loss in the weights, (4.2); of type `Term`.

    Raises
    ------
    InputError
        If `tau` is not positive.
    """
    check_positive(tau, "tau", "lipschitz_term")
    base = math.log(2) + safe_log(norm_bound) - 0.5 * math.log(layers)
    depth = (layers - 1) * base if layers > 1 else 0.0
    parts = (
        Term.of("sqrt(2)BL", math.sqrt(2) * input_norm * layers, "inputs and depth"),
        Term("(2R/sqrt(L))^(L-1)", "the other layers", depth),
        Term("1/tau", "width of the ramp", -math.log(tau)),
    )
    return Term.made("Lip(tau,delta)", PRODUCT, parts, "Lipschitz constant of the loss", "(4.2)")


def _relu() -> Assumption:
    return Assumption(
        "ReLU network without biases", "unchecked", "the form of the network is the caller's word"
    )


def _check(input_norm: float, norms: Sequence[float], errors: Sequence[float], where: str) -> None:
    if not 0 <= input_norm < math.inf:
        raise InputError.parameter("input_norm", where, "finite and >= 0", input_norm)
    if not norms or len(norms) != len(errors):
        raise InputError.parameter(
            "norms", where, "one number a layer", f"{len(norms)} norms, {len(errors)} errors"
        )
    for name, values in (("norms", norms), ("errors", errors)):
        for value in values:
            if not 0 <= value < math.inf:
                raise InputError.parameter(name, where, "finite and >= 0", value)
