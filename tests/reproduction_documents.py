"""Documents as `prunable reproduce` writes them, with numbers made up here."""

import copy

HOSTILE = "</script><script>window.hit=1</script><img src=x onerror=window.hit=1>"
MARKUP = "[red]x[/red]|`y`\x1b[31m{{7*7}} $\\frac{1$ *b*"
WAN = {
    "short": "Wan et al. 2023",
    "title": "Implicit Compressibility of Overparametrized Neural Networks",
    "authors": "Y. Wan, A. Zaidi, U. Şimşekli",
    "year": 2023,
}
BARSBEY = {
    "short": "Barsbey et al. 2021",
    "title": "Heavy Tails in SGD and Compressibility",
    "authors": "M. Barsbey, M. Sefidgaran and others",
    "year": 2021,
}


def run(key, place, status="done", reason="", **spec):
    return {
        "key": key,
        "id": f"train-{place:012x}",
        "kind": "train",
        "status": status,
        "reason": reason,
        "spec": {"dataset": "ecg5000", "width": 2000, "noise": {"kind": "type1"}, **spec},
    }


def table_item():
    """A table beside the paper's: reproduced, one run diverged, no panels of its own."""
    runs = [
        run(f"alpha={a} seed={s}", 10 * i + s, alpha=a, seed=s)
        for i, a in enumerate((1.7, 1.8, 1.9))
        for s in range(3)
    ]
    runs[5] |= {"status": "diverged", "reason": "the loss is nan at step 7"}
    ids = [one["id"] for one in runs]

    def cell(value, std, published, chosen, published_std=None):
        return {
            "value": value,
            "std": std,
            "published": published,
            "published_std": published_std,
            "runs": chosen,
        }

    def name(value):
        return cell(value, None, None, [])

    return {
        "item": "wan2023-table1",
        "paper": "wan2023",
        "paper_info": WAN,
        "kind": "table",
        "label": "Table 1",
        "title": "Pruned share under noise of type I",
        "scale": "laptop",
        "convention": "authors-code",
        "claim": "Heavier noise makes networks more compressible at little cost in accuracy.",
        "settings": {"width": 2000, "seeds": "0, 1, 2", "eps": 0.1, "average": True},
        "plan_notes": ["3 seeds instead of 10."],
        "notes": ["One run diverged and is left out."],
        "tables": [
            {
                "title": "ECG5000, 2,000 hidden units",
                "columns": [
                    {"key": "noise", "label": "noise", "unit": "", "digits": 3},
                    {"key": "alpha", "label": "alpha", "unit": "", "digits": 2},
                    {"key": "pruned", "label": "pruned", "unit": "%", "digits": 1},
                    {"key": "accuracy", "label": "test accuracy", "unit": "", "digits": 3},
                    {"key": "bound", "label": "bound", "unit": "", "digits": 2},
                ],
                "rows": [
                    [
                        name("none"),
                        name(None),
                        cell(0.1139, 0.011, 0.112, ids[:3], 0.0096),
                        cell(0.963, 0.0021, 0.957, ids[:3]),
                        cell(None, None, 1.25e9, []),
                    ],
                    [
                        name("type I"),
                        name(1.8),
                        cell(0.4512, 0.0312, 0.447, ids[3:6], 0.054),
                        cell(0.961, None, None, ids[3:6]),
                        cell("refused", None, None, ids[3:6]),
                    ],
                    [
                        name("type I"),
                        name(1.7),
                        cell(None, None, 0.521, []),
                        cell(None, None, None, []),
                        cell(3.2e-5, 1e-7, "> 0", ids[6:]),
                    ],
                ],
            }
        ],
        "panels": [],
        "checks": [
            {
                "statement": "Type I prunes more than no noise",
                "holds": True,
                "outcome": "holds",
                "needs": "",
                "printed": False,
                "evidence": "45.1 % against 11.4 %",
                "essential": True,
            },
            {
                "statement": "Accuracy falls by less than 2 points",
                "holds": True,
                "outcome": "holds",
                "needs": "",
                "printed": False,
                "evidence": "0.963 to 0.961",
                "essential": False,
            },
        ],
        "verdict": {
            "status": "reproduced",
            "why": "2 of 2 checks hold; 1 of 9 runs have no usable result",
        },
        "runs": runs,
        "schema_version": 1,
    }


