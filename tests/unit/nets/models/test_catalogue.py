"""What is known of architectures before they are built, against torch's count of what they do."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from prunable.nets.catalogue import NETS
from prunable.nets.models import Architecture, build


@pytest.mark.parametrize(
    ("net", "shape"),
    [
        ("resnet20", (1, 8, 8)),
        ("resnet20", (1, 28, 28)),
        ("resnet20", (3, 32, 32)),
        ("vgg", (1, 16, 16)),
        ("vgg", (1, 28, 28)),
        ("vgg", (3, 32, 32)),
    ],
)
def test_products_are_those_of_a_forward_pass(net, shape):
    known = NETS[net]
    generator = torch.Generator().manual_seed(0)
    model = build(Architecture(net, shape, 10, known.width), generator=generator).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, *shape))
    counted = counter.get_total_flops() / 2
    assert known.products(shape, known.width) == pytest.approx(counted, rel=0.05)
