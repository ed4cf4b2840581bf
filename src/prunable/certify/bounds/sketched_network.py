"""Risk of a network pruned at random, by the size of its sketch: theorem 5.2.

Guha, Dubey and Huo (2023), as reconstructed (see `reconstruction`). A d_1 x d_2 layer that keeps
at most j_r weights in a row and j_c in a column is recovered from a dense sketch of
max(d_1 j_r, d_2 j_c) ln^2(p) numbers, p its larger side (theorem 5.1); these are counted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from prunable.certify.bounds import sketch_assumptions as conditions
from prunable.certify.bounds.assumptions import Assumption, at_most
from prunable.certify.bounds.base import PRODUCT, SUM, BoundResult, Term
from prunable.certify.bounds.checks import check_delta
from prunable.certify.bounds.counting import MARGIN_PER_NORM, constant_taken, root_of
from prunable.certify.bounds.distributed_sparsity import line_counts, sketched_entries
from prunable.certify.bounds.facts import LayerFacts, NetworkFacts, margin_loss, margin_loss_term
from prunable.certify.bounds.logs import safe_log
from prunable.certify.bounds.pruning_moments import SOURCE, check_strength, kept_share, layer_error
from prunable.certify.bounds.reconstruction import rebuilt
from prunable.certify.bounds.spectral_perturbation import (
    contractions_of,
    largest_step,
    pruning_perturbation,
    spectral_perturbation,
)
from prunable.errors import check_one_of

NAME = "sketched pruned network"
Variant = Literal["paper", "measured", "authors-code"]


@dataclass(frozen=True)
class Constants:
    """What theorem 5.2 leaves open."""

    # lambda_l = epsilon_l of every layer; if None, what makes the statement fail with probability
    # `delta`, or with half of it where other terms alone exceed it
    markov: float | None = None
    steps: float | None = None  # rho_l; if None, half of the largest that lemma 4.4 allows
    constant: float = 1.0  # of O(.)
    latala: float = 1.0  # C of lemma B.1
    power: float = 2.0  # c of the failure probability p^-c of sketching, by remark 5.1 above 2
    contractions: bool = True  # whether lemma C.1 may help
    contraction_failure: float = 0.01  # its failure probability


def sketched_bound(
    facts: NetworkFacts,
    d: float,
    *,
    delta: float = 0.05,
    variant: Variant = "paper",
    constants: Constants | None = None,
) -> BoundResult:
    """R^_gamma + c sqrt(sum_l (sketch of layer l) ln(1/rho_l) / n): theorem 5.2.

    It is the risk of a network after randomized magnitude pruning of strength `d`, which fails
    with probability `delta` if that can be reached. The variants are "paper": expected counts
    3 lambda_l chi d_1 d_2 and errors, with Markov's inequality and every factor, as reconstructed;
    "measured": the counts max(d_1 j_r, d_2 j_c) of the pruned matrices and the norms of their
    changes, which need no law of the weights, at a margin of sqrt(2) times the Euclidean change of
    the logits; "authors-code": the released code's evaluation, without 3 lambda, ln(1/rho) and the
    failure probability. Each says where sketches hold more numbers than the layers have entries.
    """
    check_strength(d, "sketched_bound")
    check_delta(delta, "sketched_bound")
    check_one_of(variant, get_args(Variant), "variant", "sketched_bound")
    if variant == "authors-code":
        return _released(facts, d, delta)
    return _statement(facts, d, delta, constants or Constants(), measured=variant == "measured")


def needed_margin(
    facts: NetworkFacts, changes: Sequence[float], *, contractions: bool = True
) -> float:
    """Margin that a pruned network may use up, by lemma B.2, or C.2 as the released code takes it.

    e max ||x|| prod(kappa_l ||A_l||_2) sum ||Delta_l|| / ||A_l||, the changes being
    ||A_hat_l - A_l||_2; inf beyond the doubles.
    """
    return perturbation_of(facts, changes, contractions=contractions).value


def perturbation_of(
    facts: NetworkFacts, changes: Sequence[float], *, contractions: bool = True
) -> BoundResult:
    """Bound what changes of the layers do to the logits; see `needed_margin`."""
    factors = contractions_of(facts, variant="authors-code") if contractions else None
    return spectral_perturbation(facts.input_norm, facts.spectral, changes, contractions=factors)


def _released(facts: NetworkFacts, d: float, delta: float) -> BoundResult:
    change = perturbation_of(facts, facts.changes)
    gamma, chi = change.value, kept_share(d)
    sizes = [
        Term.made(
            f"layer {i}",
            PRODUCT,
            "numbers of the sketch, without factors",
            Term.of("d1 d2", math.prod(layer.matrix_shape), f"entries of {layer.name}"),
            Term.of("chi", chi, "expected kept share", "lemma 4.1"),
            Term.of("ln^2(max)", layer.log_squared_side, "size of the sketch"),
        )
        for i, layer in enumerate(facts.layers, 1)
    ]
    counts = [size.value for size in sizes]
    numbers = Term.made("sum_l d1 d2 chi ln^2", SUM, "numbers of all sketches", *sizes)
    empirical = Term.of(
        "R^_gamma'",
        margin_loss(facts.margins, gamma, strict=True),
        f"share of training margins below gamma' = {gamma:.4g}",
        "released code",
    )
    left_out = Assumption(
        "factors 3 lambda_l, ln(1/rho_l) and O(.) are 1",
        "violated",
        "3 lambda_l is at least 3 and a number takes more than one nat",
        math.log(3) / 2,
        "factor",
    )
    return BoundResult(
        NAME,
        (empirical, root_of(numbers, facts.n, "released code", 1.0)),
        SUM,
        (
            *change.assumptions,
            conditions.MARGINS_MOVE,
            left_out,
            conditions.smallest_margin(facts),
            conditions.worth_sketching(facts.layers, counts),
            conditions.gaussian(facts.layers),
            *facts.form(),
        ),
        f"{SOURCE}, released code of theorem 5.2",
        n=facts.n,
        delta=delta,
        variant="authors-code",
    )


@dataclass(frozen=True)
class _Pruned:
    """What pruning does to each layer: by its law, with Markov's inequality, or as measured."""

    markov: float
    failure: float
    errors: list[float]
    counts: list[int]
    sketched: list[Term]  # max(d_1 j_r, d_2 j_c) of each layer, or what bounds it
    regimes: tuple[Assumption, ...] = ()
    from_lines: float = 0.0  # part of the failure probability that d^(-1/3) make

    @classmethod
    def as_measured(cls, facts: NetworkFacts, given: Constants) -> _Pruned:
        layers = facts.layers
        return cls(
            1.0,
            _fixed_failure(facts, given),
            facts.changes,
            [layer.pruned_kept for layer in layers],
            [
                Term.of(
                    "max(d_1 j_r, d_2 j_c)",
                    sketched_entries(layer.matrix_shape, layer.row_count, layer.column_count),
                    f"entries of {layer.name} if all lines were as full as the fullest",
                    "definition 5.1",
                )
                for layer in layers
            ],
        )

    @classmethod
    def by_law(cls, facts: NetworkFacts, d: float, delta: float, given: Constants) -> _Pruned:
        layers, depth = facts.layers, facts.depth
        shapes = [layer.matrix_shape for layer in layers]
        lines = math.fsum(a ** (-1 / 3) + b ** (-1 / 3) for a, b in shapes)
        fixed = _fixed_failure(facts, given, lines)
        spare = delta - fixed if fixed < delta else delta / 2
        markov = given.markov or 2 * depth / spare
        bounded = [line_counts(shape, d, markov=markov) for shape in shapes]
        return cls(
            markov,
            fixed + 2 * depth / markov,
            [
                markov * layer_error(x.matrix_shape, x.variance, d, constant=given.latala).value
                for x in layers
            ],
            [math.ceil(markov * kept_share(d) * layer.weights) for layer in layers],
            [
                Term.made(
                    "3 lambda chi d_1 d_2",
                    PRODUCT,
                    f"bound on the weights left in {x.name}, times 3",
                    Term.of("3", 3.0, "constant of lemma E.1"),
                    Term.of("lambda_l", markov, "Markov's inequality"),
                    Term.of("chi", kept_share(d), f"expected kept share at d = {d:g}", "lemma 4.1"),
                    Term.of("d_1 d_2", math.prod(x.matrix_shape), f"entries of {x.name}"),
                    equation="lemma 5.1",
                )
                for x in layers
            ],
            tuple(_worst([r.assumptions[i] for r in bounded], layers) for i in range(2)),
            lines,
        )


