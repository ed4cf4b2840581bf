"""ONNX of models with several inputs and outputs, of integers, and of those that cannot be."""

import numpy as np
import pytest
import torch
from torch import nn

from prunable.errors import InputError, UnsupportedModelError
from prunable.nets.shrink import onnx_export
from prunable.nets.shrink.onnx_export import save_onnx

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


class Several(nn.Module):
    """Integers and floats in, by place or by name; a dictionary of a tensor and a tuple out."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(9, 4)
        self.linear = nn.Linear(4, 3)

    def forward(self, tokens, scale=None, *, table=None):
        x = self.linear(self.embed(tokens))
        x = x if scale is None else x * scale[:, None, None]
        x = x if table is None else x + table
        return {"each": x, "sums": (x.sum(1), x.sum((1, 2)))}


def run(path, **inputs):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {name: x.numpy() for name, x in inputs.items()})


def drawn(n):
    return {"tokens": torch.randint(0, 9, (n, 5)), "scale": torch.rand(n)}


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
@pytest.mark.parametrize("by_name", [True, False])
def test_several_inputs_and_outputs(by_name, exporter, tmp_path, monkeypatch):
    if exporter == "torchscript":
        monkeypatch.setattr(onnx_export, "find_spec", lambda _: None)
    torch.manual_seed(0)
    model, path = Several().eval(), str(tmp_path / "m.onnx")
    example = drawn(1)
    table = {"table": torch.rand(5, 3)}
    if by_name:
        example |= table
    result = save_onnx(path, model, example if by_name else tuple(example.values()))
    assert result.exporter == exporter
    assert result.inputs == ("tokens", "scale", *(table if by_name else ()))
    assert result.outputs == ("each", "sums_0", "sums_1")
    assert (result.batch, result.why_fixed) == ("free", None)
    other = drawn(4) | (table if by_name else {})
    found = run(path, **other)
    with torch.no_grad():
        expected = model(**other)
    for theirs, ours in zip(found, (expected["each"], *expected["sums"]), strict=True):
        np.testing.assert_allclose(theirs, ours.numpy(), rtol=1e-4, atol=1e-5)


def test_the_model_is_left_as_it_was(tmp_path):
    model = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
    before = set(vars(model)), model.training, list(model.state_dict())
    save_onnx(tmp_path / "m.onnx", model, torch.rand(1, 3))
    assert (set(vars(model)), model.training, list(model.state_dict())) == before


class Fixed(nn.Linear):
    def forward(self, x):
        return super().forward(x).reshape(2, 3)


def test_a_batch_that_is_part_of_the_model(tmp_path):
    result = save_onnx(tmp_path / "m.onnx", Fixed(3, 3), torch.rand(2, 3))
    assert result.batch == "fixed"
    assert "[2, 3]" in result.why_fixed
    assert result.to_dict()["batch"] == "fixed"
    # examples in the second dimension: the state of a recurrent layer counts them
    torch.manual_seed(0)
    model, x = nn.GRU(3, 4).eval(), torch.rand(5, 2, 3)
    assert save_onnx(tmp_path / "g.onnx", model, x).outputs == ("output_0", "output_1")
    np.testing.assert_allclose(
        run(tmp_path / "g.onnx", input=x)[0], model(x)[0].detach(), rtol=1e-4, atol=1e-5
    )


class Branching(nn.Linear):
    def forward(self, x):
        return super().forward(x) if x.sum() > 0 else x


class Eigen(nn.Linear):
    def forward(self, x):
        return torch.linalg.eigvals(self.weight).real * super().forward(x)


@pytest.mark.parametrize(
    ("model", "cause"),
    [(Branching(3, 3), "data-dependent"), (Eigen(3, 3), "No ONNX function found for .*linalg_eig")],
)
def test_refusals_name_the_cause_alone(model, cause, tmp_path, capfd):
    with pytest.raises(UnsupportedModelError, match=f"cannot be exported to ONNX: .*{cause}") as no:
        save_onnx(tmp_path / "m.onnx", model, torch.rand(2, 3))
    text = str(no.value)
    assert "\x1b" not in text
    assert "\n" not in text
    assert "step 1/3" not in text
    assert len(text) < 400
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())


def test_colours_are_taken_off_messages():
    assert onnx_export._brief(RuntimeError("\n\x1b[96m*a*\x1b[0m b\x1b[1;31mc\n more")) == "*a* bc"
    assert onnx_export._brief(KeyError("x")) == "KeyError: 'x'"
    assert onnx_export._brief(StopIteration()) == "StopIteration"


def test_examples_that_do_not_fit(tmp_path):
    path = tmp_path / "m.onnx"
    with pytest.raises(InputError, match=r"`example` of shape wrong \(2, 3\) does not fit"):
        save_onnx(path, nn.Linear(3, 2), {"wrong": torch.rand(2, 3)})
    with pytest.raises(InputError, match="a batch that is not empty"):
        save_onnx(path, nn.Linear(3, 2), {})
    with pytest.raises(UnsupportedModelError, match="holds no tensors"):
        save_onnx(path, Silent(3, 2), torch.rand(2, 3))
    assert not list(tmp_path.iterdir())


class Silent(nn.Linear):
    def forward(self, x):
        return str(super().forward(x))
