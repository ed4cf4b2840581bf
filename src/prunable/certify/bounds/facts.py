"""What the bounds ask about a network: norms of its layers, its margins, its inputs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunable.certify.bounds.base import Assumption, Term, positive, require, safe_log

FloatArray = NDArray[np.float64]

_WORD = "the form of the network is the caller's word"
RELU = Assumption("ReLU network", "unchecked", _WORD)
RELU_WITHOUT_BIASES = Assumption("ReLU network without biases", "unchecked", _WORD)


@dataclass(frozen=True)
class LayerFacts:
    """One linear map x -> A x, A of shape (outputs, inputs), and its weights.

    Attributes
    ----------
    inputs, outputs
        Dimensions of the map; for a convolution those of its feature maps.
    weights
        Free parameters: entries of a dense matrix, of the kernels of a convolution.
    kept
        Parameters that are not zero.
    spectral, frobenius
        Norms of the map.
    rows_21
        Sum over outputs of the Euclidean norm of their row: ||A^T||_{2,1} of Bartlett 2017.
    columns_12
        Euclidean norm of the l1 norms of the columns: ||A||_{1,2}.
    mean, variance, excess_kurtosis
        Of the parameters, the variance about the mean; kurtosis 0 is Gaussian.
    matrix_shape
        (d1, d2) of the stored weight matrix, whose entries are pruned.
    dense
        Whether the map is the stored matrix itself.
    change_spectral, change_frobenius
        Norms of pruned minus dense map; 0 if nothing was pruned.
    pruned_kept
        Parameters that pruning left; `kept` if nothing was pruned.
    row_count, column_count
        Largest number of non-zeros in a row and in a column of the pruned matrix.
    contraction
        max ||A x|| / (||A||_2 ||x||) over the training inputs of the layer; None if it was not
        measured.
    """

    name: str
    inputs: int
    outputs: int
    weights: int
    kept: int
    spectral: float
    frobenius: float
    rows_21: float
    columns_12: float
    max_abs: float
    mean: float
    variance: float
    excess_kurtosis: float
    matrix_shape: tuple[int, int]
    dense: bool = True
    change_spectral: float = 0.0
    change_frobenius: float = 0.0
    pruned_kept: int = 0
    row_count: int = 0
    column_count: int = 0
    contraction: float | None = None

    @property
    def relative_error(self) -> float:
        """||pruned - dense||_F / ||dense||_F of the parameters' map; 0 for a zero layer."""
        return self.change_frobenius / self.frobenius if self.frobenius > 0 else 0.0

    @property
    def log_squared_side(self) -> float:
        """ln^2(p), p the larger side of the stored matrix."""
        return math.log(max(self.matrix_shape)) ** 2


