"""What the HTML pages share: templates, the chart library, data for scripts."""

import importlib
import json
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


def render(template: str, **shown: Any) -> str:
    """Fill a template of this package.

    Parameters
    ----------
    template : File name in `templates/`.
    **shown : What it names; a name without a value is an error. All but `Markup` is escaped.

    Returns
    -------
    str
        HTML.
    """
    environment = Environment(
        loader=PackageLoader("prunable.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(shown)


def plotly_script() -> Markup | None:
    """The chart library's own source; None where it is not installed."""
    try:
        # by name: plotly is optional, and carries no types
        return Markup(importlib.import_module("plotly.offline").get_plotlyjs())
    except ImportError:
        return None


def script_data(data: Any) -> Markup:
    """JSON that cannot end, or comment out, the script element it stands in."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c"))
