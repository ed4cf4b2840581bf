"""Devices: names, spreading of runs, records; numbers that hardly depend on the device."""

import json
import sys

import pytest
import torch

from prunable.errors import InputError
from prunable.experiments.prune.specs import EvaluateSpec
from prunable.experiments.train import stages
from prunable.experiments.train.specs import TrainSpec
from prunable.experiments.train.stages import train_into
from prunable.nets.archive import load_tensors
from prunable.nets.models import MeanFieldNetwork
from prunable.nets.train.noise import HeavyTailedNoise, attach_noise
from prunable.runs.backends import ProcessBackend, RayBackend, SerialBackend
from prunable.runs.devices import devices_of, is_accelerator
from prunable.runs.execution import EXECUTION, execute
from prunable.runs.runner import TOGETHER, run_all
from prunable.runs.spec import Spec
from prunable.runs.store import Store

GPUS = torch.cuda.device_count()
needs_gpu = pytest.mark.skipif(not GPUS, reason="this machine has no GPU")


def training(seed=0, **changes):
    fields = {"dataset": "digits", "width": 30, "steps": 12, "lr": 0.01, "seed": seed}
    return TrainSpec.create(**(fields | changes))


class WhereSpec(Spec):
    """A run that says where it was put, and with how many others."""

    stage = f"{__name__}:where"
    batch_stage = f"{__name__}:where_together"

    number: int
    alone: bool = False

    def batch_key(self):
        return None if self.alone else "all"


def where(spec, run):
    """Device of one run."""
    del spec
    return {"device": str(run.device), "together": 1}


def where_together(specs, runs):
    """The same of several."""
    return [{"device": str(run.device), "together": len(specs)} for run in runs]


class Fake(SerialBackend):
    """A machine of two devices; the name of a GPU stands for a processor of that index."""

    def __init__(self, names):
        self.names = names

    def devices(self, name):
        del name
        return self.names


def recorded(store, spec):
    return json.loads((store.folder(spec) / EXECUTION).read_text())


