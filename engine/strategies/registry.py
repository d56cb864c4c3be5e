"""Strategies by name: our own, and those that installed packages offer through entry points.

A package adds one with an entry point in the group `metaspo.inner_strategies` or `metaspo.outer_strategies` whose value
is a class that takes no arguments.
"""

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import TypeVar

from metaspo.engine.strategies.base import InnerStrategy, OuterStrategy
from metaspo.engine.strategies.embedded import EmbeddedInner, EmbeddedOuter
from metaspo.engine.strategies.metaspo import FailureAnalysisInner, FailureAnalysisOuter
from metaspo.engine.suggest import nearest

S = TypeVar("S")

INNER: Mapping[str, Callable[[], InnerStrategy]] = {"embedded": EmbeddedInner, "metaspo": FailureAnalysisInner}
OUTER: Mapping[str, Callable[[], OuterStrategy]] = {"embedded": EmbeddedOuter, "metaspo": FailureAnalysisOuter}


class UnknownStrategy(ValueError):
    """No strategy has this name, or it cannot be loaded; `str()` says which, and lists those there are."""


def inner_strategy(name: str) -> InnerStrategy:
    """The inner-loop strategy of a name. Raises `UnknownStrategy`."""
    return _make(name, INNER, group="metaspo.inner_strategies")


def outer_strategy(name: str) -> OuterStrategy:
    """The outer-loop strategy of a name. Raises `UnknownStrategy`."""
    return _make(name, OUTER, group="metaspo.outer_strategies")


def _make(name: str, own: Mapping[str, Callable[[], S]], *, group: str) -> S:
    if name in own:
        return own[name]()
    for point in entry_points(group=group, name=name):
        try:
            factory: Callable[[], S] = point.load()
        except (ImportError, AttributeError) as error:
            raise UnknownStrategy(f"the strategy '{name}' ({point.value}) cannot be loaded: {error}") from error
        return factory()
    known = sorted({*own, *(point.name for point in entry_points(group=group))})
    raise UnknownStrategy(f"there is no strategy '{name}'{nearest(name, known)}; known: {', '.join(known)}")
