"""Names of architectures, their facts, and choices of training; readable without torch."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from prunable.errors import require

Optimizer = Literal["sgd", "adam"]
Schedule = Literal["constant", "cosine"]


@dataclass(frozen=True)
class Net:
    """What is known about an architecture before it is built.

    Attributes
    ----------
    width : Its own hidden units, or channels of the first layer.
    inner : Matrices between hidden layers of a chain of linear layers with ReLU between them; None
        of a network of convolutions, which wants pictures.
    picture_products : Products in the output for one picture of 32 x 32 at its own width.
    picture_seconds : Least time of such a picture, forth and back: a narrow network waits for
        memory.
    small_factor : By how much more of a picture with sides below 32 costs, which skips the first
        pooling.
    """

    width: int
    inner: int | None = 0
    picture_products: float = 0.0
    picture_seconds: float = 0.0
    small_factor: float = 1.0

    @property
    def pictures(self) -> bool:
        """Whether it wants pictures rather than vectors."""
        return self.inner is None

    def products(self, shape: tuple[int, ...], width: int) -> float:
        """Rough number of products in the output for one example of this shape."""
        if self.inner is None:
            small = self.small_factor if min(shape[1:], default=0) < 32 else 1.0
            area = math.prod(shape[1:]) / 32**2
            return self.picture_products * small * area * (width / self.width) ** 2
        return math.prod(shape) * width + self.inner * width**2

    def least_seconds(self, shape: tuple[int, ...]) -> float:
        """Least time of one picture of this shape: it falls with the sides, layers stay."""
        return self.picture_seconds * math.sqrt(math.prod(shape[1:])) / 32


NETS: Mapping[str, Net] = {
    "mean-field": Net(2000),
    "two-layer": Net(1000),
    "lenet-300-100": Net(300, inner=1),
    "mlp5": Net(784, inner=3),
    "fcn4": Net(2048, inner=3),
    "fcn6": Net(2048, inner=5),
    "vgg": Net(64, None, picture_products=1.5e8, small_factor=4.0),
    "resnet20": Net(16, None, picture_products=4.1e7, picture_seconds=1.6e-3),
}


def known_net(name: str, where: str = "Architecture") -> Net:
    """The facts of an architecture; InputError unless one of this name is registered."""
    require(name in NETS, "net", where, f"one of {', '.join(NETS)}", name)
    return NETS[name]
