"""Folders pruned with a block at a time in memory: the same weights as with all of it."""

import ctypes
import gc
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from prunable.errors import DataIntegrityError, InputError, UnsupportedModelError
from prunable.experiments.prune.pruning import prune_checkpoint
from prunable.experiments.prune.specs import PruningJob
from prunable.nets.models import streaming
from prunable.nets.models.hub import load_folder, transformers_module
from prunable.nets.models.streaming import open_streamed

hub = transformers_module("tests")
WORDS = 61
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": WORDS}


def config(kind, blocks=3, width=24):
    common = {**HEADS, "hidden_size": width, "num_hidden_layers": blocks}
    if kind == "gpt2":
        sizes = {"n_embd": width, "n_layer": blocks, "n_head": 4, "n_positions": 64}
        return hub.GPT2Config(vocab_size=WORDS, **sizes, bos_token_id=0, eos_token_id=0)
    if kind == "mixture":  # shared and routed experts
        experts = {"num_experts": 4, "num_experts_per_tok": 2, "decoder_sparse_step": 1}
        sizes = {"moe_intermediate_size": 16, "shared_expert_intermediate_size": 32}
        return hub.Qwen2MoeConfig(**common, **sizes, **experts)
    return hub.LlamaConfig(**common, intermediate_size=4 * width, tie_word_embeddings=True)


def folder_of(place, kind, dtype=torch.float32, **sizes):
    torch.manual_seed(0)
    model = hub.AutoModelForCausalLM.from_config(config(kind, **sizes)).to(dtype)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def ids(tmp_path_factory):
    place = tmp_path_factory.mktemp("inputs") / "ids.npz"
    np.savez(place, input_ids=np.random.default_rng(1).integers(0, WORDS, (16, 20)))
    return place


def job(folder, ids, out=None, **how):
    how = {"method": "obs", "keep": 0.5, "in_order": True, "calibrate": str(ids)} | how
    how = {name: value for name, value in how.items() if value is not None}
    return PruningJob.create(checkpoint=folder, out=out, **how)


WAYS = {
    "surgery": {},
    "weights times inputs, one threshold": {"method": "wanda", "scope": "global"},
    "surgery, lamp": {"scope": "global", "allocation": "lamp"},
    "surgery, linear in depth": {"scope": "global", "allocation": "atp", "slope": 0.05},
    "refitted magnitudes": {"method": "magnitude", "refit": True},
    "what does best": {"method": "calibrated", "in_order": False, "keep": 0.6},
    "2:4": {"n_m": "2:4", "keep": None},
    "magnitude within an error": {"method": "magnitude", "keep": None, "eps": 0.3},
}


@pytest.mark.parametrize(
    ("kind", "way", "dtype"),
    [
        *(("llama", way, torch.float32) for way in WAYS),
        ("llama", "surgery", torch.bfloat16),
        ("mixture", "surgery", torch.float32),
        ("mixture", "weights times inputs, one threshold", torch.bfloat16),
        ("gpt2", "surgery, lamp", torch.float32),
    ],
)
def test_weights_and_document_are_those_of_the_whole_network(tmp_path, ids, kind, way, dtype):
    folder = folder_of(tmp_path / "model", kind, dtype)
    whole = prune_checkpoint(job(folder, ids, tmp_path / "whole", **WAYS[way], batch_size=(1,)))
    found = prune_checkpoint(job(folder, ids, tmp_path / "streamed", **WAYS[way], stream=True))
    theirs, ours = (load_file(tmp_path / x / "model.safetensors") for x in ("whole", "streamed"))
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor), name
    places = {"out", "footprint", "folder", "bytes"}  # headers list tensors in another order
    assert {k: v for k, v in found.items() if k not in places} == {
        k: v for k, v in whole.items() if k not in places
    }
    for name in ("config.json", "generation_config.json"):
        assert (tmp_path / "streamed" / name).read_text() == (tmp_path / "whole" / name).read_text()
    assert found["folder"]["max_difference"] == 0
    assert {path.name for path in tmp_path.iterdir()} == {"model", "whole", "streamed"}


