"""Files made to hurt: each ends in one message, without the memory that its header asks for."""

import hashlib
import io
import json
import math
import tracemalloc
from contextlib import contextmanager
from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from typer.testing import CliRunner

import prunable
from prunable.budgets import Keep
from prunable.cli.app import app
from prunable.data.own import load_own
from prunable.errors import DataIntegrityError, InputError
from prunable.experiments.reproduce.document import load_documents
from prunable.files import DEEPEST, MOST_AXES, check_declared, parse_json, read_arrays, read_json
from prunable.nets.archive import load_tensors, open_archive, save_tensors
from prunable.nets.measure.watching import TailWatch
from prunable.nets.models.hub import load_folder
from prunable.nets.models.registry import Architecture, build, rebuild
from prunable.nets.prune.plan import plan_from_json, plan_to_json
from prunable.nets.prune.sparse_file import load_sparse, save_sparse
from prunable.nets.prune.tickets import load_ticket, write_digested
from prunable.nets.train.checkpoint import TrainingState
from prunable.report.options import bytes_of
from prunable.sketch.file import load_sketches, save_sketches
from prunable.strategies import MagnitudePruning

ESCAPES = "w\x1b]0;taken\x07\x1b[2J"
HTML = "<script>window.hit=1</script><img src=x onerror=hit()>.weight"