def _statement(
    facts: NetworkFacts, d: float, delta: float, given: Constants, *, measured: bool
) -> BoundResult:
    layers = facts.layers
    known = (
        _Pruned.as_measured(facts, given) if measured else _Pruned.by_law(facts, d, delta, given)
    )
    steps, gamma, near = _rounding(facts, known, given, measured=measured)
    sketches = [
        Term.made(
            f"layer {i}",
            PRODUCT,
            "nats of the sketch",
            entries,
            Term.of(
                "ln^2(p)", layer.log_squared_side, f"larger side of {layer.name}", "theorem 5.1"
            ),
            Term.of("ln(1/rho)", _nats(step), "nats of a number of the sketch"),
            equation="theorem 5.2",
        )
        for i, (layer, entries, step) in enumerate(
            zip(layers, known.sketched, steps, strict=True), 1
        )
    ]
    counts = [
        entries.value * layer.log_squared_side
        for entries, layer in zip(known.sketched, layers, strict=True)
    ]
    nats = Term.made("sum_l sketch ln(1/rho)", SUM, "nats of all sketches", *sketches)
    rare = at_most(
        "failure probability at most delta",
        safe_log(known.failure),
        math.log(delta) + 1e-12,
        f"lambda_l = eps_l = {known.markov:.4g}"
        + f", {known.from_lines:.4g} from the reconstructed d_1^(-1/3) + d_2^(-1/3)"
        * (not measured),
    )
    assumptions = (
        rebuilt("theorem 5.2"),
        *near,
        *known.regimes,
        None if measured else conditions.gaussian(layers),
        rare,
        conditions.smallest_margin(facts),
        conditions.contracts(facts, given.contraction_failure) if given.contractions else None,
        conditions.worth_sketching(layers, counts),
        constant_taken(given.constant),
        facts.input_limit()[1],
        *facts.form(),
    )
    return BoundResult(
        NAME,
        (
            margin_loss_term(facts.margins, gamma, equation="theorem 5.2"),
            root_of(nats, facts.n, "theorem 5.2", given.constant),
        ),
        SUM,
        tuple(a for a in assumptions if a is not None),
        f"{SOURCE}, theorem 5.2",
        n=facts.n,
        delta=known.failure,
        variant="measured" if measured else "paper",
    )


