"""A damaged checkpoint is read or refused in the package's own words: it never crashes."""

import io
import json
import resource
import subprocess
import sys
import tempfile
import textwrap
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from prunable.errors import PrunableError
from prunable.nets.archive import open_archive

KINDS = ("safetensors", "torch", "pickle", "legacy", "onnx", "gguf")
SUFFIX = dict(zip(KINDS, (".safetensors", ".pt", ".ckpt", ".pth", ".onnx", ".gguf"), strict=True))


@cache
def valid(kind):
    """Return a small file with several types, nesting and views."""
    weights = {
        "layer.weight": torch.arange(12.0).reshape(3, 4),
        "layer.bias": torch.ones(3, dtype=torch.bfloat16),
        "layer.steps": torch.tensor(7),
    }
    if kind == "safetensors":
        return save(weights, {"format": "pt"})
    if kind == "onnx":
        return valid_onnx()
    if kind == "gguf":
        return valid_gguf()
    content = {
        "epoch": 3,
        "state_dict": {**weights, "layer.turned": weights["layer.weight"].T},
        "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1}]},
    }
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=kind == "torch")
    return stream.getvalue()


def valid_gguf():
    gguf = pytest.importorskip("gguf")
    with tempfile.TemporaryDirectory() as folder:
        writer = gguf.GGUFWriter(Path(folder) / "m.gguf", "llama")
        writer.add_array("tokenizer.ggml.tokens", ["a", "bc", "d"])
        writer.add_array("numbers", [1, 2, 3])
        writer.add_bool("flag", True)
        matrix = np.arange(192, dtype=np.float32).reshape(3, 64)
        writer.add_tensor("plain", matrix)
        writer.add_tensor("half", matrix.astype(np.float16))
        kind = gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor("quantised", gguf.quantize(matrix, kind), raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return (Path(folder) / "m.gguf").read_bytes()


def valid_onnx():
    onnx = pytest.importorskip("onnx")
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    matrix = np.arange(12, dtype=np.float32).reshape(3, 4)
    branch = helper.make_graph(
        [helper.make_node("MatMul", ["x", "inner"], ["y"])],
        "branch",
        [],
        [],
        [numpy_helper.from_array(matrix, "inner")],
    )
    nodes = [
        helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(matrix, "")),
        helper.make_node("Transpose", ["w"], ["t"], perm=[1, 0]),
        helper.make_node("Gemm", ["x", "t", "c"], ["g"], transB=1),
        helper.make_node("If", ["condition"], ["out"], then_branch=branch, else_branch=branch),
    ]
    initializers = [
        numpy_helper.from_array(matrix, "w"),
        numpy_helper.from_array(matrix.astype(np.float16), "half"),
        helper.make_tensor("typed", onnx.TensorProto.FLOAT, [2], [1.0, 2.0]),
    ]
    return helper.make_model(
        helper.make_graph(nodes, "g", [], [], initializers)
    ).SerializeToString()


def damaged(kind, damages):
    """Apply (what, where in [0, 1), bytes) in turn; to "pickle" inside an intact zip file."""
    if kind != "pickle":
        return mutated(valid(kind), damages)
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(valid("torch"))) as whole, zipfile.ZipFile(stream, "w") as new:
        for name in whole.namelist():
            inside = whole.read(name)
            new.writestr(name, mutated(inside, damages) if name.endswith("data.pkl") else inside)
    return stream.getvalue()


def mutated(content, damages):
    content = bytearray(content)
    for what, where, new in damages:
        at = int(where * len(content))
        if what == "truncate":
            del content[at:]
        elif what == "flip":
            for offset, byte in enumerate(new):
                if at + offset < len(content):
                    content[at + offset] ^= byte
        elif what == "insert":
            content[at:at] = new
        elif what == "remove":
            del content[at : at + len(new)]
        elif what == "header":
            content[:8] = new[:8].ljust(8, b"\0")
    return bytes(content)


