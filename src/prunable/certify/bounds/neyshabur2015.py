"""Frobenius and path norms: Neyshabur, Tomioka and Srebro (2015), "Norm-based capacity control"."""

import math
from typing import Literal

from prunable.certify.bounds.base import Term
from prunable.certify.bounds.facts import NetworkFacts
from prunable.certify.bounds.margin_bounds import GridMargin, MarginBound, mean_inputs, on_grid

SOURCE = "Neyshabur, Tomioka, Srebro (2015)"


class FrobeniusNorms(MarginBound):
    """prod ||A_l||_F^2 / gamma^2, "Neyshabur 2015" in the tables of 2023.

    In the bound layers are peeled off at a factor 2 each (corollary 2 of the source), which
    leaves 2^(L-1) prod ||A_l||_F ||X||_F / n. Several classes cost a factor k by the contraction
    of vectors (Maurer 2016), since the ramp loss is sqrt(2) / gamma Lipschitz in the logits.
    """

    name = "Neyshabur 2015, Frobenius"
    source = SOURCE
    statement = "corollary 2"

    def norms(self, facts: NetworkFacts, variant: str) -> tuple[Term, ...]:
        del variant
        log_square = 2 * facts.log_frobenius_product
        return (Term("prod||A_l||_F^2", "squared Frobenius norms", log_square),)

    def price(self, facts: NetworkFacts, margin: GridMargin, delta: float) -> tuple[Term, ...]:
        product, share = on_grid(
            "prod||A_l||_F", facts.log_frobenius_product, "product of Frobenius norms"
        )
        factors = (*_peeling(facts), product, mean_inputs(facts))
        return self.rademacher(facts, margin, delta, *factors, log_shares=[share])


class PathNorm(MarginBound):
    """The squared path norm over gamma^2: the sum over paths of |w| products, or root of w^2's.

    Path norms are the group norms (p, infinity) after the best rescaling (theorem 5 of the
    source). For p = `order` = 1 the inputs count by their largest entry and
    sqrt(2 ln(2 d_0) / n); for p = 2 every hidden layer costs another sqrt(H), H the widest.
    """

    source = SOURCE
    statement = "theorem 1 and corollary 2"

    def __init__(self, order: Literal[1, 2]) -> None:
        self.order = order
        self.name = f"path norm, l{order}"

    def norms(self, facts: NetworkFacts, variant: str) -> tuple[Term, ...]:
        del variant
        log_square = 2 * facts.path_l1 if self.order == 1 else facts.path_l2_squared
        return (Term("phi^2", f"squared l{self.order} path norm", log_square),)

    def price(self, facts: NetworkFacts, margin: GridMargin, delta: float) -> tuple[Term, ...]:
        log_norm = facts.path_l1 if self.order == 1 else facts.path_l2_squared / 2
        norm, share = on_grid(f"phi_{self.order}", log_norm, f"l{self.order} path norm")
        if self.order == 1:
            entries = math.sqrt(2 * math.log(2 * facts.layers[0].inputs) / facts.n)
            symbol = "max|x_ij| sqrt(2 ln(2 d_0)/n)"
            factors: tuple[Term, ...] = (norm, Term.of(symbol, facts.input_max * entries, "inputs"))
        else:
            hidden = max((layer.outputs for layer in facts.layers[:-1]), default=1)
            log_width = (facts.depth - 1) / 2 * math.log(hidden)
            width = Term("H^((L-1)/2)", f"widest hidden layer, H = {hidden}", log_width)
            factors = (width, norm, mean_inputs(facts))
        return self.rademacher(facts, margin, delta, *_peeling(facts), *factors, log_shares=[share])


def _peeling(facts: NetworkFacts) -> tuple[Term, ...]:
    return (
        Term.of("4 k", 4.0 * facts.classes, "twice the ramp's contraction, and classes"),
        Term("2^(L-1)", "peeling of the layers", (facts.depth - 1) * math.log(2)),
    )
