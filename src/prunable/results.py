"""One family of results: what the functions of the package return, for programs and notebooks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prunable.errors import InputError

if TYPE_CHECKING:
    import pandas

SHOWN = 30  # rows of a table in a notebook


class Result:
    """Base of result classes, which are frozen dataclasses.

    `to_dict` gives what `--json` prints, `to_pandas` a frame of the rows where a result has
    any, and a notebook shows these rows as a table. A subclass overrides `to_dict` where its
    document is not simply its fields, and `_rows` where it is tabular.
    """

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON would hold it: names, numbers, lists."""
        if not is_dataclass(self):
            raise TypeError(f"{type(self).__name__} is no dataclass")
        return {field.name: as_plain(getattr(self, field.name)) for field in fields(self)}

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        """Rows of the result, all with the same keys; one row of its plain values by default."""
        scalars = (bool, int, float, str, type(None))
        return [{k: v for k, v in self.to_dict().items() if isinstance(v, scalars)}]

    def to_pandas(self) -> pandas.DataFrame:
        """A data frame of the rows of the result.

        Raises InputError if pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise InputError("`to_pandas` needs pandas: pip install 'prunable[pandas]'.") from error
        return pandas.DataFrame(list(self._rows()))

    def _plots(self) -> Sequence[tuple[str, Sequence[float]]]:
        """Titles and numbers that a notebook shows as small plots; NaN leaves a gap."""
        return ()

    def to_html(self) -> str:
        """What notebooks show, for a page of one's own: plots, the first rows; all text escaped."""
        return self._repr_html_()

    def _repr_html_(self) -> str:
        rows = self._rows()
        head = "".join(f"<th>{escape(str(name))}</th>" for name in (rows[0] if rows else ()))
        body = "".join(
            f"<tr>{''.join(f'<td>{escape(_short(value))}</td>' for value in row.values())}</tr>"
            for row in rows[:SHOWN]
        )
        more = len(rows) - SHOWN
        foot = f"<p>{more:,} more rows</p>" if more > 0 else ""
        plots = "".join(small_plot(title, values) for title, values in self._plots())
        return (
            f"<p>{escape(repr(self))}</p>{plots}<table><thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table>{foot}"
        )


def small_plot(title: str, values: Sequence[float]) -> str:
    """Numbers in their order as points of a small picture, SVG with its least and largest named.

    >>> small_plot("none", [float("nan")])
    ''
    >>> small_plot("two", [1.0, 3.0]).count("<circle")
    2
    """
    known = [(place, value) for place, value in enumerate(values) if math.isfinite(value)]
    if not known:
        return ""
    low, high = min(v for _, v in known), max(v for _, v in known)
    across, up = 200 / max(1, len(values) - 1), 50 / ((high - low) or 1)
    points = "".join(
        f'<circle cx="{10 + across * place:.1f}" cy="{70 - up * (value - low):.1f}" r="2"/>'
        for place, value in known
    )
    return (
        f'<svg role="img" width="280" height="80" fill="currentColor" font-size="10" '
        f'aria-label="{escape(title, quote=True)}"><text x="10" y="12">{escape(title)}</text>'
        f'{points}<text x="216" y="24">{high:.3g}</text><text x="216" y="74">{low:.3g}</text></svg>'
    )


def as_plain(value: Any) -> Any:
    """Turn a value into what JSON can hold; arrays become lists, objects their `to_dict`.

    Numbers that are not finite become None.

    >>> as_plain({"path": Path("a"), "sizes": (1, float("nan"))})
    {'path': 'a', 'sizes': [1, None]}
    """
    if isinstance(value, Result):
        return value.to_dict()
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: as_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): as_plain(part) for key, part in value.items()}
    if isinstance(value, tuple | list | set | frozenset):
        return [as_plain(part) for part in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # arrays and tensors, and their scalars
        return as_plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
