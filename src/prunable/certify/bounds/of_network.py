"""Every bound of one network: those of the papers, and their baselines, raw and normalised."""

import math
from dataclasses import replace

from numpy.typing import ArrayLike

from prunable import plugins
from prunable.certify.bounds.arora2018 import NoiseStability, Stability
from prunable.certify.bounds.assumptions import Assumption
from prunable.certify.bounds.bartlett2017 import CoveringNumbers
from prunable.certify.bounds.base import DENSE, PRUNED, BoundResult
from prunable.certify.bounds.checks import check_delta
from prunable.certify.bounds.compressed_network import dense_network_bound, pruned_network_bound
from prunable.certify.bounds.compression import Compression, NormBound, Observed
from prunable.certify.bounds.counting import MARGIN_PER_NORM
from prunable.certify.bounds.facts import NetworkFacts
from prunable.certify.bounds.lottery import target_conditions, ticket_bound, ticket_of
from prunable.certify.bounds.margin_bounds import MarginBound
from prunable.certify.bounds.naive_counting import masks_bound, parameter_count, weights_bound
from prunable.certify.bounds.neyshabur2015 import FrobeniusNorms, PathNorm
from prunable.certify.bounds.neyshabur2017 import SpectralNorms
from prunable.certify.bounds.sketched_network import Constants, perturbation_of, sketched_bound
from prunable.certify.bounds.spectral_covering import SpectralCover
from prunable.certify.bounds.stable_weights import (
    StableLaws,
    dense_stable_bound,
    scaled_network_bound,
    stable_network_bound,
)

FROBENIUS, SPECTRAL, COVERING = FrobeniusNorms(), SpectralNorms(), CoveringNumbers()
COVER, PATHS = SpectralCover(), (PathNorm(1), PathNorm(2))
# in the order in which their bounds, and their capacities, are shown
BOUNDS: tuple[MarginBound, ...] = (COVER, FROBENIUS, COVERING, SPECTRAL, *PATHS)
CAPACITIES: tuple[MarginBound, ...] = (FROBENIUS, SPECTRAL, COVERING, COVER, *PATHS)


def all_bounds(
    facts: NetworkFacts,
    *,
    delta: float = 0.05,
    gamma: float | None = None,
    d: float | None = None,
    pruned_margins: ArrayLike | None = None,
    laws: StableLaws | None = None,
    stability: Stability | None = None,
    constants: Constants | None = None,
    bits: float = 32.0,
    tickets: bool = False,
) -> tuple[BoundResult, ...]:
    """Evaluate every bound for which there are numbers: on risks first, then capacities.

    Bounds of plugins are called with the facts and `delta`; InputError if one is broken.

    Each fails with probability `delta` on its own. The margin `gamma` is that of the bounds for the
    dense network, `default_tau` if None; raw capacities take the smallest training margin, as the
    tables of 2023.

    Parameters
    ----------
    d, constants : Strength of a randomized magnitude pruning, for the bounds of 2023, and theorem
        5.2's.
    pruned_margins : (n,) array, optional. Of the pruned network on the training set.
    laws, stability : For corollaries 1 and 2 of 2021, and for the bound of Arora et al. (2018).
    bits : Of one weight, in counting.
    tickets : Whether to speak of subnetworks of random networks that stand for this one, too.
    """
    check_delta(delta, "all_bounds")
    found = _of_2021(facts, delta, laws) + _of_2023(facts, delta, d, constants)
    if pruned_margins is not None:
        counted = weights_bound(facts, bits=bits, delta=delta, pruned_margins=pruned_margins)
        found.append(_annotated(counted, PRUNED))
    dense = [weights_bound(facts, bits=bits, delta=delta)]
    dense += [method.bound(facts, gamma=gamma, delta=delta) for method in BOUNDS]
    found += [_annotated(result, DENSE) for result in dense]
    if stability is not None:
        compressed = NoiseStability(stability).bound(facts, gamma=gamma, delta=delta)
        found.append(_annotated(compressed, "network compressed by projections"))
    if tickets:
        about = "subnetwork of a random network"
        counted = ticket_of(facts).weights()
        conditions = (*target_conditions(facts.layers), *facts.form())
        found.append(_annotated(ticket_bound(facts, delta=delta), about))
        found.append(_annotated(counted, about, conditions))
    for plugin in plugins.plugins(plugins.BOUNDS).values():
        result = plugin.made(facts, delta=delta)
        if not isinstance(result, BoundResult):
            raise plugin.wrong("a BoundResult", result)
        found.append(_annotated(result, result.about or DENSE))
    return (*found, *capacities(facts, d=d, stability=stability))


