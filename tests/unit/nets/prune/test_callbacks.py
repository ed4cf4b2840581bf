"""Training frameworks keep pruned weights at 0, also after a resume, also with decay and Adam."""

import copy
import sys
import types

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import prunable
from prunable.budgets import Keep
from prunable.errors import InputError
from prunable.nets.models.torch_extras import torch_extra
from prunable.nets.prune import callbacks
from prunable.nets.prune.callbacks import FILE, for_lightning, for_trainer
from prunable.strategies import MagnitudePruning

torch_extra("torchvision", "these tests")  # the frameworks look at it
lightning = pytest.importorskip("pytorch_lightning")
transformers = pytest.importorskip("transformers")


def pruned(model):
    return prunable.prune(model, MagnitudePruning(), Keep(0.4), only=("*weight",))


def check_zeros(model, masks):
    named = dict(model.named_parameters())
    assert masks
    for name, mask in masks.items():
        assert not named[name][~mask].any()
        assert named[name][mask].all()


def masks_of(model, result):
    return prunable.masks_of(result.plan, model.named_parameters())


def same(one, other):
    states = one.state_dict(), other.state_dict()
    return all(torch.equal(x, states[1][name]) for name, x in states[0].items())


# PyTorch Lightning


class Module(lightning.LightningModule):
    def __init__(self, optimizers=1):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last, self.count = nn.Linear(6, 8), nn.Linear(8, 3), optimizers
        self.automatic_optimization = optimizers == 1

    def training_step(self, batch, _):
        loss = nn.functional.cross_entropy(self.last(self.first(batch[0]).relu()), batch[1])
        if not self.automatic_optimization:
            for optimizer in self.optimizers():
                optimizer.zero_grad()
            self.manual_backward(loss)
            for optimizer in self.optimizers():
                optimizer.step()
        return loss

    def configure_optimizers(self):
        if self.count == 1:
            return torch.optim.AdamW(self.parameters(), lr=0.05, weight_decay=0.1)
        how = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}
        return [torch.optim.SGD(part.parameters(), **how) for part in (self.first, self.last)]


def batches():
    x = torch.randn(32, 6, generator=torch.Generator().manual_seed(1))
    return DataLoader(TensorDataset(x, x[:, :3].argmax(1)), batch_size=8, num_workers=0)


@pytest.mark.filterwarnings("ignore")
def fit(module, callback, epochs, folder, resume=None):
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=[callback],
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        gradient_clip_val=0.5 if module.count == 1 else None,
    )
    trainer.fit(module, batches(), ckpt_path=resume)
    return trainer


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("optimizers", [1, 2])
def test_lightning_holds_stores_and_resumes(optimizers, tmp_path):
    whole = Module(optimizers)
    result = pruned(whole)
    masks = masks_of(whole, result)
    start = copy.deepcopy(whole)
    fit(whole, for_lightning(result), 3, tmp_path)
    check_zeros(whole, masks)
    assert not same(whole, start)

    part = copy.deepcopy(start)
    trainer = fit(part, for_lightning(result), 1, tmp_path)
    trainer.save_checkpoint(tmp_path / "part.ckpt")
    again = Module(optimizers)  # which nobody pruned
    fit(again, for_lightning(), 3, tmp_path, resume=tmp_path / "part.ckpt")
    check_zeros(again, masks)
    assert same(again, whole)


@pytest.mark.filterwarnings("ignore")
def test_lightning_lets_go_at_the_end_and_refuses(tmp_path):
    module = Module()
    with pytest.raises(InputError, match="`for_lightning` has no masks"):
        fit(module, for_lightning(), 1, tmp_path)
    result = pruned(module)
    trainer = fit(module, for_lightning(result), 1, tmp_path)
    (optimizer,) = trainer.optimizers
    assert not optimizer._optimizer_step_post_hooks
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    other = prunable.prune(Module(), MagnitudePruning(), Keep(0.7))
    with pytest.raises(InputError, match="other masks than the checkpoint holds"):
        fit(Module(), for_lightning(other), 2, tmp_path, resume=tmp_path / "a.ckpt")
    fit(Module(), for_lightning(result), 2, tmp_path, resume=tmp_path / "a.ckpt")

    class Half(Module):
        def configure_optimizers(self):
            return torch.optim.SGD(self.first.parameters(), lr=0.1)

    with pytest.raises(InputError, match=r"masks of last\.weight, which no optimizer trains"):
        fit(Half(), for_lightning(result), 1, tmp_path)
    half = Half()
    half.last.requires_grad_(False)
    fit(half, for_lightning(result), 1, tmp_path)
    check_zeros(half.first, {"weight": masks_of(module, result)["first.weight"]})


