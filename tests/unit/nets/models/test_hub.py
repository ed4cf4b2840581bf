"""Folders of transformers: read, written back, and the configs of shrunk networks."""

import copy
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

import prunable
from prunable.budgets import Keep
from prunable.errors import DataIntegrityError, InputError, UnsupportedModelError
from prunable.nets.models.hub import drawn_inputs, load_folder, save_folder, transformers_module
from prunable.nets.networks.examples import run
from prunable.strategies import NodePruning

hub = transformers_module("tests")
SIZES = {"vocab_size": 61, "max_position_embeddings": 32}


def llama(**changes):
    """Grouped queries (three heads share one of keys) and tied embeddings."""
    sizes = {"hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 6, "num_key_value_heads": 2}
    config = hub.LlamaConfig(**SIZES, **(sizes | heads | {"tie_word_embeddings": True} | changes))
    return hub.LlamaForCausalLM(config).eval()


def gpt2():
    config = hub.GPT2Config(n_embd=24, n_layer=2, n_head=3, vocab_size=61, n_positions=32)
    return hub.GPT2LMHeadModel(config).eval()


def bert():
    sizes = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2}
    return hub.BertForMaskedLM(hub.BertConfig(**SIZES, **sizes, num_attention_heads=3)).eval()


def vit():
    sizes = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "image_size": 8}
    return hub.ViTForImageClassification(
        hub.ViTConfig(**sizes, num_attention_heads=3, patch_size=4)
    ).eval()


def t5():
    return hub.T5ForConditionalGeneration(
        hub.T5Config(d_model=24, d_kv=8, d_ff=40, num_layers=1, num_heads=3, vocab_size=61)
    ).eval()


def logits(model, example):
    with torch.no_grad():
        return run(model, example).logits


@pytest.mark.parametrize("build", [llama, gpt2, bert, vit, t5])
def test_folders_load_as_they_were_saved(tmp_path, build):
    torch.manual_seed(0)
    model = build()
    model.save_pretrained(tmp_path / "m")
    loaded = prunable.load(tmp_path / "m")
    assert type(loaded) is type(model)
    assert not loaded.training
    example = drawn_inputs(model)
    torch.testing.assert_close(logits(loaded, example), logits(model, example))
    with torch.no_grad():
        for parameter in loaded.parameters():
            parameter.view(-1)[::2] = 0
    done = save_folder(tmp_path / "masked", loaded, source=tmp_path / "m", example=example)
    assert done.changed == {}
    again = type(model).from_pretrained(tmp_path / "masked")
    torch.testing.assert_close(logits(again, example), logits(loaded, example))
    before, after = (
        json.loads((tmp_path / n / "config.json").read_text()) for n in ("m", "masked")
    )
    assert before == after


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_precision_ties_and_files_beside_the_weights_are_kept(tmp_path, dtype):
    model = llama().to(dtype)
    model.save_pretrained(tmp_path / "m")
    (tmp_path / "m" / "tokenizer.json").write_text("{}")
    (tmp_path / "m" / "modeling_own.py").write_text("raise SystemExit")
    loaded = load_folder(tmp_path / "m")
    assert loaded.dtype == dtype
    done = save_folder(tmp_path / "n", loaded, source=tmp_path / "m")
    assert {"tokenizer.json", "generation_config.json"} == set(done.kept)
    assert not (tmp_path / "n" / "modeling_own.py").exists()
    with safe_open(tmp_path / "n" / "model.safetensors", "pt") as file:
        assert "lm_head.weight" not in file.keys()  # noqa: SIM118 -- no mapping
    again = load_folder(tmp_path / "n")
    assert again.dtype == dtype
    assert again.lm_head.weight is again.model.embed_tokens.weight