def figure_item():
    """A figure with a colour bar, a panel on logarithmic axes with a zero, and the paper's."""
    kept = [0.02, 0.05, 0.1, 0.2, 0.5, 1.0]
    runs = [run(f"eta={i}", 100 + i, eta=0.1 * i) for i in range(5)]
    curves = [
        {
            "label": f"run {i}",
            "x": kept,
            "y": [0.93 * k ** (0.9 - 0.19 * i) for k in kept],
            "y_std": None,
            "style": "line",
            "colour_value": 1.95 - 0.12 * i,
            "runs": [runs[i]["id"]],
            "labels": None,
        }
        for i in range(5)
    ]
    return {
        "item": "barsbey2021-fig3",
        "paper": "barsbey2021",
        "paper_info": BARSBEY,
        "kind": "figure",
        "label": "Figure 3",
        "title": "Accuracy after pruning, by tail index",
        "claim": "Networks with a smaller tail index keep more of their accuracy.",
        "scale": "laptop",
        "convention": "paper",
        "settings": {"data": "fashion-mnist", "epochs": 20},
        "plan_notes": [],
        "notes": [],
        "tables": [],
        "panels": [
            {
                "title": "Fully connected network, pruned by size of weights",
                "x_label": "kappa",
                "y_label": "relative accuracy",
                "series": curves,
                "x_log": True,
                "y_log": False,
                "colour_label": "alpha",
            },
            {
                "title": "Error against width",
                "x_label": "width",
                "y_label": "error",
                "x_log": True,
                "y_log": True,
                "colour_label": None,
                "series": [
                    {
                        "label": "SGD",
                        "x": [0, 10, 100, 1000],
                        "y": [1, 0.3, 0.05, 0.0],
                        "y_std": [0, 0.1, 0.08, 0.0],
                        "style": "line+points",
                        "colour_value": None,
                        "runs": [runs[0]["id"], runs[1]["id"]],
                        "labels": None,
                    },
                    {
                        "label": "SGD (paper)",
                        "x": [10, 100],
                        "y": [0.25, None],
                        "y_std": None,
                        "style": "published",
                        "colour_value": None,
                        "runs": [],
                        "labels": None,
                    },
                    {
                        "label": "heavy tails",
                        "x": [10, 100, 1000],
                        "y": [0.2, 0.03, 0.004],
                        "y_std": [0.05, 0.01, 0.002],
                        "style": "line",
                        "colour_value": None,
                        "runs": [runs[2]["id"]],
                        "labels": None,
                    },
                ],
            },
            {
                "title": "Pruned share by layer",
                "x_label": "layer",
                "y_label": "pruned share",
                "x_log": False,
                "y_log": False,
                "colour_label": None,
                "series": [
                    {
                        "label": name,
                        "x": [0, 1, 2],
                        "y": values,
                        "y_std": [0.02, 0.03, 0.02],
                        "style": "bars",
                        "colour_value": None,
                        "runs": [runs[3]["id"]],
                        "labels": ["first", "second", "third"],
                    }
                    for name, values in (
                        ("SGD", [0.3, 0.4, 0.5]),
                        ("heavy tails", [0.6, 0.7, 0.75]),
                    )
                ],
            },
            {
                "title": "Tail index of each network",
                "x_label": "eta / batch",
                "y_label": "alpha",
                "x_log": False,
                "y_log": False,
                "colour_label": None,
                "series": [
                    {
                        "label": "networks",
                        "x": [1, 2, 3],
                        "y": [1.9, 1.8, 1.5],
                        "y_std": [0.05, 0.04, 0.06],
                        "style": "points",
                        "colour_value": None,
                        "runs": [one["id"] for one in runs],
                        "labels": ["a", "b", "c"],
                    }
                ],
            },
        ],
        "checks": [
            {
                "statement": "Accuracy at 10 % falls with alpha",
                "holds": True,
                "outcome": "holds",
                "needs": "",
                "printed": False,
                "evidence": "rank correlation -0.94",
                "essential": True,
            },
            {
                "statement": "It does so after retraining",
                "holds": False,
                "outcome": "fails",
                "needs": "",
                "printed": False,
                "evidence": "rank correlation 0.12",
                "essential": True,
            },
            {
                "statement": "It does so for CIFAR-10",
                "holds": None,
                "outcome": "not applicable",
                "needs": "",
                "printed": False,
                "evidence": "no run finished",
                "essential": True,
            },
        ],
        "verdict": {"status": "partly", "why": "1 of 3 checks hold"},
        "runs": runs,
        "schema_version": 1,
    }


def smoke_item():
    """A figure at the smallest scale, whose words try to be markup."""
    document = copy.deepcopy(figure_item())
    return document | {
        "item": "wan2023-fig2",
        "paper": "wan2023",
        "paper_info": WAN,
        "label": "Figure 2",
        "title": f"Pruning curves {HOSTILE}",
        "claim": MARKUP,
        "scale": "smoke",
        "settings": {HOSTILE: MARKUP},
        "plan_notes": [HOSTILE],
        "notes": [MARKUP],
        "panels": [
            document["panels"][0],
            document["panels"][1] | {"title": HOSTILE, "x_label": MARKUP},
        ],
        "checks": [
            {
                "statement": MARKUP,
                "holds": True,
                "outcome": "holds",
                "needs": "",
                "printed": False,
                "evidence": HOSTILE,
                "essential": True,
            }
        ],
        "verdict": {"status": "not judged", "why": "a smoke run says nothing about the paper"},
        "runs": [one | {"spec": {"name": HOSTILE}, "key": HOSTILE} for one in document["runs"]],
    }


def documents():
    return [smoke_item(), table_item(), figure_item()]
