"""What `prune` leaves alone, what goes with a unit, and tied and made-up weights."""

import copy
import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.utils import parametrizations

from prunable.errors import InputError
from prunable.experiments.prune.pruning import prune_checkpoint
from prunable.experiments.prune.specs import PruningJob
from prunable.nets.measure.measuring import measure
from prunable.nets.models import read_weights
from prunable.nets.models.hub import transformers_module
from prunable.nets.models.torch_extras import torch_extra
from prunable.nets.prune.iterative import iterate
from prunable.nets.prune.masks import masks_of
from prunable.nets.prune.plan import Keep, plan_from_json, plan_to_json
from prunable.nets.prune.pruning import prune
from prunable.nets.prune.strategies import (
    MagnitudePruning,
    NodePruning,
    SaliencyPruning,
    SingularValuePruning,
)

UNITS = NodePruning(axis="unit")


def share_of_zeros(tensor):
    return float((tensor == 0).double().mean())


def pruned_file(path, out, **options):
    return prune_checkpoint(PruningJob.create(checkpoint=path, out=out, **options))


def resnet18():
    torch.manual_seed(0)
    return torch_extra("torchvision.models", "this test").resnet18(weights=None)


def test_a_sorted_file_of_resnet18_keeps_its_classes(tmp_path):
    state = resnet18().state_dict()
    save_file(state, tmp_path / "m.safetensors", {"format": "pt"})
    document = pruned_file(tmp_path / "m.safetensors", tmp_path / "out", method="unit", keep=0.5)
    found = load_file(tmp_path / "out")
    assert torch.equal(found["fc.weight"], state["fc.weight"])
    left = [entry for entry in document["skipped"] if entry["name"] == "fc.weight"]
    assert [entry["reason"] for entry in left] == ["its units are the network's outputs"]
    assert len(document["plan"]["layers"]) == 20
    for name in ("layer4.1.conv2", "layer1.0.conv1", "conv1"):
        gone = found[f"{name}.weight"].flatten(1).abs().amax(1) == 0
        norm = name.replace("conv", "bn")
        assert int(gone.sum()) == len(gone) // 2
        for leaf in ("weight", "bias"):
            assert not found[f"{norm}.{leaf}"][gone].any()
        assert torch.equal(found[f"{norm}.weight"][~gone], state[f"{norm}.weight"][~gone])


def test_an_output_of_a_pruned_resnet_gets_nothing_from_removed_units():
    model = resnet18().eval()
    nn.init.uniform_(model.bn1.bias, 0.5, 1.0)
    nn.init.uniform_(model.bn1.running_mean, -1.0, 1.0)
    result = prune(model, UNITS, Keep(0.5), only=["conv1.weight"])
    (layer,) = result.plan.layers
    with torch.no_grad():
        out = model.relu(model.bn1(model.conv1(torch.randn(1, 3, 32, 32))))
    assert (out.amax((0, 2, 3)) == 0).tolist() == (~layer.kept).tolist()


def sentence_encoder():
    transformers = transformers_module("this test")

    torch.manual_seed(0)
    config = transformers.BertConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        vocab_size=60, max_position_embeddings=20,
    )  # fmt: skip
    return transformers.BertModel(config)


@pytest.mark.parametrize("strategy", [UNITS, MagnitudePruning(), SingularValuePruning()])
@pytest.mark.parametrize("bare", [False, True])
def test_embeddings_are_left_alone_unless_they_are_named(strategy, bare):
    model = sentence_encoder()
    before = copy.deepcopy(model.state_dict())
    given = model.state_dict() if bare else model
    result = prune(given, strategy, Keep(0.5))
    tables = {name for name in before if "_embeddings.weight" in name}
    assert len(tables) == 3
    assert {x.name for x in result.skipped if x.reason == "embedding"} == tables
    for name in tables:
        assert torch.equal(model.state_dict()[name], before[name])
    named = prune(given, strategy, Keep(0.5), only=["*word_embeddings*"], dry_run=True)
    assert [x.name for x in named.plan.layers] == ["embeddings.word_embeddings.weight"]
    both = prune(
        given, strategy, Keep(0.5), only=["*", "embeddings.word_embeddings.weight"], dry_run=True
    )
    assert len(both.plan.layers) == len(result.plan.layers) + 1


@pytest.mark.parametrize("bare", [False, True])
def test_half_of_a_convnext_is_half_of_its_weights_and_no_scale(bare):
    torch.manual_seed(0)
    models = torch_extra("torchvision.models", "this test")
    blocks = [models.convnext.CNBlockConfig(8, 16, 1), models.convnext.CNBlockConfig(16, None, 1)]
    model = models.ConvNeXt(blocks, num_classes=7)
    given = model.state_dict() if bare else model
    result = prune(given, MagnitudePruning(), Keep(0.5))
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1 and "layer_scale" not in name:
            assert share_of_zeros(parameter) == pytest.approx(0.5, abs=0.02)
        else:
            assert share_of_zeros(parameter) == 0 or name.endswith("bias")
    scales = {n for n, _ in model.named_parameters() if n.endswith("layer_scale")}
    assert {x.name for x in result.skipped} == scales
    reasons = {x.name: x.reason for x in measure(given, spectrum="none").skipped}
    assert all("scale" in reasons[name] for name in scales)


