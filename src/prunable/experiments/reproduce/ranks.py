"""Rank correlation of a handful of networks, with its uncertainty."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata, spearmanr, t

LEVEL = 0.05
# From here the t law is near enough, and permutations are too many.
EXACT_UP_TO = 8
LEAST_PAIRS = 4  # of fewer no order is improbable


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's coefficient of pairs.

    low, high : 95 % interval; None for fewer than 4 pairs and where all ranks agree.
    p_negative : Chance of a coefficient so low if the order of one side were random.
    critical : The weakest coefficient that so many pairs could show at the one-sided 5 % level.
    """

    rho: float
    low: float | None
    high: float | None
    p_negative: float
    n: int
    critical: float

    @property
    def is_negative(self) -> bool:
        """Whether a random order is refuted at the one-sided 5 % level."""
        return self.p_negative < LEVEL

    def __str__(self) -> str:
        interval = "" if self.low is None else f" [{self.low:.2f}, {self.high:.2f}]"
        return (
            f"{self.rho:.2f}{interval}, one-sided p {self.p_negative:.2g}, n = {self.n}, "
            f"significant from {self.critical:.2f} on"
        )


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> RankCorrelation | None:
    """Correlate the ranks of pairs.

    Ties share their mean rank. None for fewer than 4 pairs, of which no order is improbable, or
    if a side is constant.

    Notes
    -----
    The probability is exact up to 8 pairs: all orders of one side are tried. The interval is
    that of Bonett and Wright (2000): Fisher's z with variance (1 + rho^2 / 2) / (n - 3).
    """
    n = len(x)
    if n < LEAST_PAIRS or len(set(x)) == 1 or len(set(y)) == 1:
        return None
    ranks_x, ranks_y = rankdata(x) - (n + 1) / 2, rankdata(y) - (n + 1) / 2
    scale = math.sqrt(float(ranks_x @ ranks_x) * float(ranks_y @ ranks_y))
    rho = float(ranks_x @ ranks_y) / scale
    if n <= EXACT_UP_TO:
        orders = np.array(list(itertools.permutations(ranks_y)))
        by_chance = np.sort(orders @ ranks_x / scale)
        p_negative = float(np.mean(by_chance <= rho + 1e-12))
        weakest = by_chance[max(0, math.ceil(LEVEL * len(by_chance)) - 1)]
        # ties reach beyond the level together, or not at all
        significant = by_chance[by_chance < weakest - 1e-12]
        critical = float(significant[-1]) if len(significant) else -1.0
    else:
        p_negative = float(spearmanr(x, y, alternative="less").pvalue)
        t_value = float(t.ppf(LEVEL, n - 2))
        critical = t_value / math.sqrt(n - 2 + t_value**2)
    if abs(rho) > 1 - 1e-12:
        return RankCorrelation(rho, None, None, p_negative, n, critical)
    half = 1.959963984540054 * math.sqrt((1 + rho**2 / 2) / (n - 3))
    z = math.atanh(rho)
    return RankCorrelation(rho, math.tanh(z - half), math.tanh(z + half), p_negative, n, critical)


def pairs_for(rho: float) -> int:
    """Least number of pairs in which a coefficient as strong is significant (by the t law)."""
    for n in range(LEAST_PAIRS + 1, 1000):
        t_value = float(t.ppf(LEVEL, n - 2))
        if abs(t_value) / math.sqrt(n - 2 + t_value**2) <= rho:
            return n
    return 1000
