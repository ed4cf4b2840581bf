"""The user's own data: functions, .npz files, folders of pictures."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from prunable.data.own import is_own, load_own
from prunable.errors import DataIntegrityError, InputError

LOADERS = """
import numpy as np
import torch

class Pairs(torch.utils.data.Dataset):
    def __len__(self):
        return 10

    def __getitem__(self, place):
        return torch.full((2, 3), float(place)), place % 4

def loaders():
    whole = torch.utils.data.DataLoader(Pairs(), batch_size=4)
    return whole, torch.utils.data.DataLoader(Pairs(), batch_size=3)

def four():
    x = torch.arange(12.0, dtype=torch.float64).reshape(6, 2)
    return x, torch.tensor([0, 1, 2, 0, 1, 2]), x[:2].numpy(), [2, 0]

def bytes_():
    return np.zeros((4, 3), dtype=np.uint8), np.zeros(4, dtype=int)

def scores():
    return np.zeros((4, 3), dtype=np.float32), np.zeros(4)

def tokens():
    return np.arange(8).reshape(4, 2), np.array([0, 1, 0, 1])

def missing():
    return np.full((4, 3), np.nan), np.zeros(4, dtype=int)

def number():
    return 5
"""


@pytest.fixture
def loaders(tmp_path, monkeypatch):
    (tmp_path / "loaders_here.py").write_text(LOADERS)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("loaders")
def test_functions_give_arrays_tensors_and_loaders():
    data = load_own("loaders_here:four")
    assert data.x_train.dtype == np.float32
    np.testing.assert_array_equal(data.x_train, np.arange(12).reshape(6, 2))
    assert data.y_test.tolist() == [2, 0]
    assert data.class_names == ("0", "1", "2")
    batched = load_own("loaders_here:loaders")
    np.testing.assert_array_equal(batched.x_train[:, 1, 2], np.arange(10))
    assert batched.y_test.tolist() == [place % 4 for place in range(10)]
    whole = load_own("loaders_here:Pairs")
    assert sorted([*whole.x_train[:, 0, 0], *whole.x_test[:, 0, 0]]) == list(range(10))
    assert len(whole.y_test) == 2
    assert load_own("loaders_here:tokens").x_train.dtype.kind == "i"


@pytest.mark.usefixtures("loaders")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bytes_", "divide bytes by 255"),
        ("scores", "classes numbered from 0"),
        ("missing", "must be finite"),
        ("number", "gives a int"),
        ("absent", r"loaders_here\.py has no absent"),
    ],
)
def test_what_is_no_data_is_refused(name, message):
    with pytest.raises(InputError, match=message):
        load_own(f"loaders_here:{name}")


def test_files_of_arrays(tmp_path):
    x, y = np.arange(20.0).reshape(10, 2), np.arange(10) % 3
    np.savez(tmp_path / "one.npz", x=x, y=y)
    np.savez(tmp_path / "two.npz", x_train=x, y_train=y, x_test=x[:3], y_test=y[:3])
    one, two = (load_own(str(tmp_path / f"{name}.npz")) for name in ("one", "two"))
    assert len(one.y_train) == 8
    np.testing.assert_array_equal(two.x_test, x[:3])
    np.savez(tmp_path / "names.npz", inputs=x)
    with pytest.raises(InputError, match="holds inputs; name the arrays x_train"):
        load_own(str(tmp_path / "names.npz"))
    np.savez(tmp_path / "objects.npz", x=np.array([{}] * 3), y=y[:3])
    (tmp_path / "cut.npz").write_bytes((tmp_path / "two.npz").read_bytes()[:200])
    for name in ("objects", "cut", "absent"):
        with pytest.raises(DataIntegrityError, match=name):
            load_own(str(tmp_path / f"{name}.npz"))


def test_folders_of_pictures(tmp_path):
    for part, count in (("train", 3), ("val", 1)):
        for shade, name in ((0, "dark"), (255, "light")):
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            for place in range(count):
                Image.new("RGB", (6, 4), (shade, place, 0)).save(folder / f"{place}.png")
    source = str(tmp_path)
    assert is_own(source)
    data = load_own(source)
    assert data.x_train.shape == (6, 3, 4, 6)
    assert data.class_names == ("dark", "light")
    np.testing.assert_array_equal(data.x_train[:, 0, 0, 0], data.y_train)
    np.testing.assert_allclose(data.x_train[:3, 1, 0, 0], np.arange(3) / 255)
    assert load_own(source, shape=(1, 2, 2)).x_test.shape == (2, 1, 2, 2)
    Image.new("RGB", (5, 5)).save(tmp_path / "train" / "dark" / "9.png")
    with pytest.raises(InputError, match=r"9\.png has another size"):
        load_own(source)
    Image.new("I;16", (6, 4)).save(tmp_path / "train" / "dark" / "9.png")
    with pytest.raises(InputError, match="more than 8 bits"):
        load_own(source)
    (tmp_path / "train" / "dark" / "9.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(DataIntegrityError, match=r"9\.png is no readable picture"):
        load_own(source)
    (tmp_path / "train" / "dark" / "9.png").unlink()
    shutil.rmtree(tmp_path / "val")
    divided = load_own(source)
    assert (len(divided.y_train), len(divided.y_test)) == (5, 1)
    assert divided.class_names == ("dark", "light")
    with pytest.raises(InputError, match="holds no pictures"):
        load_own(str(tmp_path / "train" / "light"))


def test_tensors_on_their_way_to_the_user_stay_floats(tmp_path, monkeypatch):
    (tmp_path / "halves.py").write_text(
        "import torch\ndef pairs():\n"
        "    return torch.ones(4, 2, dtype=torch.bfloat16), torch.tensor([0, 1, 0, 1])\n"
    )
    monkeypatch.chdir(tmp_path)
    x = torch.from_numpy(load_own("halves:pairs").x_train.copy())
    assert x.dtype == torch.float32
