"""What the HTML pages share: templates, the chart library, data for scripts."""

import importlib
import json
import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from prunable.files import write_text
from prunable.report.figures import PALETTE

PLOTLY_FILE = "plotly.min.js"
_POLICY = "POLICY"


def render(
    template: str,
    *,
    made_by: str = "",
    plotlyjs: Markup | None = None,
    plotly_file: str = "",
    **shown: Any,
) -> str:
    """Fill a template of this package.

    Its scripts are allowed by their digests, so that none that a name smuggled in could run.

    Parameters
    ----------
    template : File name in `templates/`.
    made_by : The command that made the page, to be copied.
    plotlyjs : Source of the chart library, for a page that holds all it needs.
    plotly_file : Its file beside the page instead.
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
    page = environment.get_template(template).render(
        shown,
        made_by=made_by,
        plotlyjs=plotlyjs,
        plotly_file=plotly_file,
        palette=PALETTE,
        policy=_POLICY,
    )
    scripts = [_digest(text) for text in re.findall("<script>(.*?)</script>", page, re.DOTALL)]
    # browsers differ in what a page opened from a file calls its own
    beside = ["'self'", "file:"] if plotly_file else []
    policy = (
        f"default-src 'none'; script-src {' '.join([*scripts, *beside])}; "
        "style-src 'unsafe-inline'; img-src data: blob:"
    )
    return page.replace(_POLICY, policy, 1)


def _digest(script: str) -> str:
    return f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'"


def plotly_script() -> Markup | None:
    """The chart library's own source; None where it is not installed."""
    try:
        # by name: plotly is optional, and carries no types
        return Markup(importlib.import_module("plotly.offline").get_plotlyjs())
    except ImportError:
        return None


def charts_of(page: Path | str, *, shared: bool) -> dict[str, Any]:
    """What `render` needs for charts: the library itself, or, shared, its file beside the page.

    That file is written once a folder, and again when the library is another.
    """
    source = plotly_script()
    if source is None or not shared:
        return {"plotlyjs": source}
    file = Path(page).with_name(PLOTLY_FILE)
    if not file.is_file() or file.read_text(encoding="utf-8") != source:
        write_text(file, source)
    return {"plotlyjs": source, "plotly_file": file.name}


def script_data(data: Any) -> Markup:
    """JSON that cannot end, or comment out, the script element it stands in."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c"))
