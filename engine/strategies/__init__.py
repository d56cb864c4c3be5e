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
from metaspo.engine.strategies.search import Arena, Rows, Search, Size, Trial, Work, Wrong, round_work
from metaspo.engine.tasks import Failure

__all__ = [
    "Arena",
    "Ask",
    "Failure",
    "InnerContext",
    "InnerStrategy",
    "Level",
    "Malformed",
    "NoProposal",
    "OuterContext",
    "OuterStrategy",
    "Rows",
    "Search",
    "Size",
    "TaskView",
    "Trial",
    "UnknownStrategy",
    "Work",
    "Wrong",
    "inner_strategy",
    "outer_strategy",
    "round_work",
    "strategy_names",
]
