"""The tool that fits the constants of forecasts, on networks whose constants are known."""

import json

import numpy as np
import pytest
from scipy.special import softmax


@pytest.fixture
def tool(tool):
    return tool("forecast_constants")


def write_network(path, evidence, seed):
    """Logits of a network whose changed decisions are worth `evidence`, its temperature 1."""
    rng = np.random.default_rng(seed)
    dense = 2.5 * rng.normal(size=(6000, 5))
    pruned = dense + 1.5 * rng.normal(size=dense.shape)
    scores = dense.copy()
    changed = pruned.argmax(1) != dense.argmax(1)
    scores[changed, pruned.argmax(1)[changed]] += evidence
    labels = (softmax(scores, axis=1).cumsum(1) > rng.random((6000, 1))).argmax(1)
    np.savez(path, y=labels, dense=dense, kappas=[0.5], way=pruned[None])


def test_evidence_is_found(tool, tmp_path, capsys):
    """About 1,900 changed decisions a network: an error of .05 each, .03 of three; 5 of them."""
    files = [tmp_path / f"{number}.npz" for number in range(3)]
    for number, file in enumerate(files):
        write_network(file, 0.5, number)
    tool.main(["logits", *map(str, files), str(tmp_path / "out.json")])
    found = json.loads((tmp_path / "out.json").read_text())
    # Accuracy is fitted with the evidence in it, so the temperature is not quite 1.
    assert found["evidence"] == pytest.approx(0.5, abs=0.17)
    assert found["networks"] == ["0", "1", "2"]
    default = found["scales"]["changed decisions"]
    assert max(default) < 0.2
    assert found["scales"]["agreement"][1] > 0.1
    assert "own evidence" in capsys.readouterr().out


def test_what_new_statistics_are_worth_is_found(tool, capsys):
    """Some 1,700 such decisions a network, worth .6 to the old ones: an error of .04; 5 of them."""
    cases = []
    for number in range(2):
        rng = np.random.default_rng(number)
        dense = rng.normal(size=(20_000, 5))
        again, pruned = dense + 0.5 * rng.normal(size=dense.shape), dense.copy()
        pruned[::2] = again[::2]
        law = softmax((dense + again) / 2, axis=1)
        rows, old, new = np.arange(len(law)), dense.argmax(1), pruned.argmax(1)
        worth = np.where(new != old, np.exp(-0.6), 1)
        law[rows, new] *= worth
        law /= law.sum(1, keepdims=True)
        labels = (law.cumsum(1) > rng.random((len(law), 1))).argmax(1)
        known = tool.Dense(dense, float(np.mean(old == labels)), renewed=again)
        cases.append(tool.Case(str(number), known, pruned, labels))
    found = tool.renewed_constant(cases)
    assert found["renewed"] == pytest.approx(-0.6, abs=0.2)
    assert "0: of the others" in capsys.readouterr().out


def test_retraining_is_reported_and_written(tool, tmp_path, capsys):
    networks = [
        {
            "net": str(number),
            "dense": 0.9,
            "runs": [
                {"kappa": k, "oneshot": 0.1 + 0.7 * k, "retrained": 0.895 - 0.02 / k * (1 + number)}
                for k in (0.5, 0.3, 0.2)
            ],
        }
        for number in range(4)
    ]
    source = tmp_path / "runs.json"
    source.write_text(json.dumps(networks))
    tool.main(["retraining", str(source), str(tmp_path / "law.json")])
    law = json.loads((tmp_path / "law.json").read_text())
    assert law["networks"] == 4
    assert law["mean"][1] > 0
    assert "leaving a network out" in capsys.readouterr().out
