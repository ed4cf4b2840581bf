"""Mutated model files: read, or refused with the package's own message; nothing else."""

import io
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from prunable.errors import PrunableError
from prunable.nets.archive import open_archive

STATE = {"a.weight": torch.arange(12.0).view(3, 4), "b.weight": torch.ones(2, 3, dtype=torch.half)}


def whole_files():
    """One small valid file of every format."""
    zipped, legacy = io.BytesIO(), io.BytesIO()
    torch.save({"state_dict": STATE, "epoch": 3}, zipped)
    torch.save({"state_dict": STATE, "epoch": 3}, legacy, _use_new_zipfile_serialization=False)
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    weights = onnx.numpy_helper.from_array(np.arange(12, dtype=np.float32).reshape(3, 4), "w")
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)], "g",
        [helper.make_tensor_value_info("x", kind, [1, 4])],
        [helper.make_tensor_value_info("y", kind, [1, 3])], [weights],
    )  # fmt: skip
    return {
        "m.safetensors": save(STATE),
        "m.pt": zipped.getvalue(),
        "m.pth": legacy.getvalue(),
        "m.onnx": helper.make_model(graph).SerializeToString(),
        "m.safetensors.index.json": b'{"weight_map": {"a.weight": "m.safetensors"}}',
    }


FILES = whole_files()


def mutate(whole, source):
    """A few damages of one file; `source` is a random.Random."""
    data = bytearray(whole)
    for _ in range(source.randint(1, 4)):
        place = source.randrange(len(data) + 1)
        kind = source.randrange(6)
        if kind == 0:
            del data[place:]
        elif kind == 1 and data:
            place = min(place, len(data) - 1)
            data[place] ^= 1 << source.randrange(8)
        elif kind == 2:
            data[place:place] = source.randbytes(source.randint(1, 16))
        elif kind == 3:
            data[place : place + source.randint(1, 8)] = source.randbytes(8)
        elif kind == 4:
            data[:8] = source.choice([0, 1, 2**16, 2**31, 2**40, 2**63, 2**64 - 1]).to_bytes(
                8, "little"
            )
        else:
            del data[place : place + source.randint(1, 32)]
        if not data:
            break
    return bytes(data)


def read_all(path):
    """Open and load everything; True if it was readable."""
    try:
        with open_archive(path) as archive:
            for tensor in archive.tensors:
                tensor.load()
    except PrunableError as error:
        message = str(error)
    else:
        return True
    assert str(path.parent) in message
    return False


@pytest.mark.parametrize("name", list(FILES))
def test_whole_files_are_read(name, tmp_path):
    for other, content in FILES.items():
        (tmp_path / other).write_bytes(content)
    assert read_all(tmp_path / name)


@pytest.mark.parametrize("name", list(FILES))
@settings(max_examples=400)
@given(seed=st.integers(0, 2**32))
def test_damaged_files_are_read_or_refused(name, seed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "m.safetensors").write_bytes(FILES["m.safetensors"])
    (folder / name).write_bytes(mutate(FILES[name], random.Random(seed)))
    read_all(folder / name)


@pytest.mark.parametrize("suffix", ["safetensors", "pt", "onnx", "bin", "index.json", "xyz"])
@given(content=st.binary(max_size=300))
def test_any_bytes_are_refused(suffix, content, tmp_path_factory):
    path = tmp_path_factory.mktemp("bytes") / f"m.{suffix}"
    path.write_bytes(content)
    read_all(path)


def test_pickles_inside_a_zip_are_mutated_too(tmp_path):
    """Checksums of the archive made right again, so that the unpickler sees the damage."""
    source = random.Random(0)
    path = tmp_path / "m.pt"
    for _ in range(200):
        with (
            zipfile.ZipFile(io.BytesIO(FILES["m.pt"])) as whole,
            zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as damaged,
        ):
            for entry in whole.namelist():
                content = whole.read(entry)
                if entry.endswith("data.pkl"):
                    content = mutate(content, source)
                damaged.writestr(entry, content)
        read_all(path)


BOUNDED = """
import random, resource, sys, tempfile
from pathlib import Path
sys.path[:0] = [sys.argv[1]]
from tests.property.test_archive_fuzz import FILES, mutate, read_all
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, used + 2**30))
folder = Path(tempfile.mkdtemp())
for seed in range(400):
    for name, whole in FILES.items():
        (folder / name).write_bytes(mutate(whole, random.Random(seed)))
        read_all(folder / name)
print("done")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of the address space are Linux's")
def test_memory_is_bounded_and_nothing_hangs():
    """2,000 damaged files in a process with 1 GiB to spare."""
    root = str(Path(__file__).parents[2])
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", BOUNDED, root],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert run.stdout.strip() == "done", run.stderr[-2000:]
