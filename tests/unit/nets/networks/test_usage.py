"""Parameters that no layer holds: a run, a module or names tell weights from tables."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from prunable.errors import InputError
from prunable.nets.measure.measuring import measure
from prunable.nets.models.hub import transformers_module
from prunable.nets.networks.file_roles import parts_of
from prunable.nets.networks.roles import no_matrix
from prunable.nets.prune.plan import Keep
from prunable.nets.prune.pruning import prune
from prunable.nets.prune.strategies import MagnitudePruning, NodePruning

D = 8


class Bare(nn.Module):
    """One parameter of any name that a function uses on activations, and a layer."""

    def __init__(self, use, *shape, name="thing"):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Linear(D, D)
        self.register_parameter(name, nn.Parameter(torch.randn(*shape)))
        self.use, self.name = use, name

    def forward(self, x):
        return self.use(getattr(self, self.name), self.body(x), self.body)


def quantised(w, x, _):
    distances = x.square().sum(1, True) - 2 * x @ w.T + w.square().sum(1)
    return w[distances.argmin(1)]


def modulated(w, x, _):
    weight = w * (1 + x[:, :1].view(-1, 1, 1, 1, 1))
    weight = weight * weight.square().sum((2, 3, 4), True).rsqrt()
    picture = x.view(1, -1, 1, D).expand(1, -1, 3, D)
    return functional.conv2d(picture, weight.flatten(0, 1), groups=len(x))


def routed(w, x, _):
    chosen = w[x.argmax(1) % len(w)]
    return torch.bmm(chosen, x.unsqueeze(2)).squeeze(2)


def query(w, x, body):
    tokens = x.view(1, -1, D)
    asked = body(w.expand(1, -1, -1))
    return asked + (asked @ tokens.mT).softmax(-1) @ tokens


def written(w, x, _):
    y = torch.zeros(len(x), D)
    y[:, :4] = x[:, :4]
    return y @ w


WEIGHTS = {
    "factor": (lambda w, x, _: x @ w, (D, 5)),
    "linear": (lambda w, x, _: functional.linear(x, w[0].T), (2, D, 5)),
    "einsum": (lambda w, x, _: torch.einsum("nd,hde->nhe", x, w), (3, D, 5)),
    "convolution": (lambda w, x, _: functional.conv1d(x[:, None], w), (4, 1, 3)),
    "standardised": (lambda w, x, _: x @ ((w - w.mean(0)) / w.std(0)),
                     (D, 5)),
    "modulated": (modulated, (1, 4, 1, 3, 3)),
    "routed": (routed, (3, 5, D)),
    "experts": (lambda w, x, _: sum(x @ w for w in w.unbind()), (3, D, 5)),
    "half": (lambda w, x, _: (x.bfloat16() @ w.bfloat16()).float(), (D, 5)),
    "of a written part": (written, (D, 5)),
}  # fmt: skip
TABLES = {
    "relative": (
        lambda w, x, _: x @ w[(torch.arange(4)[:, None] - torch.arange(4) + 3).flatten()].T,
        (7, D),
        "looked up",
    ),
    "codebook": (quantised, (6, D), "looked up"),
    "positions": (lambda w, x, _: x + w[: len(x)], (9, D), "added"),
    "addend": (lambda w, x, body: torch.addmm(w, x, body.weight), (4, D), "added"),
    "queries": (query, (3, D), "added"),
    "prototypes": (lambda w, x, _: torch.cdist(x, w), (6, D), "distance"),
    "differences": (lambda w, x, _: (x[:, None] - w).square().sum(2), (6, D), "added"),
    "tokens": (lambda w, x, _: torch.cat([w, x]), (6, D), "beside"),
    "gates": (lambda w, x, _: x * w, (4, D), "multiplies"),
    "shared": (lambda w, x, _: w[x.argmax(1)] @ w.T, (D, D), "looked up"),
    "embedding": (lambda w, x, _: functional.embedding(x.argmax(1), w), (D, D), "looked"),
}


@pytest.mark.parametrize("case", WEIGHTS)
@pytest.mark.parametrize("name", ["thing", "query"])
def test_a_factor_of_products_with_activations_is_a_weight(case, name):
    use, shape = WEIGHTS[case]
    model = Bare(use, *shape, name=name)
    result = prune(model, MagnitudePruning(), Keep(0.5), example=torch.randn(4, D))
    assert result.skipped == ()
    parameter = model.get_parameter(name)
    assert int((parameter == 0).sum()) == parameter.numel() // 2


@pytest.mark.parametrize("case", TABLES)
def test_what_is_added_looked_up_or_compared_is_a_table(case):
    use, shape, reason = TABLES[case]
    model = Bare(use, *shape)
    before = model.thing.detach().clone()
    result = prune(model, MagnitudePruning(), Keep(0.5), example=torch.randn(4, D))
    (left,) = result.skipped
    assert left.name == "thing"
    assert reason in left.reason
    assert torch.equal(model.thing, before)


@pytest.mark.parametrize("name", ["rel_pos_h", "pos_embed", "layer_scale"])
def test_positions_and_scales_are_none_by_their_use(name):
    model = Bare(lambda w, x, _: x @ w.T, 7, D, name=name)
    result = prune(model, MagnitudePruning(), Keep(0.5), example=torch.randn(4, D))
    assert [x.name for x in result.skipped] == [name]


def test_without_an_example_a_name_tells_or_the_parameter_is_left_alone():
    use, shape = WEIGHTS["factor"]
    model = Bare(use, *shape)
    for given in (model, model.state_dict()):
        result = prune(given, MagnitudePruning(), Keep(0.5), dry_run=True)
        (left,) = result.skipped
        assert left.name == "thing"
        assert "cannot be told" in left.reason
        assert "example" in left.reason
        named = prune(given, MagnitudePruning(), Keep(0.5), only=["thing"], dry_run=True)
        assert [x.name for x in named.plan.layers] == ["thing"]
        # to measure destroys nothing
        assert "thing" in {x.name for x in measure(given, spectrum="none").layers}
    assert prune({"a": torch.randn(4, 4)}, MagnitudePruning(), Keep(0.5)).skipped == ()


def test_what_a_run_does_not_reach_is_not_told():
    model = Bare(lambda _, x, __: x, D, 5)
    result = prune(model, MagnitudePruning(), Keep(0.5), example=torch.randn(4, D), dry_run=True)
    assert {x.name: x.reason for x in result.skipped} == {"thing": "not run on the example"}
    with pytest.raises(InputError, match="does not fit"):
        prune(model, MagnitudePruning(), Keep(0.5), example=torch.randn(4, D + 1))
    with pytest.raises(InputError, match="module"):
        prune(model.state_dict(), MagnitudePruning(), Keep(0.5), example=torch.randn(4, D))


@pytest.mark.parametrize(
    "name",
    [
        "attn.in_proj_weight",
        "experts.gate_up_proj",
        "experts.down_proj",
        "ffn.experts.w1",
        "W_query",
        "visual.proj",
        "text_projection",
        "layer.0.rel_attn.q",
        "linear.weight_orig",
        "lora_A",
    ],
)
def test_bare_weights_of_files_are_told_by_their_names(name):
    assert no_matrix(name, (16, 8)) is None
    parts = parts_of({name: (16, 8), "head.weight": (3, 8)})
    assert parts[name].doubt is None


@pytest.mark.parametrize("name", ["codes", "quantizer.codevectors", "memory.bank", "vq.embedding2"])
def test_bare_tables_of_files_are_left_in_doubt(name):
    parts = parts_of({name: (16, 8), "head.weight": (3, 8)})
    assert parts[name].doubt is not None or parts[name].kind == "embedding"


@pytest.mark.parametrize("with_example", [False, True])
def test_experts_and_fused_attention_stay_prunable(with_example):
    transformers = transformers_module("this test")
    torch.manual_seed(0)
    config = transformers.MixtralConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, vocab_size=30, num_local_experts=3, max_position_embeddings=16,
    )  # fmt: skip
    model = transformers.MixtralForCausalLM(config)
    ids = torch.arange(12)[None]
    options = {"example": ids} if with_example else {}
    result = prune(model, MagnitudePruning(), Keep(0.5), **options)
    pruned = {x.name for x in result.plan.layers}
    assert {n for n, p in model.named_parameters() if p.ndim == 3} <= pruned
    encoder = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    options = {"example": torch.randn(2, 5, 16)} if with_example else {}
    result = prune(encoder, NodePruning("input"), Keep(0.5), **options)
    assert "self_attn.in_proj_weight" in {x.name for x in result.plan.layers}
