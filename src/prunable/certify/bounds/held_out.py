"""Bounds from examples the network never met: exact binomial tails, for one network or a path.

Source: Langford, "Tutorial on practical prediction theory for classification", JMLR 2005,
Theorem 3.3; Clopper and Pearson (1934).
"""

import math
from collections.abc import Sequence

from prunable.certify.bounds.assumptions import Assumption
from prunable.certify.bounds.base import SUM, BoundResult, Term
from prunable.certify.bounds.binomial import BINOMIAL_INVERSION, check_counts
from prunable.certify.bounds.checks import check_delta
from prunable.errors import check_at_least, require

SOURCE = "Langford 2005, Theorem 3.3 (Clopper and Pearson 1934)"
FRESH = Assumption(
    "the held-out examples are independent draws that served no choice",
    "unchecked",
    "no computation can see it: not training, not early stopping, not the choice of a share",
)


def held_out_bound(errors: int, n: int, delta: float, *, candidates: int = 1) -> BoundResult:
    """Bound the risk of a network by its errors among `n` held-out examples.

    The `candidates` are networks fixed before the held-out set was seen, any of which may be
    chosen by it; each then has delta / candidates.
    """
    where = "held_out_bound"
    check_counts(errors, n, where)
    check_delta(delta, where)
    check_at_least(candidates, 1, "candidates", where)
    parts = [Term.of("ln(1/delta)", -math.log(delta), "confidence, nats")]
    if candidates > 1:
        union = "union over the candidates of a path, nats"
        parts.append(Term.of("ln K", math.log(candidates), union))
    return BoundResult(
        name="held-out set" if candidates == 1 else f"held-out set, path of {candidates}",
        terms=(
            Term.of("k", errors, "errors on the held-out set"),
            Term.of("n", n, "held-out examples"),
            Term.made("c", SUM, "nats to pay", *parts),
        ),
        rule=BINOMIAL_INVERSION,
        assumptions=(FRESH,),
        source=SOURCE,
        n=n,
        delta=delta,
    )


def held_out_path(errors: Sequence[int], n: int, delta: float) -> tuple[BoundResult, ...]:
    """Bound the risks of all candidates of a pruning path at once, by errors on the same examples.

    With probability 1 - delta all of them hold together, so that any rule may choose among
    them after seeing the held-out set.
    """
    require(len(errors) > 0, "errors", "held_out_path", "of at least one candidate", "none")
    return tuple(held_out_bound(k, n, delta, candidates=len(errors)) for k in errors)
