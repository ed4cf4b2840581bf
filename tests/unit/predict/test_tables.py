"""Tables and figures of predicted risks."""

import io

from rich.console import Console

from prunable.predict import lgp
from prunable.predict.figures import risk_figure
from prunable.predict.tables import LABELS, print_estimate, print_lgp, print_points


def row(width, s, **risks):
    risk = dict.fromkeys(LABELS, 1.0) | risks
    measured = {"measured": risk, "measured_stderr": dict.fromkeys(LABELS, 0.1)}
    return {"width": width, "n": 30, "s": s, "spread": 0.1, "risk": risk, **measured}


def test_panels_and_axes():
    curve = risk_figure([row(10, 5), row(20, 5), row(20, 15)], "title")
    assert [ax.get_title(loc="left") for ax in curve.axes] == ["5 kept", "15 kept"]
    single = risk_figure([row(10, 5), row(10, 8)], "title")
    assert len(single.axes) == 1
    assert single.axes[0].get_xlabel() == "features kept"
    assert len(single.legends[0].get_texts()) == len(LABELS)
    gaps = risk_figure([row(30, 5, dense=None)], "title")
    assert len(gaps.axes) == 1


def printed(function, *arguments):
    console = Console(file=io.StringIO(), width=100)
    function(*arguments, console)
    return " ".join(console.file.getvalue().split())


def test_console_says_what_to_beware_of():
    points = [row(30, 5, dense=None)]
    text = printed(print_points, points, "title", "held out")
    assert "no finite mean" in text
    assert "held out" in text
    points[0]["spread"] = 2.0
    estimate = {
        "n_examples": 70,
        "n_test": 30,
        "shrinkage_share": 0.1,
        "noise": [0.1],
        "null_risk": [1.0],
        "n_zero_features": 3,
        "n_floored": 2,
    }
    text = printed(print_estimate, {"estimate": estimate, "points": points, "errors": {}})
    assert "very unequal size" in text
    assert "3 features are 0" in text
    assert "2 directions" in text


def test_the_law_in_words():
    found = lgp(60, 200, 20, 0.3)
    text = printed(print_lgp, found.to_dict() | {"law": found.coefficients.to_dict(20)})
    assert "Quantiles of the learned coefficients: 1% -" in text
    assert "Of the 20 most salient features pruning keeps" in text
    assert "100% by oracle; chance 10%" in text
    assert "fixed point" in text
