"""metaspo optimizes the system prompt of a language model so that it works across many tasks."""

from typing import TYPE_CHECKING

from metaspo.backends.late_exports import late_exports

if TYPE_CHECKING:
    from metaspo.backends import (
        Completion,
        LocalModel,
        Message,
        OpenAIAPI,
        OpenAICompatible,
        Request,
        RequestRejected,
        Sampling,
        Usage,
    )
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
        Ungraded,
        plan_run,
        prepare,
        task,
    )
    from metaspo.engine.api import evaluate, optimize
    from metaspo.scheduling import (
        Account,
        Answered,
        Budget,
        CallFailed,
        CallRecord,
        Client,
        Gateway,
        Lane,
        LaneSettings,
        Prices,
        RunStopped,
    )
    from metaspo.serving import open_client
else:
    __getattr__, __dir__ = late_exports(__name__)

__all__ = [
    "Account",
    "Answered",
    "Budget",
    "Call",
    "CallFailed",
    "CallRecord",
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
    "RequestRejected",
    "RunConfig",
    "RunReport",
    "RunResult",
    "RunStopped",
    "Sampling",
    "Ungraded",
    "Usage",
    "evaluate",
    "open_client",
    "optimize",
    "plan_run",
    "prepare",
    "task",
]
