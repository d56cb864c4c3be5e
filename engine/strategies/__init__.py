"""Strategies: who proposes prompts."""

from metaspo.engine.strategies.base import (
    Ask,
    InnerContext,
    InnerStrategy,
    Malformed,
    NoProposal,
    OuterContext,
    OuterStrategy,
    TaskView,
)
from metaspo.engine.strategies.meta_prompts import Level
from metaspo.engine.strategies.registry import UnknownStrategy, inner_strategy, outer_strategy, strategy_names
from metaspo.engine.strategies.search import (
    CallBound,
    RoundSize,
    Rows,
    Search,
    SearchContext,
    Trial,
    WrongAnswer,
    round_work,
)
from metaspo.engine.tasks import Failure

__all__ = [
    "Ask",
    "CallBound",
    "Failure",
    "InnerContext",
    "InnerStrategy",
    "Level",
    "Malformed",
    "NoProposal",
    "OuterContext",
    "OuterStrategy",
    "RoundSize",
    "Rows",
    "Search",
    "SearchContext",
    "TaskView",
    "Trial",
    "UnknownStrategy",
    "WrongAnswer",
    "inner_strategy",
    "outer_strategy",
    "round_work",
    "strategy_names",
]
