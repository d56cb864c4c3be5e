"""What all steps of one run share: its inputs, whom it asks, where it writes."""

from collections import Counter
from dataclasses import dataclass, field

import anyio

from metaspo.engine.config.models import Model
from metaspo.engine.config.schema import RunConfig
from metaspo.engine.config.wording import CountTokens
from metaspo.engine.journal.journal import Journal
from metaspo.engine.journal.spending import note_spending
from metaspo.engine.runtime.observer import Observer
from metaspo.engine.strategies import Proposer, of_form
from metaspo.engine.tasks import Task
from metaspo.scheduling import Account, Gateway


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """One run's surroundings; nothing in it changes while the run goes on, but what is counted.

    Attributes:
        judge: whom graders ask; None for the base model.
        started: when this session began, on the event loop's clock.
        count_tokens: of the base model; None where nothing is measured in them.
        answered: how many of the planned calls were, by model.
    """

    config: RunConfig
    tasks: tuple[Task, ...]
    inner: Proposer
    outer: Proposer
    base: Model
    optimizer: Model | None
    judge: Model | None
    gateway: Gateway
    account: Account
    journal: Journal
    observer: Observer
    started: float
    count_tokens: CountTokens | None = None
    answered: Counter[str] = field(default_factory=Counter)

    @property
    def sources(self) -> tuple[Task, ...]:
        """Tasks optimized on, with the train examples that the loops look at."""
        return tuple(task.with_train(self.config.rows) for task in self.tasks if task.role == "source")

    @property
    def guards(self) -> tuple[Task, ...]:
        """Tasks that no selected system prompt may fall too far on; none in a run that looks for no system prompts."""
        return tuple(task for task in self.tasks if task.role == "guard" and self.config.searches_systems)

    def inner_for(self, task: Task) -> Proposer:
        """Who proposes user prompts of a task."""
        return of_form(self.inner, task.form)

    @property
    def targets(self) -> tuple[Task, ...]:
        """Unseen tasks."""
        return tuple(task for task in self.tasks if task.role == "target")

    def settled(self, *, base_calls: int = 0, optimizer_calls: int = 0) -> None:
        """So many of the planned calls were answered, some of them perhaps from the cache."""
        self.answered.update(base=base_calls, optimizer=optimizer_calls)
        self.observer.found(round(self.account.share_found * self.answered.total()))
        self.observer.calls_done(base_calls=base_calls, optimizer_calls=optimizer_calls)

    def note_spending(self) -> None:
        """Journal what this session has spent so far."""
        note_spending(self.journal, self.account, seconds=anyio.current_time() - self.started)
