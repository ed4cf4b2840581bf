"""Commands of the documentation are run, on small models, texts and pictures of these names."""

import re
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from typer.main import get_command
from typer.testing import CliRunner

from prunable.cli.app import app
from prunable.data import loaders
from prunable.nets.models.hub import transformers_module

DOCS = Path(__file__).parents[2] / "docs"
BLOCKS = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"^(?:\$ )?prunable (.*?)(?: +# .*)?$", re.MULTILINE)
# What takes minutes by its nature; that each of them is understood is tested all the same.
LONG = re.compile(r"(simulate|reproduce|certify|iterate) (?!list|.*--dry-run)|verify|--compare")
TRAINED = "train --data mnist --net lenet-300-100 --epochs 1 --batch 40 --lr 0.1 --out run"
NETS = """
from torch import nn

def resnet20():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(48, 10),
    )

build = resnet20
"""


def commands_of(page):
    """Commands of the blocks of a page that are not run elsewhere, each as one line."""
    blocks = [text for kind, text in BLOCKS.findall(page.read_text()) if kind in ("", "console")]
    return [line for text in blocks for line in COMMAND.findall(text)]


PAGES = [page for page in sorted(DOCS.rglob("*.md")) if commands_of(page)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_is_understood(page):
    for line in commands_of(page):
        command, words = get_command(app), shlex.split(line)
        context = command.make_context("prunable", words[:1], resilient_parsing=True)
        while hasattr(command, "get_command"):
            command, words = command.get_command(context, words[0]), words[1:]
            assert command is not None, line
        command.make_context(line, words)  # stops at an option or a value that there is not


def synthetic(dataset, _):
    """Pictures of noise with a bright quarter, a few of each class, in place of the data set."""
    sides = (28, 28) if "mnist" in dataset.name else (3, 32, 32)
    drawn = np.random.default_rng(0)
    y = np.arange(240) % 10
    x = drawn.integers(0, 128, (240, *sides))
    for picture, label in zip(x, y, strict=True):
        picture[..., 2 * label : 2 * label + 8, :8] += 120
    x = x.astype(np.uint8)
    return (x[:160], y[:160]), (x[160:], y[160:])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The files that the pages name, in the working directory."""
    with pytest.MonkeyPatch.context() as patch:
        place = tmp_path_factory.mktemp("documented")
        patch.chdir(place)
        patch.syspath_prepend(str(place))
        _forget_modules()
        _write_files(patch)
        yield
        _forget_modules()


def _forget_modules():
    for name in ("nets", "mynet"):  # other tests have others of these names
        sys.modules.pop(name, None)


def _write_files(monkeypatch):
    monkeypatch.setattr(loaders, "_located", lambda *_: None)
    read = loaders._read
    monkeypatch.setattr(
        loaders, "_read", lambda d, place: (read if d.name == "digits" else synthetic)(d, place)
    )
    torch.manual_seed(0)
    made: dict = {}
    exec(NETS, made)
    for name in ("nets.py", "mynet.py"):
        Path(name).write_text(NETS)
    torch.save(made["build"]().state_dict(), "net.pt")
    save_file(made["build"]().state_dict(), "net.safetensors")
    assert CliRunner().invoke(app, shlex.split(TRAINED)).exit_code == 0
    for name in ("model", "own", "a", "b", "c", "pruned"):
        shutil.copy("run/model.safetensors", f"{name}.safetensors")
    shutil.rmtree("run")
    pictures = torch.randn(256, 3, 32, 32).numpy()
    for name in ("pictures", "inputs"):
        np.savez(f"{name}.npz", x=pictures)
    labels = made["build"]().eval()(torch.from_numpy(pictures)).argmax(1).numpy()
    np.savez("labelled.npz", x=pictures, y=labels)
    hub = transformers_module("tests")
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "vocab_size": 41}
    heads = {"num_attention_heads": 2, "max_position_embeddings": 512}
    language = hub.LlamaForCausalLM(hub.LlamaConfig(**sizes, **heads, initializer_range=0.3))
    words = [f"w{i}" for i in range(40)]
    tokens = Tokenizer(models.WordLevel({w: i for i, w in enumerate([*words, "?"])}, "?"))
    tokens.pre_tokenizer = pre_tokenizers.Whitespace()
    for name in ("MODEL", "FOLDER", "smollm"):
        language.save_pretrained(name)
        hub.PreTrainedTokenizerFast(tokenizer_object=tokens, unk_token="?").save_pretrained(name)
    for name in ("valid.txt", "test.txt"):
        drawn = np.random.default_rng(len(name)).choice(words, 128 * 512)
        Path(name).write_text(" ".join(drawn), encoding="utf-8")
    gguf_of(Path("smollm.gguf"))


def gguf_of(path):
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tensor("blk.0.ffn_up.weight", np.random.default_rng(0).normal(size=(32, 64)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
@pytest.mark.usefixtures("folder", "one_thread")
def test_every_command_runs(page):
    for line in commands_of(page):
        if LONG.search(line):
            continue
        done = CliRunner().invoke(app, shlex.split(line))
        assert done.exit_code == 0, f"{line}\n{done.output}"
