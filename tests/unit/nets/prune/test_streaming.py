"""Files pruned tensor by tensor, against the same weights pruned in memory."""

import json
import shutil

import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file, save_file

from prunable.errors import DataIntegrityError, InputError
from prunable.experiments.prune.pruning import prune_checkpoint
from prunable.experiments.prune.specs import PruningJob
from prunable.files import LOCK
from prunable.nets.archive import open_archive
from prunable.nets.archive.rewriting import Shard
from prunable.nets.calibration.calibrating import calibrate
from prunable.nets.calibration.norms import read_norms, write_norms
from prunable.nets.models import read_weights
from prunable.nets.prune import shards as folders
from prunable.nets.prune import streaming
from prunable.nets.prune.plan import Energy, Error, Keep
from prunable.nets.prune.pruning import prune
from prunable.nets.prune.shards import INDEX, STATE
from prunable.nets.prune.strategies import InputWeightedPruning, MagnitudePruning, NMPruning
from prunable.nets.prune.streaming import Streaming

BUDGETS = [
    Keep(0.3, scope="global"),
    Keep(0.9, scope="global"),
    Keep(0.37),
    Error(0.4),
    Energy(0.8),
    Keep(0.5),
]


def weights(dtype, seed=0, levels=None):
    """A few layers of odd shapes; with `levels` of few distinct numbers, so that many are equal."""
    torch.manual_seed(seed)
    named = {
        "layers.2.weight": torch.randn(24, 52),
        "layers.10.weight": torch.randn(28, 24, 3, 3) * 0.3,
        "layers.10.bias": torch.randn(28),
        "layers.11.weight": torch.randn(5, 28) * (torch.rand(5, 28) > 0.2),
        "steps": torch.tensor([3, 0, 1]),
    }
    if levels:
        named = {n: (t * levels).round() / levels if t.ndim > 1 else t for n, t in named.items()}
    return {n: t.to(dtype) if t.is_floating_point() else t for n, t in named.items()}


def reference(path, strategy, budget):
    """The document and the tensors of the same pruning in memory."""
    tensors, _ = read_weights(path)
    return prune(tensors, strategy, budget).to_dict(), tensors


def streamed(path, strategy, budget, out, **how):
    with open_archive(path) as archive:
        assert Streaming.serves(archive, strategy, {})
        return Streaming(archive, strategy, budget, **how).prune(out, {"format": "pt"})


def assert_same(found, wanted):
    found, wanted = (json.loads(json.dumps(x)) for x in (found, wanted))
    errors = [[layer.pop("eps") for layer in x["plan"]["layers"]] for x in (found, wanted)]
    assert errors[0] == pytest.approx(errors[1], rel=1e-6, abs=1e-12)
    assert found == wanted


WAYS = [("threshold", budget) for budget in BUDGETS]
WAYS += [("lamp", Keep(kappa, scope="global")) for kappa in (0.01, 0.3, 0.9, 1.0)]


@pytest.mark.parametrize("levels", [None, 4])
@pytest.mark.parametrize(("allocation", "budget"), WAYS, ids=str)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_a_file_is_pruned_as_in_memory(tmp_path, dtype, allocation, budget, levels):
    path, out = tmp_path / "model.safetensors", tmp_path / "pruned.safetensors"
    save_file(weights(dtype, levels=levels), path)
    strategy = MagnitudePruning(allocation=allocation)
    wanted, tensors = reference(path, strategy, budget)
    assert_same(streamed(path, strategy, budget, out), wanted)
    found = load_file(out)
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name].view(torch.uint8), tensor.contiguous().view(torch.uint8)), (
            name
        )
    assert_same(streamed(path, strategy, budget, None), wanted)


def test_patterns_are_pruned_as_in_memory(tmp_path):
    path, out = tmp_path / "model.safetensors", tmp_path / "pruned.safetensors"
    save_file(weights(torch.bfloat16), path)
    wanted, tensors = reference(path, NMPruning(), Keep(0.5))
    assert_same(streamed(path, NMPruning(), Keep(0.5), out), wanted)
    assert all(torch.equal(t, tensors[n]) for n, t in load_file(out).items())
    with pytest.raises(InputError, match="multiple of 5"):
        streamed(path, NMPruning(2, 5), Keep(0.4), None)


