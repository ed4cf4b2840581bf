"""Stages, store and runner on a data set that is always there."""

import json
import math

import pytest

from prunable.data.loaders import load
from prunable.errors import InputError, SpecError
from prunable.experiments.prune.specs import EvaluateSpec, PruneSpec
from prunable.experiments.train.specs import TrainSpec
from prunable.experiments.train.stages import train_into, trained_network
from prunable.runs.execution import execute
from prunable.runs.runner import run_all
from prunable.runs.store import Store


def spec(seed=0, **changes):
    fields = {"dataset": "digits", "width": 50, "steps": 20, "lr": 0.01, "seed": seed}
    return TrainSpec.create(**(fields | changes))


def evaluation(**changes):
    return EvaluateSpec.create(train=spec(**changes), eps=(0.1, 0.5), keep=(0.2, 1.0))


def without_times(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".lock" and path.name != "execution.json"
    }


def test_evaluation_counts_what_it_prunes(tmp_path):
    store = Store(tmp_path)
    result = execute(evaluation(noise="type1", alpha=1.5, sigma=0.5), store)
    metrics = result["metrics"]
    assert metrics["pruning_ratio_frobenius"] <= metrics["pruning_ratio_squared"]
    assert result["kappa"][0] == pytest.approx(1 - metrics["pruning_ratio_frobenius"])
    assert result["test_accuracy"][-1] == metrics["test_accuracy"]
    assert sum(result["norm_counts"]) == 50
    model = trained_network(
        store.folder(evaluation(noise="type1", alpha=1.5, sigma=0.5).train),
        spec(noise="type1", alpha=1.5, sigma=0.5),
    )
    squares = sorted(float(row @ row) for row in model.hidden.weight.detach().double())
    dropped = round(50 * metrics["pruning_ratio_squared"])
    assert math.fsum(squares[:dropped]) <= 0.1 * math.fsum(squares)
    assert math.fsum(squares[: dropped + 1]) > 0.1 * math.fsum(squares)


def test_workers_and_order_do_not_change_a_byte(tmp_path):
    specs = [evaluation(seed=s, noise="type2", alpha=1.7, sigma=0.1) for s in range(3)]
    one = run_all(specs, Store(tmp_path / "one"), workers=1)
    two = run_all(specs[::-1], Store(tmp_path / "two"), workers=2)
    assert one == two[::-1]
    assert without_times(tmp_path / "one") == without_times(tmp_path / "two")


def test_done_runs_are_not_repeated(tmp_path):
    store, seen = Store(tmp_path), []
    run_all([spec()], store, workers=1)
    stamp = (store.folder(spec()) / "model.safetensors").stat().st_mtime_ns
    run_all([spec()], store, workers=1, on_done=lambda _, result: seen.append(result["id"]))
    assert (store.folder(spec()) / "model.safetensors").stat().st_mtime_ns == stamp
    assert seen == [spec().run_id]


def test_diverged_run_is_a_row_with_its_reason(tmp_path):
    wild = {"lr": 1e30}
    trained, evaluated = run_all([spec(**wild), evaluation(**wild)], Store(tmp_path), workers=1)
    assert trained["status"] == evaluated["status"] == "diverged"
    assert "step" in evaluated["reason"]


def test_failed_run_is_tried_again(tmp_path):
    store = Store(tmp_path)
    store.folder(spec()).parent.mkdir(parents=True)
    store.folder(spec()).write_text("a file where the folder belongs")
    (failed,) = run_all([spec()], store, workers=1)
    assert failed["status"] == "failed"
    assert spec().run_id in failed["reason"]
    store.folder(spec()).unlink()
    (done,) = run_all([spec()], store, workers=1)
    assert done["status"] == "done"


def test_folder_of_another_run_is_refused(tmp_path):
    train_into(tmp_path, spec())
    with pytest.raises(SpecError, match="another folder"):
        train_into(tmp_path, spec(seed=1))


def test_prune_stage_keeps_the_share_asked_for(tmp_path):
    result = execute(PruneSpec.create(train=spec(), kappa=0.3), Store(tmp_path))
    (layer,) = result["plan"]["layers"]
    assert layer["n_kept"] == 15
    assert result["metrics"]["test_accuracy_pruned"] <= 1


def test_second_process_is_kept_out(tmp_path):
    with (
        Store(tmp_path).locked(),
        pytest.raises(InputError, match="in use"),
        Store(tmp_path).locked(),
    ):
        pass


def test_leftovers_of_a_killed_write_are_cleared(tmp_path):
    folder = tmp_path / "runs" / "train-1"
    folder.mkdir(parents=True)
    leftovers = [tmp_path / ".results.json.x1.part", folder / ".model.safetensors.x2.part"]
    for path in (*leftovers, folder / "mine.part"):
        path.write_text("half")
    with Store(tmp_path).locked():
        assert not any(path.exists() for path in leftovers)
    assert (folder / "mine.part").exists()


def test_result_file_says_everything(tmp_path):
    train_into(tmp_path, spec(average_last=5))
    stored = json.loads((tmp_path / "result.json").read_text())
    assert stored["id"] == spec(average_last=5).run_id
    assert stored["spec"]["width"] == 50
    assert 0 < stored["metrics"]["test_accuracy"] <= 1
    assert {p.name for p in tmp_path.iterdir()} == {
        "result.json",
        "execution.json",
        "metrics.parquet",
        "model.safetensors",
        "average.safetensors",
    }
    assert load("digits").x_train.shape[1] == 64