def test_large_networks_are_written_in_shards(tmp_path, monkeypatch):
    monkeypatch.setattr("prunable.nets.models.hub.LARGEST_SHARD", "30KB")
    model = llama()
    done = save_folder(tmp_path / "m", model)
    shards = sorted(path.name for path in (tmp_path / "m").glob("*.safetensors"))
    assert len(shards) > 1
    assert done.bytes == sum(path.stat().st_size for path in (tmp_path / "m").iterdir())
    example = drawn_inputs(model)
    loaded = prunable.load(tmp_path / "m")
    torch.testing.assert_close(logits(loaded, example), logits(model, example))
    assert {layer.name for layer in prunable.measure(tmp_path / "m").layers} >= {
        "model.layers.0.mlp.up_proj.weight"
    }


def test_a_network_that_computes_something_else_is_not_written(tmp_path):
    model = gpt2()
    model.transformer.h[0].register_forward_hook(lambda *given: given[-1] * 2)
    with pytest.raises(UnsupportedModelError, match="its output differs by"):
        save_folder(tmp_path / "m", model)
    assert list(tmp_path.iterdir()) == []


def cut(module, dim, kept):
    weight = module.weight.detach()
    module.weight = nn.Parameter(weight.index_select(dim, torch.arange(kept)))
    if getattr(module, "bias", None) is not None and dim == module.weight.ndim - 2:
        module.bias = nn.Parameter(module.bias.detach()[:kept])


def cut_llama(model, hidden, keys, size=8):
    for layer, width in zip(model.model.layers, hidden, strict=True):
        for name in ("gate_proj", "up_proj"):
            cut(getattr(layer.mlp, name), 0, width)
        cut(layer.mlp.down_proj, 1, width)
        attention, groups = layer.self_attn, layer.self_attn.num_key_value_groups
        cut(attention.q_proj, 0, keys * groups * size)
        cut(attention.k_proj, 0, keys * size)
        cut(attention.v_proj, 0, keys * size)
        cut(attention.o_proj, 1, keys * groups * size)
    return model


def test_the_config_says_the_shapes_of_a_shrunk_network(tmp_path):
    torch.manual_seed(0)
    model = cut_llama(llama(), (40, 40), 1)
    example = drawn_inputs(model)
    done = save_folder(tmp_path / "small", model, example=example)
    assert done.changed == {
        "intermediate_size": 40,
        "num_attention_heads": 3,
        "num_key_value_heads": 1,
    }
    small = hub.AutoModelForCausalLM.from_pretrained(tmp_path / "small")
    assert small.model.layers[0].self_attn.q_proj.weight.shape == (24, 48)
    torch.testing.assert_close(logits(small, example), logits(model, example))


def test_narrower_heads_are_told_from_fewer(tmp_path):
    model = hub.LlamaForCausalLM(
        hub.LlamaConfig(
            **SIZES, hidden_size=48, intermediate_size=64, num_hidden_layers=1,
            num_attention_heads=6, num_key_value_heads=2, head_dim=4,
        )
    )  # fmt: skip
    wide = copy.deepcopy(model)
    wide.config.head_dim = 8
    done = save_folder(tmp_path / "narrow", wide)
    assert done.changed == {"head_dim": 4}


def test_a_size_that_followed_from_others_is_said(tmp_path):
    model = gpt2()
    for block in model.transformer.h:
        c_fc, c_proj = block.mlp.c_fc, block.mlp.c_proj
        c_fc.weight = nn.Parameter(c_fc.weight.detach()[:, :50].contiguous())
        c_fc.bias, c_fc.nf = nn.Parameter(c_fc.bias.detach()[:50]), 50
        c_proj.weight = nn.Parameter(c_proj.weight.detach()[:50].contiguous())
    assert save_folder(tmp_path / "small", model).changed == {"n_inner": 50}
    assert prunable.load(tmp_path / "small").config.n_inner == 50


