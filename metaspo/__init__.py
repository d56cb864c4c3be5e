"""metaspo optimizes the system prompt of a language model so that it works across many tasks."""

from typing import TYPE_CHECKING

from metaspo.backends.late_exports import late_exports

if TYPE_CHECKING:
    from metaspo.backends import Completion as Completion
    from metaspo.backends import LocalModel as LocalModel
    from metaspo.backends import Message as Message
    from metaspo.backends import OpenAIAPI as OpenAIAPI
    from metaspo.backends import OpenAICompatible as OpenAICompatible
    from metaspo.backends import Request as Request
    from metaspo.backends import RequestRejected as RequestRejected
    from metaspo.backends import Sampling as Sampling
    from metaspo.backends import Usage as Usage
    from metaspo.cache import DiskStore as DiskStore
    from metaspo.cache import MemoryStore as MemoryStore
    from metaspo.engine import Call as Call
    from metaspo.engine import ConfigError as ConfigError
    from metaspo.engine import EvaluationReport as EvaluationReport
    from metaspo.engine import Example as Example
    from metaspo.engine import Grade as Grade
    from metaspo.engine import Observer as Observer
    from metaspo.engine import PromptPair as PromptPair
    from metaspo.engine import RunConfig as RunConfig
    from metaspo.engine import RunReport as RunReport
    from metaspo.engine import RunResult as RunResult
    from metaspo.engine import Ungraded as Ungraded
    from metaspo.engine import plan_run as plan_run
    from metaspo.engine import prepare as prepare
    from metaspo.engine import task as task
    from metaspo.engine.api import evaluate as evaluate
    from metaspo.engine.api import optimize as optimize
    from metaspo.scheduling import Account as Account
    from metaspo.scheduling import Answered as Answered
    from metaspo.scheduling import Budget as Budget
    from metaspo.scheduling import CallFailed as CallFailed
    from metaspo.scheduling import CallRecord as CallRecord
    from metaspo.scheduling import Client as Client
    from metaspo.scheduling import Gateway as Gateway
    from metaspo.scheduling import Lane as Lane
    from metaspo.scheduling import LaneSettings as LaneSettings
    from metaspo.scheduling import Prices as Prices
    from metaspo.scheduling import RunStopped as RunStopped
    from metaspo.serving import open_client as open_client
else:
    __getattr__, __dir__ = late_exports(__name__)
