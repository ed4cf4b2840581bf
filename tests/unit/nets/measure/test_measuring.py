"""`prunable.measure` on models, state dicts and files; its document, comparisons, trajectories."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn.utils import prune

import prunable
from prunable.errors import DataIntegrityError, InputError
from prunable.nets.measure.measuring import measure
from prunable.nets.networks.file_roles import Known, parts_of
from prunable.nets.networks.roles import kind_of
from prunable.nets.networks.views import see
from prunable.numerics import tails
from prunable.numerics.measure.network import compare, trajectory


class Net(torch.nn.Module):
    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.embed = torch.nn.Embedding(50, 24)
        self.conv = torch.nn.Conv2d(4, 8, 3)
        self.attention = torch.nn.MultiheadAttention(24, 2)
        self.lstm = torch.nn.LSTM(24, 16)
        self.norm = torch.nn.BatchNorm1d(16)
        self.out = torch.nn.Linear(16, 40)


@pytest.fixture(scope="module")
def measured():
    return measure(Net())


def test_every_matrix_is_measured_and_the_rest_has_a_reason(measured):
    kinds = {layer.name: layer.kind for layer in measured.layers}
    assert kinds == {
        "embed.weight": "embedding",
        "conv.weight": "convolution",
        "attention.in_proj_weight[query]": "attention",
        "attention.in_proj_weight[key]": "attention",
        "attention.in_proj_weight[value]": "attention",
        "attention.out_proj.weight": "attention",
        "lstm.weight_ih_l0": "recurrent",
        "lstm.weight_hh_l0": "recurrent",
        "out.weight": "dense",
    }
    roles = {layer.name: layer.role for layer in measured.layers}
    assert [name for name, role in roles.items() if role == "output"] == ["out.weight"]
    passed = {s.name for s in measured.skipped}
    assert {"conv.bias", "norm.weight", "out.bias"} <= passed
    assert all("one dimension" in s.reason for s in measured.skipped)
    assert measured.overall.n == sum(p.numel() for p in Net().parameters() if p.ndim > 1)


def test_granularities(measured):
    by_name = {layer.name: layer for layer in measured.layers}
    conv = by_name["conv.weight"]
    assert set(conv.kappa) == {"weight", "node", "unit", "kernel", "singular_value"}
    assert set(by_name["out.weight"].kappa) == {"weight", "node", "unit", "singular_value"}
    assert conv.shape == (8, 4, 3, 3)
    w = Net().conv.weight.detach().numpy().astype(np.float64)
    for name, norms in {
        "node": np.sqrt((w**2).sum(axis=(0, 2, 3))),
        "unit": np.sqrt((w**2).sum(axis=(1, 2, 3))),
        "kernel": np.sqrt((w**2).sum(axis=(2, 3))).ravel(),
        "singular_value": np.linalg.svd(w.reshape(8, 36), compute_uv=False),
        "weight": w.ravel(),
    }.items():
        shares = prunable.numerics.weights.compressibility.kappa_curve(norms, (0.05, 0.1, 0.2))
        np.testing.assert_allclose(list(conv.kappa[name].values()), shares)


@pytest.mark.parametrize("p", [1.0, 3.0])
def test_other_norms(p):
    w = torch.randn(30, 20, generator=torch.Generator().manual_seed(0))
    found = measure({"w": w}, p=p, eps=(0.3,)).layers[0].kappa
    norms = (np.abs(w.numpy().astype(np.float64)) ** p).sum(axis=0) ** (1 / p)
    expected = prunable.numerics.weights.compressibility.kappa_curve(norms, [0.3], p)
    np.testing.assert_allclose([found["node"]["0.3"]], expected)


def test_model_state_dict_and_file_agree(measured, tmp_path):
    state = {k: v for k, v in Net().state_dict().items() if "running" not in k and "num_" not in k}
    save_file(state, tmp_path / "m.safetensors")
    documents = [
        {layer["name"]: layer for layer in m.to_dict()["layers"]}
        for m in (measured, measure(state), measure(tmp_path / "m.safetensors"))
    ]
    for name in documents[0]:
        first, *others = ({**d[name], "role": "", "kind": ""} for d in documents)
        assert all(other == first for other in others)


def test_numbers_do_not_depend_on_workers(measured):
    assert measure(Net(), workers=1).to_dict() == measured.to_dict()
    assert measure(Net(), seed=1).to_dict() != measured.to_dict()


KEYS = {
    "": "schema_version model settings layers overall skipped",
    "settings": "eps p seed spectrum authors",
    "overall": "n n_layers verdicts n_alpha alpha_mean alpha_median kappa allocation ordering",
    "overall.kappa": "common_eps global_threshold",
    "overall.allocation.0.1": "budget spent best common_eps global_threshold lamp layers",
    "overall.allocation.0.1.layers.out.weight": "best common_eps global_threshold",
    "layer": "name shape role kind dtype n zeros_share alpha alpha_stderr verdict reason "
    "estimators stable_fit gaussian_fit tail dependence spectrum kappa hill_plot curves tail_plot",
    "layer.estimators": "log_moment log_moment_rows log_moment_columns log_variance quantile "
    "ecf_two_point ecf_regression hill",
    "layer.estimators.hill": "alpha stderr n status",
    "layer.stable_fit": "alpha scale ks anderson_darling p_value n",
    "layer.gaussian_fit": "alpha scale ks anderson_darling p_value n",
    "layer.tail": "extreme_value_index stderr k",
    "layer.dependence": "regime rows columns splits",
    "layer.dependence.rows": "intraclass_correlation f p_value",
    "layer.dependence.splits": "random rows columns",
    "layer.dependence.splits.rows": "ks p_value",
    "layer.spectrum": "spectral_alpha stderr expected_if_iid ks n_tail status exact xmin",
    "layer.kappa": "weight node unit singular_value",
    "layer.kappa.weight": "0.05 0.1 0.2",
    "layer.hill_plot": "k alpha plateau",
    "layer.curves": "eps weight node unit singular_value gaussian stable_low stable_median "
    "stable_high",
    "layer.tail_plot": "x survival stable gaussian",
    "skipped": "name reason",
}


def at(document, path):
    """The part of a document at a dotted path; names of layers and errors hold dots themselves."""
    while path:
        key = max((key for key in document if f"{path}.".startswith(f"{key}.")), key=len)
        document, path = document[key], path[len(key) + 1 :]
    return document


def test_document_keeps_the_contract(measured):
    document = json.loads(json.dumps(measured.to_dict(), allow_nan=False))
    whole = document | {"layer": document["layers"][-1], "skipped": document["skipped"][0]}
    for path, keys in KEYS.items():
        found = set(at(whole, path)) - ({"layer"} if not path else set())
        assert found == set(keys.split()), path
    short = measured.to_dict(curves=False)["layers"][-1]
    assert set(whole["layer"]) - set(short) == {"hill_plot", "curves", "tail_plot"}
    assert document["layers"][-1] | short == document["layers"][-1]


def test_what_a_notebook_shows_is_short(measured):
    assert repr(measured).startswith("Measurement('Net', 6,992 weights in 9 layers: ")
    assert repr(measured.layers[0]) == "MeasuredLayer('embed.weight', 1,200 weights, gaussian-like)"
    compared, followed = compare(measured, measured), trajectory([measured] * 2, [1, 2])
    assert repr(compared) == "Comparison(against='Net', 9 layers)"
    assert repr(followed) == "Trajectory(2 checkpoints, 9 layers)"
    for shown, rows in ((measured, 9), (compared, 9), (followed, 2)):
        assert shown._repr_html_().count("<tr>") == rows + 1


def test_overall_shares(measured):
    overall = measured.to_dict()["overall"]
    for eps in (0.05, 0.1, 0.2):
        kept = sum(layer.kappa["weight"][f"{eps:g}"] * layer.n for layer in measured.layers)
        assert overall["kappa"]["common_eps"][f"{eps:g}"] == pytest.approx(
            kept / measured.overall.n
        )
        found = overall["allocation"][f"{eps:g}"]
        assert found["budget"] == pytest.approx(len(measured.layers) * eps**2)
        assert found["best"] <= found["common_eps"] + 1e-12
        assert found["best"] <= found["global_threshold"] + 1e-12
        shares = [found["layers"][layer.name]["best"] * layer.n for layer in measured.layers]
        assert sum(shares) / measured.overall.n == pytest.approx(found["best"])
    assert overall["n_layers"] == 9
    assert sum(overall["verdicts"].values()) == 9
    weights = np.concatenate([w.detach().ravel() for w in Net().parameters() if w.ndim > 1])
    ascending = np.cumsum(np.sort(np.abs(weights.astype(np.float64))) ** 2)
    for key, kept in overall["kappa"]["global_threshold"].items():
        pruned = np.searchsorted(ascending, float(key) ** 2 * ascending[-1], side="right")
        assert kept == pytest.approx(1 - pruned / weights.size, abs=1e-12)


def test_no_mean_of_tail_indices_that_are_refused():
    r = np.random.default_rng(0)
    state = {f"stable.{i}": torch.from_numpy(r.normal(size=(60, 40))) for i in range(5)}
    state |= {f"flat.{i}": torch.from_numpy(r.uniform(-1, 1, (60, 40))) for i in range(3)}
    measured = measure(state)
    granted = [x for x in measured.layers if x.verdict in ("stable", "gaussian-like")]
    assert {x.name for x in granted} <= {f"stable.{i}" for i in range(5)}
    assert len(granted) >= 4
    overall, indices = measured.overall, [x.ruler.alpha for x in granted]
    assert overall.n_alpha == len(granted)
    assert overall.alpha_mean == pytest.approx(np.mean(indices))
    assert overall.alpha_median == pytest.approx(np.median(indices))
    assert overall.ordering.n_layers == len(granted)
    ordering = measured.to_dict()["overall"]["ordering"]
    assert set(ordering) == {"p", "eps", "kendall_tau", "p_value", "n_layers"}
    assert -1 <= ordering["kendall_tau"] <= 1
    alone = measure({name: w for name, w in state.items() if "flat" in name}).overall
    assert alone.n_alpha == 0
    assert math.isnan(alone.alpha_mean)
    assert alone.ordering is None


def test_to_pandas(measured):
    frame = measured.to_pandas()
    assert list(frame.index) == [layer.name for layer in measured.layers]
    first = measured.layers[0]
    assert frame.loc["embed.weight", "kappa_weight_0.1"] == first.kappa["weight"]["0.1"]
    assert frame.loc["embed.weight", "verdict"] == str(first.verdict)
    assert math.isnan(frame.loc["embed.weight", "kappa_kernel_0.1"])
    assert frame["alpha_log_moment"].dtype == float


def test_half_precision_and_other_types():
    w = torch.randn(300, 200, generator=torch.Generator().manual_seed(0))
    state = {
        "half": w.half(),
        "brain": w.bfloat16(),
        "double": w.double(),
        "index": torch.arange(9).view(3, 3),
        "number": torch.tensor(1.0),
        "empty": torch.zeros(0, 4),
        "eight": w.to(torch.float8_e4m3fn),
    }
    found = measure(state)
    assert [(layer.name, layer.dtype) for layer in found.layers] == [
        ("half", "float16"),
        ("brain", "bfloat16"),
        ("double", "float64"),
        ("eight", "float8_e4m3fn"),
    ]
    reasons = {s.name: s.reason for s in found.skipped}
    assert "int64" in reasons["index"]
    assert "single number" in reasons["number"]
    assert "empty" in reasons["empty"]
    kappa = [layer.kappa["weight"]["0.1"] for layer in found.layers]
    assert kappa[0] == pytest.approx(kappa[2], abs=1e-3)
    assert kappa[1] == pytest.approx(kappa[2], abs=5e-3)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_bad_weights_are_named_with_their_place(value):
    w = torch.zeros(3, 4, 2, 2)
    w[1, 2, 0, 1] = value
    with pytest.raises(InputError, match=r"`deep\.weight`.*1 NaN or infinite.*\(1, 2, 0, 1\)"):
        measure({"fine": torch.ones(9, 9), "deep.weight": w})


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"eps": (0.0,)}, "eps"),
        ({"eps": (1.5,)}, "eps"),
        ({"eps": ()}, "eps"),
        ({"p": 0}, "p"),
        ({"p": math.inf}, "p"),
        ({"spectrum": "some"}, "spectrum"),
        ({"seed": -1}, "seed"),
    ],
)
def test_mistakes_raise(options, name):
    with pytest.raises(InputError, match=f"`{name}`"):
        measure({"w": torch.ones(3, 3)}, **options)


def test_masked_weights_are_measured_as_pruned_and_the_last_is_the_output():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(30, 20), torch.nn.Linear(20, 10))
    for layer in net:
        prune.random_unstructured(layer, "weight", 0.5)
    for source in (net, net.state_dict()):
        layers = measure(source).layers
        assert [(layer.name, layer.role) for layer in layers] == [
            ("0.weight", "hidden"),
            ("1.weight", "output"),
        ]
        assert all(layer.zeros_share == 0.5 for layer in layers)


def test_other_sources_raise():
    with pytest.raises(InputError, match="`model_or_path`"):
        measure(3)
    with pytest.raises(InputError, match="a mapping of names to Tensors"):
        measure({"w": [1.0]})
    with pytest.raises(DataIntegrityError, match="no weight matrix"):
        measure({"b": torch.ones(3)})


def test_comparison(measured):
    other = measure(Net(1))
    found = compare(measured, other)
    assert len(found.layers) == 9
    assert found.only_in_model == found.only_in_against == ()
    row = found.layers[0]
    a, b = (m.layers[0].estimators["ecf_regression"] for m in (measured, other))
    assert row.alpha_difference == pytest.approx(a.alpha - b.alpha)
    assert row.stderr == pytest.approx(math.hypot(a.stderr, b.stderr))
    # equal laws: within five standard errors
    assert all(not abs(r.z) >= 5 for r in found.layers)
    document = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert set(document) == {"against", "estimator", "layers", "only_in_model", "only_in_against"}
    assert set(document["layers"][0]) == {
        "name",
        "alpha",
        "alpha_difference",
        "stderr",
        "z",
        "verdict",
        "kappa_weight",
    }
    assert replace(measured, comparison=found).to_dict()["comparison"] == found.to_dict()
    more = measure(Net().state_dict() | {"x": torch.ones(3, 3)})
    assert compare(measured, more).only_in_against == ("x",)
    with pytest.raises(InputError, match="no layer of the same name"):
        compare(measured, measure({"x": torch.ones(3, 3)}))
    with pytest.raises(InputError, match="equal options"):
        compare(measured, measure(Net(), p=1))


def test_trajectory(measured):
    found = json.loads(json.dumps(trajectory([measured, measured], [10, 20]).to_dict()))
    assert set(found) == {"schema_version", "estimator", "trajectory"}
    first = found["trajectory"][0]
    assert [row["step"] for row in found["trajectory"]] == [10, 20]
    assert first["alpha_mean"] == measured.overall.alpha_mean
    assert set(first) == {"model", "step", "alpha_mean", "alpha_median", "kappa", "layers"}
    layer = first["layers"]["out.weight"]
    assert set(layer) == {"alpha", "alpha_stderr", "verdict", "kappa_weight"}
    with pytest.raises(InputError, match="`steps`"):
        trajectory([measured], [1, 2])


def test_progress_is_told():
    told = []
    measure({"a": torch.ones(2, 2), "b": torch.ones(2)}, on_layer=lambda *x: told.append(x))
    assert told == [(0, 2, "a"), (1, 2, "b"), (2, 2, "")]


def test_authors_option():
    state = {"w": torch.randn(256, 64, generator=torch.Generator().manual_seed(0))}
    found = measure(state, authors=True).layers[0].estimators
    assert found["authors"].alpha <= 2
    assert "authors" not in measure(state).layers[0].estimators


def test_an_estimator_that_is_listed_is_shown(monkeypatch):
    monkeypatch.setitem(tails.ESTIMATORS, "another", tails.log_variance)
    state = {"w": torch.randn(40, 30, generator=torch.Generator().manual_seed(0))}
    found = measure(state).layers[0].estimators
    assert found["another"].alpha == found["log_variance"].alpha
    few = measure({"w": torch.zeros(3, 3)}).layers[0].estimators
    assert few["another"].status is tails.Status.TOO_FEW


def test_spectrum_option():
    state = {"w": torch.randn(40, 30, generator=torch.Generator().manual_seed(0))}
    assert "singular_value" not in measure(state, spectrum="none").layers[0].kappa
    assert measure(state, spectrum="exact").layers[0].spectrum.exact


@pytest.mark.parametrize(
    ("name", "shape", "consumer", "kind"),
    [
        ("encoder.layer.0.attention.self.query.weight", (8, 8), None, "attention"),
        ("embeddings.word_embeddings.weight", (8, 8), None, "embedding"),
        ("transformer.wte.weight", (8, 8), None, "embedding"),
        ("rnn.weight_hh_l1_reverse", (8, 8), None, "recurrent"),
        ("features.3.weight", (8, 8, 3), None, "convolution"),
        ("fc1.weight", (8, 8), None, "dense"),
        ("anything", (8, 8), "Gather", "embedding"),
        ("anything", (2, 8, 8), "LSTM", "recurrent"),
    ],
)
def test_kinds(name, shape, consumer, kind):
    assert kind_of(name, shape, consumer) == kind


def seen(name, array, consumer=None, transposed=False):
    known = Known(readers={name: (consumer, transposed)} if consumer else {})
    return see(parts_of({name: array.shape}, known)[name], array)


def test_orientation():
    w = np.arange(6.0).reshape(2, 3)
    (view,) = seen("w", w, consumer="MatMul", transposed=True)
    np.testing.assert_array_equal(view.matrix, w.T)
    (view,) = seen("lstm", np.zeros((2, 12, 5)), consumer="LSTM")
    assert view.matrix.shape == (24, 5)
    parts = seen("h.0.attn.c_attn.weight", np.arange(48.0).reshape(4, 12))
    assert [p.name[22:] for p in parts] == ["[query]", "[key]", "[value]"]
    np.testing.assert_array_equal(parts[1].matrix, np.arange(48.0).reshape(4, 12)[:, 4:8].T)
    assert "Add" in seen("bias", np.zeros((1, 8)), consumer="Add")
    (view,) = seen("conv", np.zeros((6, 5, 3, 3)))
    assert (view.taps, view.matrix.shape) == (9, (6, 45))
