"""Who may call when: lanes, queues, limits, retries, budgets, and the gateway over them."""

from typing import TYPE_CHECKING

from metaspo.backends.late_exports import late_exports

if TYPE_CHECKING:
    from metaspo.scheduling.account import Account as Account
    from metaspo.scheduling.budget import NOTHING as NOTHING
    from metaspo.scheduling.budget import Budget as Budget
    from metaspo.scheduling.budget import Cost as Cost
    from metaspo.scheduling.budget import Purse as Purse
    from metaspo.scheduling.call_record import CallRecord as CallRecord
    from metaspo.scheduling.client import Answered as Answered
    from metaspo.scheduling.client import Client as Client
    from metaspo.scheduling.draws import DrawCounter as DrawCounter
    from metaspo.scheduling.draws import is_sampled as is_sampled
    from metaspo.scheduling.errors import BudgetExhausted as BudgetExhausted
    from metaspo.scheduling.errors import GivenUp as GivenUp
    from metaspo.scheduling.errors import LaneStopped as LaneStopped
    from metaspo.scheduling.errors import RunStopped as RunStopped
    from metaspo.scheduling.errors import Unavailable as Unavailable
    from metaspo.scheduling.events import BudgetReached as BudgetReached
    from metaspo.scheduling.events import ConcurrencyChanged as ConcurrencyChanged
    from metaspo.scheduling.events import Doubted as Doubted
    from metaspo.scheduling.events import EndpointDown as EndpointDown
    from metaspo.scheduling.events import EndpointUp as EndpointUp
    from metaspo.scheduling.events import Event as Event
    from metaspo.scheduling.events import HeldBack as HeldBack
    from metaspo.scheduling.events import LaneGaveUp as LaneGaveUp
    from metaspo.scheduling.events import LimitsLearned as LimitsLearned
    from metaspo.scheduling.events import Retried as Retried
    from metaspo.scheduling.events import Waiting as Waiting
    from metaspo.scheduling.failures import CallFailed as CallFailed
    from metaspo.scheduling.failures import call_failed as call_failed
    from metaspo.scheduling.gateway import Answer as Answer
    from metaspo.scheduling.gateway import Gateway as Gateway
    from metaspo.scheduling.lane import Lane as Lane
    from metaspo.scheduling.queue import Priority as Priority
    from metaspo.scheduling.settings import LaneSettings as LaneSettings
    from metaspo.scheduling.settings import Prices as Prices
    from metaspo.scheduling.statistics import AccountStatistics as AccountStatistics
    from metaspo.scheduling.statistics import EndpointStatistics as EndpointStatistics
    from metaspo.scheduling.statistics import GatewayStatistics as GatewayStatistics
    from metaspo.scheduling.statistics import LaneStatistics as LaneStatistics
    from metaspo.scheduling.statistics import LaneUse as LaneUse
else:
    __getattr__, __dir__ = late_exports(__name__)