def test_names_of_devices(monkeypatch):
    assert devices_of("cpu") == ("cpu",)
    assert devices_of("cpu:1") == ("cpu:1",)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices_of("auto") == devices_of("cuda") == ("cuda:0", "cuda:1")
    assert devices_of("cuda:1") == ("cuda:1",)
    with pytest.raises(InputError, match=r"`device`.*cuda:1.*got cuda:2"):
        devices_of("cuda:2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert devices_of("auto") == ("cpu",)
    with pytest.raises(InputError, match="no GPU here"):
        devices_of("cuda")
    for wrong in ("gpu", "meta", "cuda:x"):
        with pytest.raises(InputError, match=f"`device`.*{wrong}"):
            devices_of(wrong)
    assert is_accelerator("cuda:1")
    assert not is_accelerator("cpu:1")


def test_ray_chooses_among_its_gpus(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", object())
    assert RayBackend().devices("auto") == ("cpu",)
    assert RayBackend(gpus=0.5).devices("auto") == ("cuda:0",)
    for backend, name in (
        (RayBackend(gpus=1), "cpu"),
        (RayBackend(), "cuda"),
        (RayBackend(gpus=1), "cuda:1"),
    ):
        with pytest.raises(InputError, match="--device"):
            backend.devices(name)


def test_runs_are_spread_over_devices_and_say_where_they_were(tmp_path):
    store = Store(tmp_path)
    specs = [training(seed) for seed in range(4)]
    with ProcessBackend(2).open() as pool:
        assert pool.slots == 2

    class Two(ProcessBackend):
        def devices(self, name):
            del name
            return ("cpu:0", "cpu:1")

    rows = run_all(specs, store, backend=Two(2))
    assert [row["status"] for row in rows] == ["done"] * 4
    assert {recorded(store, spec)["device"] for spec in specs} == {"cpu:0", "cpu:1"}
    # where a run was computed is no part of what it is, nor of what it found
    alone = run_all(specs, Store(tmp_path / "alone"), backend=SerialBackend(), device="cpu")
    assert alone == rows


def test_runs_are_grouped_on_accelerators_alone(tmp_path, monkeypatch):
    specs = [WhereSpec.create(number=number) for number in range(TOGETHER + 4)]
    rows = run_all(specs, Store(tmp_path / "cpu"), backend=Fake(("cpu:1",)))
    assert {(row["device"], row["together"]) for row in rows} == {("cpu:1", 1)}
    monkeypatch.setattr("prunable.runs.runner.is_accelerator", lambda name: name == "cpu:1")
    rows = run_all(specs, Store(tmp_path / "gpu"), backend=Fake(("cpu:1",)))
    assert [row["together"] for row in rows] == [TOGETHER] * TOGETHER + [4] * 4
    rows = run_all(specs, Store(tmp_path / "few"), backend=Fake(("cpu:1",)), batch=10)
    assert {row["together"] for row in rows} == {10}
    single = [WhereSpec.create(number=number, alone=True) for number in range(3)]
    rows = run_all(single, Store(tmp_path / "alone"), backend=Fake(("cpu:1",)))
    assert {row["together"] for row in rows} == {1}


def test_a_device_that_is_not_there_is_bad_input(tmp_path):
    with pytest.raises(InputError, match="`device`"):
        run_all([training()], Store(tmp_path), backend=SerialBackend(), device="cuda:99")
    with pytest.raises(InputError, match="`device`"):
        train_into(tmp_path / "run", training(), device="gpu")


@pytest.mark.parametrize("net", ["two-layer", "resnet20"])
def test_networks_and_data_are_moved_to_the_device(tmp_path, monkeypatch, net):
    """A second processor stands for a GPU: what is moved to it is noted."""
    moved, kept, trained = set(), [], []

    def note(kind):
        original = kind.to

        def to(self, *place, **options):
            found = original(self, *place, **options)
            if place == ("cpu:1",):
                moved.add(id(found))
                kept.append(found)  # so that no other object gets the same id
            return found

        monkeypatch.setattr(kind, "to", to)

    def spy(name):
        original = getattr(stages, name)

        def call(first, x, y, *rest, **options):
            models = [replica.model for replica in first] if isinstance(first, list) else [first]
            trained.extend(id(part) for part in (*models, x, y))
            return original(first, x, y, *rest, **options)

        monkeypatch.setattr(stages, name, call)

    note(torch.nn.Module)
    note(torch.Tensor)
    for name in ("train", "train_together"):
        spy(name)
    spec = training(net=net, width=4, steps=2, batch_size=8)
    assert execute(spec, Store(tmp_path), device="cpu:1")["status"] == "done"
    assert len(trained) == 3
    assert set(trained) <= moved


def devices_seen(monkeypatch, stage, name):
    """Devices that a training function of the stages is given by its model and its data."""
    seen = []
    original = getattr(stage, name)

    def spy(first, x, y, *rest, **options):
        models = [replica.model for replica in first] if isinstance(first, list) else [first]
        seen.append({t.device for m in models for t in (*m.parameters(), x, y)})
        return original(first, x, y, *rest, **options)

    monkeypatch.setattr(stage, name, spy)
    return seen


@needs_gpu
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"noise": "type1", "alpha": 1.8, "sigma": 0.1, "batch_size": 100, "average_last": 4},
        {"noise": "type2", "alpha": 1.7, "sigma": 0.1},
        {"noise": "type3", "alpha": 1.7, "sigma": 0.1},
        {"net": "resnet20", "width": 4, "lr": 0.05, "augment": True, "batch_size": 64},
        {"net": "fcn4", "lr": 0.01, "optimizer": "adam", "batch_size": 64},
    ],
)
def test_a_gpu_finds_what_the_processor_finds(tmp_path, changes, monkeypatch):
    name = "train" if "net" in changes and changes["net"] == "resnet20" else "train_together"
    seen = devices_seen(monkeypatch, stages, name)
    spec = training(**changes)
    found = {}
    for device in ("cpu", "cuda:0"):
        store = Store(tmp_path / device)
        result = execute(spec, store, device=device)
        assert result["status"] == "done"
        found[device] = result, load_tensors(store.folder(spec) / "model.safetensors")[0]
    assert seen == [{torch.device("cpu")}, {torch.device("cuda:0")}]
    assert recorded(Store(tmp_path / "cuda:0"), spec)["device"].startswith("cuda:0 (")
    (one, a), (other, b) = found.values()
    assert one["metrics"]["test_loss"] == pytest.approx(other["metrics"]["test_loss"], abs=1e-3)
    for key, tensor in a.items():
        if tensor.is_floating_point():
            assert (tensor - b[key]).norm() <= 1e-3 * tensor.norm()


@needs_gpu
def test_groups_resume_and_are_pruned_on_a_gpu(tmp_path):
    store = Store(tmp_path)
    specs = [
        EvaluateSpec.create(train=training(seed, steps=60), eps=(0.1,), keep=(0.5,))
        for seed in range(5)
    ]
    rows = run_all(specs, store, backend=SerialBackend(), device="cuda:0")
    assert [row["status"] for row in rows] == ["done"] * 5
    assert recorded(store, specs[0].train)["runs_together"] == 5
    assert recorded(store, specs[0])["device"].startswith("cuda:0")
    again = run_all(specs, Store(tmp_path / "cpu"), backend=SerialBackend(), device="cpu")
    for row, other in zip(rows, again, strict=True):
        assert row["metrics"]["test_loss"] == pytest.approx(other["metrics"]["test_loss"], abs=1e-3)


@needs_gpu
def test_noise_drawn_on_the_processor_is_the_same_everywhere():
    def noised(device):
        generator = torch.Generator().manual_seed(0)
        model = MeanFieldNetwork(20, 30, 3, generator=generator).to(device)
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        noise = HeavyTailedNoise("type2", 1.7, 0.5)
        attach_noise(optimizer, model.named_parameters(), noise, seed=3, device="cpu")
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        optimizer.step()
        return model.hidden.weight.detach().cpu()

    torch.testing.assert_close(noised("cuda"), noised("cpu"), rtol=1e-6, atol=1e-7)