def read(path):
    """Read everything; return how many tensors there are, or None if the file is refused."""
    try:
        with open_archive(path) as archive:
            for tensor in archive.tensors:
                try:
                    array = tensor.load()
                except PrunableError as error:
                    check(error, path)
                    continue
                assert array.shape == tensor.shape
                array.tobytes()
            assert len({tensor.name for tensor in archive.tensors}) == len(archive.tensors)
            texts = [(t.name, t.dtype, t.consumer) for t in archive.tensors]
            json.dumps([texts, archive.skipped], ensure_ascii=False).encode()
            return len(archive.tensors)
    except PrunableError as error:
        check(error, path)
        return None


def check(error, path):
    """Require one sentence or two, on one line, about the file."""
    message = str(error)
    assert path.name in message
    assert "\n" not in message
    assert len(message) < 2000


damage = st.tuples(
    st.sampled_from(["truncate", "flip", "insert", "remove", "header"]),
    st.floats(0, 1, exclude_max=True),
    st.binary(min_size=1, max_size=12),
)


@pytest.mark.parametrize("kind", KINDS)
def test_the_files_to_be_damaged_are_whole(tmp_path, kind):
    path = tmp_path / f"m{SUFFIX[kind]}"
    path.write_bytes(damaged(kind, []))
    held = {"safetensors": 3, "torch": 4, "pickle": 4, "legacy": 4, "onnx": 6, "gguf": 3}
    assert read(path) == held[kind]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damages=st.lists(damage, min_size=1, max_size=4))
@example(damages=[("header", 0.0, b"\xff" * 8)])
@example(damages=[("header", 0.0, b"\xff" * 7 + b"\x7f")])
@example(damages=[("truncate", 0.0, b"\0")])
def test_damage_is_survived(tmp_path, kind, damages):
    path = tmp_path / f"m{SUFFIX[kind]}"
    path.write_bytes(damaged(kind, damages))
    read(path)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=200),
    start=st.sampled_from([b"", b"PK\3\4", b"\x80\2", b"\x08\x0a", b"\x40\0\0\0\0\0\0\0{"]),
    suffix=st.sampled_from([*SUFFIX.values(), ".weights", ".index.json"]),
)
def test_rubbish_is_refused(tmp_path, content, start, suffix):
    path = tmp_path / f"m{suffix}"
    path.write_bytes(start + content)
    read(path)


# One byte at a time over the places that hold lengths, shapes and offsets, in a process of its own:
# a crash, a lasting warning or a runaway allocation ends it, and the time limit ends a hang.
HARNESS = textwrap.dedent("""
    import importlib.util, pathlib, resource, sys
    import numpy as np

    spec = importlib.util.spec_from_file_location("fuzz", sys.argv[1])
    fuzz = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fuzz)
    kind, folder, count = sys.argv[2], pathlib.Path(sys.argv[3]), int(sys.argv[4])
    path = folder / f"m{fuzz.SUFFIX[kind]}"
    path.write_bytes(fuzz.damaged(kind, []))
    fuzz.read(path)  # whatever the readers import and keep
    held = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + 2**32,) * 2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rng = np.random.default_rng(int(sys.argv[5]) if len(sys.argv) > 5 else 0)
    kinds = ["flip", "flip", "flip", "insert", "remove", "truncate", "header"]
    read = 0
    for _ in range(count):
        damages = [
            (rng.choice(kinds), rng.random(), rng.bytes(rng.integers(1, 9)))
            for _ in range(rng.integers(1, 3))
        ]
        path.write_bytes(fuzz.damaged(kind, damages))
        read += fuzz.read(path) is not None
    print(read, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
""")


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
@pytest.mark.parametrize("kind", KINDS)
def test_damage_costs_neither_memory_nor_time(tmp_path, kind):
    damaged(kind, [])  # skips where the format's package is absent
    assert resource.RLIMIT_AS  # the harness needs it
    command = [sys.executable, "-W", "error", "-c", HARNESS, str(Path(__file__)), kind]
    done = subprocess.run(
        [*command, str(tmp_path), "3000"], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    read_whole, grown_kib = map(int, done.stdout.split())
    assert 0 < read_whole < 3000  # both outcomes are exercised
    assert grown_kib < 512 * 1024
