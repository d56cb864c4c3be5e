"""Strategies: who proposes prompts."""

from typing import TYPE_CHECKING

from metaspo.backends.late_exports import late_exports

if TYPE_CHECKING:
    from metaspo.engine.errors import UnknownStrategy as UnknownStrategy
    from metaspo.engine.strategies.base import Ask as Ask
    from metaspo.engine.strategies.base import InnerContext as InnerContext
    from metaspo.engine.strategies.base import InnerStrategy as InnerStrategy
    from metaspo.engine.strategies.base import Malformed as Malformed
    from metaspo.engine.strategies.base import NoProposal as NoProposal
    from metaspo.engine.strategies.base import OuterContext as OuterContext
    from metaspo.engine.strategies.base import OuterStrategy as OuterStrategy
    from metaspo.engine.strategies.base import Strategy as Strategy
    from metaspo.engine.strategies.base import TaskView as TaskView
    from metaspo.engine.strategies.base import Tried as Tried
    from metaspo.engine.strategies.base import Unfit as Unfit
    from metaspo.engine.strategies.meta_prompts import Level as Level
    from metaspo.engine.strategies.named_prompts import of_form as of_form
    from metaspo.engine.strategies.proposers import Proposal as Proposal
    from metaspo.engine.strategies.proposers import ProposalContext as ProposalContext
    from metaspo.engine.strategies.proposers import Proposer as Proposer
    from metaspo.engine.strategies.proposers import is_usable as is_usable
    from metaspo.engine.strategies.registry import inner_strategy as inner_strategy
    from metaspo.engine.strategies.registry import outer_strategy as outer_strategy
    from metaspo.engine.strategies.registry import strategy_names as strategy_names
    from metaspo.engine.strategies.search import CallBound as CallBound
    from metaspo.engine.strategies.search import RoundSize as RoundSize
    from metaspo.engine.strategies.search import Rows as Rows
    from metaspo.engine.strategies.search import Search as Search
    from metaspo.engine.strategies.search import SearchContext as SearchContext
    from metaspo.engine.strategies.search import Trial as Trial
    from metaspo.engine.strategies.search import WrongAnswer as WrongAnswer
    from metaspo.engine.tasks import Failure as Failure
else:
    __getattr__, __dir__ = late_exports(__name__)
