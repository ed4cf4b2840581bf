"""`prunable predict lgp` as users call it."""

import xml.etree.ElementTree as ET
from functools import partial

import numpy as np
import pytest

RISKS = ["dense", "magnitude", "hessian", "oracle", "retrained"]


@pytest.fixture(scope="module")
def run(run):
    return partial(run, "predict lgp")


def test_contract(document_of):
    found = document_of("--n", 300, "--p", 1000, "--s", 100, "--sigma", 0.5)
    assert list(found)[:4] == ["schema_version", "settings", "risk", "fixed_point"]
    assert list(found["risk"]) == RISKS
    assert set(found["fixed_point"]) == {"xi", "gamma", "residual"}
    # independent features of variance 1: Hastie et al. (2019)
    assert found["risk"]["dense"] == pytest.approx(10 / 7 * (0.25 + 0.49))
    assert found["fixed_point"]["residual"] < 1e-12
    settings = found["settings"]
    assert [settings[key] for key in ("n", "p", "s", "sigma")] == [300, 1000, 100, 0.5]


def test_files_give_the_problem(document_of, tmp_path):
    values, beta = np.linspace(0.1, 2, 60), np.linspace(-1, 1, 60)
    paths = {}
    for name, array in (("spectrum", values), ("signal", beta), ("covariance", np.diag(values))):
        paths[name] = tmp_path / f"{name}.npy"
        np.save(paths[name], array)
    common = ("--n", 25, "--s", 12, "--sigma", 0.2, "--signal", paths["signal"])
    diagonal = document_of(*common, "--spectrum", paths["spectrum"])
    dense = document_of(*common, "--covariance", paths["covariance"], "--draws", 200)
    assert diagonal["settings"]["p"] == 60
    assert dense["risk"]["dense"] == pytest.approx(diagonal["risk"]["dense"])
    for name in RISKS[1:]:
        error = dense["standard_error"].get(name, 0)
        assert abs(dense["risk"][name] - diagonal["risk"][name]) < max(
            6 * error, 0.06 * diagonal["risk"][name]
        )
    turned = document_of(*common, "--spectrum", paths["spectrum"], "--random-eigenvectors")
    assert turned["risk"]["retrained"] is None
    assert turned["risk"]["dense"] == pytest.approx(diagonal["risk"]["dense"])


def test_crossing_is_said(run, document_of):
    done = run("--n", 100, "--p", 100, "--s", 10, "--sigma", 1)
    assert done.exit_code == 0
    assert "infinite" in done.stdout
    found = document_of("--n", 100, "--p", 100, "--s", 10, "--sigma", 1)
    assert found["risk"]["dense"] is None
    assert found["regime"] == "at interpolation"


def test_simulation_beside_the_prediction(run, document_of):
    arguments = ("--n", 60, "--p", 200, "--s", 30, "--sigma", 0.3, "--simulate", 40)
    found = document_of(*arguments, "--method", "hessian", "--seed", 1)
    simulation = found["simulation"]
    assert simulation["replicas"] == 40
    for name in RISKS:
        gap = abs(found["risk"][name] - simulation["mean"][name])
        assert gap < max(5 * simulation["standard_error"][name], 0.02 * simulation["mean"][name])
    one = document_of(*arguments, "--workers", 1)
    assert one["simulation"] == document_of(*arguments, "--workers", 3)["simulation"]
    table = run(*arguments)
    assert "simulations" in table.stdout


@pytest.mark.parametrize("variable", ["width", "sparsity", "sigma", "samples"])
def test_sweeps(run, document_of, variable, tmp_path):
    figure = tmp_path / "curve.svg"
    options = "--n 30 --p 60 --s 12 --sigma 0.3 --points 6 --retrain --same-data --simulate 2"
    arguments = (options, "--sweep", variable)
    found = document_of(*arguments, "--figure", figure)
    curve = found["curve"]
    assert curve["variable"] == variable
    assert len(curve["points"]) == 6
    assert set(RISKS) <= set(curve["risk"])
    assert "retrained_same_data" in curve["risk"]
    assert found["simulation"]["points"] == curve["points"]
    assert ET.parse(figure).getroot().tag.endswith("svg")
    table = run(*arguments)
    assert table.exit_code == 0, table.output
    assert "simulated" in table.stdout