class Branched(torch.nn.Module):
    """Convolutions in groups, and a layer that no input reaches."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(8, 16, 3, groups=2)
        self.second = torch.nn.Linear(144, 40)
        self.unused = torch.nn.Linear(16, 20)
        self.last = torch.nn.Linear(40, 12)

    def forward(self, x):
        return self.last(self.second(self.first(x).relu().flatten(1)).relu())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize(
    ("how", "budget"),
    [
        ({}, Keep(0.3)),
        ({}, Error(0.4)),
        ({"n_m": (2, 4)}, Keep(0.5)),
        *(({}, Keep(kappa, "global")) for kappa in (0.0, 0.3, 0.9, 1.0)),
        ({"compare": "row"}, Keep(0.3, "global")),
        ({"allocation": "lamp"}, Keep(0.3, "global")),
    ],
    ids=str,
)
def test_weights_times_inputs_go_as_in_memory(tmp_path, dtype, how, budget):
    """By what the inputs of a network are, kept in a file; also where none reached a layer."""
    torch.manual_seed(0)
    model = Branched().to(dtype).float()
    known = calibrate(model, torch.randn(60, 8, 5, 5) * torch.rand(8, 1, 1) * 4, products=False)
    path, out, norms = (tmp_path / f"{name}.safetensors" for name in ("a", "b", "norms"))
    save_file({name: t.to(dtype) for name, t in model.state_dict().items()}, path)
    write_norms(known, norms)
    strategy = InputWeightedPruning(**how)
    wanted = prune(model, strategy, budget, calibration=known, force=True).to_dict()
    found = streamed(path, strategy, budget, out, norms=read_norms(norms), force=True)
    assert found["unreached"] == wanted["unreached"] == ["unused.weight"]
    for document in (found, wanted):  # the network has its layers in another order
        document["plan"]["layers"].sort(key=lambda layer: layer["name"])
    assert found["plan"] == wanted["plan"]
    pruned = load_file(out)
    for name, tensor in model.state_dict().items():
        assert pruned[name].dtype == dtype
        assert torch.equal(pruned[name].float(), tensor), name


def test_sizes_of_other_inputs_are_refused(tmp_path):
    path, norms = tmp_path / "model.safetensors", tmp_path / "norms.safetensors"
    save_file(weights(torch.float32), path)
    strategy = InputWeightedPruning()
    for sizes, message in (
        ({"other": torch.ones(52)}, r"says nothing of the weights .* \(other\)"),
        ({"layers.2.weight": torch.ones(24)}, "24 numbers for layers.2.weight, whose matrix is"),
        ({"layers.2.weight": torch.ones(7, 52)}, "has 7 x 52 numbers for layers.2.weight"),
    ):
        save_file(sizes, norms)
        with pytest.raises(InputError, match=message):
            streamed(path, strategy, Keep(0.5), None, norms=read_norms(norms))
    for wrong in (torch.ones(2, 2, 2), -torch.ones(3), torch.tensor([1.0, torch.nan])):
        save_file({"layers.2.weight": wrong}, norms)
        with pytest.raises(DataIntegrityError, match="holds no sizes of inputs: layers"):
            read_norms(norms)


@pytest.mark.parametrize("wide", [torch.float32, torch.float64])
def test_types_are_pruned_together(tmp_path, wide):
    """One threshold for layers of several types, with equal numbers across them."""
    path, out = tmp_path / "model.safetensors", tmp_path / "pruned.safetensors"
    kinds = (torch.bfloat16, torch.float16, wide)
    torch.manual_seed(1)
    tensors = {
        f"{i}.weight": (torch.randn(30, 20) * 3).round().to(kind) / 4
        for i, kind in enumerate((*kinds, *kinds))
    }
    save_file(tensors, path)
    for kappa in (0.2, 0.5, 0.999):
        budget = Keep(kappa, scope="global")
        wanted, pruned = reference(path, MagnitudePruning(), budget)
        assert_same(streamed(path, MagnitudePruning(), budget, out), wanted)
        assert all(torch.equal(t, pruned[n]) for n, t in load_file(out).items())


def folder(place):
    place.mkdir()
    places = {}
    for shard in range(3):
        tensors = {f"{shard}.{n}": t for n, t in weights(torch.bfloat16, shard).items()}
        name = f"model-{shard + 1:05}-of-00003.safetensors"
        save_file(tensors, place / name, {"format": "pt"})
        places |= dict.fromkeys(tensors, name)
    (place / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return place


def test_a_folder_becomes_shards_like_its_own(tmp_path):
    source, out = folder(tmp_path / "model"), tmp_path / "pruned"
    budget = Keep(0.25, scope="global")
    wanted, tensors = reference(source, MagnitudePruning(), budget)
    assert_same(streamed(source, MagnitudePruning(), budget, out), wanted)
    assert sorted(x.name for x in out.iterdir()) == sorted(x.name for x in source.iterdir())
    assert not (tmp_path / ".pruned.unfinished").exists()
    again, _ = read_weights(out)
    assert all(torch.equal(again[name], tensor) for name, tensor in tensors.items())
    joined = tmp_path / "pruned.safetensors"
    streamed(source, MagnitudePruning(), budget, joined)
    assert all(torch.equal(t, tensors[n]) for n, t in load_file(joined).items())
    with pytest.raises(InputError, match="empty"):
        streamed(source, MagnitudePruning(), budget, out)


def test_a_killed_run_goes_on(tmp_path, monkeypatch):
    source, out = folder(tmp_path / "model"), tmp_path / "pruned"
    budget, done = Keep(0.25, scope="global"), []
    real = streaming.write_again

    def killed(target, shards, *rest):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(shards[0].path.name)
        real(target, shards, *rest)

    monkeypatch.setattr(streaming, "write_again", killed)
    with pytest.raises(KeyboardInterrupt):
        streamed(source, MagnitudePruning(), budget, out)
    assert not out.exists()
    assert (tmp_path / ".pruned.unfinished" / STATE).exists()
    written = []

    def counted(target, shards, *rest):
        written.append(shards[0].path.name)
        real(target, shards, *rest)

    monkeypatch.setattr(streaming, "write_again", counted)
    found = streamed(source, MagnitudePruning(), budget, out)
    assert len(written) == 1
    assert written[0] not in done
    wanted, tensors = reference(source, MagnitudePruning(), budget)
    assert_same(found, wanted)
    again, _ = read_weights(out)
    assert all(torch.equal(again[name], tensor) for name, tensor in tensors.items())


def stopped_after(monkeypatch, source, out, budget, count):
    """Prune a folder, and be stopped after so many shards."""
    real, done = streaming.write_again, []

    def stopped(target, shards, *rest):
        if len(done) == count:
            raise KeyboardInterrupt
        done.append(target)
        real(target, shards, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(streaming, "write_again", stopped)
        with pytest.raises(KeyboardInterrupt):
            streamed(source, MagnitudePruning(), budget, out)
    return out.with_name(f".{out.name}.unfinished")


@pytest.mark.parametrize("what", ["other shards", "lost", "cut", "no state", "rows", "text"])
def test_what_was_left_is_used_where_it_is_whole_and_of_this_job(tmp_path, monkeypatch, what):
    source, out, budget = folder(tmp_path / "model"), tmp_path / "pruned", Keep(0.25, "global")
    place = stopped_after(monkeypatch, source, out, budget, 2)
    first = sorted(place.glob("*.safetensors"))[0]
    state = json.loads((place / STATE).read_text())
    if what == "other shards":  # of a folder in two files, which are not to be among those of one
        shutil.rmtree(source)
        source.mkdir()
        save_file(weights(torch.bfloat16), source / "model.safetensors")
    elif what == "lost":
        first.unlink()
    elif what == "cut":
        first.write_bytes(first.read_bytes()[:-10])
    elif what == "no state":
        del state["done"]
    elif what == "rows":
        for row in state["done"][first.name]["rows"].values():
            row["n_kept"] = "all"
    (place / STATE).write_text("{" if what == "text" else json.dumps(state))
    wanted, tensors = reference(source, MagnitudePruning(), budget)
    assert_same(streamed(source, MagnitudePruning(), budget, out), wanted)
    again, _ = read_weights(out)
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in tensors.items())
    shards = {x.name for x in source.glob("*.safetensors")}
    assert {x.name for x in out.iterdir()} == {*shards, INDEX}
    assert not place.exists()


def test_two_processes_do_not_write_one_folder(tmp_path):
    source, out = folder(tmp_path / "model"), tmp_path / "pruned"
    place = tmp_path / ".pruned.unfinished"
    place.mkdir()
    with (
        FileLock(place / LOCK),
        pytest.raises(InputError, match="is being written by another process"),
    ):
        streamed(source, MagnitudePruning(), Keep(0.5), out)
    streamed(source, MagnitudePruning(), Keep(0.5), out)
    assert LOCK not in {x.name for x in out.iterdir()}


@pytest.mark.parametrize("one_file", [True, False])
def test_tensors_that_the_index_places_elsewhere_or_nowhere_are_left(tmp_path, one_file):
    """A shard may hold more than its index says; of one name the numbers in another file count."""
    source, out = tmp_path / "model", tmp_path / ("out.safetensors" if one_file else "out")
    source.mkdir()
    torch.manual_seed(0)
    save_file(
        {"x.weight": torch.randn(9, 9), "y.weight": torch.randn(5, 5)}, source / "a.safetensors"
    )
    save_file(
        {"w.weight": torch.ones(2, 2), "x.weight": torch.ones(3, 3), "z.weight": torch.randn(4, 4)},
        source / "b.safetensors",
    )
    places = {"x.weight": "a.safetensors", "z.weight": "b.safetensors"}
    (source / INDEX).write_text(json.dumps({"weight_map": places}))
    wanted, tensors = reference(source, MagnitudePruning(), Keep(0.5))
    assert_same(streamed(source, MagnitudePruning(), Keep(0.5), out), wanted)
    again, _ = read_weights(out)
    assert again.keys() == tensors.keys() == places.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in tensors.items())
    if not one_file:
        assert json.loads((out / INDEX).read_text()) == {
            "metadata": {"total_size": 4 * (81 + 16)},
            "weight_map": places,
        }


@pytest.mark.parametrize("done", [0, 1])
def test_where_a_file_may_not_grow_only_finished_shards_stay(tmp_path, monkeypatch, done):
    resource = pytest.importorskip("resource")
    source, out = folder(tmp_path / "model"), tmp_path / "deep" / "pruned"
    place, before = out.with_name(".pruned.unfinished"), resource.getrlimit(resource.RLIMIT_FSIZE)
    if done:
        out.parent.mkdir()
        stopped_after(monkeypatch, source, out, Keep(0.5), 1)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(InputError, match="File too large"):
            streamed(source, MagnitudePruning(), Keep(0.5), out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    if done:
        assert {x.name for x in place.iterdir()} == {
            STATE,
            LOCK,
            "model-00001-of-00003.safetensors",
        }
    else:
        assert not out.parent.exists()
    streamed(source, MagnitudePruning(), Keep(0.5), out)
    assert not place.exists()


def test_what_another_job_left_does_not_count(tmp_path):
    source, out = folder(tmp_path / "model"), tmp_path / "pruned"
    place = tmp_path / ".pruned.unfinished"
    place.mkdir()
    (place / STATE).write_text(
        json.dumps({"mark": {}, "done": {"model-00001-of-00003.safetensors": {}}})
    )
    found = streamed(source, MagnitudePruning(), Keep(0.5), out)
    wanted, _ = reference(source, MagnitudePruning(), Keep(0.5))
    assert_same(found, wanted)


def test_refusals_leave_nothing(tmp_path, monkeypatch):
    path, out = tmp_path / "model.safetensors", tmp_path / "pruned.safetensors"
    save_file(weights(torch.bfloat16), path)
    with pytest.raises(InputError, match="leaves nothing"):
        streamed(path, MagnitudePruning(), Keep(0.0), out)
    with pytest.raises(InputError, match="leaves nothing"):
        streamed(folder(tmp_path / "model"), MagnitudePruning(), Keep(0.0), tmp_path / "pruned")
    shutil.rmtree(tmp_path / "model")
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr(folders.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(InputError, match="bytes free"):
        streamed(path, MagnitudePruning(), Keep(0.5), out)
    broken = weights(torch.bfloat16)
    broken["layers.2.weight"][3, 4] = float("nan")
    save_file(broken, path)
    for budget in (Keep(0.5), Keep(0.5, scope="global")):
        with pytest.raises(InputError, match=r"the first at \(3, 4\)"):
            streamed(path, MagnitudePruning(), budget, None)
    assert [x.name for x in tmp_path.iterdir()] == ["model.safetensors"]


def test_headers_are_read_as_written(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file(weights(torch.float16), path, {"format": "pt", "b": "2"})
    shard = Shard.of(path)
    assert shard.size == path.stat().st_size
    assert shard.metadata == {"format": "pt", "b": "2"}


def test_an_index_is_pruned_with_what_lies_beside_it(tmp_path):
    """So a folder of transformers is pruned as files, whatever its size."""
    source, out = folder(tmp_path / "model"), tmp_path / "pruned"
    (source / "config.json").write_text('{"model_type": "llama"}')
    (source / "tokenizer.json").write_text("{}")
    (source / "notes.txt").write_text("")
    job = PruningJob(checkpoint=source / INDEX, keep=0.25, scope="global", out=out)
    document = prune_checkpoint(job)
    assert document["bytes"] == sum(x.stat().st_size for x in out.iterdir())
    copied = {"config.json", "tokenizer.json"}
    names = {x.name for x in source.iterdir()} - {"notes.txt"}
    assert {x.name for x in out.iterdir()} == names >= copied
    wanted, tensors = reference(source, MagnitudePruning(), Keep(0.25, scope="global"))
    assert document["plan"]["n_parameters_kept"] == wanted["plan"]["n_parameters_kept"]
    again, _ = read_weights(out)
    assert all(torch.equal(again[name], tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize("inner", [False, True], ids=["out_in", "in_out"])
def test_pattern_of_each_expert_of_a_stack(tmp_path, inner):
    """As of its matrix alone; where outputs come last in the file, along inputs all the same."""
    torch.manual_seed(4)
    up, down = torch.randn(3, 12, 8), torch.randn(3, 8, 6)  # gates beside: twice the six
    named = {"mlp.experts.gate_up_proj": up, "mlp.experts.down_proj": down}
    stored = {n: (t.mT if inner else t).contiguous().bfloat16() for n, t in named.items()}
    path, out = tmp_path / "stacks.safetensors", tmp_path / "out.safetensors"
    save_file(stored, path)
    document = streamed(path, NMPruning(), Keep(0.5), out)
    found = load_file(out)
    wanted, tensors = reference(path, NMPruning(), Keep(0.5))
    assert_same(json.loads(json.dumps(document)), wanted)
    assert all(torch.equal(found[name].float(), tensor) for name, tensor in tensors.items())
    shapes = {
        row["name"]: (tuple(row["shape"]), row["n_kept"]) for row in document["plan"]["layers"]
    }
    assert shapes["mlp.experts.gate_up_proj"] == ((36, 8), 144)
    assert shapes["mlp.experts.down_proj"] == ((24, 6), 144)  # six is no multiple: left whole
    assert torch.equal(found["mlp.experts.down_proj"], stored["mlp.experts.down_proj"])
    for place in range(3):
        alone = tmp_path / f"{place}.safetensors"
        save_file({"mlp.up.weight": up[place].bfloat16()}, alone)
        streamed(alone, NMPruning(), Keep(0.5), tmp_path / f"{place}p.safetensors")
        wanted = load_file(tmp_path / f"{place}p.safetensors")["mlp.up.weight"]
        matrix = found["mlp.experts.gate_up_proj"][place]
        assert torch.equal(matrix.mT if inner else matrix, wanted)