NORMED = [
    nn.utils.weight_norm,
    nn.utils.spectral_norm,
    parametrizations.weight_norm,
    parametrizations.spectral_norm,
]


def normed(norm):
    torch.manual_seed(0)
    with pytest.warns(FutureWarning) if norm is nn.utils.weight_norm else _nothing():
        first, last = norm(nn.Linear(20, 30)), norm(nn.Linear(30, 6))
    return nn.Sequential(first, nn.ReLU(), last)


def _nothing():
    from contextlib import nullcontext

    return nullcontext()


@pytest.mark.parametrize("norm", [*NORMED, parametrizations.orthogonal])
def test_made_up_weights_are_pruned_as_they_act_and_train_on(norm):
    model = normed(norm)
    x = torch.randn(5, 20)
    before = model.eval()[0](x)
    dry = prune(model, MagnitudePruning(), Keep(0.5), dry_run=True)
    assert torch.equal(model[0](x), before)
    assert not {"0.weight", "2.weight"} & set(dict(model.named_parameters()))
    other = copy.deepcopy(model) if norm in NORMED[2:] else None
    result = prune(model.train(), MagnitudePruning(), Keep(0.5))
    assert result.to_dict() == dry.to_dict()
    assert result.baked == ("0.weight", "2.weight")
    for layer in (model[0], model[2]):
        assert share_of_zeros(layer.weight) == 0.5
    assert model.training
    model(x).square().mean().backward()
    assert all(p.grad is not None for p in model.parameters())
    assert model[0](x).sub(before).abs().max() > 0
    if other is not None:  # a copy is as it was
        assert torch.equal(other[0](x), before)


@pytest.mark.parametrize("norm", NORMED)
def test_made_up_weights_of_files_are_put_together(norm, tmp_path):
    model = normed(norm)
    path = tmp_path / "m.pt"
    torch.save(model.state_dict(), path)
    document = pruned_file(path, tmp_path / "out.safetensors", keep=0.5)
    assert document["baked"] == ["0.weight", "2.weight"]
    found = load_file(tmp_path / "out.safetensors")
    assert set(found) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert prune(model, MagnitudePruning(), Keep(0.5)).baked
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, model.get_parameter(name).detach())
    names = [layer.name for layer in measure(path).layers]
    assert names == ["0.weight", "2.weight"]


def test_made_up_weights_that_a_file_does_not_explain_are_left_alone_and_named():
    state = normed(parametrizations.orthogonal).state_dict() | {"head.weight": torch.randn(6, 6)}
    result = prune(state, MagnitudePruning(), Keep(0.5))
    assert [x.name for x in result.plan.layers] == ["head.weight"]
    reasons = {x.name: x.reason for x in result.skipped}
    assert "load it with its network" in reasons["0.parametrizations.weight.original"]
    measured = {x.name: x.reason for x in measure(state).skipped}
    assert (
        measured["0.parametrizations.weight.original"]
        == reasons["0.parametrizations.weight.original"]
    )


def test_rounds_want_plain_weights():
    with pytest.raises(InputError, match=r"0\.weight.*parametriz"):
        iterate(
            normed(parametrizations.weight_norm),
            lambda *_: 0.0,
            strategy=MagnitudePruning(),
            rounds=2,
            kappa=0.5,
        )


def gpt2():
    transformers = transformers_module("this test")

    torch.manual_seed(0)
    config = transformers.GPT2Config(
        n_embd=16, n_layer=2, n_head=2, vocab_size=50, n_positions=9, bos_token_id=0, eos_token_id=0
    )
    return transformers.GPT2LMHeadModel(config)


@pytest.mark.parametrize("bare", [False, True])
def test_units_of_gpt2_are_its_columns(bare):
    model = gpt2()
    before = copy.deepcopy(model.state_dict())
    result = prune(model.state_dict() if bare else model, UNITS, Keep(0.5))
    name = "transformer.h.0.mlp.c_fc"
    weight, bias = model.get_parameter(f"{name}.weight"), model.get_parameter(f"{name}.bias")
    gone = weight.abs().amax(0) == 0
    assert int(gone.sum()) == 32
    assert (weight.abs().amax(1) > 0).all()
    assert not bias[gone].any()
    (layer,) = [x for x in result.plan.layers if x.name == f"{name}.weight"]
    norms = before[f"{name}.weight"].double().norm(dim=0)
    assert layer.kept.tolist() == (norms >= norms.sort(descending=True)[0][31]).tolist()
    assert torch.equal(model.lm_head.weight, before["lm_head.weight"])


