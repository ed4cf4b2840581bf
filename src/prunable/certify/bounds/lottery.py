"""Subnetworks of random networks: theorems 6.1 and 6.2 of Guha, Dubey and Huo (2023)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from numpy.typing import ArrayLike

from prunable.certify.bounds.base import (
    PRODUCT,
    SUM,
    Assumption,
    BoundResult,
    Term,
    at_most,
    check_delta,
    check_positive,
    powers,
    safe_log,
)
from prunable.certify.bounds.facts import LayerFacts, check_margins, margin_loss
from prunable.certify.bounds.pruning_moments import SOURCE
from prunable.errors import InputError


def target_conditions(layers: Sequence[LayerFacts]) -> tuple[Assumption, ...]:
    """Check what theorem 6.1 asks of the target network.

    Parameters
    ----------
    layers : sequence of LayerFacts

    Returns
    -------
    tuple of Assumption
        Spectral norms at most 1, and entries at most 1 / sqrt(inputs), each at its worst layer.
    """
    norm = max(layers, key=lambda layer: layer.spectral)
    entry = max(layers, key=lambda layer: layer.max_abs * math.sqrt(layer.inputs))
    return (
        at_most("||W_l||_2 <= 1", safe_log(norm.spectral), 0.0, norm.name),
        at_most(
            "max |W_l| <= 1/sqrt(n_in)",
            safe_log(entry.max_abs),
            -0.5 * math.log(entry.inputs),
            entry.name,
        ),
    )


def ticket_weights(inputs: int, hidden: int, depth: int, *, constant: float = 1.0) -> BoundResult:
    """Count the active weights of a winning ticket: theorem 6.1.

    Parameters
    ----------
    inputs, hidden, depth : int
        d_0, n_F and L of the target network.
    constant : float
        Of O(.).

    Returns
    -------
    BoundResult
        c (d_0 n_F + n_F^2 L).

    Raises
    ------
    InputError
        If an argument is out of range.
    """
    _check(inputs, hidden, depth, "ticket_weights")
    sizes = (
        Term.of("d_0 n_F", inputs * hidden, "first layer"),
        Term.of("n_F^2 L", hidden**2 * depth, "other layers"),
    )
    return BoundResult(
        "active weights of a subnetwork",
        (
            Term.of("c", constant, "constant of O(.)"),
            Term.made("d_0 n_F + n_F^2 L", SUM, sizes, "weights of the target, up to a constant"),
        ),
        PRODUCT,
        (
            Assumption(
                "the random network is wide enough", "unchecked", "poly(d_0, n_F, L, 1/eps)"
            ),
            Assumption("the constant of O(.) is known", "violated", f"{constant:g} taken"),
        ),
        f"{SOURCE}, theorem 6.1 (Malach et al. 2020, theorem 2.1)",
        quantity="count",
    )


def ticket_bound(
    margins: ArrayLike,
    *,
    inputs: int,
    hidden: int,
    depth: int,
    width: int,
    step: float,
    approximation: float,
    rounding: float = 0.0,
    delta: float = 0.05,
    power: float = 2.0,
    constant: float = 1.0,
    target: Sequence[LayerFacts] | None = None,
) -> BoundResult:
    """Bound the risk of a subnetwork of a random network: theorem 6.2.

    Parameters
    ----------
    margins : array_like, shape (n,)
        Of the subnetwork on the training set.
    inputs, hidden, depth : int
        d_0, n_F and L of the target network.
    width : int
        D_G, hidden units of the random network, >= 2.
    step : float
        rho, inside (0, 1).
    approximation, rounding : float
        eps of theorem 6.1 and eps_rho of the rounding: the margin is their sum.
    delta : float
        Failure probability of theorem 6.1.
    power : float
        c in the failure probability L D_G^-c of sketching.
    constant : float
        Of O(.).
    target : sequence of LayerFacts, optional
        Of the target network, whose conditions are then checked.

    Returns
    -------
    BoundResult

    Raises
    ------
    InputError
        If an argument is out of range.
    """
    where = "ticket_bound"
    checked = check_margins(margins, where)
    check_delta(delta, where)
    _check(inputs, hidden, depth, where)
    if width < 2:
        raise InputError.parameter("width", where, ">= 2", width)
    if not 0 < step < 1:
        raise InputError.parameter("step", where, "inside (0, 1)", step)
    check_positive(approximation, "approximation", where)
    if not 0 <= rounding < math.inf:
        raise InputError.parameter("rounding", where, "finite and >= 0", rounding)
    gamma, squared = approximation + rounding, math.log(width) ** 2
    sketches = (
        Term.of("n_F d_0 ln^2(D_G)", hidden * inputs * squared, "sketch of the first layer"),
        Term.of("L n_F^2 ln^2(D_G)", depth * hidden**2 * squared, "sketches of the others"),
    )
    nats = Term.made(
        "nats",
        PRODUCT,
        (
            Term.made("numbers", SUM, sketches, "numbers of all sketches"),
            Term.of("ln(1/rho)", -math.log(step), "nats of a number"),
        ),
        "nats of a network",
        "theorem 6.2",
    )
    complexity = Term.made(
        "complexity",
        powers(1, 0.5, -0.5),
        (Term.of("c", constant, "constant of O(.)"), nats, Term.of("n", checked.size, "examples")),
        "price of generalization",
        "theorem 6.2",
    )
    empirical = Term.of(
        "R^_{eps+eps_rho}",
        margin_loss(checked, gamma),
        f"share of training margins up to {gamma:.4g}",
        "theorem 6.2",
    )
    conditions = (
        target_conditions(target)
        if target is not None
        else (Assumption("||W_l||_2 <= 1, max |W_l| <= 1/sqrt(n_in)", "unchecked", "no target"),)
    )
    return BoundResult(
        "subnetwork of a random network",
        (empirical, complexity),
        SUM,
        (
            *conditions,
            Assumption(
                "the random network is wide enough", "unchecked", "poly(d_0, n_F, L, 1/eps)"
            ),
            Assumption("the constant of O(.) is known", "violated", f"{constant:g} taken"),
        ),
        f"{SOURCE}, theorem 6.2",
        n=checked.size,
        delta=delta + depth * width**-power,
    )


def _check(inputs: int, hidden: int, depth: int, where: str) -> None:
    if min(inputs, hidden, depth) < 1:
        raise InputError.parameter(
            "inputs, hidden, depth", where, "at least 1 each", (inputs, hidden, depth)
        )
