"""How far outputs move if weights move: lemmas 1 and 3 of Barsbey et al. (2021).

In all of them B is the largest norm of an input, `norms` and `norm_bound` are Frobenius norms
||w_l|| of the layers and R >= ||w|| of all weights together, L the number of layers; the value
bounds the Euclidean norm of the change, or the change of the loss.
"""

import math
from collections.abc import Sequence

from prunable.certify.bounds.assumptions import RELU_WITHOUT_BIASES, Assumption, at_most
from prunable.certify.bounds.base import PRODUCT, BoundResult, Term
from prunable.certify.bounds.checks import check_finite, check_layers, check_positive
from prunable.certify.bounds.logs import log_expm1, log_product, safe_log

SOURCE = "Barsbey, Sefidgaran, Erdogdu, Richard, Simsekli (2021)"


def perturbation_by_ratio(
    input_norm: float, norms: Sequence[float], errors: Sequence[float]
) -> BoundResult:
    """B (prod (1 + eps_l) - 1) prod ||w_l|| for relative errors of the layers: lemma 1.

    The errors are eps_l >= ||w_hat_l - w_l|| / ||w_l||, >= 0.
    """
    _check(input_norm, norms, errors, "perturbation_by_ratio")
    growth = math.fsum(math.log1p(e) for e in errors)
    return _result(
        "perturbation by relative errors",
        "lemma 1 (C.1)",
        _inputs(input_norm),
        Term("prod(1+eps_l)-1", "growth of the layers' errors", log_expm1(growth), "(C.1)"),
        Term("prod||w_l||", "product of the layers' Frobenius norms", log_product(norms), "(C.1)"),
    )


def uniform_perturbation(
    input_norm: float, norm_bound: float, epsilon: float, layers: int
) -> BoundResult:
    """B ((1 + eps)^L - 1) (R / sqrt(L))^L for one relative error: lemma 1, second part (C.2)."""
    _check(input_norm, [norm_bound], [epsilon], "uniform_perturbation")
    growth = log_expm1(layers * math.log1p(epsilon))
    base = layers * _log_share(norm_bound, layers)
    return _result(
        "perturbation by one relative error",
        "lemma 1 (C.2)",
        _inputs(input_norm),
        Term("(1+eps)^L-1", "growth of the errors", growth, "(C.2)"),
        Term("(R/sqrt(L))^L", "largest product of norms at total norm R", base, "(C.2)"),
    )


def perturbation_by_distance(
    input_norm: float, norms: Sequence[float], distances: Sequence[float]
) -> BoundResult:
    """B (prod (||w_l|| + v_l) - prod ||w_l||) for distances v_l of the layers: lemma 3, part i."""
    _check(input_norm, norms, distances, "perturbation_by_distance")
    product = log_product(norms)
    if math.isfinite(product):
        growth = math.fsum(math.log1p(v / w) for w, v in zip(norms, distances, strict=True))
        difference = product + log_expm1(growth)
    else:
        difference = log_product([w + v for w, v in zip(norms, distances, strict=True)])
    symbol, meaning = "prod(||w_l||+v_l)-prod||w_l||", "growth of the product of norms"
    return _result(
        "perturbation by distances",
        "lemma 3 (i)",
        _inputs(input_norm),
        Term(symbol, meaning, difference, "lemma 3"),
    )


def loss_perturbation(
    input_norm: float, norm_bound: float, distance: float, layers: int, tau: float
) -> BoundResult:
    """Bound the change of the ramp loss of width `tau`: lemma 3, part ii.

    sqrt(2) B L (2 R / sqrt(L))^(L-1) v / tau, the Lipschitz constant (4.2) times a distance v of
    every layer.
    """
    _check(input_norm, [norm_bound], [distance], "loss_perturbation")
    limit = _log_share(norm_bound, layers)
    return _result(
        "perturbation of the ramp loss",
        "lemma 3 (ii)",
        lipschitz_term(input_norm, norm_bound, layers, tau),
        Term.of("v", distance, "largest distance of a layer"),
        near=(at_most("v < R/sqrt(L)", safe_log(distance), limit, "v", strict=True),),
    )


def lipschitz_term(input_norm: float, norm_bound: float, layers: int, tau: float) -> Term:
    """Lipschitz constant in the weights of the ramp loss of width `tau`: (4.2)."""
    check_positive(tau, "tau", "lipschitz_term")
    base = math.log(2) + safe_log(norm_bound) - 0.5 * math.log(layers)
    return Term.made(
        "Lip(tau,delta)",
        PRODUCT,
        "Lipschitz constant of the loss",
        Term.of("sqrt(2)BL", math.sqrt(2) * input_norm * layers, "inputs and depth"),
        Term("(2R/sqrt(L))^(L-1)", "the other layers", (layers - 1) * base if layers > 1 else 0.0),
        Term("1/tau", "width of the ramp", -math.log(tau)),
        equation="(4.2)",
    )


def _log_share(norm_bound: float, layers: int) -> float:
    """ln(R / sqrt(L))."""
    return safe_log(norm_bound) - 0.5 * math.log(layers)


def _inputs(input_norm: float) -> Term:
    return Term.of("B", input_norm, "largest norm of an input")


def _result(
    name: str, statement: str, *terms: Term, near: tuple[Assumption, ...] = ()
) -> BoundResult:
    return BoundResult(
        name,
        terms,
        PRODUCT,
        (*near, RELU_WITHOUT_BIASES),
        f"{SOURCE}, {statement}",
        quantity="perturbation",
    )


def _check(input_norm: float, norms: Sequence[float], errors: Sequence[float], where: str) -> None:
    check_finite(input_norm, "input_norm", where)
    check_layers(where, norms=norms, errors=errors)
    for norm, error in zip(norms, errors, strict=True):
        check_finite(norm, "norms", where)
        check_finite(error, "errors", where)
