"""What parameters are: in modules by their classes, in files by names and shapes."""

import pytest
import torch
from torch import nn

from prunable.nets.models.hub import transformers_module
from prunable.nets.models.torch_extras import torch_extra
from prunable.nets.networks.file_roles import parts_of
from prunable.nets.networks.module_roles import parts_of_module
from prunable.nets.networks.roles import no_matrix


def of_file(model):
    """From a state dict whose names are sorted, as those of files are."""
    state = model.state_dict()
    return parts_of({name: tuple(state[name].shape) for name in sorted(state)})


def having(parts, **wanted):
    return {
        name
        for name, part in parts.items()
        if part.reason is None and all(getattr(part, key) == x for key, x in wanted.items())
    }


def not_matrices(parts):
    return {name for name, part in parts.items() if part.reason and len(part.shape) > 1}


VISION = {
    "alexnet": {"classifier.6.weight"},
    "vgg11": {"classifier.6.weight"},
    "resnet18": {"fc.weight"},
    "resnext50_32x4d": {"fc.weight"},
    "densenet121": {"classifier.weight"},
    "mobilenet_v2": {"classifier.1.weight"},
    "mobilenet_v3_small": {"classifier.3.weight"},
    "efficientnet_b0": {"classifier.1.weight"},
    "convnext_tiny": {"classifier.2.weight"},
    "swin_t": {"head.weight"},
    "vit_b_16": {"heads.head.weight"},
    "squeezenet1_0": {"classifier.1.weight"},
}


@pytest.mark.parametrize("name", VISION)
@pytest.mark.parametrize("source", [parts_of_module, of_file])
def test_networks_of_torchvision_have_their_classifier_as_output(name, source):
    models = torch_extra("torchvision.models", "this test")
    with torch.device("meta"):
        model = getattr(models, name)(weights=None)
    parts = source(model)
    assert having(parts, role="output") == VISION[name]
    assert having(parts, role="unknown") == set()
    layers = (nn.Linear, nn.Conv2d)
    matrices = {f"{n}.weight" for n, m in model.named_modules() if isinstance(m, layers)}
    attention = {n for n, _ in model.named_parameters() if n.endswith("in_proj_weight")}
    assert having(parts) == matrices | attention
    assert having(parts, transposed=True) == set()


def shapes_of(**shapes):
    return {name.replace("__", "."): shape for name, shape in shapes.items()}


@pytest.mark.parametrize("source", [parts_of_module, of_file])
def test_scales_tokens_and_tables_are_no_matrices(source):
    models = torch_extra("torchvision.models", "this test")
    with torch.device("meta"):
        convnext, swin, vit = (
            getattr(models, name)(weights=None) for name in ("convnext_tiny", "swin_t", "vit_b_16")
        )
    assert {n.rpartition(".")[2] for n in not_matrices(source(convnext))} == {"layer_scale"}
    tables = {n for n in source(swin) if n.endswith("relative_position_bias_table")}
    assert not_matrices(source(swin)) >= tables
    assert len(tables) == 12
    assert not_matrices(source(vit)) == {"class_token", "encoder.pos_embedding"}


class TwoHeads(nn.Module):
    def __init__(self, a="classes", b="boxes"):
        super().__init__()
        self.body = nn.Linear(6, 8)
        self.add_module(a, nn.Linear(8, 5))
        self.add_module(b, nn.Linear(8, 3))


@pytest.mark.parametrize("names", [("classes", "boxes"), ("head", "classifier"), ("fc", "aux_fc")])
@pytest.mark.parametrize("source", [parts_of_module, of_file])
def test_no_head_of_two_is_taken_for_hidden(source, names):
    parts = source(TwoHeads(*names))
    heads = {f"{name}.weight" for name in names}
    assert having(parts, role="hidden") == {"body.weight"}
    assert having(parts, role="output") | having(parts, role="unknown") == heads


class HeadFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.scores = nn.Linear(8, 3)
        self.body = nn.Linear(6, 8)


@pytest.mark.parametrize("source", [parts_of_module, of_file])
def test_a_head_that_is_registered_first_is_the_output(source):
    parts = source(HeadFirst())
    assert having(parts, role="output") == {"scores.weight"}
    assert having(parts, role="hidden") == {"body.weight"}


def test_chains_end_with_their_output_and_circles_do_not_tell():
    chain = shapes_of(**{f"{i}__weight": (8, 8) for i in range(12)})
    assert having(parts_of(dict(sorted(chain.items()))), role="output") == {"11.weight"}
    names = {"encoder.0": (4, 9), "encoder.2": (2, 4), "decoder.0": (4, 2), "decoder.2": (9, 4)}
    parts = parts_of({f"{name}.weight": shape for name, shape in sorted(names.items())})
    assert having(parts, role="hidden") <= {"encoder.0.weight", "decoder.0.weight"}


def test_a_width_met_by_chance_in_a_block_makes_no_head_hidden():
    """Ten classes, and ten channels in a squeeze; EfficientNet-B0 has the latter."""
    shapes = {"blocks.0.squeeze.weight": (10, 40), "blocks.0.excite.weight": (40, 10)}
    shapes |= {"stem.weight": (40, 3, 3, 3), "verdict.weight": (10, 40)}
    assert "verdict.weight" not in having(parts_of(shapes), role="hidden")


