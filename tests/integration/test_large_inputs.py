"""Inputs of a size that takes a while: many tensors, many layers, many weights."""

import time

import numpy as np
import pytest
import torch
from tests.measurement_document import measurement_document, measurement_of
from tests.pages import page_data

from prunable.nets.measure.measuring import measure
from prunable.numerics.weights.compressibility import kappa_p
from prunable.report.measure.html import render_measurement


def test_ten_thousand_tiny_tensors():
    generator = torch.Generator().manual_seed(0)
    state = {f"layer.{i}.weight": torch.randn(3, 3, generator=generator) for i in range(10_000)}
    started = time.monotonic()
    found = measure(state)
    assert len(found.layers) == 10_000
    assert all(layer.verdict == "too few" for layer in found.layers)
    # a hang shows, a slow machine does not
    assert time.monotonic() - started < 600


def test_thousands_of_layers_stay_usable():
    document = measurement_document(5000)
    text = render_measurement(measurement_of(document))
    assert len(text) < 40e6
    layer = page_data(text)["layers"][-1]
    original = document["layers"][-1]
    for key, axis in (("curves", "eps"), ("tail_plot", "x"), ("hill_plot", "k")):
        assert len(layer[key][axis]) == 24
        for end in (0, -1):
            assert layer[key][axis][end] == pytest.approx(original[key][axis][end], rel=1e-4)
    assert layer["hill_plot"]["plateau"] == original["hill_plot"]["plateau"]


def test_float32_accumulates_in_float64():
    """A float32 running sum of 2^25 ones would stop at 2^24."""
    w = np.ones(2**25, dtype=np.float32)
    assert kappa_p(w, 0.5) == 0.75
