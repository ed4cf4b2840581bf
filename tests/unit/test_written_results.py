"""Results written to files and read again, and how short they show themselves."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import prunable
from prunable.budgets import Keep
from prunable.errors import DataIntegrityError, InputError
from prunable.numerics.measure.network import compare, trajectory
from prunable.strategies import UnitPruning


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(*[torch.nn.Linear(40, 40) for _ in range(12)])


@pytest.fixture(scope="module")
def measured(network):
    return prunable.measure(network)


def _same(a, b):
    assert json.dumps(a.to_dict(), sort_keys=True) == json.dumps(b.to_dict(), sort_keys=True)


def test_a_measurement_survives_its_file(measured, tmp_path):
    prunable.write(measured, tmp_path / "m.json")
    again = prunable.read(tmp_path / "m.json")
    _same(again, measured)
    np.testing.assert_array_equal(again.layers[3].curves["eps"], measured.layers[3].curves["eps"])
    assert again.layers[3].ruler.alpha == measured.layers[3].ruler.alpha
    assert again.layers[0].verdict is measured.layers[0].verdict
    # what is read is compared, followed and shown like what was measured
    assert compare(again, measured).layers[0].alpha_difference == 0
    followed = trajectory([again, measured], [0.0, 1.0])
    prunable.write(followed, tmp_path / "t.json")
    _same(prunable.read(tmp_path / "t.json"), followed)


def test_what_the_command_prints_is_read_too(measured, tmp_path):
    (tmp_path / "short.json").write_text(json.dumps(measured.to_dict(curves=False)))
    again = prunable.read(tmp_path / "short.json")
    found, wanted = (one.to_dict(curves=False)["overall"] for one in (again, measured))
    assert json.dumps(found) == json.dumps(wanted)


def test_tables_and_pages(measured, network, tmp_path):
    prunable.write(measured, tmp_path / "m.csv")
    lines = (tmp_path / "m.csv").read_text().splitlines()
    assert len(lines) == 13
    assert lines[0].startswith("name,kind,shape,n,")
    prunable.write(measured, tmp_path / "m.html")
    assert (tmp_path / "m.html").read_text().startswith("<!")
    plan = prunable.prune(network, UnitPruning(), Keep(0.5), dry_run=True).plan
    prunable.write(plan, tmp_path / "plan.html")
    assert "<table>" in (tmp_path / "plan.html").read_text()


@pytest.mark.parametrize("text", ["[]", "{}", '{"layers": [], "schema_version": 99}'])
def test_other_documents_are_refused(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(DataIntegrityError, match="holds no measurement of schema version"):
        prunable.read(tmp_path / "x.json")


def test_damaged_documents_are_refused(tmp_path):
    (tmp_path / "x.json").write_text('{"layers": [{"name": "a"}], "schema_version": 1}')
    with pytest.raises(DataIntegrityError, match="no whole measurement"):
        prunable.read(tmp_path / "x.json")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("layers", 0, "n"), {}),
        (("layers", 0, "name"), 3),
        (("layers", 0, "alpha"), "a"),
        (("layers", 0, "zeros_share"), True),
        (("layers", 0, "verdict"), "heavenly"),
        (("layers", 0, "shape"), "64"),
        (("layers", 0, "kappa", "weight"), {}),
        (("layers", 0, "curves", "eps"), ["a"]),
        (("overall", "kappa"), {}),
        (("overall", "allocation"), []),
        (("settings", "eps"), None),
    ],
)
def test_values_of_another_kind_are_refused(measured, tmp_path, place, value):
    document = measured.to_dict()
    *path, last = place
    inside = document
    for key in path:
        inside = inside[key]
    inside[last] = value
    (tmp_path / "x.json").write_text(json.dumps(document))
    with pytest.raises(DataIntegrityError, match="no whole measurement"):
        prunable.read(tmp_path / "x.json")


def test_other_endings_are_refused(measured, tmp_path):
    with pytest.raises(InputError, match=r"ending in \.json, \.csv or \.html; got .*m\.docx"):
        prunable.write(measured, tmp_path / "m.docx")


def test_results_show_themselves_in_a_line(measured, network):
    pruned = prunable.prune(network, UnitPruning(), Keep(0.5), example=torch.zeros(1, 40))
    for shown in (measured, measured.overall, measured.layers[0], pruned, pruned.plan):
        assert len(repr(shown)) < 1000, type(shown)
    html = measured._repr_html_()
    assert html == measured.to_html()
    # no picture of tail indices where every layer is refused one
    assert html.count("<svg") == 1 + any(layer.alpha > 0 for layer in measured.layers)
    assert "0.weight" in html


def test_layers_of_files_stand_as_the_network_uses_them(tmp_path):
    names = ["embed_tokens.weight", *(f"layers.{i}.fc.weight" for i in range(12)), "lm_head.weight"]
    shapes = [(300, 40), *[(40, 40)] * 12, (300, 40)]
    sizes = zip(names, shapes, strict=True)
    save_file({name: torch.randn(shape) for name, shape in sizes}, tmp_path / "m.safetensors")
    found = prunable.measure(tmp_path / "m.safetensors", spectrum="none")
    assert [layer.name for layer in found.layers] == names
