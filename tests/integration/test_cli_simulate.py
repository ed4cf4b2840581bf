"""`prunable simulate` as users call it."""

import json

import pytest

from prunable.errors import RunsFailedError
from prunable.experiments.simulate import simulating, stages
from prunable.experiments.simulate.simulating import DynamicsSettings, run_experiment
from prunable.experiments.simulate.specs import EulerSpec
from prunable.runs.backends import ProcessBackend, SerialBackend

PARTICLES = ("chaos", "euler", "moments", "compression")


@pytest.fixture(scope="module")
def run(run):
    return lambda *arguments: run("simulate", *arguments, "--workers 1")


@pytest.mark.parametrize("experiment", PARTICLES)
def test_rates_with_intervals(document_of, experiment, tmp_path):
    document = document_of(experiment, "--alpha 1.75 --seeds 3 --scale smoke --out", tmp_path)
    stored = json.loads((tmp_path / f"{experiment}.json").read_text())
    assert document == {"schema_version": 1, **stored}
    assert (tmp_path / f"{experiment}.svg").read_text().startswith("<?xml")
    assert document["rates"]
    for rate in document["rates"]:
        assert rate["low"] <= rate["exponent"] <= rate["high"]
        assert rate["alpha"] == 1.75
        assert rate["seeds"] == 3
        assert rate["agreement"] in ("agrees", "within the bound", "not yet asymptotic", "differs")
    assert document["settings"]["rows"] == len(list((tmp_path / "runs").iterdir()))


def test_sgd_tail_is_monotone_and_simulated(document_of, tmp_path):
    document = document_of("sgd-tail --scale smoke --out", tmp_path)
    rows = [
        dict(zip(document["table"]["columns"], row, strict=True))
        for row in document["table"]["rows"]
    ]
    exact = {(row["d"], row["b"], row["eta"]): row["exact"] for row in rows}
    for (d, b, eta), alpha in exact.items():
        for (other_d, other_b, other_eta), other in exact.items():
            if (
                d == other_d
                and b <= other_b
                and eta >= other_eta
                and (b, eta) != (other_b, other_eta)
            ):
                assert alpha < other
    # 24 settings, Hill's bias at large alpha aside
    assert all(abs(row["deviation"]) < 5 for row in rows if row["exact"] < 3)


def test_table_and_notes_for_people(run, tmp_path):
    system = "--noise type1 --activation sigmoid --loss logistic"
    done = run("euler --alpha 1.9 --seeds 2 --scale smoke --out", tmp_path, system)
    assert done.exit_code == 0, done.output
    assert "Weight decay makes" in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("noise", "activation", "loss"),
    [("type2", "relu", "cross-entropy"), ("type1", "tanh", "squared")],
)
def test_other_noises_activations_and_losses(noise, activation, loss, tmp_path):
    settings = DynamicsSettings((1.8,), 2, noise, activation, loss, "smoke")
    assert run_experiment("chaos", settings, tmp_path, backend=SerialBackend())["rates"]


def test_killed_run_goes_on_with_equal_numbers(tmp_path, monkeypatch):
    settings, serial = DynamicsSettings((1.6,), 3, scale="smoke"), SerialBackend()
    whole = run_experiment("chaos", settings, tmp_path / "whole", backend=serial)
    honest, computed = stages.row_stage, []

    def fails_at_third(spec, run):
        computed.append(spec)
        if len(computed) == 3:
            raise KeyboardInterrupt
        return honest(spec, run)

    monkeypatch.setattr(stages, "row_stage", fails_at_third)
    with pytest.raises(KeyboardInterrupt):
        run_experiment("chaos", settings, tmp_path / "cut", backend=serial)
    again = run_experiment("chaos", settings, tmp_path / "cut", backend=serial)
    assert again == whole
    # two rows were stored before the kill: the third and fourth remained
    assert len(computed) == 3 + 2


def test_workers_do_not_change_a_number(tmp_path):
    settings = DynamicsSettings((1.6, 2.0), 2, scale="smoke")
    serial, processes = (
        run_experiment("moments", settings, tmp_path / name, backend=backend)
        for name, backend in (("serial", SerialBackend()), ("processes", ProcessBackend(2)))
    )
    assert serial == processes


def test_a_system_that_diverges_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(simulating.SMOKE, EulerSpec, simulating.SMOKE[EulerSpec] | {"horizon": 1e9})
    settings = DynamicsSettings((1.6,), 2, activation="relu", scale="smoke")
    with pytest.raises(RunsFailedError, match="diverged at step"):
        run_experiment("euler", settings, tmp_path, backend=SerialBackend())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--alpha", "0.9"), "no mean"),
        (("--alpha", "2.5"), "at most 2"),
        (("--seeds", "1"), "at least 2"),
    ],
)
def test_bad_input_is_one_message(run, arguments, words, tmp_path):
    done = run("chaos", "--out", tmp_path, *arguments, "--scale", "smoke")
    assert done.exit_code == 2
    assert words in done.output
    assert "Traceback" not in done.output


def test_unknown_experiment_is_refused(tmp_path):
    from prunable.errors import InputError

    with pytest.raises(InputError, match="experiment"):
        run_experiment("entropy", DynamicsSettings(), tmp_path)
