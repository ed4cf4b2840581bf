"""What the HTML pages share: templates, the chart library, data for scripts."""

import gzip
import json
import re
from base64 import b64encode
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from prunable.files import write_text
from prunable.report.figures import PALETTE

PLOTLY_FILE = "plotly.min.js"
_POLICY = "POLICY"


def render(
    template: str, *, data: Any = None, made_by: str = "", plotly_file: str = "", **shown: Any
) -> str:
    """Fill a template of this package.

    Its scripts are allowed by their digests, so that none that a name smuggled in could run.

    Parameters
    ----------
    template : File name in `templates/`.
    data : What its charts and live tables show, without NaN; none for a page without them.
    made_by : The command that made the page, to be copied.
    plotly_file : The chart library beside the page; the page holds it packed otherwise.
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
    library = "" if plotly_file or data is None else plotly_source()
    page = environment.get_template(template).render(
        shown,
        data=None if data is None else json.dumps(data, separators=(",", ":"), allow_nan=False),
        made_by=made_by,
        plotly_file=plotly_file,
        library=library,
        packed=_packed,
        palette=PALETTE,
        policy=_POLICY,
    )
    scripts = re.findall("<script>(.*?)</script>", page, re.DOTALL)
    allowed = [_digest(text) for text in [*scripts, library] if text]
    # browsers differ in what a page opened from a file calls its own
    beside = ["'self'", "file:"] if plotly_file else []
    policy = (
        f"default-src 'none'; script-src {' '.join([*allowed, *beside])}; "
        "style-src 'unsafe-inline'; img-src data: blob:"
    )
    return page.replace(_POLICY, policy, 1)


def _digest(script: str) -> str:
    return f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'"


def plotly_source() -> str:
    """The chart library: plotly.js with lines, marks and bars alone, as its makers publish it."""
    return files("prunable.report").joinpath("plotly/plotly-basic.min.js").read_text("utf-8")


def share_library(page: Path | str) -> str:
    """Write the chart library beside a page, unless it lies there, and give its file's name."""
    source, file = plotly_source(), Path(page).with_name(PLOTLY_FILE)
    if not file.is_file() or file.read_text(encoding="utf-8") != source:
        write_text(file, source)
    return file.name


def _packed(text: str) -> Markup:
    """Text as the page's script unpacks it: it can neither end nor open an element."""
    return Markup(b64encode(gzip.compress(text.encode(), mtime=0)).decode())