@pytest.mark.parametrize("name", ["fig3a", "fig3b", "fig7a", "fig7b"])
def test_presets(document_of, name, tmp_path):
    figure = tmp_path / "panel.svg"
    found = document_of("--preset", name, "--figure", figure, "--recommend")
    curve = found["curve"]
    assert len(curve["points"]) == 100
    assert ("retrained_hessian" in curve["risk"]) == name.startswith("fig7")
    assert curve["risk"]["dense"][29] is None
    assert found["recommendation"]["width"] == (1000 if name.endswith("b") else 100)
    assert figure.stat().st_size > 10_000
    first = figure.read_bytes()
    document_of("--preset", name, "--figure", figure)
    assert figure.read_bytes() == first


def test_recommendation_in_words(run):
    done = run("--preset", "fig3b", "--p", 200, "--recommend", "--points", 5)
    assert "Train 200 features and prune to 20" in done.stdout.replace("\n", " ")
    small = run("--preset", "fig3a", "--p", 200, "--recommend", "--points", 5)
    assert "pruning gains nothing" in small.stdout.replace("\n", " ")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "needs --n"),
        (("--n", 5), "`--p` of `predict lgp`"),
        (("--n", 0, "--p", 5), "`--n`"),
        (("--n", 5, "--p", 5, "--s", 6), "`--s`"),
        (("--n", 5, "--p", 5, "--sigma", -1), "`--sigma`"),
        (("--n", 5, "--p", 5, "--simulate", 1), "--simulate"),
        (("--n", 5, "--p", 5, "--figure", "x.svg"), "--sweep"),
        (("--n", 5, "--p", 5, "--sweep", "width", "--points", 1), "`--points`"),
        (("--preset", "fig9"), "fig3a"),
        (("--preset", "fig3a", "--n", 3), "--preset"),
        (("--n", 5, "--spectrum", "missing.npy"), "missing.npy is missing"),
    ],
)
def test_bad_usage_is_one_message(run, arguments, says):
    done = run(*arguments)
    assert done.exit_code == 2
    assert says in done.output.replace("\n", " ")
    assert "Traceback" not in done.output


def test_broken_files_are_named(run, tmp_path):
    text, negative, wrong = (tmp_path / f"{name}.npy" for name in ("text", "negative", "wrong"))
    text.write_text("no numbers")
    np.save(negative, [-1.0, 1.0])
    np.save(wrong, [1.0, np.nan])
    for path, says in ((text, "holds no array"), (negative, "`variances`"), (wrong, "finite")):
        done = run("--n", 5, "--s", 1, "--spectrum", path)
        assert done.exit_code == 2
        assert says in done.output.replace("\n", " ")


def test_the_law_of_the_coefficients(run, document_of):
    arguments = ("--n", 60, "--p", 200, "--s", 30, "--sigma", 0.3)
    found = document_of(*arguments, "--law")
    quantiles = list(found["law"]["quantiles"].values())
    assert quantiles == sorted(quantiles)
    assert found["law"]["recovery"]["oracle"] == 1
    plain = document_of(*arguments)
    assert found == plain | {"law": found["law"]}
    assert "Quantiles of the learned coefficients" in run(*arguments, "--law").stdout
    assert document_of("--n", 20, "--p", 20, "--sigma", 1, "--law")["law"] is None


def test_help_ends_with_an_example(run):
    done = run("--help")
    assert "prunable predict lgp --n 300 --p 1000 --s 100" in " ".join(done.stdout.split())
