"""Strategies of other packages: what one of them does wrong is told as its mistake, in a sentence."""

import asyncio
import inspect
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from metaspo.backends import BackendError
from metaspo.cache import StoreError
from metaspo.engine.errors import ConfigError, PromptError, StrategyError, UnknownStrategy
from metaspo.engine.gather import first_leaf
from metaspo.engine.strategies.base import Level, Malformed, NoProposal, Strategy
from metaspo.engine.strategies.search import CallBound, RoundSize, Search, SearchContext
from metaspo.engine.tasks import MetricError, TaskError
from metaspo.scheduling import RunStopped

C = TypeVar("C")
T = TypeVar("T")

NOT_ITS_OWN = (
    BackendError,
    ConfigError,
    Malformed,
    MetricError,
    NoProposal,
    PromptError,
    RunStopped,
    StoreError,
    TaskError,
)
"""What comes out of `context.ask` and `context.score`, and is nobody's mistake or told already."""


@dataclass(frozen=True, slots=True)
class OwnStrategy(Generic[C]):
    """One that proposes a prompt at a time."""

    strategy: Strategy[C]

    @property
    def name(self) -> str:
        """The strategy's."""
        return self.strategy.name

    @property
    def calls_optimizer(self) -> int:
        """The strategy's."""
        return self.strategy.calls_optimizer

    def describe(self) -> str:
        """As the strategy says."""
        return _given(self.strategy, str, self.strategy.describe)

    async def propose(self, context: C, /) -> str:
        """What the strategy proposes. Raises `NoProposal`, and `StrategyError`."""
        prompt = await _brought(self.strategy, self.strategy.propose, context)
        if not isinstance(prompt, str):
            raise _broken(self.strategy, f"proposed a {type(prompt).__name__}, and must propose a text")
        return prompt


@dataclass(frozen=True, slots=True)
class OwnSearch:
    """One that looks for prompts in several steps."""

    strategy: Search

    @property
    def name(self) -> str:
        """The search's."""
        return self.strategy.name

    @property
    def levels(self) -> frozenset[Level]:
        """The search's."""
        return self.strategy.levels

    def describe(self) -> str:
        """As the search says."""
        return _given(self.strategy, str, self.strategy.describe)

    def work(self, size: RoundSize, /) -> CallBound:
        """As the search says."""
        return _given(self.strategy, CallBound, self.strategy.work, size)

    async def search(self, context: SearchContext, /) -> Sequence[str]:
        """What the search finds. Raises `NoProposal`, and `StrategyError`."""
        found = await _brought(self.strategy, self.strategy.search, context)
        if not isinstance(found, list | tuple) or not all(isinstance(prompt, str) for prompt in found):
            raise _broken(self.strategy, f"found {found!r:.100}, and must return a list of texts")
        return found


def own(name: str, strategy: Any) -> "OwnStrategy[Any] | OwnSearch":  # noqa: ANN401 - another package's
    """A strategy as a loop takes it. Raises `UnknownStrategy` for what is none."""
    of_search = isinstance(strategy, Search) if hasattr(strategy, "propose") else hasattr(strategy, "search")
    members = ("levels", "work", "search") if of_search else ("calls_optimizer", "propose")
    if lacks := [member for member in ("name", "describe", *members) if not hasattr(strategy, member)]:
        raise UnknownStrategy(f"'{name}' ({_kind(strategy)}) is no strategy: it has no {lacks[0]}")
    if not of_search and not (isinstance(strategy.calls_optimizer, int) and strategy.calls_optimizer >= 0):
        raise UnknownStrategy(f"'{name}' ({_kind(strategy)}): calls_optimizer must be a whole number from 0 on")
    if of_search and not isinstance(strategy.levels, Collection):
        raise UnknownStrategy(f"'{name}' ({_kind(strategy)}): levels must be a set of 'user' and 'system'")
    return OwnSearch(strategy) if of_search else OwnStrategy(strategy)


def _given(strategy: object, kind: type[T], method: Callable[..., object], *args: object) -> T:
    try:
        given = method(*args)
    except (Exception, SystemExit) as error:
        raise _broken(strategy, f"failed: {type(error).__name__}: {error}") from error
    if not isinstance(given, kind):
        raise _broken(strategy, f"gave a {type(given).__name__} by `{method.__name__}`, not a {kind.__name__}")
    return given


async def _brought(strategy: object, method: Callable[[C], Any], context: C) -> object:
    try:
        given = method(context)
        if not inspect.isawaitable(given):
            raise TypeError(f"`{method.__name__}` must be `async def`, and gave a {type(given).__name__} at once")
        return await given
    except NOT_ITS_OWN:
        raise
    except BaseExceptionGroup as group:  # of its own tasks, in which it asked and scored side by side
        error = first_leaf(group)
        if isinstance(error, NOT_ITS_OWN) or not isinstance(error, (Exception, SystemExit)):
            raise error from None
        raise _broken(strategy, f"failed: {type(error).__name__}: {error}") from group
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise _broken(strategy, "raised a CancelledError, and nobody had cancelled it") from error
    except (Exception, SystemExit) as error:
        raise _broken(strategy, f"failed: {type(error).__name__}: {error}") from error


def _broken(strategy: Any, what: str) -> StrategyError:  # noqa: ANN401 - another package's
    return StrategyError(f"the strategy '{strategy.name}' ({_kind(strategy)}) {what}")


def _kind(strategy: object) -> str:
    return f"{type(strategy).__module__}:{type(strategy).__qualname__}"
