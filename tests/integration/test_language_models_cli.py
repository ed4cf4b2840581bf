"""Language models on the command line: calibrated by texts or drawn tokens, and evaluated."""

import json
import math

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from prunable.experiments.prune.inputs import calibration_for
from prunable.experiments.prune.specs import PruningJob
from prunable.nets.calibration.divergence import outputs_of_batch
from prunable.nets.models.hub import load_folder, transformers_module

hub = transformers_module("tests")
WORDS = [f"w{i}" for i in range(40)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "vocab_size": 41}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64}
    config = hub.LlamaConfig(**sizes, **heads, tie_word_embeddings=True, initializer_range=0.3)
    place = tmp_path_factory.mktemp("models") / "llama"
    hub.LlamaForCausalLM(config).save_pretrained(place)
    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate([*WORDS, "?"])}, "?"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    hub.PreTrainedTokenizerFast(tokenizer_object=words, unk_token="?").save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    drawn = np.random.default_rng(0).choice(WORDS, 400)
    place = tmp_path_factory.mktemp("texts") / "words.txt"
    place.write_text(" ".join(drawn), encoding="utf-8")
    return place


def ids_of(text):
    return torch.tensor([WORDS.index(word) for word in text.read_text().split()])


@pytest.mark.parametrize("stride", [None, 5])
def test_perplexity_is_that_of_each_token_after_those_before_it(document_of, folder, text, stride):
    options = ["--text", text, "--length", "16", "--windows", "3"]
    found = document_of("evaluate", folder, *options, *(["--stride", "5"] if stride else []))
    model, ids, losses = load_folder(folder), ids_of(text), []
    for number in range(3):
        window = ids[number * (stride or 16) :][:16]
        first = 1 if number == 0 or not stride else 16 - stride
        for place in range(first, 16):
            with torch.no_grad():
                scores = model(input_ids=window[None, :place]).logits[0, -1].double()
            losses.append(-float(scores.log_softmax(0)[window[place]]))
    assert found["nats"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert found["perplexity"] == pytest.approx(math.exp(np.mean(losses)), rel=1e-4)
    assert (found["n_tokens"], found["n_windows"]) == (len(losses), 3)
    assert (found["length"], found["stride"]) == (16, stride or 16)
    assert found["n_tokens_of_text"] == 400


def test_what_is_measured_is_told_how_to_be_evaluated(run, folder):
    output = "".join(run("measure", folder).output.split())
    assert f"prunableevaluate{folder}-pruned--textFILE" in output
    assert "--dataNAME" not in output


def test_the_protocol_stands_beside_the_number(run, folder, text):
    output = run("evaluate", folder, "--text", text, "--length", 100).output
    assert run("evaluate", folder, "--text", text, "--length", 100).exit_code == 2
    assert "at most 64" in " ".join(output.split())
    output = " ".join(run("evaluate", folder, "--text", text, "--length", 64).output.split())
    assert "378 tokens scored, in 6 windows of 64 of the 400 tokens" in output


OPTIONS = "--method obs --keep .5 --batch-size 1 --calibrate-size 8 --calibrate-length 32"


def test_a_text_calibrates_and_the_folder_loads(document_of, folder, text, tmp_path):
    out = tmp_path / "pruned"
    found = document_of("prune", folder, OPTIONS, "--in-order --calibrate", text, "--out", out)
    said = {"kind": "windows of a text", "n_inputs": 8, "length": 32, "in_order": True}
    assert found["calibrated"] == {"source": str(text), **said}
    assert found["folder"]["max_difference"] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["pruned"]
    model = hub.AutoModelForCausalLM.from_pretrained(out)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert bool((model.lm_head.weight != 0).all())
    for layer in model.model.layers:
        for weight in (layer.self_attn.k_proj.weight, layer.mlp.down_proj.weight):
            assert int((weight != 0).sum()) == weight.numel() // 2
    pruned = document_of("evaluate", out, "--text", text, "--length 32")
    assert math.isfinite(pruned["perplexity"])


@pytest.mark.parametrize("source", ["tokens", "ids.npz"])
def test_drawn_tokens_are_named_so(document_of, run, folder, tmp_path, source, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ids = np.random.default_rng(1).integers(0, 41, (8, 20))
    np.savez("ids.npz", input_ids=ids)
    options = OPTIONS if source == "tokens" else OPTIONS.partition("--calibrate-length")[0]
    found = document_of("prune", folder, options, "--calibrate", source, "--dry-run")
    kind = "random tokens, no data" if source == "tokens" else "inputs"
    assert found["calibrated"]["kind"] == kind
    assert len(found["outputs"]) == 14
    said = run("prune", folder, options, "--in-order --calibrate", source, "--dry-run").output
    said = " ".join(said.split())
    assert "each layer is given what the pruned ones before it send." in said
    assert ("8 windows of 32 random tokens, no data" in said) == (source == "tokens")


def test_stages_are_gone_on_from(run, document_of, folder, text, tmp_path, monkeypatch):
    from prunable.experiments.prune import pruning

    asked = ("prune", folder, OPTIONS, "--in-order --calibrate", text, "--out", tmp_path / "out")
    save = pruning.save_folder

    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(pruning, "save_folder", stopped)
    assert run(*asked).exit_code == 130
    stages = tmp_path / "out.stages"
    assert len(list(stages.glob("*.safetensors"))) == 2
    assert json.loads((stages / "job.json").read_text())["counts"] is None
    monkeypatch.setattr(pruning, "save_folder", save)
    assert document_of(*asked)["folder"]["path"] == str(tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--calibrate TEXT --calibrate-size 13 --calibrate-length 32", "has 400 tokens, too few"),
        (
            "--calibrate TEXT --calibrate-length 65 --calibrate-size 2",
            "`--calibrate-length` of `prune",
        ),
        ("--calibrate wrong.npz", "has the token 41, out of the vocabulary of LlamaForCausalLM"),
        ("--calibrate gaussian", "or `tokens` to a language model"),
        ("--calibrate gaussian --calibrate-length 9", "without --calibrate with a text"),
        ("--in-order", "without --calibrate"),
        ("--calibrate binary.txt", "is no text in UTF-8"),
        ("--calibrate absent.txt", "cannot read absent.txt"),
    ],
)
def test_bad_inputs_are_one_message(run, folder, text, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    np.savez("wrong.npz", input_ids=np.full((4, 8), 41))
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    options = options.replace("TEXT", str(text))
    done = run("prune", folder, "--method obs --keep .5 --dry-run", options)
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())


def test_a_text_needs_a_tokenizer(run, folder, text, tmp_path):
    load_folder(folder).save_pretrained(tmp_path / "bare")
    done = run("evaluate", tmp_path / "bare", "--text", text)
    assert done.exit_code == 2
    assert "no tokenizer that can be read" in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("sharing", "places"),
    [
        ({"allocation": "lamp"}, 1),
        ({"allocation": "optimum"}, 12),
        ({"allocation": "atp"}, 12),
        ({"allocation": "atp", "slope": 0.01}, 1),
    ],
)
def test_shares_by_the_outputs_look_at_all_positions(folder, sharing, places):
    """Where nothing looks at them only the last position is scored, to save time."""
    job = PruningJob(
        checkpoint=str(folder), out="x", calibrate="tokens", calibrate_length=12, **sharing
    )
    model = load_folder(folder)
    for batch in calibration_for(job, model, {}, None):
        ((scores, _),) = outputs_of_batch(model, batch, "logits")
        assert scores.shape[1:] == (places, 41)


