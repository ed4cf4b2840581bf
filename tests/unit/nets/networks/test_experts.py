"""Stacks of experts: their order of axes, and their measurement beside that of single matrices."""

import io

import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file
from torch import nn

import prunable
from prunable.nets.networks.experts import stack_of
from prunable.nets.networks.file_roles import parts_of
from prunable.nets.networks.module_roles import parts_of_module
from prunable.report.measure.tables import layer_table, print_result
from prunable.report.shaping import Shape

E, HIDDEN, INNER = 4, 24, 40
UP, DOWN = "mlp.experts.gate_up_proj", "mlp.experts.down_proj"
OUT_IN = {UP: (E, 2 * INNER, HIDDEN), DOWN: (E, HIDDEN, INNER)}
IN_OUT = {name: (e, b, a) for name, (e, a, b) in OUT_IN.items()}


@pytest.mark.parametrize("inner", [INNER, HIDDEN, HIDDEN // 2, 2 * HIDDEN])
def test_stacks_beside_each_other_tell_their_order(inner):
    shapes = {UP: (E, 2 * inner, HIDDEN), DOWN: (E, HIDDEN, inner)}
    turned = {name: (e, b, a) for name, (e, a, b) in shapes.items()}
    assert [stack_of(name, shapes) for name in shapes] == ["out_in"] * 2
    assert [stack_of(name, turned) for name in turned] == ["in_out"] * 2


@pytest.mark.parametrize("router", ["mlp.router.weight", "mlp.gate.weight"])
def test_the_router_tells_the_order(router):
    out_in = {"mlp.experts.up_proj": (E, INNER, HIDDEN), DOWN: (E, HIDDEN, INNER)}
    in_out = {name: (e, b, a) for name, (e, a, b) in out_in.items()}
    for shapes, order in ((out_in, "out_in"), (in_out, "in_out")):
        known = shapes | {router: (E, HIDDEN)}
        assert [stack_of(name, known) for name in shapes] == [order] * 2


def test_the_bias_tells_the_order_and_outputs_are_first_else():
    assert stack_of(UP, {UP: IN_OUT[UP], f"{UP}_bias": (E, 2 * INNER)}) == "in_out"
    assert stack_of(UP, {UP: OUT_IN[UP], f"{UP}_bias": (E, 2 * INNER)}) == "out_in"
    assert stack_of(UP, {UP: IN_OUT[UP]}) == "out_in"


def test_other_tensors_are_no_stacks():
    for name, shape in (
        ("mlp.experts.3.up_proj.weight", (30, 40, 50)),
        ("mlp.experts.conv.weight", (30, 40, 3)),
        ("mlp.up_proj", (E, 30, 40)),
        (UP, (30, 40)),
    ):
        assert stack_of(name, {name: shape}) is None
    assert parts_of(OUT_IN)[UP].stack == "out_in"


class Experts(nn.Module):
    def __init__(self, shapes):
        super().__init__()
        for name, shape in shapes.items():
            self.register_parameter(name.rpartition(".")[2], nn.Parameter(torch.zeros(shape)))


def test_modules_have_them_too():
    model = nn.Module()
    model.mlp = nn.Module()
    model.mlp.experts = Experts(IN_OUT)
    parts = parts_of_module(model)
    assert {name: part.stack for name, part in parts.items()} == {UP: "in_out", DOWN: "in_out"}


@pytest.mark.parametrize("shapes", [OUT_IN, IN_OUT], ids=["out_in", "in_out"])
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float32])
def test_each_expert_is_measured_as_it_is_alone(tmp_path, kind, shapes):
    torch.manual_seed(0)
    stacks = {name: torch.randn(shape).to(kind) for name, shape in shapes.items()}
    save_file(stacks, tmp_path / "m.safetensors")
    alone = {
        f"{name}[{i}]": (x if shapes is OUT_IN else x.T).contiguous()
        for name, stack in stacks.items()
        for i, x in enumerate(stack)
    }
    wanted = {layer.name: layer for layer in prunable.measure(alone).layers}
    found = prunable.measure(tmp_path / "m.safetensors")
    assert len(found.layers) == 2 * E
    for layer in found.layers:
        other = wanted[layer.name]
        assert (layer.shape, layer.role, layer.verdict) == (other.shape, "hidden", other.verdict)
        assert layer.kappa == other.kappa
        for method, estimate in layer.estimators.items():
            # other strides, another order of summation
            assert estimate.alpha == pytest.approx(other.estimators[method].alpha, nan_ok=True)


def test_a_row_sums_experts_up(tmp_path):
    torch.manual_seed(1)
    single = {f"mlp.experts.{i}.up_proj.weight": torch.randn(30, 20) for i in range(12)}
    save_file(
        {"a.experts.down_proj": torch.randn(64, 20, 24), **single}, tmp_path / "m.safetensors"
    )
    found = prunable.measure(tmp_path / "m.safetensors", spectrum="none")
    rows = [row.cells for row in layer_table(found).rows]
    assert [row[0] for row in rows] == [
        "a.experts.down_proj[*] x 64",
        "mlp.experts.*.up_proj.weight x 12",
    ]
    assert rows[0][1] == f"{64 * 20 * 24:,}"
    shares = sorted(100 * layer.kappa["weight"]["0.1"] for layer in found.layers[:64])
    assert rows[0][5] == f"{sum(shares[31:33]) / 2:.1f} ({shares[0]:.1f}-{shares[-1]:.1f})"
    text, wide = io.StringIO(), io.StringIO()
    layer_table(found, short=True).print(Console(file=text, width=80))
    assert max(map(len, text.getvalue().splitlines())) <= 80
    print_result(found, Console(file=wide, width=200), Shape("measure", sort="n"))
    assert sum("[" in line and "down_proj" in line for line in wide.getvalue().splitlines()) == 64
