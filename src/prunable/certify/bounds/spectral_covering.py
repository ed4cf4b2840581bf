"""Spectral norms and the number of weights: a cover of the layers in spectral norm.

Every layer lies within a relative distance b of one of (1 + 2/b)^(weights) matrices; by lemma
B.2 the network's margin then changes by little, so that counting covers is a bound. It is the
argument of Long and Sedghi (2020), with constants that come from the count.
"""

import math

from prunable.certify.bounds import grid
from prunable.certify.bounds.base import PRODUCT, SUM, Term
from prunable.certify.bounds.counting import root_of
from prunable.certify.bounds.facts import NetworkFacts
from prunable.certify.bounds.logs import safe_log
from prunable.certify.bounds.margin_bounds import GridMargin, MarginBound, on_grid, spectral_square


class SpectralCover(MarginBound):
    """prod ||A_l||_2^2 / gamma^2, of which the bound has the logarithm alone.

    The bound is R^_gamma + sqrt((d ln(1 + 2/b) + ln(1/delta')) / (2 n)), in which a relative
    distance b = gamma / (2 sqrt(2) e B L prod ||A_l||_2), at most 1/L, moves margins by gamma / 2.
    """

    name = "spectral norms"
    source = "cover in spectral norm, after Long and Sedghi (2020)"
    of_relu = True

    def norms(self, facts: NetworkFacts, variant: str) -> tuple[Term, ...]:
        del variant
        return (spectral_square(facts),)

    def price(self, facts: NetworkFacts, margin: GridMargin, delta: float) -> tuple[Term, ...]:
        product, product_share = on_grid(
            "prod||A_l||_2", facts.log_spectral_product, "product of spectral norms"
        )
        log_b = -math.inf
        if margin.gamma > 0:
            constant = math.log(2 * math.sqrt(2) * math.e * facts.depth)
            reach = constant + safe_log(facts.input_limit()[0]) + product.log_value
            # below 1/L of every layer's own norm, which the grid exceeds by a step at most
            log_b = min(math.log(margin.gamma) - reach, -math.log(facts.depth) - grid.STEP)
        count = Term.made(
            "d ln(1+2/b)",
            PRODUCT,
            "nats of the cover",
            Term.of("d", facts.weights, "weights"),
            Term.of(
                "ln(1+2/b)",
                _log1p_of(math.log(2) - log_b),
                f"b = exp({log_b:.4g}), {product.symbol} inside",
            ),
        )
        log_delta = math.log(delta) + margin.log_share + product_share
        confidence = Term.of("ln(1/delta')", -log_delta, "with the price of the grid")
        nats = Term.made("nats", SUM, "nats paid", count, confidence)
        return (root_of(nats, facts.n),)


def _log1p_of(log_value: float) -> float:
    """ln(1 + exp(log_value)), also beyond the doubles; inf at inf."""
    if log_value > 700:
        return log_value
    return math.log1p(math.exp(log_value))
