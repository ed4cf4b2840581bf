"""Adaptive probabilities of binary decisions: KT estimators and their Bayesian mixture.

Only additions, multiplications and divisions of float64 are used, in one fixed order, so that
every IEEE machine finds the same integers.

Sources: Krichevsky and Trofimov (1981); mixtures as in Willems, Shtarkov and Tjalkens (1995).
"""

from collections.abc import Sequence

from prunable.certify.coding.arithmetic import ONE, Coder

_LEAST = 1 << 16  # of 2^48: no decision costs more than 32 bits


class Mixture:
    """Bayesian mixture of experts, each a table of KT estimators, one for every context.

    The probability of a whole sequence is the average over the experts of what each would
    have given it. An expert gives equal probability to all orders of the same decisions, so
    the mixture does too (up to the rounding to 2^-48): the code does not depend on the order
    in which hidden units stand. `sizes` are the numbers of contexts of the experts.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self._weights = [1.0 / len(sizes)] * len(sizes)
        # ones + 1/2 and decisions + 1 of every context: the KT estimate is their ratio
        self._ones = [[0.5] * size for size in sizes]
        self._all = [[1.0] * size for size in sizes]

    def code(self, coder: Coder, bit: int, contexts: Sequence[int]) -> int:
        """Pass one decision and learn from it; `contexts` say where each expert counts it."""
        weights = self._weights
        guesses = [
            ones[context] / total[context]
            for ones, total, context in zip(self._ones, self._all, contexts)  # noqa: B905 - speed
        ]
        p_one = 0.0
        for weight, guess in zip(weights, guesses):  # noqa: B905
            p_one += weight * guess
        found = coder.code(bit, min(max(int(p_one * ONE), _LEAST), ONE - _LEAST))
        mass = 0.0
        for e, guess in enumerate(guesses):
            weights[e] *= guess if found else 1.0 - guess
            mass += weights[e]
            context = contexts[e]
            self._all[e][context] += 1.0
            if found:
                self._ones[e][context] += 1.0
        for e in range(len(weights)):
            weights[e] /= mass
        return found
