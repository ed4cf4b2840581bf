"""Measuring and pruning by tasks on a Ray cluster, against the same on this machine."""

import gc
import json
import os
import signal
import sys
import warnings
from contextlib import closing, suppress
from functools import partial

import pytest
import ray
import torch
from safetensors.torch import save_file

from prunable.errors import InputError, RunsFailedError
from prunable.nets.archive import open_archive
from prunable.nets.measure import measuring
from prunable.nets.measure.measuring import measure
from prunable.nets.prune import streaming
from prunable.nets.prune.plan import Keep
from prunable.nets.prune.shards import INDEX, STATE
from prunable.nets.prune.strategies import MagnitudePruning, NMPruning
from prunable.nets.prune.streaming import Streaming
from prunable.runs.backends import RayBackend

KINDS = (torch.bfloat16, torch.float32, torch.float16)
SHARE = Keep(0.3, scope="global")
WAYS = {
    "threshold": (MagnitudePruning(), SHARE),
    "lamp": (MagnitudePruning(allocation="lamp"), SHARE),
    "layer": (MagnitudePruning(), Keep(0.3)),
    "n:m": (NMPruning(), Keep(0.5)),
}


@pytest.fixture(scope="module")
def spread():
    """A cluster of two workers, joined once: starting one takes seconds."""
    ray.init(num_cpus=2, include_dashboard=False, logging_level="warning", log_to_driver=False)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with RayBackend().spreading() as found:
        yield found
    assert ray.is_initialized()  # what was joined is not shut down
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # Ray leaves its processes to be killed
        ray.shutdown()
        gc.collect()


@pytest.fixture(autouse=True)
def small_tasks(monkeypatch):
    """Several tasks for a few small layers."""
    monkeypatch.setattr(measuring, "OF_A_TASK", 1.5 * measuring.OF_A_LAYER)
    monkeypatch.setattr(streaming, "TOGETHER", 800)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three shards of other types each, most weights few distinct numbers: ties everywhere."""
    place, places = tmp_path_factory.mktemp("spread") / "model", {}
    place.mkdir()
    torch.manual_seed(0)
    for number, kind in enumerate(KINDS):
        fine = torch.distributions.StudentT(2.0).sample((32, 24))
        tensors = {
            f"layers.{number}.up.weight": ((torch.randn(40, 32) * 4).round() / 8).to(kind),
            f"layers.{number}.down.weight": fine.to(KINDS[number - 1]),
            f"layers.{number}.down.bias": torch.randn(32).to(kind),
        }
        name = f"model-{number + 1:05}-of-00003.safetensors"
        save_file(tensors, place / name, {"format": "pt"})
        places |= dict.fromkeys(tensors, name)
    (place / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return place


def fallible(function, mark, task):
    """Die, as a process does that the system kills, where no attempt has died before."""
    with suppress(FileExistsError):
        mark.touch(exist_ok=False)
        os.kill(os.getpid(), signal.SIGKILL)
    return function(task)


def pruned(folder, out, way, **how):
    strategy, budget = WAYS[way]
    with open_archive(folder) as archive:
        return Streaming(archive, strategy, budget, **how).prune(out, {"format": "pt"})


def files(out):
    return {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.fixture(scope="module")
def measured(folder):
    """What this machine finds."""
    return measure(folder)


def test_a_measurement_is_the_same_to_the_last_digit(folder, measured, spread, tmp_path):
    told, mark = [], tmp_path / "died"
    found = measure(
        folder,
        spread=lambda function, tasks: spread(partial(fallible, function, mark), tasks),
        on_layer=lambda *progress: told.append(progress),
    )
    assert mark.exists()
    assert json.dumps(found.to_dict()) == json.dumps(measured.to_dict())
    assert [done for done, *_ in told] == list(range(10))  # six matrices and three biases


def test_layers_too_large_to_be_measured_side_by_side(folder, spread):
    found, wanted = (measure(folder, memory=1, spread=where) for where in (spread, None))
    assert json.dumps(found.to_dict()) == json.dumps(wanted.to_dict())


@pytest.mark.parametrize("way", WAYS)
def test_shards_are_the_same_to_the_last_bit(folder, spread, tmp_path, way):
    here, there, mark = tmp_path / "here", tmp_path / "there", tmp_path / "died"
    wanted = pruned(folder, here, way)

    def mortal(function, tasks):
        """A cluster that loses a worker, once, as it is to write: a new one takes seconds."""
        writes = way == "threshold" and isinstance(function, partial)
        return spread(partial(fallible, function, mark) if writes else function, tasks)

    found = pruned(folder, there, way, spread=mortal)
    assert mark.exists() == (way == "threshold")
    assert json.dumps(found) == json.dumps(wanted)
    assert files(there) == files(here)
    assert json.dumps(pruned(folder, None, way, spread=spread)) == json.dumps(wanted)


@pytest.mark.usefixtures("spread")
def test_the_commands_say_the_same(folder, measured, document_of, tmp_path):
    found = document_of("measure", folder, "--backend ray")
    wanted = json.loads(json.dumps(measured.to_dict(curves=False)))
    assert {key: found[key] for key in wanted} == wanted
    documents = []
    for where in ("local", "ray"):
        how = f"--keep 0.3 --scope global --backend {where} --out"
        documents.append(document_of("prune", folder / INDEX, how, tmp_path / where))
        assert documents[-1].pop("out") == str(tmp_path / where)
    assert documents[0] == documents[1]
    assert files(tmp_path / "ray") == files(tmp_path / "local")


def test_a_run_that_was_stopped_goes_on(folder, spread, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    wanted, handed = pruned(folder, here, "threshold"), []

    def stopped(function, tasks):
        with closing(spread(function, tasks)) as found:
            yield next(found)
            if isinstance(function, partial):
                (there.with_name(".there.unfinished") / "lost.part").touch()  # of an attempt
                raise KeyboardInterrupt
            yield from found

    with pytest.raises(KeyboardInterrupt):
        pruned(folder, there, "threshold", spread=stopped)
    left = {path.name for path in there.with_name(".there.unfinished").iterdir()}
    assert STATE in left
    assert len([name for name in left if name.endswith(".safetensors")]) == 1
    assert not [name for name in left if name.endswith(".part")]

    def counted(function, tasks):
        handed.append(len(tasks))
        return spread(function, tasks)

    found = pruned(folder, there, "threshold", spread=counted)
    assert 2 in handed  # shards that were left
    assert found == wanted
    assert files(there) == files(here)


def test_errors_of_workers_are_the_same(spread, tmp_path):
    broken = tmp_path / "model"
    broken.mkdir()
    weights = torch.randn(20, 20)
    weights[3, 4] = torch.nan
    save_file({"x.weight": weights}, broken / "a.safetensors")
    for function in (partial(measure, broken), partial(pruned, broken, tmp_path / "out", "layer")):
        messages = []
        for how in ({}, {"spread": spread}):
            with pytest.raises(InputError) as caught:
                function(**how)
            messages.append(str(caught.value))
        assert messages[0] == messages[1]
    assert {path.name for path in tmp_path.iterdir()} == {"model"}
    with pytest.raises(InputError, match="`spread` of `measure` must be left out"):
        measure({"x.weight": torch.ones(3, 3)}, spread=spread)


def die(task):
    """Never come to a result."""
    del task
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.usefixtures("spread")
def test_a_task_that_always_kills_its_worker_is_given_up():
    with (
        RayBackend(retries=0).spreading() as impatient,
        pytest.raises(RunsFailedError, match="worker process died"),
    ):
        list(impatient(die, [1]))
