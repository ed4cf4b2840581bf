"""Pruning in the order of layers against calibrating partly pruned networks by hand."""

import copy
import json

import numpy as np
import pytest
import torch
from torch import nn

import prunable
from prunable.budgets import Keep
from prunable.errors import InputError
from prunable.nets.calibration.calibrating import calibrate
from prunable.nets.calibration.stages import InOrder, stages_of
from prunable.nets.models.hub import transformers_module
from prunable.nets.prune.in_order import remove_stages
from prunable.strategies import (
    BrainSurgery,
    InputWeightedPruning,
    MagnitudePruning,
    NMPruning,
    Refitted,
)

WORDS = 61
SMALL = {"vocab_size": WORDS, "initializer_range": 0.3}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 24}


def config(kind):
    transformers = transformers_module("test")
    if kind == "gpt2":
        sizes = {"n_embd": 24, "n_layer": 3, "n_head": 4, "n_positions": 64}
        return transformers.GPT2Config(
            **SMALL, **sizes, bos_token_id=0, eos_token_id=0, use_cache=True
        )
    common = {**SMALL, **HEADS, "num_hidden_layers": 3, "intermediate_size": 40}
    if kind == "gemma":  # windows of attention differ from layer to layer
        return transformers.Gemma2Config(**common, head_dim=8, sliding_window=8)
    if kind == "mixture":
        return transformers.MixtralConfig(**common, num_local_experts=4, num_experts_per_tok=2)
    return transformers.LlamaConfig(**common)


def language_model(kind, seed=0):
    torch.manual_seed(seed)
    model = transformers_module("test").AutoModelForCausalLM.from_config(config(kind)).eval()
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(WORDS, (16, 24), generator=generator)
    return model, [{"input_ids": x} for x in ids.split(4)]


class Experts(nn.Module):
    """Two experts, of which inputs reach the first alone."""

    def __init__(self, width):
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(width, width) for _ in range(2))

    def forward(self, x):
        return x + self.experts[0](x)


class Chain(nn.Module):
    def __init__(self, block, n=3, width=8):
        super().__init__()
        self.first = nn.Linear(5, width)
        self.blocks = nn.ModuleList(block(width) for _ in range(n))
        self.last = nn.Linear(width, 3)

    def forward(self, x):
        x = self.first(x)
        for block in self.blocks:
            x = block(x)
        return self.last(x)


class InPlace(nn.Module):
    """Writes over its input, so that it cannot be run again on it."""

    def __init__(self, width):
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x):
        return x.add_(self.linear(x))


def convolutions():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=True),
        nn.Conv2d(6, 6, 3, groups=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(96, 4),
    ).eval()


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma", "mixture"])
def test_blocks_of_language_models_are_found(kind):
    model, batches = language_model(kind)
    path = "transformer.h" if kind == "gpt2" else "model.layers"
    labels = stages_of(model, batches).labels
    assert labels[:3] == tuple(f"{path}.{i}" for i in range(3))
    assert all(config.use_cache for config in [model.config])


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma"])
@pytest.mark.parametrize("strategy", [BrainSurgery(damping=0.01), InputWeightedPruning()])
def test_each_block_is_calibrated_on_what_pruned_blocks_send(kind, strategy):
    """By hand: calibrate the whole partly pruned network, prune one block, and so on."""
    model, batches = language_model(kind)
    by_hand = copy.deepcopy(model)
    result = prunable.prune(model, strategy, Keep(0.5), calibration=InOrder(batches))
    path = "transformer.h" if kind == "gpt2" else "model.layers"
    for number in range(3):
        names = [x.name for x in result.plan.layers if x.name.startswith(f"{path}.{number}.")]
        known = calibrate(by_hand, batches, only=names)
        prunable.prune(by_hand, strategy, Keep(0.5), only=names, calibration=known)
    for (name, ours), theirs in zip(model.named_parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-3, atol=2e-4, msg=name)
    for output in result.outputs:
        assert output.predicted == pytest.approx(output.measured, rel=1e-4)


