"""`prunable prune` on a folder of transformers, and on GGUF."""

import gguf
import numpy as np
import pytest
import torch

from prunable.nets.models.hub import load_folder, transformers_module

hub = transformers_module("tests")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "vocab_size": 61}
    heads = {"num_attention_heads": 3, "num_key_value_heads": 1, "tie_word_embeddings": True}
    model = hub.LlamaForCausalLM(hub.LlamaConfig(**sizes, **heads))
    place = tmp_path_factory.mktemp("models") / "llama"
    model.save_pretrained(place)
    (place / "tokenizer.json").write_text("{}")
    return place


def test_a_folder_becomes_a_folder(document_of, folder, tmp_path):
    options = "--only *mlp* --keep .5 --batch-size 1"
    out = tmp_path / "pruned-v1.5"
    found = document_of("prune", folder, options, "--out", out)
    assert found["folder"]["path"] == str(out)
    assert found["folder"]["changed"] == {}
    assert found["footprint"]["models"]["pruned"]["disk_bytes"] < found["bytes"]
    assert (out / "tokenizer.json").exists()
    weight = load_folder(out).model.layers[1].mlp.up_proj.weight
    assert int((weight == 0).sum()) == weight.numel() // 2
    file = tmp_path / "pruned.safetensors"
    assert document_of("prune", folder, options, "--out", file)["folder"] is None
    assert file.is_file()


def test_a_shrunk_folder_loads_by_from_pretrained(document_of, folder, tmp_path):
    options = "--method unit --keep .5 --shrink --batch-size 1"
    found = document_of("prune", folder, options, "--out", tmp_path / "small")
    assert found["folder"]["changed"]["intermediate_size"] == 16
    assert found["folder"]["max_difference"] <= 1e-5
    small = hub.AutoModelForCausalLM.from_pretrained(tmp_path / "small")
    assert small.model.layers[0].mlp.up_proj.weight.shape == (16, 24)
    assert small.lm_head.weight is small.model.embed_tokens.weight
    n_parameters = sum(parameter.numel() for parameter in small.parameters())
    assert n_parameters == found["shrunk"]["n_parameters"] < found["shrunk"]["n_parameters_before"]


def test_classifiers_of_pictures_are_retrained_and_judged(document_of, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_labels": 2}
    config = hub.ViTConfig(**sizes, num_attention_heads=2, image_size=8, patch_size=4)
    hub.ViTForImageClassification(config).save_pretrained("vit")
    shades = np.random.default_rng(0).uniform(-1, 1, 40)
    x = np.ones((40, 3, 8, 8)) * shades[:, None, None, None]
    np.savez("data.npz", x=x, y=(shades > 0).astype(int))
    options = "--keep .6 --data data.npz --retrain 20 --batch 8 --batch-size 1 --out pruned"
    found = document_of("prune vit", options)
    assert found["footprint"]["models"]["pruned"]["accuracy"] > 0.8
    assert found["folder"]["changed"] == {}


def test_where_no_config_says_the_shapes_a_file_does(run, document_of, tmp_path):
    torch.manual_seed(0)
    config = hub.GPT2Config(n_embd=24, n_layer=1, n_head=4, vocab_size=61, n_positions=32)
    hub.GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt2")
    asked = ["prune", tmp_path / "gpt2", "--method unit --keep .5 --shrink --batch-size 1 --out"]
    done = run(*asked, tmp_path / "small")
    assert done.exit_code == 4
    message = " ".join(done.output.split())
    assert "in GPT2Config gives" in message
    assert "a file ending in .safetensors" in message
    assert [path.name for path in tmp_path.iterdir()] == ["gpt2"]
    assert document_of(*asked, tmp_path / "small.safetensors")["shrunk"]["max_difference"] < 1e-5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--out m.gguf", "GGUF is not written"),
        ("--out m --storage bitmask", "holds its zeros"),
        ("--out full", "empty or not there yet"),
        ("--out m --data digits", "does not fit the model"),
        ("--out m --net torchvision:nothing", "architecture of torchvision"),
        ("--out m --input-shape 3,8,8", "does not fit the model"),
    ],
)
def test_what_a_folder_cannot_be_is_refused(run, folder, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full" / "of").mkdir(parents=True)
    done = run("prune", folder, "--keep .5", options)
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_only_folders_are_of_the_hub(run, tmp_path):
    torch.save({"weight": torch.ones(2, 2)}, tmp_path / "m.pt")
    done = run("prune", tmp_path / "m.pt", "--net hub --keep .5 --out", tmp_path / "n")
    assert done.exit_code == 2
    assert "no folder of transformers" in " ".join(done.output.split())


def test_a_file_whose_config_cannot_be_read_is_measured_alone(run, tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "no-such-architecture")
    writer.add_tensor("blk.0.ffn_up.weight", np.ones((4, 32), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert run("measure", tmp_path / "m.gguf").exit_code == 0
    done = run("prune", tmp_path / "m.gguf", "--keep .5 --out", tmp_path / "n")
    assert done.exit_code == 4
    assert "Give the safetensors it was made from" in " ".join(done.output.split())
    assert [path.name for path in tmp_path.iterdir()] == ["m.gguf"]
