"""Every bound of one network: those of the papers, and their baselines, raw and normalised."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from numpy.typing import ArrayLike

from prunable.certify.bounds.arora2018 import Stability, stability_bound, stability_capacity
from prunable.certify.bounds.bartlett2017 import covering_bound, covering_capacity
from prunable.certify.bounds.base import Assumption, BoundResult, at_most, check_delta, safe_log
from prunable.certify.bounds.compressed_network import pruned_network_bound
from prunable.certify.bounds.compression import Compression
from prunable.certify.bounds.facts import NetworkFacts
from prunable.certify.bounds.naive_counting import masks_bound
from prunable.certify.bounds.neyshabur2015 import (
    frobenius_bound,
    frobenius_capacity,
    path_bound,
    path_capacity,
)
from prunable.certify.bounds.neyshabur2017 import spectral_bound, spectral_capacity
from prunable.certify.bounds.parameter_counting import parameter_count, weights_bound
from prunable.certify.bounds.sketched_network import Constants, needed_margin, sketched_bound
from prunable.certify.bounds.spectral_covering import (
    spectral_cover_bound,
    spectral_product_capacity,
)
from prunable.certify.bounds.stable_weights import scaled_network_bound, stable_network_bound
from prunable.certify.bounds.uncompressed_network import dense_network_bound

DENSE, PRUNED = "dense network", "pruned network"


def all_bounds(
    facts: NetworkFacts,
    *,
    delta: float = 0.05,
    gamma: float | None = None,
    d: float | None = None,
    pruned_margins: ArrayLike | None = None,
    alphas: Sequence[float] | None = None,
    scales: Sequence[float] | None = None,
    stability: Stability | None = None,
    constants: Constants | None = None,
    bits: float = 32.0,
) -> tuple[BoundResult, ...]:
    """Evaluate every bound for which there are numbers.

    Parameters
    ----------
    facts : NetworkFacts
        Of a network and, where it was pruned, of its change.
    delta : float
        Failure probability of each bound on its own.
    gamma : float, optional
        Margin of the bounds for the dense network; if None, the smallest training margin, or
        the lowest positive one of some quantiles where that is not positive. Raw capacities
        take the smallest training margin, as the tables of 2023.
    d : float, optional
        Strength of a randomized magnitude pruning, for the bounds of 2023.
    pruned_margins : array_like, optional
        Margins of the pruned network on the training set.
    alphas, scales : sequence of float, optional
        Tail index and scale of the weights of each layer, for corollaries 1 and 2 of 2021.
    stability : Stability, optional
        For the bound of Arora et al. (2018).
    constants : Constants, optional
        Of theorem 5.2 of 2023.
    bits : float
        Of one weight, in counting.

    Returns
    -------
    tuple of BoundResult
        Bounds on risks first, then capacities. `about` says whose risk it is.

    Raises
    ------
    InputError
        If an argument is out of range.
    """
    check_delta(delta, "all_bounds")
    found = _of_2021(facts, delta, alphas, scales) + _of_2023(facts, delta, d, constants)
    if pruned_margins is not None:
        counted = weights_bound(
            facts, bits=bits, kept_only=True, delta=delta, pruned_margins=pruned_margins
        )
        found.append(annotated(counted, PRUNED))
    dense = [
        weights_bound(facts, bits=bits, delta=delta),
        spectral_cover_bound(facts, gamma=gamma, delta=delta),
        frobenius_bound(facts, gamma=gamma, delta=delta),
        covering_bound(facts, gamma=gamma, delta=delta),
        spectral_bound(facts, gamma=gamma, delta=delta),
        path_bound(facts, 1, gamma=gamma, delta=delta),
        path_bound(facts, 2, gamma=gamma, delta=delta),
    ]
    found += [annotated(result, DENSE) for result in dense]
    if stability is not None:
        compressed = stability_bound(facts, stability, gamma=gamma, delta=delta)
        found.append(annotated(compressed, "network compressed by projections"))
    return (*found, *capacities(facts, d=d, stability=stability))


def capacities(
    facts: NetworkFacts, *, d: float | None = None, stability: Stability | None = None
) -> tuple[BoundResult, ...]:
    """Evaluate the raw capacities, at the smallest training margin.

    Parameters
    ----------
    facts : NetworkFacts
    d : float, optional
        Strength of a randomized magnitude pruning, for the count of sketched numbers.
    stability : Stability, optional

    Returns
    -------
    tuple of BoundResult
        Of quantity "capacity".
    """
    found = [
        frobenius_capacity(facts),
        spectral_capacity(facts, variant="authors-code"),
        spectral_capacity(facts, variant="paper"),
        covering_capacity(facts, variant="authors-code"),
        covering_capacity(facts, variant="authors-intended"),
        covering_capacity(facts, variant="paper"),
        spectral_product_capacity(facts),
        path_capacity(facts, 1),
        path_capacity(facts, 2),
    ]
    if stability is not None:
        found.append(stability_capacity(facts, stability))
    found.append(parameter_count(facts, "dense"))
    if facts.pruned:
        found.append(parameter_count(facts, "kept"))
    if d is not None:
        found.append(parameter_count(facts, "sketch", d))
    return tuple(found)


def _of_2021(
    facts: NetworkFacts,
    delta: float,
    alphas: Sequence[float] | None,
    scales: Sequence[float] | None,
) -> list[BoundResult]:
    compression = Compression(
        tuple(layer.weights for layer in facts.layers),
        tuple(layer.pruned_kept for layer in facts.layers),
        tuple(layer.relative_error for layer in facts.layers),
    )
    limit, known = facts.input_limit()
    extra = (known, facts.dense_layers(), facts.no_biases())
    found = [
        pruned_network_bound(
            facts.margins, compression, input_norm=limit, norm=facts.norm, delta=delta
        ),
        pruned_network_bound(
            facts.margins,
            compression,
            input_norm=limit,
            norm=facts.norm,
            delta=delta,
            variant="a posteriori",
        ),
        dense_network_bound(
            facts.margins, compression, input_norm=limit, norm=facts.norm, delta=delta
        ),
    ]
    if alphas is not None and scales is not None:
        found += [
            stable_network_bound(
                facts.margins,
                compression,
                input_norm=limit,
                alphas=alphas,
                scales=scales,
                delta=delta,
            ),
            scaled_network_bound(
                facts.margins, compression, input_norm=limit, alphas=alphas, scales=scales
            ),
        ]
    dense = "dense network through its compression"
    return [annotated(r, DENSE if r.name == dense else PRUNED, extra) for r in found]


def _of_2023(
    facts: NetworkFacts, delta: float, d: float | None, constants: Constants | None
) -> list[BoundResult]:
    found = []
    if d is not None:
        found = [
            sketched_bound(facts, d, delta=delta, variant=variant, constants=constants)
            for variant in ("paper", "measured", "authors-code")
        ]
    changes = [layer.change_spectral for layer in facts.layers]
    gamma = needed_margin(facts, changes, contractions=False)
    if math.isfinite(gamma) and facts.pruned:
        # float32 values: 32 bits a kept weight, exact
        found.append(
            masks_bound(
                facts.margins,
                [layer.weights for layer in facts.layers],
                [layer.pruned_kept for layer in facts.layers],
                [2.0**-32] * facts.depth,
                gamma=math.sqrt(2) * gamma,
                delta=delta,
                assumptions=(_small_changes(facts), facts.input_limit()[1], facts.no_biases()),
            )
        )
    return [annotated(result, PRUNED) for result in found]


def _small_changes(facts: NetworkFacts) -> Assumption:
    worst = max(
        facts.layers, key=lambda x: safe_log(x.change_spectral) - safe_log(x.spectral or 1.0)
    )
    relative = safe_log(worst.change_spectral) - safe_log(worst.spectral or 1.0)
    return at_most(
        "||U_l|| <= ||A_l||/L", relative, -math.log(facts.depth), f"change of {worst.name}"
    )


def annotated(result: BoundResult, about: str, extra: tuple[Assumption, ...] = ()) -> BoundResult:
    """Say whose risk a bound is, and add assumptions that the caller checked."""
    return replace(result, about=about, assumptions=(*result.assumptions, *extra))
