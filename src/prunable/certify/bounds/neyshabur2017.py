"""Spectrally normalised margins by PAC-Bayes: Neyshabur, Bhojanapalli and Srebro (2017/2018)."""

import math

from prunable.certify.bounds.base import PRODUCT, SUM, Term, powers
from prunable.certify.bounds.facts import NetworkFacts
from prunable.certify.bounds.logs import safe_log
from prunable.certify.bounds.margin_bounds import GridMargin, MarginBound, spectral_square, summed

# 4 sqrt(2) e^2, rounded up, of the source's proof.
PROOF_CONSTANT = 42.0


class SpectralNorms(MarginBound):
    """The capacity of theorem 1, and its bound R^_gamma + 4 sqrt((KL + ln(6 n/delta')) / (n-1)).

    The capacity "paper" is B^2 L^2 h ln(L h) prod ||A_l||_2^2 sum ||A_l||_F^2 / ||A_l||_2^2, h
    the widest layer; "authors-code", of the tables of 2023, is without B, L and the logarithm,
    and with the input dimension of each layer inside the sum.

    The bound has the constants of the proof: priors of deviation
    gamma / (42 L B b^(L-1) sqrt(h ln(4 L h))) stand at L n^(1/(2L)) values of b, one within a
    factor 1 + 1/L of the geometric mean of spectral norms, which costs e^2.
    """

    name = "Neyshabur 2017"
    source = "Neyshabur, Bhojanapalli, Srebro (2018)"
    capacity_statement = statement = "theorem 1"
    variants = ("authors-code", "paper")
    usual = "authors-code"
    of_relu = True

    def norms(self, facts: NetworkFacts, variant: str) -> tuple[Term, ...]:
        product = spectral_square(facts)
        if variant == "authors-code":
            widths = [math.log(layer.inputs) for layer in facts.layers]
            logs = [a + b for a, b in zip(_ratios(facts), widths, strict=True)]
            total = summed("sum h_l||A_l||_F^2/||A_l||_2^2", logs, "widths and ranks")
            return product, total
        h, depth = facts.width, facts.depth
        return (
            Term.of("B^2 L^2", (facts.input_limit()[0] * depth) ** 2, "inputs and depth"),
            Term.of("h ln(L h)", h * math.log(depth * h), f"width h = {h}"),
            product,
            _stable_ranks(facts),
        )

    def price(self, facts: NetworkFacts, margin: GridMargin, delta: float) -> tuple[Term, ...]:
        n, depth, h = facts.n, facts.depth, facts.width
        divergence = Term.made(
            "KL",
            PRODUCT,
            "divergence of the perturbed network from the prior",
            Term.of("(42 e)^2/2", (PROOF_CONSTANT * math.e) ** 2 / 2, "constants of the proof"),
            Term("B^2", "inputs", 2 * safe_log(facts.input_limit()[0])),
            Term.of("L^2", depth**2, "depth"),
            Term.of("h ln(4 L h)", h * math.log(4 * depth * h), f"width h = {h}"),
            spectral_square(facts),
            _stable_ranks(facts),
            margin.inverse_square(),
            equation="lemma 1",
        )
        log_cover = math.log(depth) + math.log(n) / (2 * depth)
        nats = Term.of(
            "ln(6 n/delta')",
            math.log(6 * n) - math.log(delta) + log_cover - margin.log_share,
            "confidence, priors and margins",
        )
        complexity = Term.made(
            "complexity",
            powers(1, 0.5, -0.5),
            "price of generalization",
            Term.of("4", 4.0, "constant of lemma 1"),
            Term.made("KL+ln(6 n/delta')", SUM, "nats", divergence, nats),
            Term.of("n-1", max(n - 1, 0), "examples"),
            equation="theorem 1",
        )
        return (complexity,)


def _stable_ranks(facts: NetworkFacts) -> Term:
    return summed("sum||A_l||_F^2/||A_l||_2^2", _ratios(facts), "stable ranks")


def _ratios(facts: NetworkFacts) -> list[float]:
    return [
        2 * (math.log(x.frobenius) - math.log(x.spectral)) if x.spectral > 0 else -math.inf
        for x in facts.layers
    ]
