"""Sparse, quantised, nested, complex and narrow weights: a reason with a name, or their values."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from prunable.budgets import Keep
from prunable.errors import InputError
from prunable.nets.measure.measuring import measure
from prunable.nets.prune.pruning import prune
from prunable.strategies import MagnitudePruning, NodePruning

W = torch.randn(16, 16, generator=torch.Generator().manual_seed(0))
ODD = {
    "sparse": (W.to_sparse, "to_dense"),
    "rows": (W.to_sparse_csr, "to_dense"),
    "quantised": (partial(torch.quantize_per_tensor, W, 0.1, 0, torch.qint8), "dequantize"),
    "nested": (lambda: torch.nested.nested_tensor([W, W[:3]]), "parts"),
    "complex": (partial(W.to, torch.complex64), "real and imaginary"),
    "whole": ((10 * W).to(torch.int8).clone, "int8"),
}
FLOATS = [torch.float8_e4m3fn, torch.float8_e5m2, torch.bfloat16]


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3)
    )


def having(weight):
    model = net()
    del model[2].weight
    model[2].register_parameter("weight", nn.Parameter(weight, requires_grad=False))
    return model


def check(result, mend):
    (left,) = [one for one in result.skipped if one.name == "2.weight"]
    assert mend in left.reason or "no floating-point" in left.reason


@pytest.mark.filterwarnings("ignore")  # of torch, that such tensors are young or old
@pytest.mark.parametrize("case", ODD)
@pytest.mark.parametrize("strategy", [MagnitudePruning(), NodePruning("input")])
def test_what_holds_no_plain_numbers_is_left_and_named(case, strategy):
    make, mend = ODD[case]
    weight = make()
    state = net().state_dict() | {"2.weight": weight}
    check(prune(state, strategy, Keep(0.5)), mend)
    assert state["2.weight"] is weight
    if case != "complex":
        check(measure(state, spectrum="none"), mend)
    if case in ("quantised", "nested"):
        return
    model = having(weight)
    check(prune(model, strategy, Keep(0.5)), mend)
    with pytest.raises(InputError, match=rf"`2\.weight` cannot be pruned.*{mend}"):
        prune(model, strategy, Keep(0.5), only=["2.weight"])
    with pytest.raises(InputError, match=rf"`2\.weight` cannot be pruned by units.*{mend}"):
        prune(model, NodePruning(), Keep(0.5), example=torch.randn(2, 8))


@pytest.mark.parametrize("dtype", FLOATS)
def test_narrow_floats_are_read_as_their_values(dtype):
    narrow = W.to(dtype)
    model = having(narrow.clone())
    prune(model, MagnitudePruning(), Keep(0.5), only=["2.weight"])
    found = model[2].weight.float()
    assert model[2].weight.dtype is dtype
    order = np.sort(narrow.float().abs().numpy().ravel())
    threshold = order[len(order) // 2]
    kept = found != 0
    assert int(kept.sum()) == W.numel() // 2
    assert float(found[kept].abs().min()) >= threshold
    assert torch.equal(found[kept], narrow.float()[kept])
    wide, measured = (
        next(x for x in measure(m, spectrum="none").layers if x.name == "2.weight")
        for m in (having(narrow.float()), having(narrow))
    )
    assert measured.kappa == wide.kappa
    if narrow.itemsize == 1:
        with pytest.raises(InputError, match=r"`2\.weight` cannot .*float8.*float32"):
            prune(having(narrow), NodePruning(), Keep(0.5), example=torch.randn(2, 8))


@pytest.mark.filterwarnings("ignore")  # of torch, that this quantisation is old
def test_layers_that_quantisation_packed_away_are_named():
    packed = torch.ao.quantization.quantize_dynamic(net(), {nn.Linear}, dtype=torch.qint8)
    with pytest.raises(InputError, match=r"no weight matrix.*0: a quantised layer"):
        prune(packed, MagnitudePruning(), Keep(0.5))
    with pytest.raises(InputError, match=r"no units.*0: a quantised layer"):
        prune(packed, NodePruning(), Keep(0.5), example=torch.randn(2, 8))
