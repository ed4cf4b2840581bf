"""Readers of true formats, and what they say of damaged and hostile files."""

import gzip
import io
import pickle
import struct

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from prunable.data import readers
from prunable.errors import DataIntegrityError


def idx_bytes(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def pictures():
    return np.random.default_rng(0).integers(0, 256, (6, 28, 28), dtype=np.uint8)


@pytest.mark.parametrize("packed", [False, True])
def test_idx_round_trip(tmp_path, pictures, packed):
    path = tmp_path / ("images.gz" if packed else "images")
    content = idx_bytes(pictures)
    path.write_bytes(gzip.compress(content) if packed else content)
    assert np.array_equal(readers.read_idx(path), pictures)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-1], "bytes where its header says"),
        (lambda content: content + b"x", "bytes where its header says"),
        (lambda content: content[:9], "within its header"),
        (lambda content: b"\x00\x00\x0d" + content[3:], "not an IDX file"),
        (lambda _: b"", "not an IDX file"),
    ],
)
def test_damaged_idx_is_named(tmp_path, pictures, damage, message):
    path = tmp_path / "images"
    path.write_bytes(damage(idx_bytes(pictures)))
    with pytest.raises(DataIntegrityError, match=f"images.*{message}"):
        readers.read_idx(path)


def test_truncated_gzip_is_named(tmp_path, pictures):
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(idx_bytes(pictures))[:-20])
    with pytest.raises(DataIntegrityError, match=r"images\.gz.*gzip"):
        readers.read_idx(path)


def test_images_and_labels_must_match(tmp_path, pictures):
    (tmp_path / "x").write_bytes(idx_bytes(pictures))
    (tmp_path / "y").write_bytes(idx_bytes(np.zeros(5, np.uint8)))
    with pytest.raises(DataIntegrityError, match=r"\(6, 28, 28\) beside labels of \(5,\)"):
        readers.read_idx_pair(tmp_path / "x", tmp_path / "y")


def test_ucr_table(tmp_path):
    path = tmp_path / "t.tsv"
    path.write_text("1\t0.5\t-1e-1\n3\t2\t4\n")
    x, y = readers.read_ucr(path)
    np.testing.assert_allclose(x, [[0.5, -0.1], [2, 4]], rtol=1e-7)
    assert y.tolist() == [1, 3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\t0.5\n2\tnan\n", "first in row 2"),
        ("1\t0.5\n2\tinf\n", "first in row 2"),
        ("1\t0.5\n2\n", "table of numbers"),
        ("1\tbeat\n", "table of numbers"),
        ("1\n2\n", "no series"),
    ],
)
def test_bad_ucr_table_is_named(tmp_path, text, message):
    path = tmp_path / "t.tsv"
    path.write_text(text)
    with pytest.raises(DataIntegrityError, match=rf"t\.tsv.*{message}"):
        readers.read_ucr(path)


def test_cifar_batch(tmp_path):
    data = np.random.default_rng(1).integers(0, 256, (4, 3072), dtype=np.uint8)
    batch = {"data": data, "labels": [3, 1, 4, 1], "batch_label": "b", "filenames": ["f"] * 4}
    (tmp_path / "b").write_bytes(pickle.dumps(batch, protocol=2))
    x, y = readers.read_cifar_batch(tmp_path / "b")
    assert np.array_equal(x, data.reshape(4, 3, 32, 32))
    assert y.tolist() == [3, 1, 4, 1]


class Hostile:
    """Would write a file if it were ever unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (open, (str(self.target), "w"))


def test_hostile_pickle_is_refused_and_not_run(tmp_path):
    target = tmp_path / "touched"
    (tmp_path / "b").write_bytes(pickle.dumps({"data": Hostile(target), "labels": []}, protocol=2))
    with pytest.raises(DataIntegrityError, match="refuses the object"):
        readers.read_cifar_batch(tmp_path / "b")
    assert not target.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80",
        b"not a pickle",
        pickle.dumps({"data": np.zeros((2, 9), np.uint8), "labels": [0, 1]}),
        pickle.dumps([1, 2]),
        pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1]})[:200],
    ],
)
def test_wrong_batches_are_named(tmp_path, content):
    (tmp_path / "batch").write_bytes(content)
    with pytest.raises(DataIntegrityError, match="batch"):
        readers.read_cifar_batch(tmp_path / "batch")


def png(array):
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize("column", ["img", "image"])
def test_hub_parquet(tmp_path, column):
    pictures = np.random.default_rng(2).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    cells = [{"bytes": png(p), "path": None} for p in pictures]
    pq.write_table(pa.table({column: cells, "label": [2, 0, 9]}), tmp_path / "t.parquet")
    x, y = readers.read_hub_parquet(tmp_path / "t.parquet")
    assert np.array_equal(x, pictures.transpose(0, 3, 1, 2))
    assert y.tolist() == [2, 0, 9]


def test_bad_parquet_is_named(tmp_path):
    path = tmp_path / "t.parquet"
    path.write_bytes(b"PAR1 no")
    with pytest.raises(DataIntegrityError, match="whole Parquet"):
        readers.read_hub_parquet(path)
    pq.write_table(pa.table({"text": ["a"]}), path)
    with pytest.raises(DataIntegrityError, match="columns"):
        readers.read_hub_parquet(path)
    pq.write_table(pa.table({"img": [{"bytes": b"noise"}], "label": [0]}), path)
    with pytest.raises(DataIntegrityError, match="row 0"):
        readers.read_hub_parquet(path)


def test_mnist_pickle_becomes_idx(tmp_path):
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (9, 784))
    labels = rng.integers(0, 10, 9)
    parts = [
        ((pixels[a:b] / 256).astype(np.float32), labels[a:b]) for a, b in ((0, 4), (4, 6), (6, 9))
    ]
    content = gzip.compress(pickle.dumps(tuple(parts), protocol=2))
    files = readers.idx_from_mnist_pickle(content, tmp_path / "p")
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    train = readers.read_idx(tmp_path / "train-images-idx3-ubyte")
    assert np.array_equal(train.reshape(6, 784), pixels[:6])
    assert readers.read_idx(tmp_path / "t10k-labels-idx1-ubyte").tolist() == labels[6:].tolist()


def test_digits_need_no_file():
    x, y = readers.read_digits()
    assert x.shape == (1797, 8, 8)
    assert x.max() == 16
    assert np.bincount(y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
