"""PAC-Bayes certificate of a pruned network whose kept weights carry Gaussian noise.

Posterior: the mask of the network, and N(w, s^2) on every kept weight and bias, s being one
share of each layer's prior width. Prior: the mask by its adaptive code, and N(0, p^2) on what
it keeps, p on the grid of steps of the code file, 10 bits a layer. The divergence is that of
the Gaussians plus the bits of masks and widths. A network drawn anew for every batch of
examples estimates the posterior's training error; its limit is part of the bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from prunable.certify.architecture import FloatNetwork, forward
from prunable.certify.bounds.assumptions import Assumption
from prunable.certify.bounds.base import BoundResult
from prunable.certify.bounds.checks import check_delta
from prunable.certify.bounds.pac_bayes import (
    catoni_grid_bound,
    gaussian_divergence,
    maurer_bound,
    monte_carlo_gibbs,
)
from prunable.certify.code_file import STEP_BITS, step_place, step_value
from prunable.certify.coding.levels import ideal_bits
from prunable.certify.examples import Examples
from prunable.errors import InputError, require
from prunable.numerics.randomness import child_seed

SHARES = (0.03, 0.06, 0.12, 0.25, 0.5)
_BATCH = 100
_MONTE_CARLO_SHARE = 0.2  # of delta


@dataclass(frozen=True, eq=False)
class GaussianPosterior:
    """Widths of prior and posterior around a network, and what they cost."""

    network: FloatNetwork
    priors: tuple[float, ...]  # standard deviation of each layer's weights and biases
    share: float  # posterior over prior standard deviation, in (0, 1)
    divergence: float  # KL(Q || P) in nats, masks and widths included

    @classmethod
    def around(cls, network: FloatNetwork, share: float, masks: float) -> GaussianPosterior:
        """Choose prior widths for a network, whose zeros are pruned, and count the divergence.

        `masks` are the bits that say which weights are zero, as `mask_bits` counts them.
        """
        require(0 < share < 1, "share", "gaussian_certificate", "in (0, 1)", share)
        priors, nats = [], (masks + STEP_BITS * len(network.weights)) * math.log(2)
        for weight, bias in zip(network.weights, network.biases, strict=True):
            means = torch.cat([weight[weight != 0], bias]).double().numpy()
            rms = float(np.sqrt(np.square(means).mean())) or 1.0
            # at the best width p^2 = mean^2 + s^2 with s = share p
            prior = step_value(step_place(rms / math.sqrt(1 - share**2)))
            nats += gaussian_divergence(means, share * prior, prior)
            priors.append(prior)
        return cls(network, tuple(priors), share, nats)

    def risks(self, train: Examples, *, batches: int, seed: int) -> list[float]:
        """Training errors of networks drawn from it, each on a batch of its own.

        Batches are drawn with replacement and have one size, so that the errors are independent
        and each has the posterior's training error for mean.
        """
        generator = torch.Generator().manual_seed(child_seed(seed, "posterior"))
        x, y = train.tensors
        size = min(_BATCH, len(y))
        masks = [weight != 0 for weight in self.network.weights]
        all_kept = [torch.ones_like(b, dtype=torch.bool) for b in self.network.biases]
        found: list[float] = []
        while len(found) < batches:
            chosen = torch.randint(len(y), (size,), generator=generator)
            weights = self._drawn(self.network.weights, masks, generator)
            biases = self._drawn(self.network.biases, all_kept, generator)
            with torch.no_grad():
                logits = forward(self.network.architecture, x[chosen].float(), weights, biases)
            if not torch.isfinite(logits).all():
                raise InputError(
                    "a network of the posterior gives logits that are NaN or infinite."
                )
            found.append(float((logits.argmax(1) != y[chosen]).double().mean()))
        return found

    def _drawn(
        self, means: list[torch.Tensor], kept: list[torch.Tensor], generator: torch.Generator
    ) -> list[torch.Tensor]:
        drawn = []
        for mean, mask, prior in zip(means, kept, self.priors, strict=True):
            noise = torch.randn(mean.shape, generator=generator) * (self.share * prior)
            drawn.append((mean + noise * mask).float())
        return drawn


def mask_bits(network: FloatNetwork) -> float:
    """Bits that say which weights of a network are zero, by the adaptive code."""
    masks = ((weight != 0).to(torch.int64).numpy() for weight in network.weights)
    return math.fsum(ideal_bits(mask, 1) for mask in masks)


def gaussian_certificate(
    network: FloatNetwork, train: Examples, delta: float, *, seed: int = 0, draws: int = 3000
) -> tuple[BoundResult, ...]:
    """Bound the average risk of the noisy pruned network by PAC-Bayes-kl and by Catoni.

    Raises InputError if there are fewer than 8 examples, or a logit is not finite.

    `delta`: probability that a bound fails, in (0, 1); a fifth of it is for the Monte Carlo part.
    `draws`: networks drawn for the bound; a tenth as many choose the posterior's width before.
    """
    check_delta(delta, "gaussian_certificate")
    n, spare, masks = len(train.y), _MONTE_CARLO_SHARE * delta, mask_bits(network)

    def trial(share: float) -> float:
        posterior = GaussianPosterior.around(network, share, masks)
        batches = max(1, draws // 10)
        risks = posterior.risks(train, batches=batches, seed=child_seed(seed, "choice"))
        return maurer_bound(math.fsum(risks) / len(risks), posterior.divergence, n, delta).value

    posterior = GaussianPosterior.around(network, min(SHARES, key=trial), masks)
    risks = posterior.risks(train, batches=draws, seed=child_seed(seed, "bound"))
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