@pytest.mark.parametrize("source", [parts_of_module, of_file])
def test_layers_of_gpt2_take_their_rows_and_embeddings_are_embeddings(source):
    transformers = transformers_module("this test")

    config = transformers.GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=50, n_positions=9)
    with torch.device("meta"):
        model = transformers.GPT2LMHeadModel(config)
    parts = source(model)
    blocks = {n for n in parts if ".h." in n and len(parts[n].shape) == 2}
    assert len(blocks) == 8
    assert having(parts, transposed=True) == blocks
    assert all(parts[name].kind in ("dense", "attention") for name in blocks)
    assert all(parts[n].n_out == model.get_parameter(n).shape[1] for n in blocks)
    assert {parts[n].followers for n in blocks} == {(n[:-6] + "bias",) for n in blocks}
    tables = {"transformer.wte.weight", "transformer.wpe.weight"}
    assert having(parts, kind="embedding") - {"lm_head.weight"} == tables
    assert "lm_head.weight" in having(parts, role="output")


@pytest.mark.parametrize("source", [parts_of_module, of_file])
@pytest.mark.parametrize(
    ("layer", "transposed", "n_out"),
    [
        (nn.ConvTranspose2d(6, 4, 3), True, 4),
        (nn.ConvTranspose1d(6, 4, 3, groups=2), True, 4),
        (nn.ConvTranspose3d(6, 9, 2, groups=3), True, 9),
        (nn.Conv2d(6, 4, 3, groups=2), False, 4),
        (nn.Conv2d(6, 6, 3, groups=6), False, 6),
        (nn.Conv2d(6, 12, 3, groups=6), False, 12),
    ],
)
def test_orientation_of_convolutions(source, layer, transposed, n_out):
    part = source(nn.Sequential(layer, nn.Flatten(), nn.Linear(5, 2)))["0.weight"]
    assert (part.kind, part.transposed, part.n_out) == ("convolution", transposed, n_out)
    assert part.groups == (layer.groups if transposed else 1)
    assert part.followers == ("0.bias",)


def test_recurrent_and_attention_weights_of_torch():
    net = nn.ModuleDict(
        {"lstm": nn.LSTM(5, 7), "attn": nn.MultiheadAttention(8, 2), "fc": nn.Linear(7, 3)}
    )
    for parts in (parts_of_module(net), of_file(net)):
        assert having(parts, kind="recurrent") == {"lstm.weight_ih_l0", "lstm.weight_hh_l0"}
        assert "attn.in_proj_weight" in having(parts, kind="attention", role="hidden")
        assert having(parts, role="output") == {"fc.weight"}
        assert parts["lstm.weight_hh_l0"].followers == ("lstm.bias_hh_l0",)


class PreActivation(nn.Module):
    """Normalisation before convolution, under the names of those that have it after."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(n_in), nn.Conv2d(n_in, n_out, 3, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(n_out), nn.Conv2d(n_out, n_out, 3, bias=False)


@pytest.mark.parametrize("source", [parts_of_module, of_file])
def test_units_go_with_the_batch_norm_that_follows_them(source):
    models = torch_extra("torchvision.models", "this test")
    with torch.device("meta"):
        model = models.resnet18(weights=None)
    parts = source(model)
    assert parts["layer1.0.conv2.weight"].followers == ("layer1.0.bn2.weight", "layer1.0.bn2.bias")
    assert parts["layer2.0.downsample.0.weight"].followers == (
        "layer2.0.downsample.1.weight",
        "layer2.0.downsample.1.bias",
    )
    assert parts["fc.weight"].followers == ("fc.bias",)
    before = source(nn.Sequential(PreActivation(4, 6), PreActivation(6, 6)))
    followers = {name: part.followers for name, part in before.items() if part.followers}
    assert not any("bn1" in f for fs in followers.values() for f in fs)
    assert all("conv1" in name for name in followers)


def test_transposed_convolutions_without_bias_are_told_by_their_chain_or_names():
    layers = [(9, 16), (16, 8), (8, 3)]
    chain = []
    for n_in, n_out in layers:
        chain += [nn.ConvTranspose2d(n_in, n_out, 4, bias=False), nn.BatchNorm2d(n_out), nn.ReLU()]
    generator = nn.Sequential(nn.Sequential(*chain[:-2]))  # no normalisation of the picture
    up = nn.ModuleDict({"up1": nn.ConvTranspose2d(8, 4, 2, bias=False), "out": nn.Conv2d(4, 2, 1)})
    down = nn.Sequential(nn.Conv2d(4, 8, 2, bias=False), nn.ReLU(), nn.Conv2d(8, 3, 2, bias=False))
    grouped = nn.Sequential(nn.Conv2d(4, 8, 1), nn.Conv2d(8, 8, 3, groups=4, bias=False))
    for model in (generator, up, down, grouped):
        assert having(of_file(model), transposed=True) == having(
            parts_of_module(model), transposed=True
        )


class Shared(nn.Module):
    """A language model whose names say little, with one table for both ends."""

    def __init__(self):
        super().__init__()
        self.emb, self.lstm, self.dec = nn.Embedding(50, 16), nn.LSTM(16, 16), nn.Linear(16, 50)
        self.dec.weight = self.emb.weight


def test_an_embedding_shared_with_a_layer_gives_the_outputs():
    parts = parts_of_module(Shared())
    assert having(parts, role="output") == {"emb.weight", "dec.weight"}
    assert having(parts, kind="embedding") == {"emb.weight", "dec.weight"}
    assert parts["dec.weight"].tied == "emb.weight"
    assert having(parts, role="hidden") == {"lstm.weight_ih_l0", "lstm.weight_hh_l0"}


@pytest.mark.parametrize(
    "leaf",
    [
        "query_embed",
        "queries",
        "codebook",
        "prototypes",
        "latents",
        "pos_embed2",
        "attention_biases",
    ],
)
def test_bare_tables_are_no_matrices(leaf):
    assert no_matrix(f"decoder.{leaf}", (16, 8)) is not None
    assert no_matrix(f"decoder.{leaf}.weight", (16, 8), weight=True) is None