def _rounding(
    facts: NetworkFacts, known: _Pruned, given: Constants, *, measured: bool
) -> tuple[list[float], float, tuple[Assumption, ...]]:
    """Steps of the layers' numbers, the margin that pruning and rounding use, its conditions."""
    allowed = [
        largest_step(norm, error, count, facts.depth)
        for norm, error, count in zip(facts.spectral, known.errors, known.counts, strict=True)
    ]
    steps = [given.steps or (step / 2 if step > 0 else math.nan) for step in allowed]
    if not all(step > 0 for step in steps):
        return steps, math.inf, (conditions.no_step(facts.layers, known.errors, facts.depth),)
    factors = contractions_of(facts, failure=given.contraction_failure)
    change = pruning_perturbation(
        facts.input_norm,
        facts.spectral,
        known.errors,
        markov=[1.0] * facts.depth,
        counts=known.counts,
        steps=steps,
        contractions=factors if given.contractions else None,
    )
    if measured:
        return steps, change.value * MARGIN_PER_NORM, change.assumptions
    return steps, change.value, (*change.assumptions, conditions.MARGINS_MOVE)


def _fixed_failure(facts: NetworkFacts, given: Constants, *of_layers: float) -> float:
    """Failure probability of everything but Markov's inequality."""
    fixed = math.fsum(max(layer.matrix_shape) ** -given.power for layer in facts.layers)
    fixed += math.fsum(of_layers)
    narrow = any(layer.outputs < layer.inputs for layer in facts.layers)
    return fixed + (given.contraction_failure if narrow and given.contractions else 0.0)


def _worst(found: Sequence[Assumption], layers: Sequence[LayerFacts]) -> Assumption:
    i = max(range(len(found)), key=lambda j: found[j].excess or 0.0)
    a = found[i]
    return Assumption(a.name, a.status, f"{layers[i].name}: {a.evidence}", a.excess, a.unit)


def _nats(step: float) -> float:
    """ln(1/rho) of a sketched number; that of a 32-bit number where no step is allowed."""
    return max(-math.log(step), 0.0) if step > 0 else 32 * math.log(2)
