"""Risk of a network pruned at random, by the size of its sketch: theorem 5.2.

Guha, Dubey and Huo (2023). A layer whose rows and columns each keep at most j weights is
recovered from a dense sketch of j p log^2(p) numbers, p its larger side; these are counted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from prunable.certify.bounds.base import (
    PRODUCT,
    SUM,
    Assumption,
    BoundResult,
    Term,
    at_most,
    check_delta,
    powers,
    safe_exp,
    safe_log,
)
from prunable.certify.bounds.distributed_sparsity import line_counts
from prunable.certify.bounds.facts import LayerFacts, NetworkFacts, margin_loss
from prunable.certify.bounds.pruning_moments import (
    SOURCE,
    check_strength,
    kept_share,
    log_layer_error,
)
from prunable.certify.bounds.sketch_assumptions import (
    contracts,
    gaussian,
    margins_move,
    no_step,
    smallest_margin,
    worth_sketching,
)
from prunable.certify.bounds.spectral_perturbation import (
    contraction,
    largest_step,
    rounding_perturbation,
    spectral_perturbation,
)
from prunable.errors import InputError

Variant = Literal["paper", "measured", "authors-code"]


@dataclass(frozen=True)
class Constants:
    """What theorem 5.2 leaves open.

    Attributes
    ----------
    markov : float, optional
        lambda_l = epsilon_l of every layer; if None, what makes the statement fail with
        probability `delta`, or with half of it where other terms alone exceed it.
    steps : float, optional
        rho_l of every layer; if None, half of the largest that lemma 4.4 allows.
    constant : float
        Of O(.).
    latala : float
        C of lemma B.1.
    power : float
        c of the failure probability p^-c of sketching, by remark 5.1 above 2.
    contractions : bool
        Whether lemma C.1 may help.
    contraction_failure : float
        Its failure probability.
    """

    markov: float | None = None
    steps: float | None = None
    constant: float = 1.0
    latala: float = 1.0
    power: float = 2.0
    contractions: bool = True
    contraction_failure: float = 0.01


def sketched_bound(
    facts: NetworkFacts,
    d: float,
    *,
    delta: float = 0.05,
    variant: Variant = "paper",
    constants: Constants | None = None,
) -> BoundResult:
    """Bound the risk of a network after randomized magnitude pruning: theorem 5.2.

    Parameters
    ----------
    facts : NetworkFacts
        With the layers' changes by pruning, for the variants that use them.
    d : float
        Strength of the pruning, >= 0.
    delta : float
        Failure probability asked for.
    variant : {"paper", "measured", "authors-code"}
        "paper": expected counts and errors, with Markov's inequality and every factor.
        "measured": the counts of the pruned matrices and the norms of their changes, which
        need no law of the weights, at a margin of sqrt(2) times the change of the logits.
        "authors-code": the released code's evaluation, without 3 lambda, ln(1/rho) and the
        failure probability.
    constants : Constants, optional

    Returns
    -------
    BoundResult
        R^_gamma + c sqrt(sum_l (sketch of layer l) ln(1/rho_l) / n).

    Raises
    ------
    InputError
        If an argument is out of range.
    """
    check_strength(d, "sketched_bound")
    check_delta(delta, "sketched_bound")
    given = constants or Constants()
    if variant == "authors-code":
        return _released(facts, d, delta)
    if variant not in ("paper", "measured"):
        raise InputError.parameter(
            "variant", "sketched_bound", "paper, measured or authors-code", variant
        )
    return _statement(facts, d, delta, given, measured=variant == "measured")


def needed_margin(
    facts: NetworkFacts,
    changes: Sequence[float],
    *,
    contractions: bool = True,
    failure: float = 0.01,
    variant: Literal["paper", "authors-code"] = "authors-code",
) -> float:
    """Margin that a pruned network may use up, by lemma B.2 or C.2.

    Parameters
    ----------
    facts : NetworkFacts
    changes : sequence of float
        ||A_hat_l - A_l||_2.
    contractions : bool
        Whether to use lemma C.1 with `failure` and `variant`.

    Returns
    -------
    float
        e max ||x|| prod(kappa_l ||A_l||_2) sum ||Delta_l|| / ||A_l||; inf beyond the doubles.
    """
    return _perturbation(facts, changes, contractions, failure, variant).value


def _perturbation(
    facts: NetworkFacts,
    changes: Sequence[float],
    contractions: bool,
    failure: float,
    variant: Literal["paper", "authors-code"],
) -> BoundResult:
    factors = None
    if contractions:
        factors = [
            contraction(layer.inputs, layer.outputs, facts.n, failure=failure, variant=variant)
            for layer in facts.layers
        ]
    spectral = [layer.spectral for layer in facts.layers]
    return spectral_perturbation(facts.input_norm, spectral, changes, contractions=factors)


def _released(facts: NetworkFacts, d: float, delta: float) -> BoundResult:
    change = _perturbation(
        facts, [layer.change_spectral for layer in facts.layers], True, 0.01, "authors-code"
    )
    gamma = change.value
    chi = kept_share(d)
    sizes = [
        Term.made(
            f"layer {i}",
            PRODUCT,
            (
                Term.of("d1 d2", math.prod(layer.matrix_shape), f"entries of {layer.name}"),
                Term.of("chi", chi, "expected kept share", "lemma 4.1"),
                Term.of("ln^2(max)", math.log(max(layer.matrix_shape)) ** 2, "size of the sketch"),
            ),
            "numbers of the sketch, without factors",
        )
        for i, layer in enumerate(facts.layers, 1)
    ]
    complexity = Term.made(
        "complexity",
        powers(0.5, -0.5),
        (
            Term.made("sum_l d1 d2 chi ln^2", SUM, sizes, "numbers of all sketches"),
            Term.of("n", facts.n, "training examples"),
        ),
        "price of generalization",
        "released code",
    )
    empirical = Term.of(
        "R^_gamma'",
        margin_loss(facts.margins, gamma, strict=True) if math.isfinite(gamma) else 1.0,
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
        "sketched pruned network",
        (empirical, complexity),
        SUM,
        (
            *change.assumptions,
            margins_move(),
            left_out,
            smallest_margin(facts),
            worth_sketching(facts, d, 1.0),
            gaussian(facts.layers),
            facts.dense_layers(),
            facts.no_biases(),
        ),
        f"{SOURCE}, released code of theorem 5.2",
        n=facts.n,
        delta=delta,
        variant="authors-code",
    )


def _statement(
    facts: NetworkFacts, d: float, delta: float, given: Constants, *, measured: bool
) -> BoundResult:
    layers, depth = facts.layers, facts.depth
    fixed = math.fsum(max(layer.matrix_shape) ** -given.power for layer in layers)
    if not measured:
        fixed += math.fsum(
            a ** (-1 / 3) + b ** (-1 / 3) for a, b in (layer.matrix_shape for layer in layers)
        )
    narrow = any(layer.outputs < layer.inputs for layer in layers) and given.contractions
    fixed += given.contraction_failure if narrow else 0.0
    spare = delta - fixed if fixed < delta else delta / 2
    markov = 1.0 if measured else given.markov or 2 * depth / spare
    failure = fixed + (0.0 if measured else 2 * depth / markov)
    if measured:
        errors = [layer.change_spectral for layer in layers]
        counts = [layer.pruned_kept for layer in layers]
        lines = [float(max(layer.row_count, layer.column_count)) for layer in layers]
        regimes: list[Assumption] = []
    else:
        errors = [
            markov * safe_exp(log_layer_error(x.matrix_shape, x.variance, d, given.latala))
            for x in layers
        ]
        bounded = [line_counts(layer.matrix_shape, d, markov=markov) for layer in layers]
        lines = [result.value for result in bounded]
        counts = [math.ceil(markov * kept_share(d) * layer.weights) for layer in layers]
        regimes = [_worst([r.assumptions[i] for r in bounded], layers) for i in range(2)]
    allowed = [
        largest_step(layer.spectral, error, count, depth)
        for layer, error, count in zip(layers, errors, counts, strict=True)
    ]
    steps = [given.steps or (step / 2 if step > 0 else math.nan) for step in allowed]
    possible = all(step > 0 for step in steps)
    contracted = given.contractions
    if possible:
        factors = [
            contraction(x.inputs, x.outputs, facts.n, failure=given.contraction_failure)
            for x in layers
        ]
        change = rounding_perturbation(
            facts.input_norm,
            [layer.spectral for layer in layers],
            errors,
            counts,
            steps,
            markov=[1.0] * depth,
            contractions=factors if contracted else None,
        )
        # a change of the logits by x moves a margin by at most sqrt(2) x
        gamma = change.value * (math.sqrt(2) if measured else 1.0)
        near = [*change.assumptions, *(() if measured else (margins_move(),))]
    else:
        gamma = math.inf
        near = [no_step(layers, errors, depth)]
    sketches = [
        Term.made(
            f"layer {i}",
            PRODUCT,
            (
                Term.of("j", line, "largest number of weights in a row or column", "lemma 5.1"),
                Term.of("p", max(layer.matrix_shape), f"larger side of {layer.name}"),
                Term.of("ln^2(p)", math.log(max(layer.matrix_shape)) ** 2, "theorem 5.1"),
                Term.of("ln(1/rho)", _nats(step), "nats of a number of the sketch"),
            ),
            "nats of the sketch",
            "theorem 5.2",
        )
        for i, (layer, line, step) in enumerate(zip(layers, lines, steps, strict=True), 1)
    ]
    complexity = Term.made(
        "complexity",
        powers(1, 0.5, -0.5),
        (
            Term.of("c", given.constant, "constant of O(.)"),
            Term.made("sum_l j p ln^2(p) ln(1/rho)", SUM, sketches, "nats of all sketches"),
            Term.of("n", facts.n, "training examples"),
        ),
        "price of generalization",
        "theorem 5.2",
    )
    empirical = Term.of(
        "R^_gamma",
        margin_loss(facts.margins, gamma) if math.isfinite(gamma) else 1.0,
        f"share of training margins up to gamma = {gamma:.4g}",
        "theorem 5.2",
    )
    assumptions = (
        *near,
        *regimes,
        *(() if measured else (gaussian(layers),)),
        at_most(
            "failure probability at most delta",
            safe_log(failure),
            math.log(delta) + 1e-12,
            f"lambda_l = eps_l = {markov:.4g}",
        ),
        smallest_margin(facts),
        contracts(facts, given.contraction_failure) if contracted else None,
        worth_sketching(facts, d, 1.0 if measured else 3 * markov),
        Assumption("the constant of O(.) is known", "violated", f"{given.constant:g} taken"),
        facts.input_limit()[1],
        facts.dense_layers(),
        facts.no_biases(),
    )
    return BoundResult(
        "sketched pruned network",
        (empirical, complexity),
        SUM,
        tuple(a for a in assumptions if a is not None),
        f"{SOURCE}, theorem 5.2",
        n=facts.n,
        delta=failure,
        variant="measured" if measured else "paper",
    )


def _worst(found: Sequence[Assumption], layers: Sequence[LayerFacts]) -> Assumption:
    i = max(range(len(found)), key=lambda j: found[j].excess or 0.0)
    a = found[i]
    return Assumption(a.name, a.status, f"{layers[i].name}: {a.evidence}", a.excess, a.unit)


def _nats(step: float) -> float:
    """ln(1/rho) of a sketched number; that of a 32-bit number where no step is allowed."""
    return max(-math.log(step), 0.0) if step > 0 else 32 * math.log(2)
