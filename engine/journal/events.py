"""What is written down of a run: one frozen record a kind, and the line of JSON that it is.

A line holds `event` (the kind), `address` (where in the run), what belongs to the kind, and `t`. Fields that are None
are left out. A newer version may add kinds and fields: what this one does not know it passes over.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, Self

from metaspo.engine.journal.fitting import fits
from metaspo.scheduling import NOTHING, Cost

VERSION = 1  # of the lines; 0 where a session's start says none
Level = Literal["user", "system"]
Counts = tuple[int, int, int, float, int]
"""Calls, prompt tokens, completion tokens, dollars, calls at an unknown price."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened at an address.

    Attributes:
        t: seconds since its session opened the journal; set by the journal.
    """

    event: ClassVar[str]

    address: str = ""
    t: float = field(default=0.0, compare=False)

    def data(self) -> dict[str, Any]:
        """The fields of its kind that say something."""
        return {name: value for name in NAMES[self.event] if (value := getattr(self, name)) is not None}

    def line(self) -> dict[str, Any]:
        """The line that a journal holds, but for the time."""
        return {"event": self.event, "address": self.address, **self.data()}

    @classmethod
    def read(cls, line: Mapping[str, Any]) -> Self:
        """The event of a line of its kind."""
        return cls(**{name: line[name] for name in ("address", "t", *NAMES[cls.event]) if name in line})


@dataclass(frozen=True, slots=True, kw_only=True)
class Start(Event):
    """A session begins. `wall`: when, in seconds since 1970."""

    event: ClassVar[str] = "start"

    name: str = ""
    seed: int = 0
    version: int = 0
    wall: float | None = None

    @classmethod
    def now(cls, *, name: str, seed: int) -> Self:
        """A session that begins now."""
        return cls(name=name, seed=seed, version=VERSION, wall=round(time.time(), 3))


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap(Event):
    """What was told here is not known any more: a line that cannot be read, or what a session found to be missing."""

    event: ClassVar[str] = "gap"


@dataclass(frozen=True, slots=True, kw_only=True)
class Malformed(Event):
    """An optimizer's answer that cannot be used; `attempt` counts from 0.

    Attributes:
        unfit: whether there is a prompt in it that breaks what the config says every prompt must keep to.
    """

    event: ClassVar[str] = "malformed"

    attempt: int
    why: str
    unfit: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerAnswered(Event):
    """The optimizer answered a step of a strategy, which names its steps as it likes; `text`: what was read of it."""

    event: ClassVar[str] = "answered"

    step: str
    attempts: int
    text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _OfPrompt(Event):
    """`user`, `system`: the prompt, whichever it is."""

    user: str | None = None
    system: str | None = None

    @classmethod
    def of(cls, prompt: str, *, level: Level, address: str) -> Self:
        """A prompt at its level."""
        return cls(address=address, user=prompt) if level == "user" else cls(address=address, system=prompt)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal(_OfPrompt):
    """A prompt was proposed; or `none`, and why, `unusable` if there was an answer, but none that can be used, or
    (`refused`) the server gave none."""

    event: ClassVar[str] = "proposal"

    none: str | None = None
    unusable: bool | None = None
    refused: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial(_OfPrompt):
    """A search had a prompt scored; `invalid`: why it cannot be selected."""

    event: ClassVar[str] = "trial"

    score: float | None = None
    invalid: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Score(Event):
    """A scorecard: one pair of prompts on one split of a task."""

    event: ClassVar[str] = "score"

    task: str = ""
    score: float | None
    examples: int = 0
    malformed: int = 0
    failed: int = 0
    invalid: str | None = None

    def data(self) -> dict[str, Any]:
        """With a score that is None: nothing was answered."""
        return {"score": None} | Event.data(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate(Event):
    """A system prompt was scored on all nodes.

    Attributes:
        score: None where it cannot be selected.
        invalid: why it cannot be selected, whatever it is worth: no answer to an example, and why.
        guard, reach, floor: a guard that it is below the floor on, its score there, and what it had to be.
        bound: of such a one what its score would have been.
    """

    event: ClassVar[str] = "candidate"

    score: float | None = None
    invalid: str | None = None
    guard: str | None = None
    reach: float | None = None
    floor: float | None = None
    bound: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected(Event):
    """A candidate is out before it was scored in full.

    Attributes:
        unasked: examples that were never asked.
        bound: the best it could still have reached.
        invalid: why it cannot be selected, whatever it is worth: no answer to an example, and why.
        raced, rows: what is held against it, and after how many rows, where it was raced out.
        gate, parent: its score on the rows of the gate that it did not pass, and that of what it started from.
        guard, reach, floor: a guard that it could not keep any more, the best it could still score there, and what it
            had to.
    """

    event: ClassVar[str] = "rejected"

    bound: float | None = None
    invalid: str | None = None
    raced: float | None = None
    rows: int | None = None
    gate: float | None = None
    parent: float | None = None
    guard: str | None = None
    reach: float | None = None
    floor: float | None = None
    unasked: int = 0


@dataclass(frozen=True, slots=True)
class Kept:
    """A user prompt that is kept, with its train score."""

    user: str
    score: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Select(Event):
    """What a round selected: nothing but what follows from config, data, seed and answers.

    Attributes:
        kept: of an inner round, best first.
        system, chosen, score: of an outer round: the incumbent, which candidate it was (0: none), its train score.
        unshared: of an outer round that chose none: the best candidate, in whose gain too few tasks had a part.
        raced_out: numbers of the candidates that statistics alone dropped, where the round was raced.
    """

    event: ClassVar[str] = "select"

    kept: Sequence[Kept] | None = None
    system: str | None = None
    chosen: int | None = None
    score: float | None = None
    unshared: int | None = None
    raced_out: Sequence[int] | None = None

    @property
    def prompts(self) -> list[str]:
        """What was selected, best first."""
        return [kept.user for kept in self.kept or ()] if self.system is None else [self.system]

    @classmethod
    def read(cls, line: Mapping[str, Any]) -> Self:
        """With its kept prompts as records."""
        kept = {"kept": [Kept(row["user"], row["score"]) for row in line["kept"]]} if "kept" in line else {}
        return super(Select, cls).read({**line, **kept})


@dataclass(frozen=True, slots=True, kw_only=True)
class Racing(Event):
    """Whether a round is raced: at which `rate`, over how many `rows`, or why not (`off`)."""

    event: ClassVar[str] = "racing"

    off: str | None = None
    rate: float | None = None
    rows: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimism(Event):
    """How much of a selected score is luck; `says` it in words. See `statistics.Optimism`."""

    event: ClassVar[str] = "optimism"

    score: float
    luck: float
    candidates: int
    complete: int
    kind: str
    says: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Barrier(Event):
    """All participants of a barrier are through: how long that took, was waited, and the base model stood idle."""

    event: ClassVar[str] = "barrier"

    seconds: float = 0.0
    waited: float = 0.0
    idle: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent(Event):
    """What the session has spent so far; `of_budget`: the most that it can have taken out of the run's budget."""

    event: ClassVar[str] = "spent"

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    dollars: float = 0.0
    unpriced: int = 0
    seconds: float = 0.0
    of_budget: Cost = NOTHING

    @classmethod
    def of(cls, counts: Counts, taken: Cost, *, seconds: float = 0.0) -> Self:
        """Of so many calls and so on, which took that out of the budget."""
        calls, prompt, completion, dollars, unpriced = counts
        return cls(
            calls=calls,
            prompt_tokens=prompt,
            completion_tokens=completion,
            dollars=dollars,
            unpriced=unpriced,
            seconds=seconds,
            of_budget=taken,
        )

    def plus(self, more: "Spent") -> "Spent":
        """Both together."""
        counted = (name for name in NAMES[self.event] if name != "of_budget")
        sums = {name: getattr(self, name) + getattr(more, name) for name in counted}
        return Spent(**sums, of_budget=self.of_budget.plus(more.of_budget))

    @classmethod
    def read(cls, line: Mapping[str, Any]) -> Self:
        """With its costs as a record, of which a newer version may know more."""
        said = {**line.get("of_budget", {})}
        taken = Cost(**{name: said[name] for name in Cost._fields if name in said})
        return super(Spent, cls).read({**line, "of_budget": taken})


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneEvent(Event):
    """Something changed on a lane: `what` names the event of `metaspo.scheduling`, `details` are its fields."""

    event: ClassVar[str] = "lane"

    what: str
    details: Mapping[str, Any]

    def data(self) -> dict[str, Any]:
        """The details beside the name."""
        return {"what": self.what, **self.details}

    @classmethod
    def read(cls, line: Mapping[str, Any]) -> Self:
        """All that is not the name is a detail."""
        common = {name: line[name] for name in ("address", "what", "t") if name in line}
        return cls(**common, details={name: line[name] for name in line if name not in {*common, "event"}})


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish(Event):
    """The run has its result."""

    event: ClassVar[str] = "finish"

    score: float | None = None


KINDS: Mapping[str, type[Event]] = {
    kind.event: kind
    for kind in (
        Start,
        Gap,
        Malformed,
        OptimizerAnswered,
        Proposal,
        Trial,
        Score,
        Candidate,
        Rejected,
        Select,
        Racing,
        Optimism,
        Barrier,
        Spent,
        LaneEvent,
        Finish,
    )
}
NAMES: Mapping[str, tuple[str, ...]] = {
    name: tuple(field.name for field in fields(kind) if field.name not in ("address", "t"))
    for name, kind in KINDS.items()
}


def event_of(line: object) -> Event | None:
    """The event that a journal's line tells; None for one of a kind that is not known here, or damaged."""
    if not isinstance(line, dict):
        return None
    kind = KINDS.get(str(line.get("event", "")))
    try:
        event = kind.read(line) if kind else None
    except (KeyError, TypeError):
        return None
    return event if event is None or fits(event) else None