def test_blocks_hold_numbers_only_while_they_run(tmp_path):
    folder = folder_of(tmp_path / "model", "mixture")
    streamed, whole = open_streamed(folder, tmp_path / "converted"), load_folder(folder)
    x = {"input_ids": torch.arange(10)[None]}
    with torch.no_grad():
        # where numbers lie in memory decides how sums are rounded
        torch.testing.assert_close(streamed.model(**x).logits, whole(**x).logits)
    buffers = dict(whole.named_buffers())
    for name, buffer in streamed.model.named_buffers():
        assert torch.equal(buffer, buffers[name])
    inside = [p for block in streamed.blocks.values() for p in block.parameters()]
    assert all(p.is_meta for p in inside)
    block = streamed.model.model.layers[1]
    with streamed.held(block.self_attn), streamed.held(block):
        assert torch.equal(block.mlp.gate.weight, whole.model.layers[1].mlp.gate.weight)
        assert sum(not p.is_meta for p in inside) == len(list(block.parameters()))
    assert all(p.is_meta for p in inside)
    streamed.changed = lambda path: torch.nn.init.zeros_(
        streamed.model.get_submodule(path).mlp.gate.weight
    )
    with streamed.held(block):
        assert not block.mlp.gate.weight.any()


@pytest.mark.parametrize("kind", ["llama", "mixture"])
def test_large_networks_are_written_in_shards(tmp_path, ids, kind, monkeypatch):
    folder = folder_of(tmp_path / "model", kind)
    prune_checkpoint(job(folder, ids, tmp_path / "one", stream=True))
    monkeypatch.setattr(streaming, "LARGEST_SHARD", "30KB")
    prune_checkpoint(job(folder, ids, tmp_path / "several", stream=True))
    index = json.loads((tmp_path / "several/model.safetensors.index.json").read_text())
    shards = sorted(path.name for path in (tmp_path / "several").glob("*.safetensors"))
    assert sorted(set(index["weight_map"].values())) == shards
    assert len(shards) > 2
    one, several = (load_folder(tmp_path / x).state_dict() for x in ("one", "several"))
    assert all(torch.equal(one[name], several[name]) for name in one)
    size = sum(t.nbytes for x in shards for t in load_file(tmp_path / "several" / x).values())
    assert index["metadata"]["total_size"] == size


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux says the peak")
def test_memory_does_not_grow_with_the_number_of_blocks(tmp_path, ids):
    """A block has 4 MB; 20 more may add a third of theirs, for pages of files that are read count.

    Held for long they would add at least their size, and their masks a quarter of it.
    """

    def peak(blocks):
        folder = folder_of(tmp_path / f"{blocks}", "llama", blocks=blocks, width=256)
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what is free, but in pieces, does not count
        Path("/proc/self/clear_refs").write_text("5")
        before = memory("VmRSS")
        prune_checkpoint(
            job(folder, ids, tmp_path / f"{blocks} pruned", method="wanda", stream=True)
        )
        return memory("VmHWM") - before

    peak(2)  # what is imported and set aside once does not count
    assert peak(24) < peak(4) + 25


