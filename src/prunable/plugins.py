"""What other packages add by entry points; found by name, loaded when it is used.

The groups: `prunable.tails` holds tail estimators, `prunable.strategies` strategies,
`prunable.bounds` bounds, `prunable.data` data sets, `prunable.networks` sources of networks. What
each of them is called with says docs/plugins.md.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from prunable.errors import InputError

TAILS, STRATEGIES, BOUNDS = "prunable.tails", "prunable.strategies", "prunable.bounds"
DATA, NETWORKS = "prunable.data", "prunable.networks"


@dataclass(frozen=True)
class Plugin:
    """One entry point; nothing of its package is imported before `load`."""

    points: tuple[EntryPoint, ...]  # several if packages bring the same name

    @property
    def name(self) -> str:
        """What users type, and documents say."""
        return self.points[0].name

    def load(self) -> Any:
        """The object that the entry point names; InputError if it cannot be imported."""
        if len(self.points) > 1:
            packages = " and ".join(sorted(map(_package, self.points)))
            raise InputError(
                f"`{self.name}` of the entry points {self.points[0].group} is brought by "
                f"{packages}. Uninstall all but one."
            )
        return self._guarded(self.points[0].load)

    def call(self, function: Callable[..., Any], *given: Any, **named: Any) -> Any:
        """Call a function of the plugin's; what it raises becomes one message that names it.

        An InputError of its own goes through.
        """
        return self._guarded(lambda: function(*given, **named))

    def made(self, *given: Any, **named: Any) -> Any:
        """What the loaded object gives when it is called."""
        return self.call(self.load(), *given, **named)

    def wrong(self, wanted: str, found: object) -> InputError:
        """An error that says what the plugin should have given."""
        return InputError(f"{self._said} must give {wanted}; got {type(found).__name__}. {_MEND}")

    def _guarded(self, act: Callable[[], Any]) -> Any:
        try:
            return act()
        except (InputError, KeyboardInterrupt):
            raise
        except BaseException as error:  # such as SystemExit
            cause = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise InputError(f"{self._said} fails ({cause}). {_MEND}") from error

    @property
    def _said(self) -> str:
        point = self.points[0]
        return f"The plugin `{point.name}` ({point.group}, {point.value} of {_package(point)})"


_MEND = "Mend or uninstall that package."


@cache
def plugins(group: str) -> dict[str, Plugin]:
    """The plugins of a group by name, in alphabetical order; none is loaded.

    >>> plugins("prunable.nothing")
    {}
    """
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for point in entry_points(group=group):
        found[point.name] = (*found.get(point.name, ()), point)
    return {name: Plugin(points) for name, points in sorted(found.items())}


def added(group: str, built_in: Collection[str]) -> dict[str, Plugin]:
    """The plugins of a group whose names are not taken: what is built in cannot be replaced."""
    return {name: plugin for name, plugin in plugins(group).items() if name not in built_in}


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown package"
