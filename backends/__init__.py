"""How to talk to one model."""

from typing import TYPE_CHECKING

from metaspo.backends.late_exports import late_exports

if TYPE_CHECKING:
    from metaspo.backends.base import CONTENT_FILTER as CONTENT_FILTER
    from metaspo.backends.base import Backend as Backend
    from metaspo.backends.base import Completion as Completion
    from metaspo.backends.base import LimitHints as LimitHints
    from metaspo.backends.base import Message as Message
    from metaspo.backends.base import Reply as Reply
    from metaspo.backends.base import Request as Request
    from metaspo.backends.base import Role as Role
    from metaspo.backends.base import Sampling as Sampling
    from metaspo.backends.base import ServerInfo as ServerInfo
    from metaspo.backends.base import Startable as Startable
    from metaspo.backends.base import Usage as Usage
    from metaspo.backends.base import json_text as json_text
    from metaspo.backends.chat_answer import chat_events as chat_events
    from metaspo.backends.chat_answer import rest_of as rest_of
    from metaspo.backends.chat_answer import tool_calls_of as tool_calls_of
    from metaspo.backends.chat_answer import usage_of as usage_of
    from metaspo.backends.chat_request import UNASKED as UNASKED
    from metaspo.backends.chat_request import ChatCall as ChatCall
    from metaspo.backends.chat_request import read_chat_call as read_chat_call
    from metaspo.backends.chat_request import read_message as read_message
    from metaspo.backends.chat_request import read_raw_request as read_raw_request
    from metaspo.backends.errors import AccessDenied as AccessDenied
    from metaspo.backends.errors import BackendError as BackendError
    from metaspo.backends.errors import ConnectionLost as ConnectionLost
    from metaspo.backends.errors import CreditExhausted as CreditExhausted
    from metaspo.backends.errors import FatalError as FatalError
    from metaspo.backends.errors import HalfAnswer as HalfAnswer
    from metaspo.backends.errors import ModelFileUnavailable as ModelFileUnavailable
    from metaspo.backends.errors import Overloaded as Overloaded
    from metaspo.backends.errors import RateLimited as RateLimited
    from metaspo.backends.errors import RequestRejected as RequestRejected
    from metaspo.backends.errors import ServerFault as ServerFault
    from metaspo.backends.errors import SlowDown as SlowDown
    from metaspo.backends.errors import TimedOut as TimedOut
    from metaspo.backends.errors import TransientError as TransientError
    from metaspo.backends.errors import UnknownModel as UnknownModel
    from metaspo.backends.errors import Unreachable as Unreachable
    from metaspo.backends.errors import WrongForm as WrongForm
    from metaspo.backends.http_endpoint import HttpEndpoint as HttpEndpoint
    from metaspo.backends.local import LocalModel as LocalModel
    from metaspo.backends.model_files import fetch_model as fetch_model
    from metaspo.backends.model_files import models_folder as models_folder
    from metaspo.backends.model_names import DEFAULT_MODEL as DEFAULT_MODEL
    from metaspo.backends.model_names import LocalModelFacts as LocalModelFacts
    from metaspo.backends.model_names import local_models as local_models
    from metaspo.backends.model_names import local_revision as local_revision
    from metaspo.backends.model_names import local_size as local_size
    from metaspo.backends.model_names import local_threads as local_threads
    from metaspo.backends.model_sources import Progress as Progress
    from metaspo.backends.models import ModelFacts as ModelFacts
    from metaspo.backends.models import TierLimits as TierLimits
    from metaspo.backends.models import model_facts as model_facts
    from metaspo.backends.openai_api import OpenAIAPI as OpenAIAPI
    from metaspo.backends.openai_compatible import OpenAICompatible as OpenAICompatible
    from metaspo.backends.simulated import Scripted as Scripted
    from metaspo.backends.simulated import Simulated as Simulated
    from metaspo.backends.started import LocalServerFailed as LocalServerFailed
else:
    __getattr__, __dir__ = late_exports(__name__)