def test_both_names_of_lightning(monkeypatch):
    other = types.ModuleType("lightning.pytorch")
    other.Callback = type("Callback", (), {})
    monkeypatch.setitem(sys.modules, "lightning.pytorch", other)
    callback = for_lightning()
    assert isinstance(callback, lightning.Callback)
    assert isinstance(callback, other.Callback)
    monkeypatch.delitem(sys.modules, "pytorch_lightning")
    assert not isinstance(for_lightning(), lightning.Callback)
    monkeypatch.delitem(sys.modules, "lightning.pytorch")
    for name in ("lightning", "lightning.pytorch", "pytorch_lightning", "transformers"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=r"needs pytorch-lightning.*prunable\[lightning\]"):
        for_lightning()
    with pytest.raises(InputError, match=r"needs transformers.*prunable\[hub\]"):
        for_trainer()


# transformers


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x, labels):
        logits = self.last(self.first(x).relu())
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def trainer(model, callback, folder, **how):
    x = torch.randn(32, 6, generator=torch.Generator().manual_seed(1))
    rows = [{"x": row, "labels": row[:3].argmax()} for row in x]
    args = transformers.TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=8,
        learning_rate=0.05,
        weight_decay=0.1,
        max_steps=8,
        save_steps=3,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        logging_strategy="no",
        **how,
    )
    return transformers.Trainer(model, args, train_dataset=rows, callbacks=[callback])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("optim", ["adamw_torch", "sgd"])
def test_trainer_holds_stores_and_resumes(optim, tmp_path):
    whole = Network()
    result = pruned(whole)
    masks = masks_of(whole, result)
    start = copy.deepcopy(whole)
    first = trainer(whole, for_trainer(result), tmp_path, optim=optim)
    first.train()
    check_zeros(whole, masks)
    assert not same(whole, start)
    assert (tmp_path / "checkpoint-3" / FILE).exists()

    again = Network()  # which nobody pruned
    trainer(again, for_trainer(), tmp_path, optim=optim).train(
        resume_from_checkpoint=str(tmp_path / "checkpoint-3")
    )
    check_zeros(again, masks)
    assert same(again, whole)

    moved = tmp_path / "elsewhere" / "checkpoint-6"
    moved.parent.mkdir()
    (tmp_path / "checkpoint-6").rename(moved)
    stored = prunable.load_masks(moved / FILE)
    third = Network()
    trainer(third, for_trainer(stored), tmp_path / "new", optim=optim).train(
        resume_from_checkpoint=str(moved)
    )
    check_zeros(third, masks)
    with pytest.raises(InputError, match="`for_trainer` has no masks"):
        trainer(Network(), for_trainer(), tmp_path / "new").train(resume_from_checkpoint=str(moved))


def test_packages_are_imported_beside_a_torchvision_that_does_not_fit(tmp_path, monkeypatch):
    # Lightning and transformers import torchvision, which stops where it was built for another
    # torch; a second try finds the names of its operators declared
    lines = (
        "from pathlib import Path",
        f"mark = Path({str(tmp_path / 'tried')!r})",
        "if not mark.exists():",
        "    mark.touch()",
        "    raise RuntimeError('operator torchvision::nms does not exist')",
        "class Callback: ...",
    )
    (tmp_path / "stops_once.py").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(callbacks, "LIGHTNING", ("stops_once", "stops_once"))
    assert type(for_lightning()).__mro__[1].__name__ == "Callback"
