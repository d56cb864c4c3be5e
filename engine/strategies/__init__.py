"""Strategies: who proposes prompts."""

from typing import TYPE_CHECKING

from metaspo.backends.late_exports import late_exports

if TYPE_CHECKING:
    from metaspo.engine.errors import StrategyError, UnknownStrategy
    from metaspo.engine.strategies.base import (
        Ask,
        InnerContext,
        InnerStrategy,
        Level,
        Malformed,
        NoProposal,
        OuterContext,
        OuterStrategy,
        Strategy,
        TaskView,
        Tried,
        Unfit,
    )
    from metaspo.engine.strategies.proposers import Proposal, ProposalContext, Proposer, is_usable
    from metaspo.engine.strategies.registry import inner_strategy, of_form, outer_strategy, strategy_names
    from metaspo.engine.strategies.search import (
        CallBound,
        RoundSize,
        Rows,
        Search,
        SearchContext,
        Trial,
        WrongAnswer,
    )
    from metaspo.engine.tasks import Failure
else:
    __getattr__, __dir__ = late_exports(__name__)

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
    "Proposal",
    "ProposalContext",
    "Proposer",
    "RoundSize",
    "Rows",
    "Search",
    "SearchContext",
    "Strategy",
    "StrategyError",
    "TaskView",
    "Trial",
    "Tried",
    "Unfit",
    "UnknownStrategy",
    "WrongAnswer",
    "inner_strategy",
    "is_usable",
    "of_form",
    "outer_strategy",
    "strategy_names",
]