def test_why_a_config_cannot_say_it(tmp_path):
    uneven = cut_llama(llama(), (40, 32), 2)
    with pytest.raises(UnsupportedModelError, match=r"layers keep different sizes.*layers\.1"):
        save_folder(tmp_path / "uneven", uneven)
    heads = gpt2()
    for block in heads.transformer.h:
        attention = block.attn.c_attn
        attention.weight = nn.Parameter(attention.weight.detach()[:, :48].contiguous())
    with pytest.raises(UnsupportedModelError, match=r"no change of n_embd.*in GPT2Config gives"):
        save_folder(tmp_path / "heads", heads, example=drawn_inputs(gpt2()))
    biased = llama()
    biased.model.layers[0].mlp.down_proj.bias = nn.Parameter(torch.ones(48))
    with pytest.raises(UnsupportedModelError, match=r"other tensors, such as .*down_proj\.bias"):
        save_folder(tmp_path / "biased", biased)
    with pytest.raises(InputError, match="a network of transformers"):
        save_folder(tmp_path / "plain", nn.Linear(2, 2))
    assert list(tmp_path.iterdir()) == []


def test_folders_that_are_damaged_or_strange_are_refused(tmp_path):
    model = llama()
    model.save_pretrained(tmp_path / "m")
    config = json.loads((tmp_path / "m" / "config.json").read_text())

    def changed(**news):
        (tmp_path / "m" / "config.json").write_text(json.dumps(config | news))
        return tmp_path / "m"

    for news, kind, message in (
        ({"num_hidden_layers": 3}, DataIntegrityError, "lacks 9 tensors"),
        ({"num_hidden_layers": 1}, DataIntegrityError, r"stores 9 tensors of layers .*layers\.1\."),
        ({"num_hidden_layers": 10**9}, DataIntegrityError, "asks for 1000000000 layers"),
        ({"vocab_size": 62}, DataIntegrityError, r"stores .* of shape \(61, 48\)"),
        ({"model_type": "no-such"}, UnsupportedModelError, "cannot be loaded by transformers"),
        ({"quantization_config": {"quant_method": "gptq"}}, UnsupportedModelError, "quantised"),
    ):
        with pytest.raises(kind, match=message):
            load_folder(changed(**news))
    changed()
    weights = tmp_path / "m" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(DataIntegrityError, match="damaged"):
        load_folder(tmp_path / "m")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note").write_text("mine")
    with pytest.raises(InputError, match="empty or not there yet"):
        save_folder(tmp_path / "full", model)
    with pytest.raises(InputError, match="no folder of transformers"):
        load_folder(tmp_path / "full")


def test_code_of_a_folder_is_not_run(tmp_path):
    model = llama()
    model.save_pretrained(tmp_path / "m")
    path: Path = tmp_path / "m" / "config.json"
    config = json.loads(path.read_text())
    own = {"model_type": "own", "auto_map": {"AutoConfig": "own.Config"}, "architectures": ["Own"]}
    path.write_text(json.dumps(config | own))
    (tmp_path / "m" / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(UnsupportedModelError):
        load_folder(tmp_path / "m")
    assert not (tmp_path / "ran").exists()


def test_hooks_that_transformers_brings_along_do_not_stop_a_file(tmp_path):
    transformers = transformers_module("this test")
    torch.manual_seed(0)
    config = transformers.SegformerConfig(
        num_encoder_blocks=2, depths=[1, 1], sr_ratios=[2, 1], hidden_sizes=[16, 32],
        patch_sizes=[7, 3], strides=[4, 2], num_attention_heads=[1, 2], mlp_ratios=[2, 2],
        decoder_hidden_size=16, num_labels=4,
    )  # fmt: skip
    build = transformers.SegformerForSemanticSegmentation
    model, example = build(config).eval(), {"pixel_values": torch.randn(1, 3, 64, 64)}
    plan = prunable.prune(model, NodePruning(), Keep(0.5), example=example).plan
    small = prunable.shrink(model, plan, example).model
    assert any(module._forward_hooks for module in small.modules())
    prunable.save(tmp_path / "small.safetensors", small)
    again = prunable.load(tmp_path / "small.safetensors", build(config))
    with torch.no_grad():
        assert torch.equal(again(**example).logits, small(**example).logits)
    small.segformer.register_forward_hook(lambda *_: None)
    with pytest.raises(UnsupportedModelError, match="`segformer` cannot be exported: it has hooks"):
        prunable.save(tmp_path / "hooked.safetensors", small)