@dataclass(frozen=True, eq=False)
class NetworkFacts:
    """A network as the bounds see it.

    Attributes
    ----------
    layers
        In the order of application.
    margins : (n,) array
        Logit of the true class minus the largest other, on the training set.
    input_norm, input_rms, input_max
        Largest and root mean squared Euclidean norm of a training input, its largest absolute
        entry.
    output_norm
        Largest Euclidean norm of the logits on the training set; 0 if not measured.
    path_l1, path_l2_squared
        Largest over outputs of the sum over paths of products of |w|, and of w^2, as natural
        logarithms.
    input_bound
        Norm that no possible input exceeds, known before the data; None if there is none.
    biases
        Biases that the network adds and the layers leave out.
    """

    layers: tuple[LayerFacts, ...]
    margins: FloatArray = field(repr=False)
    input_norm: float
    input_rms: float
    input_max: float
    output_norm: float
    path_l1: float
    path_l2_squared: float
    input_bound: float | None = None
    biases: int = 0

    @property
    def n(self) -> int:
        """Training examples."""
        return int(self.margins.size)

    @property
    def depth(self) -> int:
        """Layers."""
        return len(self.layers)

    @property
    def classes(self) -> int:
        """Outputs of the last layer."""
        return self.layers[-1].outputs

    @property
    def width(self) -> int:
        """Largest dimension of an input or output of a layer."""
        return max(max(layer.inputs, layer.outputs) for layer in self.layers)

    @property
    def weights(self) -> int:
        """Free parameters of all layers."""
        return sum(layer.weights for layer in self.layers)

    @property
    def pruned_kept(self) -> int:
        """Parameters that pruning left."""
        return sum(layer.pruned_kept for layer in self.layers)

    @property
    def pruned(self) -> bool:
        """Whether some layer was changed by pruning."""
        return any(layer.change_frobenius > 0 for layer in self.layers)

    @property
    def changes(self) -> list[float]:
        """Spectral norms of what pruning changed, by layer."""
        return [layer.change_spectral for layer in self.layers]

    @property
    def norm(self) -> float:
        """Euclidean norm of all maps together."""
        return math.sqrt(math.fsum(layer.frobenius**2 for layer in self.layers))

    @property
    def log_spectral_product(self) -> float:
        """Natural logarithm of the product of spectral norms."""
        return math.fsum(safe_log(layer.spectral) for layer in self.layers)

    @property
    def log_frobenius_product(self) -> float:
        """Natural logarithm of the product of Frobenius norms."""
        return math.fsum(safe_log(layer.frobenius) for layer in self.layers)

    def input_limit(self) -> tuple[float, Assumption]:
        """The largest norm of an input, and whether it is known beforehand."""
        name = "every possible input has at most the norm B"
        if self.input_bound is None:
            said = f"B = {self.input_norm:.4g} is the largest of the training set"
            return self.input_norm, Assumption(name, "unchecked", said)
        said = f"B = {self.input_bound:.4g} given, training inputs reach {self.input_norm:.4g}"
        holds = self.input_norm <= self.input_bound * (1 + 1e-12)
        excess = safe_log(self.input_norm / self.input_bound)
        known = Assumption.decided(holds, name, said, excess, "factor")
        return self.input_bound if holds else self.input_norm, known

    def no_biases(self) -> Assumption:
        """Whether the layers are the whole network."""
        said = "the layers are the whole network"
        if self.biases:
            said = f"the network adds {self.biases} biases, which the layers leave out"
        return Assumption.decided(not self.biases, "no biases", said, float(self.biases))

    def dense_layers(self) -> Assumption:
        """Whether every layer is a dense matrix with entries of its own."""
        shared = [layer.name for layer in self.layers if not layer.dense]
        said = f"weights are shared in {', '.join(shared)}"
        if not shared:
            said = f"{self.depth} dense layers"
        return Assumption.decided(not shared, "layers are dense", said)


def check_margins(margins: ArrayLike, where: str) -> FloatArray:
    """Check margins on a training set: a non-empty vector of finite numbers."""
    array = np.asarray(margins, dtype=np.float64)
    require(
        array.ndim == 1 and array.size > 0,
        "margins",
        where,
        "a non-empty vector",
        f"shape {array.shape}",
        "The training set must not be empty.",
    )
    bad = int(array.size - np.isfinite(array).sum())
    require(
        bad == 0,
        "margins",
        where,
        "finite",
        f"{bad} NaN or infinite of {array.size}",
        "The network's outputs overflow: its training has probably diverged.",
    )
    return array


def margin_loss(margins: ArrayLike, gamma: float, *, strict: bool = False) -> float:
    """Share of margins at or below a threshold; 0 gives the 0-1 error, where ties are errors.

    Margins at the threshold are spared if `strict`, as in the released code of 2023.
    """
    array = check_margins(margins, "margin_loss")
    return float(np.mean(array < gamma if strict else array <= gamma))


def margin_loss_term(
    margins: ArrayLike,
    gamma: float,
    words: str = "training margins up to gamma =",
    *,
    symbol: str = "R^_gamma",
    equation: str = "",
) -> Term:
    """Make the term of the empirical risk; `words` say of which margins."""
    loss = margin_loss(margins, gamma)
    return Term.of(symbol, loss, f"share of {words} {gamma:.4g}", equation)


def positive_margin(gamma: float, evidence: str = "") -> Assumption:
    """Whether a margin can be divided by."""
    return positive("the margin is positive", gamma, evidence or "margin")


def default_tau(margins: ArrayLike) -> float:
    """The margin that bounds are evaluated at: the smallest if positive, else a positive quantile.

    It is the first positive of the margins' minimum, 1 %, 5 %, 10 %, 25 % and 50 % quantiles and
    maximum; 1 if no margin is positive.
    """
    array = check_margins(margins, "default_tau")
    for q in (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0):
        value = float(np.quantile(array, q, method="lower"))
        if value > 0:
            return value
    return 1.0
