"""What a strategy is: it proposes prompts; the loops around it score and select.

A strategy holds no state between calls and draws nothing at random except from the `rng` it is handed (seeded by run
seed and address), so that a run replays to the digit.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, Protocol, TypeVar

from metaspo.backends import Message
from metaspo.engine.tasks.base import Example, Failure

T = TypeVar("T")
Level = Literal["user", "system"]
C = TypeVar("C", contravariant=True)


class Malformed(ValueError):
    """An optimizer's answer that cannot be read; `str()` says what is missing.

    Attributes:
        again: what is added to the request when it is drawn again; "" for the same request.
    """

    def __init__(self, why: str, *, again: str = "") -> None:
        super().__init__(why)
        self.again = again


class Unfit(Malformed):
    """A prompt that can be read, and breaks what the config says every prompt must keep to."""


class NoProposal(Exception):
    """This candidate brings no prompt; `str()` says why (nothing to learn from, every draw malformed)."""


class Ask(Protocol):
    """Calls the optimizer model at its temperature."""

    async def __call__(self, step: str, messages: Sequence[Message], parse: Callable[[str], T], /) -> T:
        """Ask and read the answer; drawn again (bounded) while `parse` raises `Malformed`, then `NoProposal`.

        `step` names the call within the candidate's address, e.g. "analyze" or "generate".
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskView:
    """What a strategy may know of one source task: its current best user prompt and how that one fared.

    Attributes:
        score: of (system prompt, user prompt) on the train split, 0 to 1.
        failures: every wrongly answered train example under that pair, in the order of the split.
        answer_rule: one sentence that says how an answer must look.
        reading: what in an answer counts; "" where its format does not say so.
        metric: the name of what the score is measured by.
        right: every train example that was answered fully rightly, with the answer, in the order of the split.
        beaten: other user prompts that it was scored with and that are no better; `outer.under` may bring some.
        states_rule: whether a user prompt is to state that sentence: of a program's named ones those that do so
            already; a query that ends in "Answer yes or no." would be answered, too.
    """

    name: str
    user_prompt: str
    score: float
    train: tuple[Example, ...]
    failures: tuple[Failure, ...]
    answer_rule: str
    reading: str = ""
    metric: str = ""
    right: tuple[tuple[Example, str], ...] = ()
    beaten: tuple["Tried", ...] = ()
    states_rule: bool = True

    @property
    def stated_rule(self) -> str:
        """The sentence as far as it is to be stated."""
        return self.answer_rule if self.states_rule else ""


def require_failures(tasks: Iterable[TaskView]) -> None:
    """Raises `NoProposal` where every answer is right already: nothing is asked for then."""
    if not any(task.failures for task in tasks):
        raise NoProposal("no failures to learn from, every train answer is right already")


@dataclass(frozen=True, slots=True)
class Tried:
    """A prompt of an earlier round, and what came of it: the same in any timing.

    Attributes:
        score: of one that was kept, on all rows.
        at_most: of one that was not kept: what it cannot be above.
        gate, parent: of one that did not pass a gate: its score there, and that of what it came from on the same rows.
        beaten: of one that was scored in full beside what is kept, and is no better: its score.
        unshared: of a system prompt that was the best of its round, but whose gain too few tasks shared: its score.
        unread, answers: how many answers could not be read, of how many that `gate` or `beaten` is of.
        system: of a user prompt that a round tried, the system prompt that it was tried under.
    """

    prompt: str
    score: float | None = None
    at_most: float | None = None
    gate: float | None = None
    parent: float | None = None
    beaten: float | None = None
    unshared: float | None = None
    unread: int = 0
    answers: int = 0
    system: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateContext:
    """One candidate of a round.

    Attributes:
        candidate: 1-based number of this candidate among its siblings, which all have the same parent.
        show: how many failures of each task to show (all of them if there are fewer).
        system_prompt: the one that the tasks were scored under.
        tried: prompts of this level that were proposed in earlier rounds, oldest first, each once.
        model, max_tokens: of the base model, and how long its answers may be; "" and 0 where that is not known.
        usable: the prompt, stripped; raises `Malformed` if the loop could not use it: for the `parse` of an `ask`.
    """

    address: str
    candidate: int
    show: int
    rng: Random
    system_prompt: str
    ask: Ask
    tried: tuple[Tried, ...] = ()
    model: str = ""
    max_tokens: int = 0
    usable: Callable[[str], str] = str.strip


@dataclass(frozen=True, slots=True, kw_only=True)
class InnerContext(CandidateContext):
    """One candidate of the inner loop: a better user prompt for one task under a fixed system prompt."""

    task: TaskView


@dataclass(frozen=True, slots=True, kw_only=True)
class OuterContext(CandidateContext):
    """One candidate of the outer loop: a better system prompt for all tasks at once.

    Attributes:
        tasks: every source task with its best user prompt under the incumbent system prompt.
        is_first: whether the system prompt is one that the run began with.
    """

    tasks: tuple[TaskView, ...]
    is_first: bool = False


def form_is_missing(tasks: Iterable[TaskView]) -> bool:
    """Whether most wrong answers could not be read: then the form is what a prompt has to mend first."""
    failures = [failure for task in tasks for failure in task.failures]
    return 2 * sum(failure.prediction is None for failure in failures) > len(failures)


class Strategy(Protocol[C]):
    """Proposes prompts, one at a time. `name` is what a config calls it; `describe()` one line for the run's report.

    `calls_optimizer` is the number of optimizer calls one candidate makes when no answer is malformed; 0 for a
    strategy that needs no optimizer model.
    """

    @property
    def name(self) -> str: ...

    @property
    def calls_optimizer(self) -> int: ...

    def describe(self) -> str: ...

    async def propose(self, context: C, /) -> str:
        """A user prompt that holds `{question}` exactly once, or a system prompt. Raises `NoProposal`."""
        ...


InnerStrategy = Strategy[InnerContext]  # proposes user prompts
OuterStrategy = Strategy[OuterContext]  # proposes system prompts
