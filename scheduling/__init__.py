"""Who may call when: lanes, queues, limits, retries, budgets, and the gateway over them."""

from typing import TYPE_CHECKING

from metaspo.backends.late_exports import late_exports

if TYPE_CHECKING:
    from metaspo.scheduling.budget.account import Account
    from metaspo.scheduling.budget.budget import NOTHING, Budget, Cost, Purse
    from metaspo.scheduling.client.client import Answered, Client
    from metaspo.scheduling.client.draws import DrawCounter, is_sampled
    from metaspo.scheduling.client.failures import CallFailed, call_failed
    from metaspo.scheduling.errors import BudgetExhausted, GivenUp, LaneStopped, RunStopped, Unavailable
    from metaspo.scheduling.events import (
        BudgetReached,
        ConcurrencyChanged,
        Doubted,
        EndpointDown,
        EndpointUp,
        Event,
        HeldBack,
        LaneAnswers,
        LaneGaveUp,
        LimitsLearned,
        Retried,
        Waiting,
    )
    from metaspo.scheduling.gateway import Answer, Gateway
    from metaspo.scheduling.lanes.call_record import CallRecord
    from metaspo.scheduling.lanes.lane import Lane
    from metaspo.scheduling.queue import Priority
    from metaspo.scheduling.settings import LaneSettings, Prices
    from metaspo.scheduling.statistics import (
        AccountStatistics,
        EndpointStatistics,
        GatewayStatistics,
        LaneStatistics,
        LaneUse,
    )
    from metaspo.scheduling.telemetry.open_telemetry import OpenTelemetry
else:
    __getattr__, __dir__ = late_exports(__name__)

__all__ = [
    "NOTHING",
    "Account",
    "AccountStatistics",
    "Answer",
    "Answered",
    "Budget",
    "BudgetExhausted",
    "BudgetReached",
    "CallFailed",
    "CallRecord",
    "Client",
    "ConcurrencyChanged",
    "Cost",
    "Doubted",
    "DrawCounter",
    "EndpointDown",
    "EndpointStatistics",
    "EndpointUp",
    "Event",
    "Gateway",
    "GatewayStatistics",
    "GivenUp",
    "HeldBack",
    "Lane",
    "LaneAnswers",
    "LaneGaveUp",
    "LaneSettings",
    "LaneStatistics",
    "LaneStopped",
    "LaneUse",
    "LimitsLearned",
    "OpenTelemetry",
    "Prices",
    "Priority",
    "Purse",
    "Retried",
    "RunStopped",
    "Unavailable",
    "Waiting",
    "call_failed",
    "is_sampled",
]