def test_perplexities_of_pruned_copies_are_forecast_from_windows(
    document_of, folder, text, tmp_path
):
    """What the tokens say of a copy is what the pruned folder loses more on the same windows."""
    windows = ["--text", text, "--length", "16", "--windows", "25"]  # all that there are
    options = [*windows, "--keep", "0.5", "--store", tmp_path / "store"]
    calibrated = ["--calibrate", text, "--calibrate-size", "8"]
    options += [*calibrated, "--methods", "magnitude,wanda,obs"]
    report = tmp_path / "page.html"
    found = document_of("forecast", folder, *options, "--report", report)
    dense = document_of("evaluate", folder, *windows)["nats"]
    assert found["kind"] == "language"
    assert found["accuracy"] == pytest.approx(dense, rel=1e-4)
    assert (found["text"], found["length"], found["inputs"]) == (str(text), 16, 25)
    assert "dense perplexity" in report.read_text()
    again = document_of("forecast", folder, *options, "--perplexity", math.exp(dense))
    for curve, known in zip(found["curves"], again["curves"], strict=True):
        pruned = tmp_path / curve["method"]
        how = ["--method", curve["method"], "--keep", "0.5", "--out", pruned]
        if curve["method"] != "magnitude":
            how += [*calibrated, "--calibrate-length", "16"]
        how += ["--in-order"] if curve["method"] == "obs" else []
        document_of("prune", folder, *how)
        (point,), (other,) = curve["points"], known["points"]
        nats = document_of("evaluate", pruned, *windows)["nats"]
        assert point["tokens"] == pytest.approx(nats, rel=1e-3)
        assert point["accuracy"] == pytest.approx(other["accuracy"], rel=1e-4)
        assert other["high"] - other["low"] < point["high"] - point["low"]
    assert len(list((tmp_path / "store").glob("*.npz"))) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--accuracy", "0.9"], "`--accuracy` of `forecast` has no effect beside --text"),
        (["--length", "80", "--windows", "4"], "at most 64"),
        (["--windows", "40"], "too few"),
        (["--windows", "2"], "windows"),
        (["--perplexity", "99999999999"], "log-perplexity"),
        (["--methods", "magnitudes"], "magnitude"),
    ],
)
def test_bad_forecasts_of_texts_are_one_message(run, folder, text, options, message):
    done = run("forecast", folder, "--text", text, "--length", "16", *options)
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())


def test_a_forecast_needs_inputs_or_a_text(run, folder):
    done = run("forecast", folder)
    assert done.exit_code == 2
    assert "--text" in done.output
