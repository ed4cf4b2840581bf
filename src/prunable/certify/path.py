"""One certificate for a whole pruning path: how often the network errs at any share it keeps."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch.func import functional_call

from prunable.certify.architecture import FloatNetwork, count_errors, errs
from prunable.certify.bounds.path import (
    Wrong,
    anywhere_bounds,
    coded_path_bounds,
    envelope_bounds,
    grid_bounds,
)
from prunable.certify.code_file import CodedNetwork, encode_network
from prunable.certify.examples import Examples
from prunable.certify.given import GivenNetwork, Logits, as_taken
from prunable.certify.statements import above
from prunable.errors import check_at_least, require
from prunable.nets.networks.examples import scores_of
from prunable.numerics.weights.selection import top_k_masks
from prunable.results import Result

_GOLDEN = (np.sqrt(5.0) - 1) / 2  # multiples of it, modulo 1, are spread evenly
_TIE = 1e-6  # by which equal integers differ, far below what differs between levels


@dataclass(frozen=True, eq=False)
class PathCertificate(Result):
    """Bounds at every share of a grid, each column for all of them at once at `delta`.

    `columns` has, by share: `kappa`, `kept` weights, `errors` on held-out examples and their bounds
    `held_out` (of the grid), `anywhere` (of all `distinct` networks of the path) and `envelope`;
    and of the path of the quantised network `coded_kept`, `coded_errors` on training examples, and
    `compression` (of all `coded_distinct` networks of its path).
    """

    delta: float
    n: int  # held-out examples; 0 if there are none
    distinct: int
    coded_n: int  # training examples; 0 if there is no coded path
    coded_distinct: int
    bits: int  # of the code file of the coded path, without the share
    columns: dict[str, list[float]]
    wrong_at: Callable[[float], Wrong] | None = field(default=None, repr=False)

    def at(self, kappa: float) -> float:
        """Bound the network at any share in (0, 1], on the grid or not, at the price of the path.

        It holds together with the column `anywhere`. Raises InputError without held-out examples.
        """
        require(0 < kappa <= 1, "kappa", "PathCertificate.at", "in (0, 1]", kappa)
        require(self.wrong_at is not None, "kappa", "at", "of a path with held-out examples", kappa)
        assert self.wrong_at is not None
        (bound,) = anywhere_bounds(self.wrong_at(kappa)[None], self.delta, self.distinct)
        return min(bound.value, 1.0)

    @property
    def texts(self) -> tuple[str, ...]:
        """What each column says, in words."""
        shares, found = len(self.columns["kappa"]), []
        certain = f"With probability at least 1 - {self.delta:g}"
        last = {name: above(values[0]) for name, values in self.columns.items() if values}
        if self.n:
            found += [
                f"{certain} the network errs at all {shares} shares at once with probability at "
                f"most `held_out`, from {self.n:,} held-out examples: {last['held_out']} unpruned.",
                f"{certain} it errs at any share whatever with probability at most what its errors "
                f"there give at the price of all {self.distinct:,} networks of the path, "
                f"`anywhere`: {last['anywhere']} unpruned.",
                f"{certain} it errs at all shares with probability at most `envelope`, whose price "
                f"does not depend on their number: {last['envelope']} unpruned.",
            ]
        if self.coded_n:
            found.append(
                f"{certain} the quantised network errs at any share whatever with probability at "
                f"most `compression`, from {self.coded_n:,} training examples and one code file of "
                f"{self.bits:,} bits for all {self.coded_distinct:,} networks of its path: "
                f"{last['compression']} unpruned."
            )
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """Show as JSON."""
        sizes = ("delta", "n", "distinct", "coded_n", "coded_distinct", "bits")
        rows = self._rows()
        return {**{size: getattr(self, size) for size in sizes}, "rows": rows, "texts": self.texts}

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        names = list(self.columns)
        return [
            dict(zip(names, row, strict=True)) for row in zip(*self.columns.values(), strict=True)
        ]


def certify_path(
    given: GivenNetwork,
    test: Examples | None,
    coded: CodedNetwork | None = None,
    train: Examples | None = None,
    *,
    shares: int = 20,
    delta: float = 0.05,
) -> PathCertificate:
    """Certify all networks that magnitude pruning over all layers makes of one, at once.

    The grid has `shares` even shares from 1 down to 1 / shares. The held-out form is of the network
    as given, whose order of weights is fixed before the test examples; the compression form of its
    coded network, whose smallest integers go first in units of their layer, equal ones in a fixed
    order: so its code file holds the whole path, and a share costs log2 of the number of networks.
    Raises InputError if neither test examples nor a coded network with training examples are there.
    """
    check_at_least(shares, 1, "shares", "certify_path")
    known = test is not None or (coded is not None and train is not None)
    require(known, "test", "certify_path", "given, or a coded network and training examples", None)
    kappas = [(shares - place) / shares for place in range(shares)]
    columns: dict[str, list[float]] = {"kappa": kappas}
    n = distinct = coded_n = coded_distinct = bits = 0
    wrong_at = None
    if test is not None:
        path = MagnitudePath.of(given)
        n, distinct, examples = len(test.y), path.distinct, test

        def wrong_at(kappa: float) -> Wrong:
            return errs(path.at(path.kept(kappa)), *examples.tensors).numpy()

        wrong = np.stack([wrong_at(kappa) for kappa in kappas])
        columns["kept"] = [path.kept(kappa) for kappa in kappas]
        columns["errors"] = wrong.sum(axis=1).tolist()
        for name, bounds in (
            ("held_out", grid_bounds(wrong, delta)),
            ("anywhere", anywhere_bounds(wrong, delta, distinct)),
            ("envelope", envelope_bounds(wrong, delta)),
        ):
            columns[name] = [min(bound.value, 1.0) for bound in bounds]
    if coded is not None and train is not None:
        coded_n, coded_distinct = len(train.y), coded.kept + 1
        bits = 8 * len(encode_network(coded))
        kept = [min(coded.kept, round(kappa * coded.architecture.n_weights)) for kappa in kappas]
        at = {k: count_errors(pruned_code(coded, k).logits, *train.tensors) for k in set(kept)}
        columns["coded_kept"], errors = list(kept), [at[k] for k in kept]
        columns["coded_errors"] = list(errors)
        found = coded_path_bounds(errors, coded_n, bits, delta, coded_distinct)
        columns["compression"] = [min(bound.value, 1.0) for bound in found]
    return PathCertificate(delta, n, distinct, coded_n, coded_distinct, bits, columns, wrong_at)


@dataclass(frozen=True, eq=False)
class MagnitudePath:
    """A network whose smallest weights go first, over all layers; of equal ones the last."""

    weights: list[torch.Tensor]
    run: Callable[[list[torch.Tensor]], Logits]  # weights to the network's logits

    @classmethod
    def of(cls, given: GivenNetwork) -> "MagnitudePath":
        """Path of a network: its matrices and kernels; vectors stay."""
        chain, model = given.chain, given.model
        if chain is not None:
            return cls(
                chain.weights,
                lambda weights: FloatNetwork(chain.architecture, weights, chain.biases).logits,
            )
        assert model is not None
        names = [name for name, p in model.named_parameters() if p.ndim >= 2]
        parameters = dict(model.named_parameters())

        def run(weights: list[torch.Tensor]) -> Logits:
            changed = dict(zip(names, weights, strict=True))
            return lambda x: scores_of(
                functional_call(model, changed, (as_taken(x).float(),))
            ).double()

        return cls([parameters[name].detach() for name in names], run)

    @property
    def distinct(self) -> int:
        """Networks on the path: one for each weight that is not zero, and the empty one."""
        return 1 + sum(int(torch.count_nonzero(weight)) for weight in self.weights)

    def kept(self, kappa: float) -> int:
        """Weights that a share keeps."""
        return round(kappa * sum(weight.numel() for weight in self.weights))

    def at(self, k: int) -> Logits:
        """Logits of the network that keeps k weights."""
        scores = [weight.abs().double().numpy() for weight in self.weights]
        masks = top_k_masks(scores, k)
        return self.run([w * torch.from_numpy(m) for w, m in zip(self.weights, masks, strict=True)])


def pruned_code(network: CodedNetwork, k: int) -> CodedNetwork:
    """Keep the k largest integers, in units of their layer's root mean square.

    Equal ones of a layer go in an order spread over it, so that no unit loses all of them at once.
    """
    scores = []
    for layer in network.layers:
        size = np.abs(layer.weights).astype(np.float64)
        spread = np.modf(_GOLDEN * np.arange(size.size))[0].reshape(size.shape)
        rms = max(float(np.sqrt(np.square(size).mean())), 1e-12)
        scores.append(size / rms * (1 + _TIE * spread))
    masks = top_k_masks(scores, k)
    layers = tuple(
        replace(layer, weights=layer.weights * mask)
        for layer, mask in zip(network.layers, masks, strict=True)
    )
    return CodedNetwork(network.architecture, layers)
