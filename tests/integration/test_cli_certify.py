"""`prunable certify` and `prunable verify` as users call them, on real digits."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import prunable.verify_certificate as verifier
from prunable.certify.certificate import read_certificate
from prunable.certify.pipeline import certify_model
from prunable.certify.study import CertifySpec
from prunable.certify.verifying import verify
from prunable.data.loaders import load
from prunable.errors import DataIntegrityError
from prunable.report import terminal
from prunable.runs.backends import SerialBackend
from prunable.runs.execution import execute
from prunable.runs.runner import run_all
from prunable.runs.store import Store

pytestmark = pytest.mark.usefixtures("one_thread")

SPEC = CertifySpec.create(
    data="digits",
    net="d12,d",
    epochs=12,
    float_epochs=4,
    keep=0.4,
    levels=1,
    rate=1e-3,
    lr=2e-2,
    batch_size=50,
)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("pipeline"))
    return store.folder(SPEC), execute(SPEC, store)


@pytest.fixture(scope="module")
def trained(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "run"
    done = run("train --data digits --width 40 --epochs 60 --lr 0.01 --batch 50 --out", folder)
    assert done.exit_code == 0, done.stderr
    return folder / "model.safetensors"


@pytest.fixture(scope="module")
def certified(run, trained, tmp_path_factory):
    out = tmp_path_factory.mktemp("certified") / "cert.json"
    options = "--data digits --epochs 3 --levels 1 --keep 0.2 --draws 200 --lr 0.01 --json"
    done = run("certify", trained, options, "--out", out, "--figure", out.with_suffix(".svg"))
    assert done.exit_code == 0, done.stderr
    said = [line.partition(", epoch")[0] for line in done.stderr.splitlines() if "epoch 1:" in line]
    rounds = [f"pruning {k} of 8" for k in range(1, 9)]
    assert said == ["student", *rounds, "rounding", "learned prior"]  # no two trainings look alike
    return json.loads(done.stdout), out


def test_every_bound_is_itemised(certified):
    document, out = certified
    assert {"model", "n", "delta", "bounds", "best", "advice", "skipped"} <= document.keys()
    assert document["n"] == 1297
    names = {bound["name"] for bound in document["bounds"]}
    assert {
        "Occam, code length",
        "Occam, code length less permutations",
        "held-out set",
        "code length and disagreement",
        "PAC-Bayes-kl",
        "PAC-Bayes, Catoni on a grid",
    } <= names
    for bound in document["bounds"]:
        assert bound["terms"]
        assert {a["status"] for a in bound["assumptions"]} <= {"holds", "violated", "unchecked"}
        assert bound["about"], bound["name"]
    told = ("name", "variant", "about", "quantity")
    assert len({tuple(b[key] for key in told) for b in document["bounds"]}) == len(
        document["bounds"]
    )
    assert "network as given" not in json.dumps(document)
    best = min(
        b["value"]
        for b in document["bounds"]
        if b["quantity"] == "risk"
        and b["value"] is not None
        and not any(a["status"] == "violated" for a in b["assumptions"])
    )
    assert document["best"]["value"] == min(best, 1)
    assert document["bits"] == 8 * out.with_suffix(".code").stat().st_size
    assert "<svg" in out.with_suffix(".svg").read_text()


def test_a_path_is_a_table_a_figure_and_claimed(run, trained, tmp_path):
    out = tmp_path / "path.json"
    options = "--data digits --epochs 2 --draws 0 --student none --learned none --path 5"
    done = run("certify", trained, options, "--out", out, "--figure", out.with_suffix(".svg"))
    assert done.exit_code == 0, done.stderr
    shown = " ".join(done.stdout.split())
    sentences = re.findall(r"`(?:held_out|anywhere|envelope|compression)`.*?(\S+)% unpruned", shown)
    assert len(sentences) == 4
    for bound in sentences:  # the tables round up as the sentences do
        assert f"{bound}%" in shown[shown.index("Pruning path") :].partition("With probability")[0]
    for column in ("kappa", "held_out", "anywhere", "envelope", "compression"):
        assert column in shown
    assert "at all 5 shares at once" in shown
    assert "any share whatever" in shown
    assert "kappa, share of weights kept" in out.with_suffix(".svg").read_text()
    notes = json.loads(out.read_text())["notes"]
    assert notes["path"]["kappa"] == [1.0, 0.8, 0.6, 0.4, 0.2]
    done = run("verify", out)
    assert done.exit_code == 0, done.stderr
    assert "path" in done.stdout.partition("Claimed, not checked: ")[2]


def test_bounds_above_one_say_why(certified):
    document, _ = certified
    for bound in document["bounds"]:
        vacuous = bound["quantity"] == "risk" and (bound["log_value"] or 0) >= 0
        counted = bound["quantity"] == "count"
        assert bool(bound["why"]) == ((vacuous and bound["value"] != 0) or counted), bound["name"]
    (ticket,) = [b for b in document["bounds"] if b["name"] == "subnetwork of a random network"]
    assert "examples on" in ticket["why"]
    assert "wide" in ticket["why"] or "narrower" in ticket["why"]


def test_bounds_of_norms_and_margins_are_there(certified):
    document, _ = certified
    names = {bound["name"] for bound in document["bounds"]}
    assert {"Neyshabur 2017", "Bartlett 2017", "parameter counting, kept"} <= names
    assert not document["skipped"]
    for bound in document["bounds"]:
        if bound["name"] == "Bartlett 2017":
            assert not bound["certifies"]


def test_few_examples_say_how_many_are_needed(certified):
    document, _ = certified
    (occam,) = [b for b in document["bounds"] if b["name"] == "Occam, code length"]
    assert f"{document['bits']:,}" in document["advice"]
    assert occam["n"] == 1297
    assert "bits instead of" in document["advice"]
    assert "examples instead of 1,297" in document["advice"]


def test_verification_confirms_in_another_process(run, certified):
    _, out = certified
    done = run("verify", out, "--json")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["verified"]
    (file,) = document["files"]
    assert file["statement"]["train"]["data"] == "own train"


OTHERS = "not verified: these are not the data that the certificate names"


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        (("train", "errors"), 3, "train.errors: 3 is said"),
        (("train", "bound"), 0.01, "train.bound: 0.01 is said"),
        (("train", "n"), 10_000, OTHERS),
        (("train", "sha256"), "0" * 64, OTHERS),
        (("train", "data"), "mnist train", OTHERS),
        (("test", "errors"), 0, "test.errors: 0 is said"),
        (("delta",), 0.5, "bound: "),
        (("vacuous",), "the contrary", "vacuous"),
    ],
)
def test_altered_statements_are_not_confirmed(run, certified, tmp_path, key, value, reason):
    _, out = certified
    document = json.loads(out.read_text())
    place = document["statement"]
    for name in key[:-1]:
        place = place[name]
    place[key[-1]] = value
    altered = tmp_path / "cert.json"
    altered.write_text(json.dumps(document))
    (tmp_path / "cert.code").write_bytes(out.with_suffix(".code").read_bytes())
    done = run("verify", altered)
    assert done.exit_code == 1
    assert reason in done.stderr


@pytest.mark.parametrize("damage", ["truncated", "altered", "missing", "longer"])
def test_damaged_code_files_are_rejected_by_both_readers(run, pipeline, tmp_path, damage):
    folder, _ = pipeline
    content = (folder / "certificate.code").read_bytes()
    damaged = {
        "truncated": content[:-3],
        "altered": content[:9] + bytes([content[9] ^ 4]) + content[10:],
        "missing": None,
        "longer": content + b"\0",
    }[damage]
    (tmp_path / "certificate.json").write_bytes((folder / "certificate.json").read_bytes())
    if damaged is not None:
        (tmp_path / "certificate.code").write_bytes(damaged)
    done = run("verify", tmp_path / "certificate.json")
    assert done.exit_code == (3 if damage == "missing" else 1)
    assert "certificate.code" in done.stderr
    with pytest.raises(DataIntegrityError, match=r"certificate\.code"):
        read_certificate(tmp_path / "certificate.json")


def copied(folder, target):
    for ending in ("json", "code"):
        content = (folder / f"certificate.{ending}").read_bytes()
        (target / f"certificate.{ending}").write_bytes(content)
    return target / "certificate.json"


def test_several_files_end_with_the_worst(run, pipeline, tmp_path):
    path = copied(pipeline[0], tmp_path)
    malformed, refuted, missing = (tmp_path / f"{name}.json" for name in ("m", "r", "x"))
    malformed.write_text("[" * 300)
    refuted.write_text(path.read_text().replace('"vacuous": false', '"vacuous": true'))
    assert run("verify", path, malformed, refuted, missing).exit_code == 1
    assert run("verify", malformed, missing).exit_code == 2
    done = run("verify", path, missing, "--json")
    assert done.exit_code == 3
    document = json.loads(done.stdout)
    assert not document["verified"]
    assert [file["outcome"] for file in document["files"]] == ["verified", "missing"]
    assert document["bound"] == document["files"][0]["bound"]


def test_old_certificates_say_so(run, pipeline, tmp_path):
    path = copied(pipeline[0], tmp_path)
    path.write_text(path.read_text().replace("certificate 2", "certificate 1"))
    done = run("verify", path)
    assert done.exit_code == 2
    known = "('prunable certificate 2', 'prunable certificate 3')"
    assert f"'prunable certificate 1', not of {known}: certify it anew" in done.stderr


@pytest.mark.parametrize("status", [0, 2])
def test_no_control_character_reaches_the_terminal(run, pipeline, tmp_path, status):
    path = copied(pipeline[0], tmp_path).rename(tmp_path / "\x1b[2Jforged\u202e.json")
    document = json.loads(path.read_text())
    document["notes"]["\x1b[31mverified"] = "\x1b]0;title\x07"
    path.write_text(json.dumps(document) if status == 0 else "{")
    done = run("verify", path)
    assert done.exit_code == status
    shown = (done.stdout + done.stderr).replace("\n", "")
    assert "\\x1b[2Jforged" in shown
    assert not any(c in shown for c in "\x1b\x07\u202e")


def test_the_command_imports_nothing_from_where_it_is_run(pipeline, tmp_path):
    path, marker = copied(pipeline[0], tmp_path), tmp_path / "imported"
    for name in ("gzip", "pickle", "numpy", "json"):
        (tmp_path / f"{name}.py").write_text(f"open({str(marker)!r}, 'a').write('{name}')\n")
    # as the installed command starts: without the working directory among the modules
    start = [sys.executable, "-P", "-c", "from prunable.cli.app import main; main()"]
    done = subprocess.run(
        [*start, "verify", path.name], cwd=tmp_path, capture_output=True, text=True
    )
    assert not marker.exists()
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("certificate.json: verified. With probability at least 1 - 0.05")


@pytest.mark.parametrize("channels", [1, 3, 20])
def test_pictures_of_any_channels_have_a_usual_student(run, tmp_path, monkeypatch, channels):
    """By themselves, without an option for the student: sizes beyond those of digits."""
    g = np.random.default_rng(channels)
    y = np.arange(240) % 3
    x = g.random((240, channels, 20, 20), dtype=np.float32) + y[:, None, None, None]
    arrays = {"x_train": x[:180], "y_train": y[:180], "x_test": x[180:], "y_test": y[180:]}
    np.savez(tmp_path / "own.npz", **arrays)
    (tmp_path / "flatnet.py").write_text(
        "from torch import nn\n\ndef build():\n"
        f"    return nn.Sequential(nn.Flatten(), nn.Linear({400 * channels}, 3))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "flatnet", raising=False)
    net = {"1.weight": torch.randn(3, 400 * channels), "1.bias": torch.zeros(3)}
    save_file(net, tmp_path / "net.safetensors")
    out = tmp_path / "cert.json"
    options = "--net flatnet:build --student-epochs 1 --learned none --draws 0 --json --out"
    data = ["--data", tmp_path / "own.npz"]
    done = run("certify", tmp_path / "net.safetensors", *data, options, out)
    assert done.exit_code == 0, done.output
    kinds = [one["kind"] for one in json.loads(done.stdout)["statements"]]
    assert "disagreement" in " ".join(kinds)


def test_own_data_carry_their_own_digest(run, trained, tmp_path):
    digits = load("digits")
    arrays = {name: getattr(digits, name) for name in ("x_train", "y_train", "x_test", "y_test")}
    own, out = tmp_path / "own.npz", tmp_path / "cert.json"
    np.savez(own, **arrays)
    done = run("certify", trained, "--epochs 1 --draws 0", "--data", own, "--out", out)
    assert done.exit_code == 0, done.stderr
    assert f" --data {own}`" in done.stdout
    assert run("verify", out).exit_code == 3  # nothing is opened because a certificate names it
    done = run("verify", out, "--data", own)
    assert done.exit_code == 0, done.stderr
    digest = json.loads(out.read_text())["statement"]["train"]["sha256"]
    assert f"of its own, known by their sha256 {digest} alone" in done.stdout
    np.savez(own, **{**arrays, "y_train": arrays["y_train"][::-1]})
    done = run("verify", out, "--data", own)
    assert done.exit_code == 1
    assert OTHERS in done.stderr


def test_data_that_are_not_the_networks_are_named(run, trained, tmp_path, monkeypatch):
    """Classes from 1 on, and pictures for a network of the user's that takes others."""
    data, path = load("digits"), tmp_path / "mine.npz"
    np.savez(path, x=data.x_train[:50], y=data.y_train[:50] + 1)
    done = run("certify", trained, "--data", path, "--draws 0")
    assert done.exit_code == 2
    assert "classes (11 here)" in done.stderr
    assert done.stderr.count("\n") == 1
    assert "The first class is 0." in done.stderr
    code = (
        "from torch import nn\ndef net(): return nn.Sequential(nn.Conv2d(3, 10, 1), nn.Flatten())"
    )
    (tmp_path / "of_pictures.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    save_file(torch.nn.Sequential(torch.nn.Conv2d(3, 10, 1)).state_dict(), "net.safetensors")
    done = run("certify net.safetensors --net of_pictures:net --draws 0 --data", path)
    assert done.exit_code == 2
    assert "`--data` of shape (2, 64) does not fit the model" in done.stderr


def test_code_file_holds_the_certified_weights(pipeline):
    folder, result = pipeline
    _, network = read_certificate(folder / "certificate.json")
    stored = load_file(folder / "model.safetensors")
    for place, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        assert stored[f"layers.{place}.weight"].numpy().tobytes() == weight.tobytes()
        assert stored[f"layers.{place}.bias"].numpy().tobytes() == bias.tobytes()
    train = result["statement"]["train"]
    assert train["errors"] / train["n"] < 0.2
    assert not result["statement"]["vacuous"]


def test_independent_reader_finds_the_same_integers(pipeline):
    folder, _ = pipeline
    content = (folder / "certificate.code").read_bytes()
    found = verifier.Network(content)
    _, network = read_certificate(folder / "certificate.json")
    assert found.normalised
    for (weights, *_, biases, _, _), mine, bias in zip(
        found.chain, network.weights, network.biases, strict=True
    ):
        np.testing.assert_array_equal(weights, mine)
        np.testing.assert_array_equal(biases.ravel(), bias)


def test_finished_pipelines_are_not_repeated(pipeline):
    folder, result = pipeline
    before = (folder / "certificate.code").stat().st_mtime_ns
    assert execute(SPEC, Store(folder.parents[1])) == result
    assert (folder / "certificate.code").stat().st_mtime_ns == before


def test_the_pipeline_is_seeded(pipeline, tmp_path):
    folder, _ = pipeline
    store = Store(tmp_path)
    run_all([SPEC], store, backend=SerialBackend())
    again = store.folder(SPEC) / "certificate.code"
    assert again.read_bytes() == (folder / "certificate.code").read_bytes()
    assert not (store.folder(SPEC) / "checkpoint.safetensors").exists()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_pipelines_are_trained_where_the_runner_puts_them(tmp_path):
    store = Store(tmp_path)
    result = execute(SPEC, store, device="cuda:0")
    assert not result["statement"]["vacuous"]
    assert verify(store.folder(SPEC) / "certificate.json").answer["verified"]


def test_a_pipeline_that_diverges_is_a_row(tmp_path):
    spec = CertifySpec.create(**{**SPEC.model_dump(), "lr": 1e30, "keep": 1.0})
    (row,) = run_all([spec], Store(tmp_path), backend=SerialBackend())
    assert row["status"] == "diverged"
    assert "training diverged in epoch 1" in row["reason"]


def test_fine_tuning_that_diverges_is_a_failed_run(run, trained):
    done = run("certify", trained, "--data digits --lr 1e30 --epochs 2")
    assert done.exit_code == 5
    assert "diverged in epoch" in done.stderr


def test_network_of_the_pipeline_is_certified_as_it_is(run, pipeline):
    folder, result = pipeline
    options = "--data digits --draws 0 --held-out none --json"
    done = run("certify", folder / "model.safetensors", options)
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["bits"] == result["statement"]["bits"]
    assert document["bounds"][0]["value"] == result["statement"]["train"]["bound"]
    assert document["best"]["name"].startswith("Occam")


def test_results_are_frames_and_tables_too(pipeline):
    folder, result = pipeline
    certified = certify_model(folder / "model.safetensors", "digits", draws=0)
    frame = certified.to_pandas()
    assert list(frame.columns) == ["name", "about", "quantity", "value", "certifies"]
    assert frame["value"][0] == result["statement"]["train"]["bound"]
    assert "Occam, code length" in certified._repr_html_()
    assert f"{certified.to_dict()['best']['value']:.2%}" in repr(certified)


def test_random_labels_give_a_vacuous_certificate(run, tmp_path):
    spec = CertifySpec.create(**{**SPEC.model_dump(), "random_labels": True})
    store = Store(tmp_path)
    assert execute(spec, store)["statement"]["vacuous"]
    done = run("verify", store.folder(spec) / "certificate.json")
    assert done.exit_code == 0, done.stderr
    assert "no more than guessing" in done.stdout


def test_a_cut_training_set_is_verified_as_it_was(run, tmp_path):
    data = {"name": "digits", "train_size": 300, "split_seed": 4}
    spec = CertifySpec.create(**{**SPEC.model_dump(), "data": data, "epochs": 4})
    store = Store(tmp_path)
    assert execute(spec, store)["statement"]["train"]["n"] == 300
    done = run("verify", store.folder(spec) / "certificate.json")
    assert done.exit_code == 0, done.stderr


def test_verifier_is_short_and_stands_alone():
    text = Path(verifier.__file__).read_text()
    assert len(text.splitlines()) < 250
    modules = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            modules |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module.split(".")[0])
    assert modules - set(sys.stdlib_module_names) == {"numpy"}