def memory(what):
    """Megabytes of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) / 1024


def test_a_killed_job_goes_on_to_the_same_weights(tmp_path, ids):
    folder = folder_of(tmp_path / "model", "mixture", blocks=6, width=48)
    way = {"scope": "global", "allocation": "lamp"}
    prune_checkpoint(job(folder, ids, tmp_path / "whole", **way, stream=True))
    options = ["--method obs --keep .5 --in-order --stream --scope global --allocation lamp"]
    call = [sys.executable, "-m", "prunable", "prune", folder, *options[0].split()]
    call += ["--calibrate", ids, "--out", tmp_path / "out"]
    process = subprocess.Popen([*map(str, call)], stdout=subprocess.DEVNULL)
    stages = tmp_path / "out.stages"
    while not (stages / "0001.safetensors").exists():
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out").exists()
    kept = (stages / "0001.safetensors").stat().st_mtime_ns
    told = []
    asked = job(folder, ids, tmp_path / "out", **way, stream=True)
    monitored = prune_checkpoint(
        asked, on_stage=lambda *_: told.append((stages / "0001.safetensors").stat().st_mtime_ns)
    )
    assert told == [kept] * 6
    assert monitored["plan"]["kappa"] == pytest.approx(0.5, abs=1e-6)
    theirs, ours = (load_file(tmp_path / x / "model.safetensors") for x in ("whole", "out"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert {path.name for path in tmp_path.iterdir()} == {"model", "whole", "out"}


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"scope": "global", "allocation": "optimum"}, "another --allocation than optimum"),
        ({"scope": "global", "allocation": "atp"}, "Give --slope"),
        ({"method": "random", "scope": "global"}, "Give --scope layer"),
        ({"shrink": True}, "`--shrink` of `prune` needs the whole network"),
        ({"towards": "network"}, "`--towards` of `prune` needs the whole network"),
        ({"in_order": False}, "--in-order or --method calibrated"),
        ({"only": ("lm_head.weight",)}, "lies in no block of Qwen2MoeForCausalLM"),
    ],
)
def test_what_needs_the_whole_network_is_refused(tmp_path, ids, how, said):
    folder = folder_of(tmp_path / "model", "mixture")
    with pytest.raises(InputError, match=said):
        prune_checkpoint(job(folder, ids, tmp_path / "out", **how, stream=True))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"keep": 0.0}, "leaves nothing"),
        ({"keep": 0.0, "scope": "global"}, "leaves nothing"),
        ({"keep": 0.5, "seed": -1}, "seed"),
        ({"keep": None, "eps": 0.3, "method": "magnitude", "refit": True}, "leaves nothing of"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_refused_jobs_leave_no_stages(tmp_path, ids, how, said, stream):
    """Else the same call with other options would be told of the stages of another pruning."""
    folder = folder_of(tmp_path / "model", "llama")
    if "eps" in how:  # which empties the second block alone
        tensors = load_file(folder / "model.safetensors")
        tensors["model.layers.1.mlp.up_proj.weight"].fill_(0.0)
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    out = tmp_path / "new" / "out" if stream else tmp_path / "out"
    with pytest.raises(InputError, match=said):
        prune_checkpoint(job(folder, ids, out, **how, stream=stream))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_what_cannot_be_written_or_read_is_named(tmp_path, ids):
    folder = folder_of(tmp_path / "model", "llama")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="file/out: Not a directory"):
        prune_checkpoint(job(folder, ids, tmp_path / "file" / "out", stream=True))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 40}))
    with pytest.raises(DataIntegrityError, match=r"gate_proj.weight of shape \(96, 24\), and"):
        prune_checkpoint(job(folder, ids, tmp_path / "out", stream=True))
    (folder / "config.json").write_text("{")
    with pytest.raises(InputError, match="says an architecture"):
        prune_checkpoint(job(folder, ids, tmp_path / "out", stream=True))
    assert {path.name for path in tmp_path.iterdir()} == {"model", "file"}


def test_files_and_networks_that_are_no_chain_are_refused(tmp_path, ids):
    folder = folder_of(tmp_path / "model", "llama")
    with pytest.raises(InputError, match="give such a one as --out"):
        prune_checkpoint(job(folder, ids, tmp_path / "out.safetensors", stream=True))
    (tmp_path / "model.gguf").write_bytes(b"GGUF" + bytes(20))
    with pytest.raises(InputError, match="Make a folder of it"):
        prune_checkpoint(job(tmp_path / "model.gguf", ids, tmp_path / "out", stream=True))
    sizes = {"embedding_size": 8, "hidden_size": 24, "intermediate_size": 32, "vocab_size": WORDS}
    shared = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_hidden_groups": 1}
    albert = hub.AlbertForMaskedLM(hub.AlbertConfig(**sizes, **shared))
    albert.save_pretrained(tmp_path / "albert")
    with pytest.raises(UnsupportedModelError, match="is no chain of blocks"):
        prune_checkpoint(job(tmp_path / "albert", ids, tmp_path / "out", stream=True))