@pytest.mark.parametrize("kind", ["convolutions", "in place"])
def test_networks_without_blocks_go_layer_by_layer(kind):
    torch.manual_seed(0)
    if kind == "convolutions":
        model, x = convolutions(), torch.randn(32, 3, 6, 6)
    else:
        model, x = Chain(InPlace), torch.randn(32, 5)
    by_hand, strategy = copy.deepcopy(model), BrainSurgery(damping=0.05)
    result = prunable.prune(model, strategy, Keep(0.5), calibration=InOrder(x))
    assert len(stages_of(by_hand, x).labels) == len(result.plan.layers)
    for layer in result.plan.layers:
        known = calibrate(by_hand, x, only=[layer.name])
        prunable.prune(by_hand, strategy, Keep(0.5), only=[layer.name], calibration=known)
    for ours, theirs in zip(model.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "strategy",
    [
        BrainSurgery(),
        InputWeightedPruning(compare="row"),
        InputWeightedPruning(allocation="lamp"),
        MagnitudePruning(allocation="erk"),
        Refitted(MagnitudePruning()),
    ],
)
def test_shares_of_all_layers_are_planned_before_anything_is_pruned(strategy):
    model, batches = language_model("llama")
    dense = copy.deepcopy(model)
    result = prunable.prune(model, strategy, Keep(0.37, "global"), calibration=InOrder(batches))
    whole = prunable.prune(dense, strategy, Keep(0.37, "global"), calibration=batches)
    counts = {layer.name: layer.n_kept for layer in whole.plan.layers}
    assert {layer.name: layer.n_kept for layer in result.plan.layers} == counts
    assert result.plan.n_parameters_kept == -(-37 * result.plan.n_parameters // 100)
    zeros = {n: int((p != 0).sum()) for n, p in model.named_parameters() if n in counts}
    assert zeros == counts


def test_patterns_hold_in_every_block():
    model, batches = language_model("gpt2")
    strategy = BrainSurgery(n_m=(2, 4))
    result = prunable.prune(model, strategy, Keep(0.5), calibration=InOrder(batches))
    for layer in result.plan.layers:
        stored = model.get_parameter(layer.name).detach().numpy().T  # Conv1D is (in, out)
        kept = (stored.reshape(len(stored), -1, 4) != 0).sum(axis=-1)
        assert (kept == 2).all()


def test_tables_and_scores_of_tokens_stay_unless_named():
    model, batches = language_model("llama")
    result = prunable.prune(model, MagnitudePruning(), Keep(0.5), calibration=InOrder(batches))
    assert {x.name for x in result.skipped} == {"model.embed_tokens.weight", "lm_head.weight"}
    assert bool((model.lm_head.weight != 0).all())
    given = {"only": ["lm_head.weight"], "calibration": InOrder(batches)}
    result = prunable.prune(model, BrainSurgery(), Keep(0.5), **given)
    assert [x.name for x in result.plan.layers] == ["lm_head.weight"]
    assert int((model.lm_head.weight != 0).sum()) == model.lm_head.weight.numel() // 2


def test_experts_that_no_input_reaches_are_named_and_go_by_their_weights():
    torch.manual_seed(0)
    model, x = Chain(Experts), torch.randn(40, 5)
    dense = copy.deepcopy(model)
    result = prunable.prune(model, BrainSurgery(), Keep(0.5), calibration=InOrder(x))
    assert result.unreached == tuple(f"blocks.{i}.experts.1.weight" for i in range(3))
    for name in result.unreached:
        before, after = dense.get_parameter(name).detach(), model.get_parameter(name).detach()
        largest = before.abs().flatten().topk(32).indices
        expected = torch.zeros(64)
        expected[largest] = before.flatten()[largest]
        torch.testing.assert_close(after.flatten(), expected)


def test_experts_in_one_parameter_are_pruned_in_their_block():
    model, batches = language_model("mixture")
    result = prunable.prune(model, BrainSurgery(), Keep(0.5), calibration=InOrder(batches))
    fused = [n for n, p in model.named_parameters() if p.ndim == 3]
    assert fused
    assert set(fused) <= set(result.unreached)
    for name in fused:
        assert int((model.get_parameter(name) != 0).sum()) == model.get_parameter(name).numel() // 2


def test_what_was_done_is_not_done_again(tmp_path):
    model, batches = language_model("llama")
    whole, first = copy.deepcopy(model), copy.deepcopy(model)
    strategy, budget = BrainSurgery(), Keep(0.5, "global")
    prunable.prune(whole, strategy, budget, calibration=InOrder(batches))

    def stop(done, total, label):
        assert total == 3
        assert label == f"model.layers.{done - 1}"
        if done == 2:
            raise KeyboardInterrupt

    given = InOrder(batches, store=tmp_path, on_stage=stop)
    with pytest.raises(KeyboardInterrupt):
        prunable.prune(first, strategy, budget, calibration=given)
    for ours, theirs in zip(first.parameters(), model.parameters(), strict=True):
        assert torch.equal(ours, theirs)  # as if nothing had happened
    found = sorted(path.name for path in tmp_path.iterdir())
    assert found == ["0000.safetensors", "0001.safetensors", "job.json"]
    times = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    given = InOrder(batches, store=tmp_path)
    result = prunable.prune(model, strategy, budget, calibration=given)
    assert all((tmp_path / name).stat().st_mtime_ns == time for name, time in times.items())
    for ours, theirs in zip(model.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert len(result.outputs) == len(result.plan.layers) == 21
    with pytest.raises(InputError, match="another pruning"):
        prunable.prune(model, strategy, budget, calibration=given)
    (tmp_path / "job.json").write_text(json.dumps({"job": 1}))
    with pytest.raises(prunable.errors.DataIntegrityError, match="damaged"):
        prunable.prune(whole, strategy, budget, calibration=given)


def change_weight(model, part, value):
    tensor = model.get_parameter(part)
    with torch.no_grad():
        tensor.copy_(value(tensor))


CHANGES = {
    "rows in another order": lambda m: change_weight(
        m, "model.layers.0.mlp.up_proj.weight", lambda x: x.flip(0).clone()
    ),
    "a norm": lambda m: change_weight(m, "model.norm.weight", lambda x: 2 * x),
    "an embedding": lambda m: change_weight(
        m, "model.embed_tokens.weight", lambda x: x.flip(0).clone()
    ),
    "a setting": lambda m: setattr(m.config, "rms_norm_eps", 0.5),
    "a module": lambda m: setattr(m.model.layers[0].mlp, "act_fn", torch.nn.GELU()),
}


@pytest.mark.parametrize("what", CHANGES)
def test_stages_are_those_of_the_same_network_alone(tmp_path, what):
    """Sums of weights do not tell networks apart, nor do the pruned weights alone."""
    model, batches = language_model("llama")
    again = copy.deepcopy(model)
    how = {"only": ["*layers*"], "calibration": InOrder(batches, store=tmp_path)}
    prunable.prune(model, BrainSurgery(), Keep(0.5), **how)
    CHANGES[what](again)
    with pytest.raises(InputError, match="another pruning"):
        prunable.prune(again, BrainSurgery(), Keep(0.5), **how)


@pytest.mark.parametrize("what", ["no job", "exchanged", "cut"])
def test_stages_of_no_known_job_or_place_do_not_count(tmp_path, what):
    model, batches = language_model("llama")
    whole, first = copy.deepcopy(model), copy.deepcopy(model)
    prunable.prune(whole, BrainSurgery(), Keep(0.5), calibration=InOrder(batches))
    given = InOrder(batches, store=tmp_path)
    prunable.prune(first, BrainSurgery(), Keep(0.3 if what == "no job" else 0.5), calibration=given)
    one, other = (tmp_path / f"000{i}.safetensors" for i in (0, 1))
    if what == "no job":
        (tmp_path / "job.json").unlink()
    elif what == "exchanged":
        contents = one.read_bytes(), other.read_bytes()
        other.write_bytes(contents[0])
        one.write_bytes(contents[1])
    else:
        one.write_bytes(one.read_bytes()[:300])
        with pytest.raises(prunable.errors.DataIntegrityError, match="to begin again"):
            prunable.prune(model, BrainSurgery(), Keep(0.5), calibration=given)
        return
    prunable.prune(model, BrainSurgery(), Keep(0.5), calibration=given)
    for ours, theirs in zip(model.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_plan_alone_changes_nothing():
    model, batches = language_model("llama")
    before = copy.deepcopy(model.state_dict())
    given = {"calibration": InOrder(batches), "dry_run": True}
    result = prunable.prune(model, BrainSurgery(), Keep(0.5), **given)
    assert result.n_nonzero < result.n_nonzero_before
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())


@pytest.mark.parametrize("kappa", [0.0, 1e-9])
def test_layers_are_not_emptied(kappa):
    model, batches = language_model("llama")
    before = copy.deepcopy(model.state_dict())
    given = InOrder(batches)
    with pytest.raises(InputError, match=r"leaves nothing of model\.layers\.\d"):
        prunable.prune(model, InputWeightedPruning(), Keep(kappa, "global"), calibration=given)
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())


def test_files_alone_cannot_be_run():
    tensors = {"0.weight": torch.ones(4, 4)}
    with pytest.raises(InputError, match="calibration"):
        prunable.prune(tensors, NMPruning(), Keep(0.5), calibration=InOrder(torch.ones(4, 4)))


def test_the_last_stage_is_right_for_a_network_of_float64():
    """Surgery in order beats the same masks left alone: layers make up for those before them."""
    torch.manual_seed(0)
    model = Chain(Experts, width=16).double()
    x = torch.randn(200, 5, dtype=torch.float64)
    with torch.no_grad():
        expected = model(x)
    ours, masked = copy.deepcopy(model), copy.deepcopy(model)
    prunable.prune(ours, BrainSurgery(), Keep(0.6), calibration=InOrder(x))
    prunable.prune(masked, InputWeightedPruning(), Keep(0.6), calibration=InOrder(x))
    with torch.no_grad():
        errors = [float((net(x) - expected).norm()) for net in (ours, masked)]
    assert errors[0] < errors[1]
    assert np.isfinite(errors).all()


def test_files_that_are_not_stages_stay(tmp_path):
    for name in ("0001.safetensors", "notes.txt"):
        (tmp_path / name).write_text("mine")
    remove_stages(tmp_path)  # no folder of stages
    assert {path.name for path in tmp_path.iterdir()} == {"0001.safetensors", "notes.txt"}
    (tmp_path / "job.json").write_text("{}")
    remove_stages(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"notes.txt"}
    (tmp_path / "notes.txt").unlink()
    (tmp_path / "job.json").write_text("{}")
    remove_stages(tmp_path)
    assert not tmp_path.exists()
