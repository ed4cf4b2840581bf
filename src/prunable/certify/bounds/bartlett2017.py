"""Spectrally normalised margins by covering: Bartlett, Foster and Telgarsky (2017)."""

import math

from prunable.certify.bounds import grid, margin_bounds
from prunable.certify.bounds.base import SUM, Rule, Term
from prunable.certify.bounds.facts import LayerFacts, NetworkFacts

# (sum x_l^(2/3))^3 of squared ratios: sum of cubic roots, cubed
_CUBIC = Rule("(sum of cubic roots)^3", lambda logs: 3 * SUM.log_combine([x / 3 for x in logs]))
_CUBIC_ROOT = Rule(
    "(sum t^(2/3))^(3/2)", lambda logs: 1.5 * SUM.log_combine([2 * x / 3 for x in logs])
)


class CoveringNumbers(margin_bounds.MarginBound):
    """prod ||A_l||_2^2 times a sum of squared ratios of norms, over gamma^2: theorem 1.1.

    The capacity "paper" has (sum (||A_l^T||_{2,1} / ||A_l||_2)^(2/3))^3, the true (2,1) norm;
    "authors-intended", of the tables of 2023, sum ||A_l||_{1,2}^2 / ||A_l||_2^2; "authors-code",
    what their helper returns, ||A_l||_F in place of ||A_l||_{1,2}.

    Theorem 3.3 of the source bounds the covering numbers; Dudley's integral from 1/n to sqrt(n)
    (lemma A.5) makes 8 n^(-3/2) + 72 sqrt(ln(2 W^2)) ln(n) ||X||_F R_A / (gamma n). Reference
    matrices are zero. The product of spectral norms and each ratio of norms are moved up to a
    grid that is paid for.
    """

    name = "Bartlett 2017"
    source = "Bartlett, Foster, Telgarsky (2017)"
    capacity_statement = statement = "theorem 1.1"
    variants = ("authors-code", "authors-intended", "paper")

    def norms(self, facts: NetworkFacts, variant: str) -> tuple[Term, ...]:
        symbol, rule = "(sum(||A_l^T||_{2,1}/||A_l||_2)^(2/3))^3", _CUBIC
        norms = [layer.rows_21 for layer in facts.layers]
        if variant == "authors-intended":
            symbol, rule = "sum||A_l||_{1,2}^2/||A_l||_2^2", SUM
            norms = [layer.columns_12 for layer in facts.layers]
        if variant == "authors-code":
            symbol, rule = "sum||A_l||_F^2/||A_l||_2^2", SUM
            norms = [layer.frobenius for layer in facts.layers]
        logs = [2 * _log_ratio(x, norm) for x, norm in zip(facts.layers, norms, strict=True)]
        return margin_bounds.spectral_square(facts), margin_bounds.summed(
            symbol, logs, "ratios of norms", rule
        )

    def price(
        self, facts: NetworkFacts, margin: margin_bounds.GridMargin, delta: float
    ) -> tuple[Term, ...]:
        n, width = facts.n, facts.width
        product, share = margin_bounds.on_grid(
            "prod||A_l||_2", facts.log_spectral_product, "product of spectral norms"
        )
        shares, logs = [share], []
        for layer in facts.layers:
            log_ratio = _log_ratio(layer, layer.rows_21)
            if math.isfinite(log_ratio):
                log_ratio, share = grid.up(log_ratio)
                shares.append(share)
            logs.append(log_ratio)
        symbol = "(sum(||A_l^T||_{2,1}/||A_l||_2)^(2/3))^(3/2)"
        complexity, confidence = self.rademacher(
            facts,
            margin,
            delta,
            Term.of("72", 72.0, "constant of the covering"),
            Term.of("sqrt(ln(2 W^2))", math.sqrt(math.log(2 * width**2)), f"width W = {width}"),
            Term.of("ln(n)", math.log(n), "Dudley's integral"),
            margin_bounds.mean_inputs(facts),
            product,
            margin_bounds.summed(symbol, logs, "ratios of norms, on the grid", _CUBIC_ROOT),
            log_shares=shares,
        )
        return complexity, Term.of("8/n^1.5", 8 * n**-1.5, "end of Dudley's integral"), confidence


def _log_ratio(layer: LayerFacts, norm: float) -> float:
    return math.log(norm / layer.spectral) if layer.spectral > 0 else -math.inf
