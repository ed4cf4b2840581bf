"""Coupled units from pruning over the user's own loop to a file and a fresh instance."""

import pytest
import torch
from torch import nn

import prunable
from prunable.budgets import Keep
from prunable.nets.models.torch_extras import torch_extra
from prunable.nets.networks.equality import tensors_in
from prunable.nets.networks.examples import run
from prunable.nets.shrink.export import load_exported, save_exported
from prunable.strategies import NodePruning


def vit():
    timm = torch_extra("timm", "this test")
    how = {"img_size": 32, "depth": 2, "embed_dim": 24, "num_heads": 4}
    return timm.create_model("vit_tiny_patch16_224", **how)


def convnext():
    models = torch_extra("torchvision", "this test").models.convnext
    blocks = [models.CNBlockConfig(8, 12, 1), models.CNBlockConfig(12, None, 1)]
    return models.ConvNeXt(blocks, num_classes=5)


def resnet():
    return torch_extra("torchvision", "this test").models.resnet18(num_classes=5)


def gpt2():
    torch_extra("torchvision", "this test")  # transformers looks at it
    transformers = pytest.importorskip("transformers")
    sizes = {"n_embd": 16, "n_layer": 1, "n_head": 4, "vocab_size": 40, "n_positions": 8}
    special = {"bos_token_id": 0, "eos_token_id": 0}
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, **special))


PICTURES, TOKENS = torch.randn(2, 3, 32, 32), {"input_ids": torch.arange(12).view(2, 6)}


@pytest.mark.filterwarnings("ignore:.*`torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize(
    ("make", "example"), [(vit, PICTURES), (convnext, PICTURES), (resnet, PICTURES), (gpt2, TOKENS)]
)
def test_prune_hold_train_shrink_save_load(make, example, tmp_path):
    torch.manual_seed(0)
    model = make().train()
    pruned = prunable.prune(model, NodePruning("unit"), Keep(0.5), example=example)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
    handle = prunable.hold_masks(model, optimizer, pruned)
    prunable.save_masks(tmp_path / "masks", handle)
    for _ in range(2):
        optimizer.zero_grad()
        sum(
            x.square().mean() for x in tensors_in(run(model, example)) if x.requires_grad
        ).backward()
        optimizer.step()
    named = dict(model.named_parameters())
    for name, mask in prunable.load_masks(tmp_path / "masks").items():
        assert not named[name][~mask].any()
    if any(isinstance(module, nn.BatchNorm2d) for module in model.modules()):
        prunable.recalibrate(model, torch.randn(16, 3, 32, 32))
    smaller = prunable.shrink(model, pruned.plan, example)
    assert smaller.n_parameters < 0.9 * smaller.n_parameters_before
    save_exported(tmp_path / "small.safetensors", smaller.model)
    again = load_exported(tmp_path / "small.safetensors", make())
    assert sum(p.numel() for p in again.parameters()) == smaller.n_parameters
    with torch.no_grad():
        found, expected = (tensors_in(run(net.eval(), example)) for net in (again, smaller.model))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