@contextmanager
def little_memory(most=2**26):
    """What Python and NumPy take meanwhile is little; nothing is if numbers are refused first."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


# documents


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":'])
@pytest.mark.parametrize("levels", [DEEPEST + 1, 100_000])
def test_deep_nesting_is_refused(tmp_path, opening, levels):
    closing = "".join({"[": "]", "{": "}"}[c] for c in reversed(opening) if c in "[{")
    text = opening * levels + "1" + closing * levels
    (tmp_path / "items").mkdir()
    (tmp_path / "items" / "results.json").write_text(text)
    with pytest.raises(DataIntegrityError, match=r"results\.json .*levels deep"):
        load_documents(tmp_path)
    with pytest.raises(ValueError, match="levels deep"):
        parse_json(text)
    assert parse_json("[" * DEEPEST + "]" * DEEPEST)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("NaN", "not finite"),
        ("[1e999]", "not finite"),
        ("-Infinity", "not finite"),
        ("1" + "0" * 400, "too large"),
        ('{"a": 1, "b": 2, "a": 3}', "'a' stands twice"),
        ("", "cannot be read"),
    ],
)
def test_numbers_and_keys_of_documents(tmp_path, text, says):
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(DataIntegrityError, match=says):
        read_json(tmp_path / "m.json")


def test_half_characters_are_refused():
    with pytest.raises(ValueError, match="surrogates"):
        parse_json('{"a": ["\\ud800"]}')
    assert parse_json('{"a": "\\ud83d\\ude00"}') == {"a": "\U0001f600"}


@pytest.mark.parametrize(
    "change",
    [
        *({"taps": taps} for taps in (1.0, 0, -1, 8, "1", None)),
        *({"groups": groups} for groups in (1.5, 0, None)),
        *({"fill": fill} for fill in (0.5, [[0.5]], [[[0.0] * 3]], [[[[0.0]]]])),
    ],
)
def test_plans_of_other_layouts(change):
    pruned = prunable.prune(nn.Linear(4, 3), MagnitudePruning(), Keep(0.5), dry_run=True)
    document = json.loads(plan_to_json(pruned.plan))
    document["layers"][0] |= change
    with pytest.raises(prunable.errors.PrunableError):
        plan_from_json(json.dumps(document))


def test_shapes_of_messages_are_short():
    architecture = Architecture("two-layer", (6,) * 500, 3)
    with pytest.raises(InputError) as caught:
        rebuild({"a": torch.zeros(2, 2)}, architecture)
    assert len(str(caught.value)) < 300


def test_measurements_whose_curves_do_not_fit(tmp_path):
    torch.manual_seed(0)
    measured = prunable.measure(nn.Linear(40, 40))
    whole = measured.to_dict()
    whole["layers"][0]["curves"]["eps"].pop()
    (tmp_path / "m.json").write_text(json.dumps(whole))
    with pytest.raises(DataIntegrityError, match="curves of lengths"):
        prunable.read(tmp_path / "m.json")
    # what is printed has no curves, and makes a page all the same
    (tmp_path / "short.json").write_text(json.dumps(measured.to_dict(curves=False)))
    prunable.write(prunable.read(tmp_path / "short.json"), tmp_path / "m.html")


# arrays whose headers announce more than there is


def test_entries_beyond_what_bytes_can_mean():
    check_declared([(2**12, 2**12)], 0)
    check_declared([(2**13, 2**13)], 2**16)
    with pytest.raises(ValueError, match="more than its bytes can mean"):
        check_declared([(2**12, 2**12), (1,)], 0)


def _resealed(path, change):
    """Change the document of a file of sketches, and give it the digest that fits."""
    stored, header = load_tensors(path)
    document = json.loads(header["sketch"])
    change(document["tensors"]["w"])
    header["sketch"] = json.dumps(document)
    header["digest"] = hashlib.blake2b(header["sketch"].encode(), digest_size=16).hexdigest()
    save_tensors(path, stored, header)


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [2**20, 2**20]},
        {"shape": [2**40, 1]},
        {"shape": [-5, -8]},
        {"shape": [1] * (MOST_AXES + 1)},
        {"shape": "50"},
        {"m": [2**40, 2**40]},
        {"m": [10**30, 1]},
        {"delta": [2**31, 2**31]},
        {"delta": [17, 3]},
        {"delta": None},
        {"seed": 1e300},
        {"seed": [1]},
        {"dtype": "nn"},
        {"dtype": "float64"},
        {"unknown": 1},
    ],
)
def test_sketches_of_hostile_headers(tmp_path, change):
    path, w = tmp_path / "s", torch.zeros(50, 60)
    w[::7, ::11] = 1.5
    save_sketches(path, {"w": w}, asked=bool)
    assert torch.equal(load_sketches(path)[0]["w"], w)
    _resealed(path, lambda record: record.update(change))
    with little_memory(), pytest.raises(DataIntegrityError, match="encode the checkpoint again"):
        load_sketches(path)


@pytest.mark.parametrize(
    "shapes",
    ['{"w": [1099511627776]}', '{"w": [65536, 65536]}', '{"w": [-1, -400]}', '{"w": [4.5, 100]}',
     '{"w": [1e999]}', '{"w": []}', '{"w": null}', "[]", "null", "{" * 9999, '{"v": [20, 20]}'],
)  # fmt: skip
def test_bitmasks_of_hostile_headers(tmp_path, shapes):
    path, w = tmp_path / "s", torch.zeros(20, 20)
    w[3, 4] = 2
    save_sparse(path, {"w": w})
    stored, header = load_tensors(path)
    save_tensors(path, stored, header | {"shapes": shapes})
    with little_memory(), pytest.raises(DataIntegrityError, match="write it again"):
        load_sparse(path)


def test_bitmask_that_marks_other_entries_than_there_are(tmp_path):
    path, w = tmp_path / "s", torch.eye(20)
    save_sparse(path, {"w": w})
    stored, header = load_tensors(path)
    for part in (stored["w::values"][:-1], stored["w::values"][:1], torch.ones(20, 2)):
        save_tensors(path, stored | {"w::values": part.contiguous()}, header)
        with pytest.raises(DataIntegrityError, match="values of shape"):
            load_sparse(path)


@pytest.mark.parametrize(
    "change",
    [
        {"shapes": {"w": [2**70]}},
        {"shapes": {"w": [10**300, 8]}},
        {"shapes": {}},
        {"seed": None},
        {"seed": 1.5},
        {"rewind_step": -1},
        {"rewind_step": "soon"},
        {"shares": 3},
        {"shares": ["x"]},
        {"more": 1},
    ],
)
def test_tickets_of_hostile_documents(tmp_path, change):
    bits = {"mask/w": torch.tensor([7], dtype=torch.uint8)}
    document = {"shapes": {"w": [8]}, "seed": 1, "rewind_step": 0, "shares": [0.4]}
    write_digested(tmp_path / "t", "ticket-1", bits, document)
    assert load_ticket(tmp_path / "t").n_kept == 3
    write_digested(tmp_path / "t", "ticket-1", bits, document | change)
    with pytest.raises(DataIntegrityError, match="write it again"):
        load_ticket(tmp_path / "t")


def test_arrays_whose_header_announces_more_than_there_is(tmp_path):
    stream = io.BytesIO()
    np.save(stream, np.zeros(1000))
    huge = stream.getvalue().replace(b"(1000,)", b"(9" + b"9" * 4 + b",)")
    (tmp_path / "x.npy").write_bytes(huge)
    np.savez(tmp_path / "x.npz", x=np.zeros(4))
    whole = (tmp_path / "x.npz").read_bytes()
    (tmp_path / "x.npz").write_bytes(whole[: len(whole) // 2])
    for name in ("x.npy", "x.npz"):
        with little_memory(), pytest.raises(DataIntegrityError, match=name):
            read_arrays(tmp_path / name)


@pytest.mark.parametrize("numbers", ["storage", "shape", "text", "key"])
def test_older_torch_files_whose_storages_are_larger_than_they(tmp_path, numbers):
    stream = io.BytesIO()
    torch.save({"w": torch.zeros(40_000)}, stream, _use_new_zipfile_serialization=False)
    whole = stream.getvalue()
    size = (40_000).to_bytes(2, "little")
    place = whole.index(b"cpu") if numbers == "storage" else whole.rindex(b"M" + size)
    at = whole.index(b"M" + size, place)
    larger = b"J" + (2**31 - 1).to_bytes(4, "little")
    changed = whole[:at] + larger + whole[at + 3 :]
    if numbers == "text":
        at = whole.index(b"X\x01\0\0\0w")
        changed = whole[:at] + b"X\xff\xff\xff\x7fw" + whole[at + 6 :]
    if numbers == "key":  # of a storage, in the list behind what was saved
        at = whole.rindex(b"\0\0\0", 0, whole.rindex(b"q\x01a"))
        changed = whole[:at] + b"\0\0\x7f" + whole[at + 3 :]
    (tmp_path / "m.pth").write_bytes(changed)
    said = {"storage": "a storage of", "shape": "beyond its storage"}.get(numbers, "remain")
    with little_memory(), pytest.raises(DataIntegrityError, match=said):
        open_archive(tmp_path / "m.pth").__enter__()


# the state of a training


def _running(kind=torch.optim.Adam):
    torch.manual_seed(1)
    model = nn.Linear(3, 2)
    optimizer = kind(model.parameters(), lr=0.1)
    model(torch.ones(4, 3)).sum().backward()
    optimizer.step()
    return TrainingState(model, optimizer)


def _changed(path, change, tensors=None):
    stored, header = load_tensors(path)
    document = json.loads(header["training_state"])
    change(document)
    text = header | {"training_state": json.dumps(document)}
    save_tensors(path, stored | (tensors or {}), text)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.pop("progress"),
        lambda d: d.pop("optimizer"),
        lambda d: d.update(optimizer=[]),
        lambda d: d.update(scalars=3),
        lambda d: d.update(scalars={"x": {}}),
        lambda d: d.update(scalars={"7": {"step": 1}}),
        lambda d: d.update(progress=None),
        lambda d: d.update(more=1),
        lambda d: d["optimizer"].pop("param_groups"),
        lambda d: d["optimizer"]["param_groups"].clear(),
        lambda d: d["optimizer"]["param_groups"][0].pop("lr"),
        lambda d: d["optimizer"]["param_groups"][0].update(lr="fast"),
        lambda d: d["optimizer"]["param_groups"][0].update(betas=[{}, 0.9]),
        lambda d: d["optimizer"]["param_groups"][0].update(params=[[]]),
    ],
)
def test_training_states_of_hostile_documents(tmp_path, change):
    path, state = tmp_path / "s", _running()
    state.save(path, {"step": 1})
    assert state.load(path) == {"step": 1}
    _changed(path, change)
    with pytest.raises(DataIntegrityError, match="delete it to train from the start"):
        _running().load(path)


@pytest.mark.parametrize("slot", ["0/exp_avg", "1/exp_avg_sq"])
def test_training_states_whose_tensors_do_not_fit(tmp_path, slot):
    path = tmp_path / "s"
    _running().save(path, {})
    _changed(path, dict, {f"optimizer/{slot}": torch.ones(5, 5)})
    with pytest.raises(DataIntegrityError, match=r"has the shape \(5, 5\)"):
        _running().load(path)


# what reaches the terminal and the pages


def test_networks_of_different_shapes_compare(tmp_path):
    torch.manual_seed(2)
    names = {"a.weight": (40, 30), "b.weight": (30, 30), "c.weight": (20, 20)}
    save_file({n: torch.randn(s) for n, s in names.items()}, tmp_path / "a.safetensors")
    other = {"a.weight": (20, 25), "b.weight": (4, 3, 5, 5), "c.weight": (2, 2), "d.weight": (9, 9)}
    save_file({n: torch.randn(s) for n, s in other.items()}, tmp_path / "b.safetensors")
    pair = [
        "measure",
        str(tmp_path / "a.safetensors"),
        "--against",
        str(tmp_path / "b.safetensors"),
    ]
    done = CliRunner().invoke(app, [*pair, "--json", "--report", str(tmp_path / "r.html")])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["comparison"]
    assert {layer["name"] for layer in found["layers"]} == names.keys()
    assert found["only_in_against"] == ["d.weight"]


def test_names_do_not_reach_the_terminal_as_they_are(tmp_path):
    assert "\x1b" not in str(InputError(f"no {ESCAPES}"))
    assert "\\x1b[2J" in str(DataIntegrityError(f"no {ESCAPES}"))
    save_file({ESCAPES: torch.randn(30, 30)}, tmp_path / "m.safetensors")
    index = {"weight_map": {ESCAPES: f"{ESCAPES}.safetensors"}}
    (tmp_path / "m.safetensors.index.json").write_text(json.dumps(index))
    for name in ("m.safetensors", "m.safetensors.index.json"):
        done = CliRunner().invoke(app, ["measure", str(tmp_path / name)])
        assert "\x1b]" not in done.output
        assert "\x07" not in done.output
        assert done.exit_code == (0 if name == "m.safetensors" else 2)


def test_names_are_no_markup_of_pages(tmp_path):
    torch.manual_seed(3)
    save_file({HTML: torch.randn(30, 30)}, tmp_path / "m.safetensors")
    measured = prunable.measure(tmp_path / "m.safetensors")
    prunable.write(measured, tmp_path / "m.html")
    model = nn.Module()
    model.register_module("<script>hit()</script>", nn.Linear(9, 9))
    strategy, budget = MagnitudePruning(), Keep(0.5, "layer")
    plan = prunable.prune(model, strategy, budget, dry_run=True).plan
    prunable.write(plan, tmp_path / "p.html")
    for page in ("m.html", "p.html"):
        text = (tmp_path / page).read_text()
        assert "hit" in text
        assert "<script>window.hit" not in text
        assert "<script>hit" not in text
        assert "<img src=x" not in text


# links


def test_links_out_of_a_folder_are_not_followed(tmp_path):
    folder, outside = tmp_path / "net", tmp_path / "secret.safetensors"
    folder.mkdir()
    save_file({"w": torch.ones(3, 3)}, outside)
    (folder / "model.safetensors").symlink_to(outside)
    with pytest.raises(InputError, match=r"is a link to .*secret.* not followed"):
        open_archive(folder).__enter__()
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").write_bytes(outside.read_bytes())
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    (folder / "config.json").symlink_to(tmp_path / "config.json")
    with pytest.raises(InputError, match=r"is a link to .*config.* not followed"):
        load_folder(folder)
    # within the folder, and to the blobs of the hub's own cache, they are
    snapshot, blobs = tmp_path / "hub" / "snapshots" / "1", tmp_path / "hub" / "blobs"
    for place in (snapshot, blobs):
        place.mkdir(parents=True)
    (blobs / "b1").write_bytes(outside.read_bytes())
    (snapshot / "model.safetensors").symlink_to(blobs / "b1")
    with open_archive(snapshot) as archive:
        assert math.prod(archive.tensors[0].shape) == 9


# documents and files that commands go on with


def test_architectures_larger_than_their_weights(tmp_path):
    known = Architecture("two-layer", (6,), 3, 4)
    weights = build(known, generator=torch.Generator().manual_seed(0)).state_dict()
    for change in ({"n_outputs": 2**40}, {"width": 2**62}, {"shape": (2**48,)}, {"width": 1.5}):
        claimed = {"architecture": json.dumps({**asdict(known), **change})}
        save_file(weights, tmp_path / "n.safetensors", claimed)
        with little_memory(), pytest.raises(InputError, match="Name the architecture"):
            prunable.load(tmp_path / "n.safetensors")
    save_file(weights, tmp_path / "n.safetensors", known.metadata())
    found = prunable.load(tmp_path / "n.safetensors").state_dict()
    assert all(torch.equal(x, weights[name]) for name, x in found.items())


@pytest.mark.parametrize("content", [b"PAR1", None])
def test_rows_of_a_watch_that_are_something_else(tmp_path, content):
    path = tmp_path / "tails.parquet"
    if content is None:
        pq.write_table(pa.table({"layer": ["a"]}), path)
    else:
        path.write_bytes(content)
    with pytest.raises(DataIntegrityError, match=r"tails\.parquet cannot be read .* remove it"):
        TailWatch(path)


def test_classes_by_the_billion(tmp_path):
    np.savez(tmp_path / "d.npz", x=np.ones((6, 2), np.float32), y=np.array([2**40] * 6))
    with little_memory(), pytest.raises(InputError, match="classes numbered below"):
        load_own(str(tmp_path / "d.npz"))


@pytest.mark.parametrize("text", ["9" * 400 + "TB", "0.5", "0GiB", "99999999TiB"])
def test_sizes_of_memory_beyond_measure(text):
    with pytest.raises(InputError, match="must be a size such as 512MiB or 2GiB"):
        bytes_of(text, "memory", "measure")


@pytest.mark.parametrize("huge", ["--n=1" + "0" * 400, "--p=99999999999999999999", "--sigma=1e308"])
def test_predictions_of_numbers_beyond_measure(huge):
    given = ["--n", "50", "--p", "100", "--s", "10", "--sigma", "0.1", huge]
    done = CliRunner().invoke(app, ["predict", "lgp", *given])
    assert (done.exit_code, done.exception.__class__) == (2, SystemExit)
    assert "of `predict" in done.stderr


def test_standard_output_is_for_results(tmp_path, monkeypatch):
    """Whatever the code of a network prints, each time it runs."""
    code = (
        "from torch import nn\nclass Loud(nn.Linear):\n    def forward(self, x):\n"
        "        print('loud')\n        return super().forward(x)\n"
        "def build():\n    return Loud(4, 3)\n"
    )
    (tmp_path / "loudnet.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    torch.save(nn.Linear(4, 3).state_dict(), "n.pt")
    np.savez("x.npz", x=np.eye(40, 4, dtype=np.float32), y=np.arange(40) % 3)
    given = ["n.pt", "--net", "loudnet:build", "--inputs", "x.npz", "--accuracy", "0.5", "--json"]
    done = CliRunner().invoke(app, ["forecast", *given, "--keep", "0.5", "--methods", "magnitude"])
    assert json.loads(done.stdout)["schema_version"] == 1
    assert "loud" in done.stderr
