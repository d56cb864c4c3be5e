"""metaspo optimizes the system prompt of a language model so that it works across many tasks."""

from metaspo.backends import Completion, LocalModel, Message, OpenAIAPI, OpenAICompatible, Request, Sampling, Usage
from metaspo.cache import DiskStore, MemoryStore
from metaspo.engine import (
    Call,
    ConfigError,
    EvaluationReport,
    Example,
    Grade,
    Observer,
    PromptPair,
    RunConfig,
    RunReport,
    RunResult,
    evaluate,
    optimize,
    plan_run,
    prepare,
)
from metaspo.scheduling import Account, Budget, CallFailed, Client, Gateway, Lane, LaneSettings, Prices, RunStopped
from metaspo.serving import open_client

__all__ = [
    "Account",
    "Budget",
    "Call",
    "CallFailed",
    "Client",
    "Completion",
    "ConfigError",
    "DiskStore",
    "EvaluationReport",
    "Example",
    "Gateway",
    "Grade",
    "Lane",
    "LaneSettings",
    "LocalModel",
    "MemoryStore",
    "Message",
    "Observer",
    "OpenAIAPI",
    "OpenAICompatible",
    "Prices",
    "PromptPair",
    "Request",
    "RunConfig",
    "RunReport",
    "RunResult",
    "RunStopped",
    "Sampling",
    "Usage",
    "evaluate",
    "open_client",
    "optimize",
    "plan_run",
    "prepare",
]