def capacities(
    facts: NetworkFacts, *, d: float | None = None, stability: Stability | None = None
) -> tuple[BoundResult, ...]:
    """Evaluate the raw capacities, in all their readings, at the smallest training margin.

    The strength `d` of a randomized magnitude pruning is for the count of sketched numbers.
    """
    methods = CAPACITIES if stability is None else (*CAPACITIES, NoiseStability(stability))
    found = [
        method.capacity(facts, variant=variant) for method in methods for variant in method.variants
    ]
    found = [_annotated(result, DENSE) for result in (*found, parameter_count(facts, "dense"))]
    if facts.pruned:
        found.append(_annotated(parameter_count(facts, "kept"), PRUNED))
    if d is not None:
        found.append(_annotated(parameter_count(facts, "sketch", d), DENSE))
    return tuple(found)


def _of_2021(facts: NetworkFacts, delta: float, laws: StableLaws | None) -> list[BoundResult]:
    compression = Compression(
        tuple(layer.weights for layer in facts.layers),
        tuple(layer.pruned_kept for layer in facts.layers),
        tuple(layer.relative_error for layer in facts.layers),
    )
    limit, known = facts.input_limit()
    seen = Observed(facts.margins, compression, input_norm=limit)
    weights = NormBound(facts.norm, delta)
    dense = [dense_network_bound(seen, weights)]
    pruned = [
        pruned_network_bound(seen, weights),
        pruned_network_bound(seen, weights, variant="a posteriori"),
    ]
    stable = []
    if laws is not None:
        stable = [stable_network_bound(seen, laws, delta=delta), scaled_network_bound(seen, laws)]
        dense.append(dense_stable_bound(seen, laws, facts.norm))
    extra = (known, *facts.form())
    return [
        *(_annotated(result, PRUNED, extra) for result in pruned),
        *(_annotated(result, DENSE, extra) for result in dense),
        *(_annotated(result, PRUNED, extra) for result in stable),
    ]


def _of_2023(
    facts: NetworkFacts, delta: float, d: float | None, constants: Constants | None
) -> list[BoundResult]:
    found = []
    if d is not None:
        found = [
            sketched_bound(facts, d, delta=delta, variant=variant, constants=constants)
            for variant in ("paper", "measured", "authors-code")
        ]
    change = perturbation_of(facts, facts.changes, contractions=False)
    if math.isfinite(change.value) and facts.pruned:
        # float32 values: 32 bits a kept weight, exact
        masks = masks_bound(
            facts.margins,
            [layer.weights for layer in facts.layers],
            [layer.pruned_kept for layer in facts.layers],
            [2.0**-32] * facts.depth,
            gamma=MARGIN_PER_NORM * change.value,
            delta=delta,
            assumptions=(*change.assumptions, facts.input_limit()[1], facts.no_biases()),
        )
        found.append(masks)
    return [_annotated(result, PRUNED) for result in found]


def _annotated(result: BoundResult, about: str, extra: tuple[Assumption, ...] = ()) -> BoundResult:
    """Say whose risk a bound is, and add assumptions that the caller checked."""
    return replace(result, about=about, assumptions=(*result.assumptions, *extra))
