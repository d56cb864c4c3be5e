"""metaspo optimizes the system prompt of a language model so that it works across many tasks."""

from metaspo.backends import Completion, LocalModel, Message, OpenAIAPI, OpenAICompatible, Request, Sampling, Usage
from metaspo.cache import DiskStore, MemoryStore
from metaspo.engine import (
    ConfigError,
    EvaluationReport,
    PromptPair,
    RunConfig,
    RunReport,
    RunResult,
    Watcher,
    evaluate,
    optimize,
    plan_run,
    prepare,
)
from metaspo.scheduling import Account, Budget, Gateway, Lane, LaneSettings, Prices, RunStopped

__all__ = [
    "Account",
    "Budget",
    "Completion",
    "ConfigError",
    "DiskStore",
    "EvaluationReport",
    "Gateway",
    "Lane",
    "LaneSettings",
    "LocalModel",
    "MemoryStore",
    "Message",
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
    "Watcher",
    "evaluate",
    "optimize",
    "plan_run",
    "prepare",
]