def test_a_transposed_layer_is_written_back_as_it_is_stored():
    torch.manual_seed(0)
    net = nn.Sequential(nn.ConvTranspose2d(6, 8, 3, groups=2), nn.Flatten(), nn.Linear(8, 2))
    before = net[0].weight.detach().clone()
    unit = prune(net, UNITS, Keep(0.5), only=["0.weight"])
    per_unit = net[0].weight.detach().reshape(2, 3, 4, -1).abs().amax((1, 3)).flatten()
    assert (per_unit > 0).tolist() == unit.plan.layers[0].kept.tolist()
    expected = before.reshape(2, 3, 4, -1).norm(dim=(1, 3)).flatten()
    assert set(expected.argsort()[:4].tolist()) == set((per_unit == 0).nonzero().flatten().tolist())
    again = plan_from_json(plan_to_json(unit.plan))
    masks = masks_of(again, net.named_parameters())
    assert set(masks) == {"0.weight", "0.bias"}
    assert torch.equal(masks["0.weight"].expand_as(before), net[0].weight != 0)
    scores = {"0.weight": before.square().numpy()}
    net[0].weight.data = before.clone()
    prune(net, SaliencyPruning(scores), Keep(0.25), only=["0.weight"])
    other = before.clone().flatten()
    other[before.abs().flatten().argsort()[: 3 * other.numel() // 4]] = 0
    assert torch.equal(net[0].weight.detach().flatten(), other)
    net[0].weight.data = before.clone()
    prune(net, SingularValuePruning(), Keep(0.5), only=["0.weight"])
    matrix = net[0].weight.detach().reshape(2, 3, 4, -1).transpose(1, 2).reshape(8, -1)
    assert int(torch.linalg.matrix_rank(matrix.double(), rtol=1e-5)) == 4


def test_a_torch_file_of_gpt2_keeps_its_tie_and_one_copy(tmp_path):
    state = gpt2().state_dict()
    torch.save(state, tmp_path / "m.pt")
    for method in ("unit", "magnitude"):
        out = tmp_path / f"{method}.safetensors"
        document = pruned_file(tmp_path / "m.pt", out, method=method, keep=0.5)
        assert {"lm_head.weight", "transformer.wte.weight"} <= {
            x["name"] for x in document["skipped"]
        }
        assert document["bytes"] <= document["bytes_before"]
        assert "lm_head.weight" not in load_file(out)
        tensors, metadata = read_weights(out)
        assert tensors["lm_head.weight"] is tensors["transformer.wte.weight"]
        assert metadata == {"format": "pt"}
        assert tensors.keys() == state.keys()
    named = ["transformer.wte.weight"]
    result = prune(state, MagnitudePruning(), Keep(0.5), only=named)
    assert [x.name for x in result.plan.layers] == named
    assert share_of_zeros(state["lm_head.weight"]) == 0.5
    assert state["lm_head.weight"].data_ptr() == state[named[0]].data_ptr()
    sparse = tmp_path / "sparse.safetensors"
    pruned_file(tmp_path / "m.pt", sparse, keep=0.1, storage="bitmask", only=named)
    assert sparse.stat().st_size < (tmp_path / "m.pt").stat().st_size
    skipped = {x.name: x.reason for x in measure(tmp_path / "m.pt", spectrum="none").skipped}
    assert skipped["lm_head.weight"] == "tied: it has the numbers of transformer.wte.weight"


def test_measure_knows_what_gpt2_is_made_of():
    found = {layer.name: layer for layer in measure(gpt2(), spectrum="none").layers}
    assert found["transformer.wte.weight"].kind == "embedding"
    assert found["transformer.h.0.mlp.c_fc.weight"].kind == "dense"
    assert found["transformer.h.0.mlp.c_fc.weight"].shape == (64, 16)
    assert found["transformer.h.0.attn.c_attn.weight[query]"].shape == (16, 16)


def test_heads_of_any_names_keep_their_outputs():
    heads = {"body.weight": (8, 6), "a.weight": (5, 8), "b.weight": (3, 8)}
    state = {name: torch.randn(shape) for name, shape in heads.items()}
    result = prune(state, UNITS, Keep(0.5))
    assert [x.name for x in result.plan.layers] == ["body.weight"]
    assert {x.name for x in result.skipped} == {"a.weight", "b.weight"}
    json.dumps(result.to_dict(), allow_nan=False)
    with pytest.raises(InputError, match=r"a\.weight: its units are the network's outputs"):
        prune(state, UNITS, Keep(0.5), exclude=["body.weight"])


def test_a_layer_before_the_classifier_is_no_output():
    names = {"body.weight": (8, 6), "pre_classifier.weight": (8, 8), "classifier.weight": (3, 8)}
    model = torch.nn.Module()
    for name, (out, into) in names.items():
        model.add_module(name.partition(".")[0], torch.nn.Linear(into, out, bias=False))
    roles = {layer.name: layer.role for layer in measure(model, spectrum="none").layers}
    assert roles == dict.fromkeys(names, "hidden") | {"classifier.weight": "output"}
