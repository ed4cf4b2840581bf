"""Outputs are found whatever they are packed in, and examples in every form are copied."""

import copy
from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from prunable.errors import InputError, UnsupportedModelError
from prunable.nets.models.torch_extras import torch_extra
from prunable.nets.networks.equality import (
    exact_inputs,
    exact_outputs,
    expected_in_own_precision,
    expected_outputs,
    tensors_in,
)

Pair = namedtuple("Pair", "first second")


@dataclass
class Packed:
    main: torch.Tensor
    rest: tuple
    name: str = "x"


class Packs(nn.Linear):
    def forward(self, x, *, times=1, ids=None):
        y = super().forward(x) * times
        y = y if ids is None else y[ids]
        return Packed(y, (Pair(2 * y, None), OrderedDict(a=3 * y)))


def test_tensors_of_every_packing_in_order():
    y, *_ = found = exact_outputs(Packs(3, 2), torch.rand(4, 3))
    assert [torch.equal(x, k * y) for k, x in enumerate(found, 1)] == [True, True, True]
    assert tensors_in("text") == tensors_in(Packed) == tensors_in(None) == []


@pytest.mark.parametrize("form", ["tensor", "tuple", "dict"])
def test_examples_of_every_form(form):
    x, ids = torch.rand(4, 3), torch.tensor([2, 0])
    model = Packs(3, 2)
    example = {"tensor": x, "tuple": (x,), "dict": {"x": x, "times": 2, "ids": ids}}[form]
    copied = exact_inputs(example)
    assert type(copied) is type(example)
    (y, *_) = expected_outputs(model, example)
    assert y.dtype == torch.float64
    expected = copy.deepcopy(model).double()(x.double()).main
    torch.testing.assert_close(y, 2 * expected[ids] if form == "dict" else expected)
    assert expected_in_own_precision(model, example)[0].dtype == torch.float32


def test_what_cannot_be_compared_is_no_proof():
    class Tells(nn.Linear):
        def forward(self, x):
            return str(super().forward(x))

    with pytest.raises(UnsupportedModelError, match="`Tells` cannot be checked"):
        expected_outputs(Tells(3, 2), torch.rand(1, 3))
    with pytest.raises(InputError, match=r"`example` of shape x \(1, 3\), no \(1,\) does not fit"):
        expected_outputs(Packs(3, 2), {"x": torch.rand(1, 3), "no": torch.rand(1)})


def test_outputs_of_transformers():
    torch_extra("torchvision", "test")  # transformers looks at it
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.BertConfig(**sizes, intermediate_size=8, vocab_size=20)
    model = transformers.BertModel(config)
    ids = torch.randint(0, 20, (2, 4))
    state = copy.deepcopy(model.state_dict())
    hidden, pooled = exact_outputs(model, {"input_ids": ids, "attention_mask": ids > -1})
    assert (hidden.shape, pooled.shape) == ((2, 4, 8), (2, 8))
    assert hidden.dtype == torch.float64
    assert all(torch.equal(state[name], x) for name, x in model.state_dict().items())
    assert model.training


def test_models_whose_weights_are_made_up_are_copied():
    model = nn.utils.spectral_norm(nn.Linear(3, 2))
    x = torch.rand(4, 3)
    model(x).sum().backward()
    (y,) = exact_outputs(model, x)
    torch.testing.assert_close(y.float(), model.eval()(x))
