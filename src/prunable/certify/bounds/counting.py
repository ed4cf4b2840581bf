"""Bounds from the number of networks there are: theorems 3.1 and D.1 of Guha et al. (2023)."""

import math
from typing import Literal

from numpy.typing import ArrayLike

from prunable.certify.bounds.assumptions import Assumption, at_most
from prunable.certify.bounds.base import PRODUCT, SUM, BoundResult, Term, powers
from prunable.certify.bounds.checks import check_delta, check_finite
from prunable.certify.bounds.facts import check_margins, margin_loss_term
from prunable.certify.bounds.logs import safe_log
from prunable.certify.bounds.pruning_moments import SOURCE

# By how much a margin moves at most, in changes of each logit, and in the Euclidean norm of the
# change of all: the true class falls and its rival rises.
MARGIN_PER_LOGIT, MARGIN_PER_NORM = 2.0, math.sqrt(2)


def compression_bound(
    margins: ArrayLike,
    parameters: float,
    log_levels: float,
    *,
    gamma: float = 0.0,
    delta: float = 0.05,
    deviation: float | None = None,
    tolerance: Literal[1, 2] = 1,
    constant: float | None = None,
) -> BoundResult:
    """Bound the risk of a compressed network: theorem 3.1 (Arora et al. 2018).

    It has q >= 0 parameters of r values each. The margin `gamma` is what compression may do to a
    logit, and `deviation` what it does to a logit of a training example at most, if measured. A
    change of each logit by gamma changes a margin by 2 gamma, `MARGIN_PER_LOGIT`: definition 3.1
    and the theorem ask for `tolerance` 1.
    The rest is as in `counting_bound`.
    """
    check_finite(parameters, "parameters", "compression_bound")
    check_finite(log_levels, "log_levels", "compression_bound")
    log_count = Term.made(
        "q ln(r)",
        PRODUCT,
        "nats of a network",
        Term.of("q", parameters, "parameters of the compressed network"),
        Term.of("ln(r)", log_levels, "nats of one parameter"),
        equation="theorem 3.1",
    )
    name, allowed = "logits of training examples change by at most gamma", gamma
    if tolerance == 1:
        name, allowed = f"{name}/2", gamma / MARGIN_PER_LOGIT
    close = Assumption(name, "unchecked", "the change was not measured")
    if deviation is not None:
        close = at_most(name, safe_log(deviation), safe_log(allowed), "largest change")
    return counting_bound(
        margins,
        log_count,
        gamma=tolerance * gamma,
        delta=delta,
        name="compression",
        statement="theorem 3.1",
        assumptions=(close,),
        constant=constant,
    )


def counting_bound(
    margins: ArrayLike,
    log_count: float | Term,
    *,
    gamma: float = 0.0,
    delta: float = 0.05,
    name: str = "parameter counting",
    statement: str = "theorem D.1",
    assumptions: tuple[Assumption, ...] = (),
    constant: float | None = None,
) -> BoundResult:
    """R^_gamma + sqrt((ln J + ln(1/delta)) / (2 n)): theorem D.1.

    It bounds the risk of one of J networks fixed before the data, by margins of the original
    network on the training set, of which the compression may use up `gamma` >= 0. With a
    `constant` of O(.) it is constant sqrt(ln J / n), as theorem 3.1 states it without proof. Name,
    statement and assumptions are those of the result.
    """
    checked = check_margins(margins, name)
    n = checked.size
    check_delta(delta, name)
    check_finite(gamma, "gamma", name)
    if not isinstance(log_count, Term):
        log_count = Term.of("ln(J)", log_count, "nats of a network", "theorem D.1")
    if constant is not None:
        nats, fixed = log_count, constant_taken(constant)
    else:
        confidence = Term.of("ln(1/delta)", math.log(1 / delta), f"delta = {delta:g}")
        parts = (log_count, confidence)
        nats = Term.made("ln(J)+ln(1/delta)", SUM, "nats paid", *parts, equation="theorem D.1")
        fixed = Assumption(
            "the networks counted were fixed before the data", "unchecked", "a promise"
        )
    return BoundResult(
        name,
        (
            margin_loss_term(checked, gamma, "training margins up to"),
            root_of(nats, n, statement, constant),
        ),
        SUM,
        (*assumptions, fixed),
        f"{SOURCE}, {statement}",
        n=n,
        delta=delta,
        variant="explicit" if constant is None else "paper",
    )


def root_of(nats: Term, n: int, statement: str = "", constant: float | None = None) -> Term:
    """Make the price of generalization: sqrt(nats / (2 n)), or constant sqrt(nats / n)."""
    rule, parts = powers(0.5, -0.5), [nats, Term.of("2n", 2 * n, f"n = {n} examples")]
    if constant is not None:
        scale = Term.of("c", constant, "constant of O(.)")
        rule, parts = powers(1, 0.5, -0.5), [scale, nats, Term.of("n", n, "examples")]
    return Term.made("complexity", rule, "price of generalization", *parts, equation=statement)


def constant_taken(constant: float) -> Assumption:
    """The constant of O(.) that a theorem leaves open."""
    return Assumption("the constant of O(.) is known", "violated", f"{constant:g} taken")
