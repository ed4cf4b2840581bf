"""PAC-Bayes certificate of a pruned network whose kept weights carry Gaussian noise.

Posterior: the mask of the network, and N(w, s^2) on every kept weight and bias, s being one
share of each layer's prior width. Prior: the mask by its adaptive code, and N(0, p^2) on what
it keeps, p on the grid of steps of the code file, 10 bits a layer. The divergence is that of
the Gaussians plus the bits of masks and widths. A network drawn anew for every batch of
examples estimates the posterior's training error; its limit is part of the bound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from prunable.certify.architecture import Architecture, forward
from prunable.certify.bounds.base import Assumption, BoundResult, check_delta
from prunable.certify.bounds.pac_bayes import (
    catoni_grid_bound,
    gaussian_divergence,
    maurer_bound,
    monte_carlo_gibbs,
)
from prunable.certify.certificate import Examples
from prunable.certify.code_file import STEP_BITS, step_place, step_value
from prunable.certify.coding import ideal_bits
from prunable.errors import InputError
from prunable.numerics.randomness import child_seed

SHARES = (0.03, 0.06, 0.12, 0.25, 0.5)
_BATCH = 100
_MONTE_CARLO_SHARE = 0.2  # of delta


@dataclass(frozen=True, eq=False)
class GaussianPosterior:
    """Widths of prior and posterior, and what they cost.

    Attributes
    ----------
    priors : tuple of float
        Prior standard deviation of each layer's weights and biases.
    share : float
        Posterior over prior standard deviation.
    divergence : float
        KL(Q || P) in nats, masks and widths included.
    """

    priors: tuple[float, ...]
    share: float
    divergence: float


def gaussian_posterior(
    weights: Sequence[torch.Tensor], biases: Sequence[torch.Tensor], share: float
) -> GaussianPosterior:
    """Choose prior widths for a posterior around a network, and count its divergence.

    Parameters
    ----------
    weights : sequence of Tensor, shape (out, in, height, width)
        Zeros are pruned.
    biases : sequence of Tensor, shape (out,)
    share : float
        Posterior over prior standard deviation, in (0, 1).

    Returns
    -------
    GaussianPosterior
    """
    if not 0 < share < 1:
        raise InputError.parameter("share", "gaussian_posterior", "in (0, 1)", share)
    priors, nats = [], 0.0
    for weight, bias in zip(weights, biases, strict=True):
        mask = (weight != 0).to(torch.int64).numpy()
        means = torch.cat([weight[weight != 0], bias]).double().numpy()
        rms = float(np.sqrt(np.square(means).mean())) or 1.0
        # at the best width p^2 = mean^2 + s^2 with s = share p
        prior = step_value(step_place(rms / math.sqrt(1 - share**2)))
        nats += gaussian_divergence(means, share * prior, prior)
        nats += (ideal_bits(mask, 1) + STEP_BITS) * math.log(2)
        priors.append(prior)
    return GaussianPosterior(tuple(priors), share, nats)


def posterior_risks(
    architecture: Architecture,
    weights: Sequence[torch.Tensor],
    biases: Sequence[torch.Tensor],
    posterior: GaussianPosterior,
    train: Examples,
    *,
    batches: int,
    seed: int,
) -> list[float]:
    """Training errors of networks drawn from a posterior, each on a batch of its own.

    Batches are drawn with replacement and have one size, so that the errors are independent
    and each has the posterior's training error for mean.

    Parameters
    ----------
    architecture : Architecture
    weights, biases : sequence of Tensor
        Means.
    posterior : GaussianPosterior
    train : Examples
    batches : int
        Networks to draw.
    seed : int

    Returns
    -------
    list of float
    """
    generator = torch.Generator().manual_seed(child_seed(seed, "posterior"))
    x, y = train.tensors
    size = min(_BATCH, len(y))
    risks: list[float] = []
    while len(risks) < batches:
        chosen = torch.randint(len(y), (size,), generator=generator)
        drawn: list[list[torch.Tensor]] = [[], []]
        for means, kind in ((weights, 0), (biases, 1)):
            for mean, prior in zip(means, posterior.priors, strict=True):
                noise = torch.randn(mean.shape, generator=generator) * (posterior.share * prior)
                kept = (mean != 0) if kind == 0 else torch.ones_like(mean, dtype=torch.bool)
                drawn[kind].append((mean + noise * kept).float())
        with torch.no_grad():
            logits = forward(architecture, x[chosen].float(), drawn[0], drawn[1])
        if not torch.isfinite(logits).all():
            raise InputError("a network of the posterior gives logits that are NaN or infinite.")
        risks.append(float((logits.argmax(1) != y[chosen]).double().mean()))
    return risks


def gaussian_certificate(
    architecture: Architecture,
    weights: Sequence[torch.Tensor],
    biases: Sequence[torch.Tensor],
    train: Examples,
    delta: float,
    *,
    seed: int = 0,
    draws: int = 3000,
) -> tuple[BoundResult, ...]:
    """Bound the average risk of the noisy pruned network by PAC-Bayes-kl and by Catoni.

    Parameters
    ----------
    architecture : Architecture
    weights, biases : sequence of Tensor
        The pruned network.
    train : Examples
    delta : float
        Probability that a bound fails, in (0, 1); a fifth of it is for the Monte Carlo part.
    seed : int
        Of the draws.
    draws : int
        Networks drawn for the bound; a tenth as many choose the posterior's width before.

    Returns
    -------
    tuple of BoundResult

    Raises
    ------
    InputError
        If `delta` is outside (0, 1), there are fewer than 8 examples, or a logit is not finite.
    """
    check_delta(delta, "gaussian_certificate")
    n, spare = len(train.y), _MONTE_CARLO_SHARE * delta

    def trial(share: float) -> float:
        posterior = gaussian_posterior(weights, biases, share)
        risks = posterior_risks(
            architecture,
            weights,
            biases,
            posterior,
            train,
            batches=max(1, draws // 10),
            seed=child_seed(seed, "choice"),
        )
        return maurer_bound(math.fsum(risks) / len(risks), posterior.divergence, n, delta).value

    posterior = gaussian_posterior(weights, biases, min(SHARES, key=trial))
    risks = posterior_risks(
        architecture,
        weights,
        biases,
        posterior,
        train,
        batches=draws,
        seed=child_seed(seed, "bound"),
    )
    gibbs = monte_carlo_gibbs(risks, spare)
    drawn = Assumption(
        "r(Q) is not above its Monte Carlo limit",
        "holds",
        f"{math.fsum(risks) / len(risks):.4f} on average of {draws} draws, {gibbs:.4f} with "
        f"probability 1 - {spare:g}, which is part of delta",
    )
    return tuple(
        replace(
            bound,
            delta=delta,
            assumptions=(*bound.assumptions, drawn),
            about=f"pruned network, noise {posterior.share:g} of the prior's",
        )
        for bound in (
            maurer_bound(gibbs, posterior.divergence, n, delta - spare),
            catoni_grid_bound(gibbs, posterior.divergence, n, delta - spare),
        )
    )
