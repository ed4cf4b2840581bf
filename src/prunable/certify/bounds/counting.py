"""Bounds from the number of networks there are: theorems 3.1 and D.1 of Guha et al. (2023)."""

from __future__ import annotations

import math
from typing import Literal

from numpy.typing import ArrayLike

from prunable.certify.bounds.base import (
    PRODUCT,
    SUM,
    Assumption,
    BoundResult,
    Term,
    at_most,
    check_delta,
    powers,
    safe_log,
)
from prunable.certify.bounds.facts import check_margins, margin_loss
from prunable.certify.bounds.pruning_moments import SOURCE
from prunable.errors import InputError


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

    Parameters
    ----------
    margins : array_like, shape (n,)
        Of the original network on the training set.
    parameters : float
        q >= 0, of the compressed network.
    log_levels : float
        Natural logarithm of r, the values each can take; >= 0.
    gamma : float
        Margin, >= 0: what compression may do to a logit.
    delta : float
        Failure probability.
    deviation : float, optional
        What compression does to a logit of a training example at most, if measured.
    tolerance : {1, 2}
        A change of each logit by gamma changes a margin by 2 gamma: the paper asks for 1.
    constant : float, optional
        Of O(.), in constant sqrt(q ln r / n), as the paper states it; if None, the statement is
        proven: sqrt((q ln r + ln(1/delta)) / (2 n)).

    Returns
    -------
    BoundResult

    Raises
    ------
    InputError
        If an argument is out of range.
    """
    where = "compression_bound"
    if not 0 <= parameters < math.inf:
        raise InputError.parameter("parameters", where, "finite and >= 0", parameters)
    if not 0 <= log_levels < math.inf:
        raise InputError.parameter("log_levels", where, "finite and >= 0", log_levels)
    log_count = Term.made(
        "q ln(r)",
        PRODUCT,
        (
            Term.of("q", parameters, "parameters of the compressed network"),
            Term.of("ln(r)", log_levels, "nats of one parameter"),
        ),
        "nats of a network",
        "theorem 3.1",
    )
    close = _compressible(deviation, gamma, tolerance)
    return _counted(
        margins,
        log_count,
        tolerance * gamma,
        delta,
        constant,
        "compression",
        "theorem 3.1",
        (close,),
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
    """Bound the risk of one of J networks fixed before the data: theorem D.1.

    Parameters
    ----------
    margins : array_like, shape (n,)
        Of the original network on the training set.
    log_count : float or Term
        ln J, >= 0.
    gamma : float
        Margin that the compression may use up, >= 0.
    delta : float
        Failure probability.
    name, statement, assumptions
        Of the result.
    constant : float, optional
        See `compression_bound`.

    Returns
    -------
    BoundResult
        R^_gamma + sqrt((ln J + ln(1/delta)) / (2 n)).

    Raises
    ------
    InputError
        If an argument is out of range.
    """
    if not isinstance(log_count, Term):
        log_count = Term.of("ln(J)", log_count, "nats of a network", "theorem D.1")
    return _counted(margins, log_count, gamma, delta, constant, name, statement, assumptions)


def _counted(
    margins: ArrayLike,
    log_count: Term,
    gamma: float,
    delta: float,
    constant: float | None,
    name: str,
    statement: str,
    assumptions: tuple[Assumption, ...],
) -> BoundResult:
    checked = check_margins(margins, name)
    n = checked.size
    check_delta(delta, name)
    if not 0 <= gamma < math.inf:
        raise InputError.parameter("gamma", name, "finite and >= 0", gamma)
    empirical = Term.of(
        "R^_gamma", margin_loss(checked, gamma), f"share of training margins up to {gamma:.4g}"
    )
    if constant is None:
        nats = Term.made(
            "ln(J)+ln(1/delta)",
            SUM,
            (log_count, Term.of("ln(1/delta)", math.log(1 / delta), f"delta = {delta:g}")),
            "nats paid",
            "theorem D.1",
        )
        parts = [nats, Term.of("2n", 2 * n, f"n = {n} examples")]
        rule = powers(0.5, -0.5)
        fixed = Assumption(
            "the networks counted were fixed before the data", "unchecked", "a promise"
        )
    else:
        scale = Term.of("c", constant, "constant of O(.)")
        parts = [scale, log_count, Term.of("n", n, "examples")]
        rule = powers(1, 0.5, -0.5)
        fixed = Assumption("the constant of O(.) is known", "violated", f"{constant:g} taken")
    complexity = Term.made("complexity", rule, parts, "price of generalization", statement)
    return BoundResult(
        name,
        (empirical, complexity),
        SUM,
        (*assumptions, fixed),
        f"{SOURCE}, {statement}",
        n=n,
        delta=delta,
        variant="explicit" if constant is None else "paper",
    )


def _compressible(deviation: float | None, gamma: float, tolerance: int) -> Assumption:
    name = "logits of training examples change by at most gamma"
    if tolerance == 1:
        name += "/2"
    if deviation is None:
        return Assumption(name, "unchecked", "the change was not measured")
    allowed = gamma / 2 if tolerance == 1 else gamma
    return at_most(name, safe_log(deviation), safe_log(allowed), "largest change")
