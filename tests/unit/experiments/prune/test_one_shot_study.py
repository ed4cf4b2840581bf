"""The one-shot study at its smallest."""

import hashlib
import sys

import pytest
import torch

from prunable.errors import DataIntegrityError, InputError
from prunable.experiments.prune.one_shot_study import METHODS, SIZES, STUDY
from prunable.experiments.prune.trained import TRAINED
from prunable.experiments.reproduce.run import reproduce
from prunable.nets.archive import save_tensors
from prunable.runs.backends import SerialBackend
from prunable.runs.store import Store


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("study"))
    (found,) = reproduce(
        [STUDY], scale="smoke", convention="paper", store=store, backend=SerialBackend()
    )
    return found


def test_every_way_has_a_line_and_the_usual_one_is_compared_with_all(document):
    (table,) = document.tables
    assert [row[0].value for row in table.rows] == [f"{method}, lamp" for method in METHODS]
    assert len(document.checks) == len(METHODS) - 1
    accuracies = {row[0].value: [cell.value for cell in row[1:]] for row in table.rows}
    for found in accuracies.values():
        assert len(found) == 2
        assert all(0 <= value <= 1 for value in found)
    # a tenth of the weights, of a network trained here
    assert accuracies["calibrated, lamp"][1] > accuracies["magnitude, lamp"][1]
    (panel,) = document.panels
    assert [len(line.x) for line in panel.series] == [3] * len(METHODS)


def test_larger_scales_take_the_networks_of_the_folder():
    for scale in ("laptop", "paper"):
        size, plan = SIZES[scale], STUDY.plan(scale, "paper")
        ways = sum(map(len, size.ways.values()))
        assert len(plan.runs) == ways * len(size.networks)
        assert set(size.ways["lamp"]) == set(METHODS)
        assert {spec.network for spec in plan.runs.values()} == set(size.networks)


def test_code_beside_the_weights_is_never_run(tmp_path, monkeypatch):
    zoo = tmp_path / "zoo"
    zoo.mkdir()
    (zoo / "nets.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    save_tensors(zoo / "vit-1.safetensors", {"weight": torch.ones(2, 2)})
    monkeypatch.setenv("PRUNABLE_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    trained = TRAINED["vit-1"]
    assert trained.code() == ""
    with pytest.raises(InputError, match="nets:vit"):
        trained.load(trained.digest(), "")
    with pytest.raises(DataIntegrityError, match="vgg-1"):
        TRAINED["vgg-1"].load("")
    assert not (tmp_path / "ran").exists()


def test_other_weights_of_the_same_name_are_other_runs(tmp_path, monkeypatch):
    """What was computed for a network is not taken for another that lies in its place."""
    path = tmp_path / "zoo" / "vit-1.safetensors"
    path.parent.mkdir()
    monkeypatch.setenv("PRUNABLE_DATA", str(tmp_path))
    key = "calibrated, lamp/3"
    found = []
    for value in (1.0, 2.0):
        save_tensors(path, {"weight": torch.full((2, 2), value)})
        found.append(STUDY.plan("laptop", "paper").runs[key])
    assert hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest() == found[1].digest
    assert found[0].network == found[1].network == "vit-1"
    assert found[0].run_id != found[1].run_id
    with pytest.raises(DataIntegrityError, match="planned"):
        TRAINED["vit-1"].load(found[0].digest)


def test_other_code_that_builds_a_network_makes_other_runs(tmp_path, monkeypatch):
    """The working directory's, which is read and not run when runs are planned."""
    monkeypatch.delitem(sys.modules, "nets", raising=False)
    monkeypatch.chdir(tmp_path)
    key, found = "calibrated, lamp/3", []
    for text in ("raise SystemExit", "raise SystemExit  # another"):
        (tmp_path / "nets.py").write_text(text)
        found.append(STUDY.plan("laptop", "paper").runs[key])
    assert found[0].digest == found[1].digest
    assert found[0].code != found[1].code == TRAINED["vit-1"].code()
    assert found[0].run_id != found[1].run_id
    assert TRAINED["published resnet20"].code() == ""
    path = tmp_path / "zoo" / "vit-1.safetensors"
    path.parent.mkdir()
    save_tensors(path, {"weight": torch.ones(2, 2)})
    monkeypatch.setenv("PRUNABLE_DATA", str(tmp_path))
    with pytest.raises(DataIntegrityError, match="nets:vit has changed"):
        TRAINED["vit-1"].load(TRAINED["vit-1"].digest(), found[0].code)


def test_the_optimum_of_shares_is_compared_in_the_mean():
    """It loses on one network and wins in the mean, but for the last share."""
    plan = STUDY.plan("laptop", "paper")
    results = {}
    for key in plan.runs:
        best, network = "optimum" in key, key[-1]
        found = [0.9, *(0.8 + 0.02 * best for _ in range(3)), 0.5 - 0.01 * best]
        if network == "0" and best:
            found[1] = 0.78
        shares = [{"kappa": 0.5, "accuracy": value} for value in found]
        results[key] = {"status": "done", "shares": shares}

    def compared():
        return [x for x in STUDY.gather(plan, results).checks if "optimum" in x.statement]

    optimum = compared()
    assert [check.outcome for check in optimum] == ["fails", "fails"]
    assert "+1.0 at kappa 0.5, +2.0 at kappa 0.3, +2.0 at kappa 0.2, -1.0" in optimum[0].evidence
    for result in results.values():
        result["shares"][-1]["accuracy"] = result["shares"][1]["accuracy"]
    assert [check.outcome for check in compared()] == ["holds", "holds"]
