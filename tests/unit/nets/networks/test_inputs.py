"""Examples: read from files, drawn, cut to a batch size; footprints take all their forms."""

import datetime
import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from prunable.errors import DataIntegrityError, InputError, PrunableError
from prunable.nets.networks.inputs import batch_of, drawn_example, read_example, shape_of_text
from prunable.nets.networks.memory import peak_bytes
from prunable.nets.shrink.footprint import compare


def test_examples_are_read_from_every_format(tmp_path):
    x, ids = torch.randn(2, 3), torch.tensor([[1, 2], [3, 4]])
    torch.save(x, tmp_path / "one.pt")
    torch.save([x, ids], tmp_path / "several.pt")
    torch.save({"ids": ids, "cache": False}, tmp_path / "named.pt")
    np.save(tmp_path / "one.npy", x.numpy())
    np.savez(tmp_path / "several.npz", x.numpy(), ids.numpy())
    np.savez(tmp_path / "named.npz", ids=ids.numpy())
    save_file({"ids": ids}, tmp_path / "named.safetensors")
    for name in ("one.pt", "one.npy"):
        torch.testing.assert_close(read_example(tmp_path / name), x)
    for name in ("several.pt", "several.npz"):
        first, second = read_example(tmp_path / name)
        torch.testing.assert_close(first, x)
        assert second.dtype == torch.int64
    for name in ("named.pt", "named.npz", "named.safetensors"):
        assert read_example(tmp_path / name)["ids"].tolist() == ids.tolist()
    assert read_example(tmp_path / "named.pt")["cache"] is False


def test_what_is_no_example_is_refused(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "model.pt")
    torch.save({"x": object}, tmp_path / "code.pt")
    torch.save("text", tmp_path / "text.pt")
    torch.save(torch.ones(0, 2), tmp_path / "empty.pt")
    np.save(tmp_path / "objects.npy", np.array([{}]))
    (tmp_path / "cut.pt").write_bytes((tmp_path / "text.pt").read_bytes()[:100])
    for name, message in (
        ("model.pt", "pickled objects"),
        ("code.pt", "pickled objects"),
        ("text.pt", "holds a str without tensors"),
        ("empty.pt", "empty tensor"),
        ("x.txt", "a file ending in"),
    ):
        with pytest.raises(InputError, match=message):
            read_example(tmp_path / name)
    for name in ("objects.npy", "cut.pt", "absent.npz"):
        with pytest.raises(DataIntegrityError, match=name):
            read_example(tmp_path / name)
    head = np.lib.format.magic(1, 0) + (10).to_bytes(2, "little")
    (tmp_path / "bad.npy").write_bytes(head + b"{'shape':}")
    with pytest.raises(DataIntegrityError, match=r"bad\.npy"):
        read_example(tmp_path / "bad.npy")


def test_drawn_examples_are_always_the_same():
    assert torch.equal(drawn_example((3, 4), 2), drawn_example((3, 4), 2))
    assert shape_of_text("3,224,224") == (3, 224, 224)
    for text in ("3,0,2", "", "a", "3x2", "-1"):
        with pytest.raises(InputError, match="sizes of one example"):
            shape_of_text(text)
    with pytest.raises(InputError, match="numbers in all"):
        drawn_example((1 << 20, 1 << 20), 2)


def test_batches_change_what_has_the_batch_dimension():
    example = {"x": torch.arange(3), "mask": torch.ones(1, 7), "scale": torch.tensor(2.0), "on": 1}
    found = batch_of(example, 5)
    assert found["x"].tolist() == [0, 1, 2, 0, 1]
    assert found["mask"].shape == (1, 7)
    assert found["scale"].ndim == 0
    assert found["on"] == 1


class TwoInputs(nn.Module):
    """Tokens and a vector in, a score out."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 6)
        self.linear = nn.Linear(6, 4)

    def forward(self, ids, x, *, shift=None):
        found = self.linear(self.table(ids).mean(1) + x)
        return found if shift is None else found + shift


@pytest.mark.parametrize("form", ["tuple", "dict"])
def test_costs_are_measured_with_every_form_of_example(form):
    ids, x = torch.randint(0, 11, (2, 5)), torch.randn(2, 6)
    example = (ids, x) if form == "tuple" else {"ids": ids, "x": x, "shift": torch.ones(())}
    model = TwoInputs()
    found = compare({"dense": model}, example, (1, 4), repeats=1).models["dense"]
    assert found.macs == 6 * 4
    assert set(found.milliseconds) == {1, 4}
    # the table, the layer and the inputs are held in any case
    least = 4 * (11 * 6 + 6 * 4 + 4) + 8 * 4 * 5 + 4 * 4 * 6
    assert least < found.peak_bytes < 3 * least
    assert peak_bytes(model, batch_of(example, 4)) == found.peak_bytes
    with pytest.raises(InputError, match="does not fit the model 'dense'"):
        compare({"dense": model}, (x, ids), (1,), repeats=1)
    with pytest.raises(InputError, match="example that is not empty"):
        compare({"dense": model}, (), (1,), repeats=1)


BIG = np.arange(6).reshape(2, 3)


@pytest.mark.parametrize("dtype", [">f4", ">f8", ">i8", ">i2", "longdouble", "<u2"])
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_numbers_of_any_machine_are_examples(dtype, suffix, tmp_path):
    path = tmp_path / f"x{suffix}"
    (np.save if suffix == ".npy" else np.savez)(path, BIG.astype(dtype))
    found = read_example(path)
    assert found.dtype.is_floating_point == (np.dtype(dtype).kind == "f")
    assert np.array_equal(found.numpy(), BIG)


@pytest.mark.parametrize(
    "array",
    [
        np.array(["a", "b"]),
        np.array([b"a"]),
        np.array(["2020-01-01"], dtype="datetime64[D]"),
        np.array([1], dtype="timedelta64[s]"),
        np.zeros(2, dtype=[("a", int)]),
        np.array([1, None], dtype=object),
        np.zeros((0, 3)),
        np.array([1.0, np.nan]),
    ],
    ids=["text", "bytes", "dates", "spans", "records", "objects", "empty", "nan"],
)
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_what_is_no_number_is_no_example(array, suffix, tmp_path):
    path = tmp_path / f"x{suffix}"
    save = np.save if suffix == ".npy" else np.savez
    save(path, array)
    with pytest.raises(PrunableError, match=path.name):
        read_example(path)


@pytest.mark.filterwarnings("ignore")  # of torch, that such tensors are young or old
@pytest.mark.parametrize(
    "found",
    [
        lambda: ["a"],
        lambda: datetime.date(2020, 1, 1),
        lambda: torch.eye(3).to_sparse(),
        lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
        lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
        lambda: torch.tensor([math.nan]),
        lambda: {"x": {"y": torch.ones(2)}},
    ],
    ids=["text", "date", "sparse", "quantised", "nested", "nan", "deep"],
)
def test_what_torch_stores_beside_numbers_is_no_example(found, tmp_path):
    torch.save(found(), tmp_path / "x.pt")
    with pytest.raises(InputError, match=r"x\.pt holds") as caught:
        read_example(tmp_path / "x.pt")
    assert "state_dict" not in str(caught.value)