@pytest.mark.parametrize("words", [(), ("cert.json",), ("cert.json", "data", "more"), ("--help",)])
def test_the_verifier_alone_says_how_it_is_called(words):
    done = subprocess.run(
        [sys.executable, "-I", verifier.__file__, *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "Usage: python -I verify_certificate.py CERT.json DATA" in done.stderr


@pytest.mark.parametrize("delta", [0, 1, -0.1, "nan"])
def test_bad_delta_is_named(run, trained, delta):
    done = run("certify", trained, f"--data digits --delta {delta}")
    assert done.exit_code == 2
    assert "`--delta`" in done.stderr


def test_bad_models_are_named(run, tmp_path):
    path = tmp_path / "bad.safetensors"
    save_file({"w": torch.full((10, 64), torch.nan)}, path)
    done = run("certify", path, "--data digits")
    assert done.exit_code == 2
    assert "NaN or infinite" in done.stderr
    save_file({"w": torch.zeros(10, 63)}, path)
    done = run("certify", path, "--data digits")
    assert done.exit_code == 4
    assert "chain of dense layers on 64 inputs" in done.stderr
    path.write_bytes(b"nothing")
    done = run("certify", path, "--data digits")
    assert done.exit_code == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--learned none --learned-epochs 3", "`--learned-epochs` of `certify` has no effect"),
        ("--learned none --share 0.4", "`--share` of `certify` has no effect without a network to"),
        (
            "--held-out none --learned d,d",
            "`--learned` of `certify` has no effect without --held-out",
        ),
        ("--augment", "`--augment` of `certify` has no effect without a --learned network"),
        ("--learned d8,d --no-augment", "`--augment` of `certify` has no effect"),
        ("--student none --student-epochs 3", "`--student-epochs` of `certify` has no effect"),
        ("--student none --learned none --states x", "`--states` of `certify` has no effect"),
        ("--share 1.5", "`--share` of `certify` must be in (0, 1); got 1.5"),
        ("--learned resnet21", "resnet21"),
        ("--learned-lr 0", "`--learned-lr` of `certify` must be positive"),
    ],
)
def test_options_without_an_effect_are_refused(run, trained, options, message):
    """Before anything is trained, in one line with the mend, as exit status 2."""
    done = run("certify", trained, "--data digits --epochs 0 --draws 0", options)
    assert done.exit_code == 2, done.stderr
    assert message in done.stderr
    assert "epoch" not in done.stderr.replace("-epochs", "")


def test_long_work_is_announced(run, trained, monkeypatch):
    command = (
        "certify",
        trained,
        "--data digits --epochs 1 --draws 0 --student none --learned none",
    )
    assert "certifying takes roughly" not in run(*command).stderr
    monkeypatch.setattr(terminal, "LONG", 0.0)
    assert "certifying takes roughly" in run(*command).stderr
