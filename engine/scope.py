"""What all steps of one run share: its inputs, whom it asks, where it writes."""

from dataclasses import dataclass

from metaspo.backends import Message, Request, Sampling
from metaspo.engine.config import RunConfig
from metaspo.engine.journal import Journal
from metaspo.engine.strategies import InnerStrategy, OuterStrategy, Search
from metaspo.engine.tasks import Task
from metaspo.engine.watcher import Watcher
from metaspo.scheduling import Account, Gateway


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One of a run's models: the lane its requests go through, and how they are made."""

    lane: str
    name: str
    revision: str
    sampling: Sampling

    def request(self, messages: tuple[Message, ...], *, draw: int = 0) -> Request:
        """A request to this model."""
        return Request(model=self.name, revision=self.revision, messages=messages, sampling=self.sampling, draw=draw)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """One run's surroundings; nothing in it changes while the run goes on, but what the account counts.

    Attributes:
        started: when this session began, on the event loop's clock.
    """

    config: RunConfig
    tasks: tuple[Task, ...]
    inner: InnerStrategy | Search
    outer: OuterStrategy | Search
    base: Model
    optimizer: Model | None
    gateway: Gateway
    account: Account
    journal: Journal
    watcher: Watcher
    started: float

    @property
    def sources(self) -> tuple[Task, ...]:
        """Tasks optimized on."""
        return tuple(task for task in self.tasks if task.role == "source")

    @property
    def targets(self) -> tuple[Task, ...]:
        """Unseen tasks."""
        return tuple(task for task in self.tasks if task.role == "target")
