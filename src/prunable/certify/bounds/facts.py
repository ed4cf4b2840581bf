"""What the bounds ask about a network: norms of its layers, its margins, its inputs."""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunable.certify.bounds.assumptions import Assumption
from prunable.certify.bounds.base import Term
from prunable.certify.bounds.checks import check_numbers
from prunable.certify.bounds.logs import log_product, safe_log
from prunable.errors import require

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class LayerFacts:
    """One linear map x -> A x, A of shape (outputs, inputs), and its weights."""

    name: str
    inputs: int  # of the map; for a convolution the size of its feature maps, as outputs
    outputs: int
    weights: int  # free parameters: of a dense matrix, of the kernels of a convolution
    kept: int  # parameters that are not zero
    spectral: float  # norms of the map
    frobenius: float
    rows_21: float  # sum over outputs of their rows' norms: ||A^T||_{2,1} of Bartlett 2017
    columns_12: float  # Euclidean norm of the l1 norms of the columns: ||A||_{1,2}
    max_abs: float
    mean: float  # of the parameters, as the variance about it
    variance: float
    excess_kurtosis: float  # 0 is Gaussian
    matrix_shape: tuple[int, int]  # (d1, d2) of the stored matrix, whose entries are pruned
    dense: bool = True  # whether the map is the stored matrix itself
    change_spectral: float = 0.0  # norms of pruned minus dense map; 0 if nothing was pruned
    change_frobenius: float = 0.0
    pruned_kept: int = 0  # parameters that pruning left; `kept` if nothing was pruned
    row_count: int = 0  # most non-zeros in a row, and in a column, of the pruned matrix
    column_count: int = 0
    # max ||A x|| / (||A||_2 ||x||) over the training inputs of the layer; None if not measured
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
    """A network as the bounds see it; layers in the order of application."""

    layers: tuple[LayerFacts, ...]
    # (n,) logit of the true class minus the largest other, on the training set
    margins: FloatArray = field(repr=False)
    input_norm: float  # largest Euclidean norm of a training input
    input_rms: float  # root of the mean squared norm
    input_max: float  # largest absolute entry
    output_norm: float  # largest norm of the logits on the training set; 0 if not measured
    path_l1: float  # sum over paths of products of |w|, the largest output's; logarithm
    path_l2_squared: float  # the same of w^2
    input_bound: float | None = None  # norm that no possible input exceeds, if known beforehand
    biases: int = 0  # that the network adds and the layers leave out

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
    def spectral(self) -> list[float]:
        """Spectral norms by layer."""
        return [layer.spectral for layer in self.layers]

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
        return log_product(self.spectral)

    @property
    def log_frobenius_product(self) -> float:
        """Natural logarithm of the product of Frobenius norms."""
        return log_product(layer.frobenius for layer in self.layers)

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

    def form(self) -> tuple[Assumption, Assumption]:
        """Whether the layers are dense, and the whole network."""
        return self.dense_layers(), self.no_biases()

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
    full, found = array.ndim == 1 and array.size > 0, f"shape {array.shape}"
    action = "The training set must not be empty."
    require(full, "margins", where, "a non-empty vector", found, action)
    why = "The network's outputs overflow: its training has probably diverged."
    check_numbers(array, "margins", where, "", why)
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
