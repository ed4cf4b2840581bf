"""Frobenius and path norms: Neyshabur, Tomioka and Srebro (2015), "Norm-based capacity control"."""

from __future__ import annotations

import math

from prunable.certify.bounds.base import BoundResult, Term, safe_log
from prunable.certify.bounds.facts import NetworkFacts
from prunable.certify.bounds.margin_bounds import capacity, grid_term, margin_bound

SOURCE = "Neyshabur, Tomioka, Srebro (2015)"


def frobenius_capacity(facts: NetworkFacts, gamma: float | None = None) -> BoundResult:
    """Evaluate prod ||A_l||_F^2 / gamma^2, "Neyshabur 2015" in the tables of 2023.

    Parameters
    ----------
    facts : NetworkFacts
    gamma : float, optional
        Margin; the smallest of the training set if None.

    Returns
    -------
    BoundResult
        Of quantity "capacity".
    """
    product = Term("prod||A_l||_F^2", "squared Frobenius norms", 2 * facts.log_frobenius_product)
    return capacity("Neyshabur 2015, Frobenius", facts, (product,), SOURCE, gamma=gamma)


def frobenius_bound(
    facts: NetworkFacts, *, gamma: float | None = None, delta: float = 0.05
) -> BoundResult:
    """Bound the risk by the product of Frobenius norms.

    Parameters
    ----------
    facts : NetworkFacts
    gamma : float, optional
        Margin; `default_tau` of the training margins if None.
    delta : float
        Failure probability.

    Returns
    -------
    BoundResult

    Notes
    -----
    Layers are peeled off at a factor 2 each (corollary 2 of the source), which leaves
    2^(L-1) prod ||A_l||_F ||X||_F / n. Several classes cost a factor k by the contraction of
    vectors (Maurer 2016), since the ramp loss is sqrt(2) / gamma Lipschitz in the logits.
    """
    product, share = grid_term(
        "prod||A_l||_F", facts.log_frobenius_product, "product of Frobenius norms"
    )
    return margin_bound(
        "Neyshabur 2015, Frobenius",
        facts,
        (*_peeling(facts), product, _inputs(facts)),
        f"{SOURCE}, corollary 2",
        log_shares=[share],
        gamma=gamma,
        delta=delta,
    )


def path_capacity(facts: NetworkFacts, order: int, gamma: float | None = None) -> BoundResult:
    """Evaluate the squared path norm over the squared margin.

    Parameters
    ----------
    facts : NetworkFacts
    order : {1, 2}
        Sum over paths of products of |w|, or the root of that of w^2; the largest output's.
    gamma : float, optional
        Margin; the smallest of the training set if None.

    Returns
    -------
    BoundResult
        Of quantity "capacity".
    """
    log_square = 2 * facts.path_l1 if order == 1 else facts.path_l2_squared
    term = Term("phi^2", f"squared l{order} path norm", log_square)
    return capacity(f"path norm, l{order}", facts, (term,), SOURCE, gamma=gamma)


def path_bound(
    facts: NetworkFacts, order: int, *, gamma: float | None = None, delta: float = 0.05
) -> BoundResult:
    """Bound the risk by a path norm.

    Parameters
    ----------
    facts : NetworkFacts
    order : {1, 2}
    gamma : float, optional
        Margin; `default_tau` of the training margins if None.
    delta : float
        Failure probability.

    Returns
    -------
    BoundResult

    Notes
    -----
    Path norms are the group norms (p, infinity) after the best rescaling (theorem 5 of the
    source). For p = 1 the inputs count by their largest entry and sqrt(2 ln(2 d_0) / n); for
    p = 2 every hidden layer costs another sqrt(H), H the widest.
    """
    if order == 1:
        norm, share = grid_term("phi_1", facts.path_l1, "l1 path norm")
        inputs = (
            Term.of(
                "max|x_ij| sqrt(2 ln(2 d_0)/n)",
                facts.input_max * math.sqrt(2 * math.log(2 * facts.layers[0].inputs) / facts.n),
                "inputs",
            ),
        )
        width: tuple[Term, ...] = ()
    else:
        norm, share = grid_term("phi_2", facts.path_l2_squared / 2, "l2 path norm")
        inputs = (_inputs(facts),)
        hidden = max((layer.outputs for layer in facts.layers[:-1]), default=1)
        width = (
            Term(
                "H^((L-1)/2)",
                f"widest hidden layer, H = {hidden}",
                (facts.depth - 1) / 2 * math.log(hidden),
            ),
        )
    return margin_bound(
        f"path norm, l{order}",
        facts,
        (*_peeling(facts), *width, norm, *inputs),
        f"{SOURCE}, theorem 1 and corollary 2",
        log_shares=[share],
        gamma=gamma,
        delta=delta,
    )


def _peeling(facts: NetworkFacts) -> tuple[Term, ...]:
    return (
        Term.of("4 k", 4.0 * facts.classes, "twice the ramp's contraction, and classes"),
        Term("2^(L-1)", "peeling of the layers", (facts.depth - 1) * math.log(2)),
    )


def _inputs(facts: NetworkFacts) -> Term:
    return Term("||X||_F/n", "inputs", safe_log(facts.input_rms) - 0.5 * math.log(facts.n))
