"""Everything that runs a model takes its example as a tensor, a tuple or by name."""

import json

import pytest
import torch
from torch import nn

import prunable
from prunable.budgets import Keep
from prunable.errors import InputError
from prunable.nets.networks.examples import run
from prunable.nets.prune.pruning import prune
from prunable.nets.shrink.factoring import factor
from prunable.nets.shrink.footprint import compare
from prunable.nets.shrink.sparse_layers import sparsify
from prunable.strategies import MagnitudePruning, SingularValuePruning


class Reader(nn.Module):
    """Integers, and a mask with a default; a dictionary out."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(30, 24)
        self.hidden = nn.Linear(24, 40)
        self.output = nn.Linear(40, 2)

    def forward(self, ids, mask=None):
        x = self.embed(ids)
        x = x if mask is None else x * mask[..., None]
        return {"logits": self.output(self.hidden(x).relu()), "note": "text"}


def example(form, n=4):
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, 30, (n, 7), generator=generator)
    mask = (ids > 3).float()
    return {"tensor": ids, "tuple": (ids, mask), "dict": {"mask": mask, "ids": ids}}[form]


FORMS = ["tensor", "tuple", "dict"]


@pytest.mark.parametrize("form", FORMS)
def test_factors(form):
    model = Reader()
    plan = prune(model, SingularValuePruning(), Keep(0.2), only=["hidden.weight"]).plan
    result = factor(model, plan, example(form))
    assert result.n_parameters < result.n_parameters_before
    assert result.max_difference < 1e-6
    found, expected = (run(m, example(form))["logits"] for m in (result.model, model))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("form", FORMS)
def test_sparse_layers(form):
    model = Reader()
    prune(model, MagnitudePruning(), Keep(0.05), only=["hidden.weight", "output.weight"])
    batches = [example(form, n) for n in (1, 6)]
    again, report = sparsify(model, batches, repeats=2)
    assert {layer.name for layer in report.layers} == {"hidden", "output"}
    assert set(report.times) == {1, 6}
    assert report.max_difference < 1e-5
    json.dumps(report.to_dict())
    torch.testing.assert_close(run(again, batches[1])["logits"], run(model, batches[1])["logits"])
    with pytest.raises(InputError, match=r"`example_batches\[0\]` of shape .* does not fit"):
        sparsify(model, [{"ids": batches[0], "none": 3}])


@pytest.mark.parametrize("form", FORMS)
def test_comparisons(form):
    model = Reader()
    found = compare({"a": model, "b": model}, example(form), (1, 3), repeats=1)
    assert found.models["a"].macs == 7 * (24 * 40 + 40 * 2)


@pytest.mark.parametrize("form", FORMS)
def test_exports(form, tmp_path):
    pytest.importorskip("onnxruntime")
    result = prunable.nets.shrink.onnx_export.save_onnx(
        tmp_path / "m.onnx", Reader(), example(form)
    )
    names = {"tensor": ("input",), "tuple": ("ids", "mask"), "dict": ("ids", "mask")}[form]
    assert sorted(result.inputs) == sorted(names)
    assert result.batch == "free"
