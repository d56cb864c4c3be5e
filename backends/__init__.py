"""How to talk to one model."""

from typing import TYPE_CHECKING

from metaspo.backends.late_exports import late_exports

if TYPE_CHECKING:
    from metaspo.backends.base import (
        CONTENT_FILTER,
        Backend,
        Completion,
        LimitHints,
        Message,
        Reply,
        Request,
        Role,
        Sampling,
        ServerInfo,
        Startable,
        Usage,
        json_text,
    )
    from metaspo.backends.chat.answer import chat_events, rest_of, tool_calls_of
    from metaspo.backends.chat.request import UNASKED, ChatCall, read_chat_call, read_message, read_raw_request
    from metaspo.backends.errors import (
        AccessDenied,
        BackendBroken,
        BackendError,
        ConnectionLost,
        CreditExhausted,
        FatalError,
        HalfAnswer,
        LocalServerFailed,
        ModelFileUnavailable,
        NotInstalled,
        Overloaded,
        RateLimited,
        RequestRejected,
        ServerFault,
        SlowDown,
        TimedOut,
        TransientError,
        UnknownModel,
        Unreachable,
        WrongForm,
    )
    from metaspo.backends.http.endpoint import HttpEndpoint
    from metaspo.backends.managed.local import LocalModel
    from metaspo.backends.managed.model_files import fetch_model, models_folder
    from metaspo.backends.managed.model_names import (
        DEFAULT_MODEL,
        LocalModelFacts,
        local_models,
        local_revision,
        local_size,
        local_threads,
    )
    from metaspo.backends.managed.model_sources import Progress
    from metaspo.backends.models import ModelFacts, TierLimits, model_facts
    from metaspo.backends.openai_api import OpenAIAPI
    from metaspo.backends.openai_compatible import OpenAICompatible
    from metaspo.backends.simulated import Scripted, Simulated
else:
    __getattr__, __dir__ = late_exports(__name__)

__all__ = [
    "CONTENT_FILTER",
    "DEFAULT_MODEL",
    "UNASKED",
    "AccessDenied",
    "Backend",
    "BackendBroken",
    "BackendError",
    "ChatCall",
    "Completion",
    "ConnectionLost",
    "CreditExhausted",
    "FatalError",
    "HalfAnswer",
    "HttpEndpoint",
    "LimitHints",
    "LocalModel",
    "LocalModelFacts",
    "LocalServerFailed",
    "Message",
    "ModelFacts",
    "ModelFileUnavailable",
    "NotInstalled",
    "OpenAIAPI",
    "OpenAICompatible",
    "Overloaded",
    "Progress",
    "RateLimited",
    "Reply",
    "Request",
    "RequestRejected",
    "Role",
    "Sampling",
    "Scripted",
    "ServerFault",
    "ServerInfo",
    "Simulated",
    "SlowDown",
    "Startable",
    "TierLimits",
    "TimedOut",
    "TransientError",
    "UnknownModel",
    "Unreachable",
    "Usage",
    "WrongForm",
    "chat_events",
    "fetch_model",
    "json_text",
    "local_models",
    "local_revision",
    "local_size",
    "local_threads",
    "model_facts",
    "models_folder",
    "read_chat_call",
    "read_message",
    "read_raw_request",
    "rest_of",
    "tool_calls_of",
]
