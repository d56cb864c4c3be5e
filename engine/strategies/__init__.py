"""Strategies: who proposes prompts."""

from metaspo.engine.strategies.base import (
    Ask,
    Failure,
    InnerContext,
    InnerStrategy,
    Malformed,
    NoProposal,
    OuterContext,
    OuterStrategy,
    TaskView,
)
from metaspo.engine.strategies.registry import UnknownStrategy, inner_strategy, outer_strategy

__all__ = [
    "Ask",
    "Failure",
    "InnerContext",
    "InnerStrategy",
    "Malformed",
    "NoProposal",
    "OuterContext",
    "OuterStrategy",
    "TaskView",
    "UnknownStrategy",
    "inner_strategy",
    "outer_strategy",
]
