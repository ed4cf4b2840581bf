"""The study of forecasts at its smallest, and its networks."""

import numpy as np
import pytest
import torch

from prunable.errors import DataIntegrityError
from prunable.experiments.prune.trained import TRAINED, ZOO, PublishedResidual, Trained
from prunable.experiments.reproduce.run import reproduce
from prunable.forecast.estimators import DEFAULT
from prunable.forecast.study.errors import LABELS
from prunable.forecast.study.item import SIZES, STUDY, logits_specs
from prunable.forecast.study.logits import logits_of
from prunable.nets.archive import save_tensors
from prunable.runs.backends import SerialBackend
from prunable.runs.store import Run, Store


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("study"))
    (found,) = reproduce(
        [STUDY], scale="smoke", convention="paper", store=store, backend=SerialBackend()
    )
    return found, store


def test_every_size_has_a_table_with_all_estimators_and_what_labels_tell(done):
    document, _ = done
    first, second, by_network, advice = document.tables
    names = [row[0].value for row in first.rows]
    assert f"{DEFAULT} (default)" in names
    assert LABELS in names
    assert names == [row[0].value for row in second.rows]
    assert len(by_network.rows) == 1
    assert len(advice.rows) == len(SIZES["smoke"].sizes)
    for row in first.rows:
        assert all(cell.value is None or abs(cell.value) <= 1 for cell in row[1:])


def test_errors_are_those_of_the_stored_logits(done):
    """The truth is what is right on the inputs that no forecast draws from."""
    _, store = done
    (specs,) = logits_specs("smoke").values()
    (spec,) = STUDY.plan("smoke", "paper").runs.values()
    run = Run(store, store.folder(spec))
    result = run.result(spec)
    dense, labels = logits_of(specs[0], run)
    rest = slice(SIZES["smoke"].n_first, None)
    accuracy = np.mean(dense[0, rest].argmax(1) == labels[rest])
    assert result["accuracy"] == pytest.approx(accuracy)
    pruned, _ = logits_of(specs[3], run)
    right = np.mean(pruned[1, rest].argmax(1) == labels[rest])
    rows = [
        row
        for row in result["rows"]
        if (row["way"], row["kappa"], row["estimator"]) == (specs[3].way, specs[3].keeps[1], LABELS)
    ]
    assert len(rows) == 2
    assert all(row["loss"] == pytest.approx(accuracy - right) for row in rows)
    assert all(abs(row["bias"]) <= row["mae"] < 0.2 for row in rows)


def test_larger_scales_know_networks_by_their_content(tmp_path, monkeypatch):
    zoo = tmp_path / "zoo"
    zoo.mkdir()
    monkeypatch.setenv("PRUNABLE_DATA", str(tmp_path))
    monkeypatch.setenv("PRUNABLE_CACHE", str(tmp_path / "none"))
    ids = []
    for value in (1.0, 2.0):
        save_tensors(zoo / "vit-1.safetensors", {"weight": torch.full((2, 2), value)})
        specs = logits_specs("laptop")
        assert set(specs) == set(TRAINED)
        ids.append(specs["vit-1"][0].run_id)
    assert ids[0] != ids[1]
    trained = TRAINED["vit-1"]
    with pytest.raises(DataIntegrityError, match="not the file"):
        trained.load("0" * 32)
    code = tmp_path / "nets.py"
    monkeypatch.syspath_prepend(tmp_path)
    for text in ("", "# other code"):
        code.write_text(text)
        ids.append(logits_specs("laptop")["vit-1"][0].run_id)
    assert len({*ids}) == 4
    with pytest.raises(DataIntegrityError, match="code of nets:vit has changed"):
        trained.load(trained.digest(), "")
    with pytest.raises(DataIntegrityError, match="there is no"):
        Trained("zoo", "none.safetensors", "nets:vit", ZOO).load("")


def test_published_networks_have_their_sizes():
    """Parameters as in table 6 of He, Zhang, Ren and Sun (2016): .27 and .46 million."""
    for depth, millions in ((20, 0.27), (32, 0.46)):
        network = PublishedResidual(depth).eval()
        count = sum(p.numel() for p in network.parameters())
        assert round(count / 1e6, 2) == millions
        with torch.no_grad():
            assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
