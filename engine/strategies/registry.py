"""Strategies by name: our own, and those that installed packages offer through entry points.

A package adds one with an entry point in the group `metaspo.inner_strategies` or `metaspo.outer_strategies` whose value
is a class: it is called with the loop's `options` as keyword arguments, with none if the config gives none.
"""

import inspect
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pkgutil import resolve_name
from typing import Any, TypeVar

from pydantic import ValidationError

from metaspo.engine.errors import UnknownStrategy
from metaspo.engine.strategies.base import Ask, Level, OuterStrategy, Strategy
from metaspo.engine.strategies.proposers import (
    AllAtOnce,
    OneByOne,
    ProposalContext,
    Proposer,
    inner_context,
    outer_context,
)
from metaspo.engine.strategies.search import Search
from metaspo.engine.suggest import nearest, there_is_no
from metaspo.engine.tasks.kinds import in_words, kinds_of, require_kind
from metaspo.engine.tasks.named_prompts import PromptForm

C = TypeVar("C")
S = TypeVar("S")

SEARCHES: Mapping[str, str] = {
    "ape": "ape:Ape",
    "evoprompt-de": "evoprompt:EvoPromptDE",
    "evoprompt-ga": "evoprompt:EvoPromptGA",
    "gepa": "gepa:Gepa",
    "mipro": "mipro:Mipro",
    "opro": "opro:Opro",
    "protegi": "protegi:ProTeGi",
    "sprig": "sprig:Sprig",
    "textgrad": "textgrad:TextGrad",
}
INNER: Mapping[str, str] = {
    "embedded": "embedded:EmbeddedInner",
    "informed": "informed:InformedInner",
    "metaspo": "metaspo:FailureAnalysisInner",
    **SEARCHES,
}
OUTER: Mapping[str, str] = {
    "embedded": "embedded:EmbeddedOuter",
    "informed": "informed:InformedOuter",
    "metaspo": "metaspo:FailureAnalysisOuter",
    **SEARCHES,
}
"""Module and class of each of our own: the module is imported when the strategy is asked for."""
GROUPS: Mapping[Level, str] = {"user": "metaspo.inner_strategies", "system": "metaspo.outer_strategies"}


def inner_strategy(name: str, options: Mapping[str, Any] | None = None, *, demonstrations: int = 0) -> Proposer:
    """The inner-loop strategy of a name; one candidate of a round shows up to so many right answers, if any.

    Raises `UnknownStrategy`.
    """
    proposer = _proposer(_make(name, INNER, options or {}, level="user"), inner_context, level="user")
    if not demonstrations:
        return proposer
    from metaspo.engine.strategies.demonstrations import WithDemonstrations

    return WithDemonstrations(proposer, demonstrations)


def of_form(proposer: Proposer, form: PromptForm | None) -> Proposer:
    """The proposer for user prompts of a form; as it is where there is none.

    Of a form without demonstrations: what a program's several prompts come to is no example of what one of them asks.
    """
    if form is None:
        return proposer
    from metaspo.engine.strategies.demonstrations import WithDemonstrations
    from metaspo.engine.strategies.named_prompts import OfForm

    return OfForm(proposer.proposer if isinstance(proposer, WithDemonstrations) else proposer, form)


def outer_strategy(name: str, options: Mapping[str, Any] | None = None, *, first_passes: int = 1) -> Proposer:
    """The outer-loop strategy of a name; one that is no search rewrites a first system prompt so often for a candidate.

    Raises `UnknownStrategy`.
    """
    strategy: OuterStrategy | Search = _make(name, OUTER, options or {}, level="system")
    if first_passes > 1 and not isinstance(strategy, Search):
        from metaspo.engine.strategies.passes import InPasses

        strategy = InPasses(strategy, first_passes)
    return _proposer(strategy, outer_context, level="system")


def strategy_names(level: Level) -> list[str]:
    """Every name that a loop's `strategy` can be, sorted."""
    built_in = INNER if level == "user" else OUTER
    return sorted({*built_in, *(point.name for point in entry_points(group=GROUPS[level]))})


def _make(name: str, built_in: Mapping[str, str], options: Mapping[str, Any], *, level: Level) -> Any:  # noqa: ANN401 - of a loop's kind
    if name in built_in:
        return _with_options(name, resolve_name(f"metaspo.engine.strategies.{built_in[name]}"), options)
    for point in entry_points(group=GROUPS[level], name=name):
        from metaspo.engine.strategies.own import own  # and all that may go wrong in a run

        try:
            return own(name, _with_options(name, point.load(), options))
        except UnknownStrategy:
            raise
        except Exception as error:  # in another package's code
            why = f"{type(error).__name__}: {error}"
            raise UnknownStrategy(f"the strategy '{name}' ({point.value}) cannot be loaded: {why}") from error
    raise UnknownStrategy(there_is_no("strategy", name, strategy_names(level)))


def _with_options(name: str, factory: Callable[..., S], options: Mapping[str, Any]) -> S:
    """Make a strategy; an option that it does not have, or that is out of range, is named."""
    known = _parameters_of(factory) if options else {}
    parameters = [name for name in known if name != "self"]
    for option in options:
        if option not in parameters:
            there = f"its options: {', '.join(parameters)}" if parameters else "it has none"
            raise UnknownStrategy(f"'{name}' has no option '{option}'{nearest(option, parameters)}; {there}")
        try:
            require_kind(options[option], kinds_of(known[option].annotation))
        except ValueError as error:
            raise UnknownStrategy(f"'{name}': {option}: {error} (it is {options[option]!r})") from None
    try:
        return factory(**options)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(map(str, fault["loc"]))
        said = [f"'{name}'", *([where] if where else []), in_words(fault)]
        raise UnknownStrategy(": ".join(said)) from None


def _parameters_of(factory: Callable[..., object]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(factory, eval_str=True).parameters
    except (NameError, AttributeError, TypeError, SyntaxError):  # an annotation is for type checkers alone
        return inspect.signature(factory).parameters


def _proposer(
    strategy: Strategy[C] | Search, candidate_context: Callable[[ProposalContext, int, Ask], C], *, level: Level
) -> Proposer:
    """The one place that tells the two kinds of strategies apart: where they come in."""
    if not isinstance(strategy, Search):
        return OneByOne(strategy, candidate_context)
    if level not in strategy.levels:
        raise UnknownStrategy(f"'{strategy.name}' does not look for {level} prompts")
    return AllAtOnce(strategy)
