"""How a run's score rose, over what was spent, and where every prompt came from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from metaspo.backends.counted import counted
from metaspo.engine.journal.address import Address
from metaspo.engine.journal.events import (
    Barrier,
    Candidate,
    Event,
    Level,
    OptimizerAnswered,
    Proposal,
    Rejected,
    Score,
    Select,
    Spent,
)

Scores = list[tuple[str, float]]  # each with its task; "" for the mean over all of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """The incumbent's score at one moment.

    Attributes:
        address: what had just been selected, e.g. `iter=1/outer`.
        score: mean over the tasks of each one's best prompts on its train split, by the tasks' weights, 0 to 1; the
            same measure all along a run, however many user prompts are kept.
        calls, dollars, seconds: spent by then, all sessions together; `unpriced` calls are not in the dollars.
    """

    address: str
    score: float
    calls: int = 0
    dollars: float = 0.0
    unpriced: int = 0
    seconds: float = 0.0

    @classmethod
    def of(cls, address: str, scores: Scores, spent: Spent, weights: Mapping[str, float]) -> "Point":
        """The mean of scores, by the weights of their tasks (1 for one that has none)."""
        mean = fmean([score for _, score in scores], weights=[weights.get(task, 1.0) for task, _ in scores])
        return cls(
            address=address,
            score=mean,
            calls=spent.calls,
            dollars=spent.dollars,
            unpriced=spent.unpriced,
            seconds=spent.seconds,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposed:
    """One prompt that was proposed.

    Attributes:
        task: "" for a system prompt.
        parent: the prompt it was to improve on.
        score: of the candidate scored in full, None if it was not.
        outcome: "kept" (selected), "passed over", "dropped" (rejected before it was scored in full), or why there is
            none; "" while its round goes on.
        why: of one that was dropped, the reason.
        steps: what the optimizer said on the way to it, by step, in order.
    """

    address: str
    level: Level
    task: str
    text: str
    parent: str
    score: float | None = None
    outcome: str = ""
    why: str = ""
    steps: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, event: Proposal, task: str, parent: str, steps: Sequence[tuple[str, str]]) -> "Proposed":
        """A proposal of which no more is known yet."""
        level: Level = "user" if task else "system"
        text = (event.user if task else event.system) or ""
        return cls(
            address=event.address,
            level=level,
            task=task,
            text=text,
            parent=parent,
            outcome=event.none or "",
            steps=tuple(step for step in steps if step[1] != text),
        )

    def selected_from(self, kept: Sequence[str], *, dropped: bool) -> "Proposed":
        """With its outcome, now that its round has selected."""
        lost = "dropped" if dropped and self.score is None else "passed over"
        return replace(self, outcome=self.outcome or ("kept" if self.text in kept else lost))


class History:
    """Takes a run's events one by one. What a later session only repeats adds nothing."""

    def __init__(self, *, texts: bool) -> None:
        """`texts`: whether the prompts are kept; a long run has many."""
        self._texts = texts
        self._points: list[tuple[str, Scores, Spent]] = []  # the first is of the first prompts
        self._best: dict[str, float] = {}  # of each task's best prompts
        self._inner: tuple[Address, Spent] | None = None  # inner loops that have selected, and are no point yet
        # Of the outer round that goes on: candidate -> task -> best score.
        self._nodes: dict[int, dict[str, float]] = {}
        self._under_new: dict[str, float] = {}  # the best kept prompt under a new incumbent, by task
        self._selected: dict[Address, int] = {}  # rounds, each with a hash of what was selected
        self._parents: dict[str, str] = {}
        self._open: dict[str, Proposed] = {}  # proposals that no selection was made from yet, by address
        self._done: list[Proposed] = []
        self._scores: dict[str, float | None] = {}  # of candidates of rounds that have not selected yet
        self._dropped: dict[str, str] = {}  # why, by address
        self._steps: dict[str, list[tuple[str, str]]] = {}  # of proposals that are not made yet, by address

    def apply(self, event: Event, address: Address, spent: Spent) -> None:
        """The next event; `spent` by all sessions so far."""
        match event:
            case Score() if address.loop == "init" and event.score is not None:
                self._add_first(address.task, event.score, spent)
            case Barrier() if self._inner and address == self._inner[0]:  # not that of a round that is only repeated
                self._end_inner()
            case OptimizerAnswered() if self._texts and event.text and address.round not in self._selected:
                self._steps.setdefault(event.address, []).append((event.step, event.text))
            case Score() | Candidate() | Rejected() | Proposal() | Select() if address.round not in self._selected:
                self._apply_in_round(event, address, spent)

    def contradicts(self, event: Event, address: Address) -> bool:
        """Whether this is otherwise than an earlier session said it, as after a metric was mended."""
        match event:
            case Score() if address.loop == "init" and self._points:
                before = dict(self._points[0][1]).get(address.task)
                return before is not None and event.score is not None and event.score != before
            case Select() if address.round in self._selected:
                return _digest(event) != self._selected[address.round]
        return False

    def _apply_in_round(self, event: Event, address: Address, spent: Spent) -> None:
        task = address.task if address.loop == "inner" else ""
        match event:
            case Score() if task and address.step == "score":
                self._scores.setdefault(event.address.removesuffix("/score"), event.score)
            case Score() if address.candidate and address.step.startswith("score/") and event.score is not None:
                nodes = self._nodes.setdefault(address.candidate, {})
                nodes[event.task] = max(event.score, nodes.get(event.task, 0.0))
            case Score() if address.loop == "outer" and address.step.startswith("kept/") and event.score is not None:
                self._under_new[event.task] = max(event.score, self._under_new.get(event.task, 0.0))
            case Candidate():
                self._scores.setdefault(event.address, event.score)
            case Rejected():
                self._dropped[event.address] = why_rejected(event)
            case Proposal() if self._texts:
                steps = self._steps.pop(event.address, ())
                self._open.setdefault(event.address, Proposed.of(event, task, self._parents.get(task, ""), steps))
            case Select():
                self._select(event, address, spent)

    @property
    def best_prompts(self) -> Mapping[str, str]:
        """The best prompts selected so far: user prompts by task, and "" the system prompt."""
        return self._parents

    def points(self, weights: Mapping[str, float], *, sources: int = 0) -> tuple[Point, ...]:
        """After the first prompts, after each iteration's inner loops, after each outer loop.

        Of a run of so many source tasks none before the first prompts are scored on all of them.
        """
        if len(self._points) == 1 and len(self._points[0][1]) < sources:
            return ()
        return tuple(Point.of(*point, weights) for point in self._points)

    def proposals(self, first: Mapping[str, str]) -> tuple[Proposed, ...]:
        """Every proposal with its parent and its outcome, round by round; those not selected from yet come last.

        `first` are the prompts that the run started from: the user prompts by task, and "" the system prompt.
        """
        waiting = [
            replace(proposed, score=self._scores.get(at), why=self._dropped.get(at, ""))
            for at, proposed in self._open.items()
        ]
        every = (*self._done, *waiting)
        return tuple(replace(proposal, parent=proposal.parent or first.get(proposal.task, "")) for proposal in every)

    def _add_first(self, task: str, score: float, spent: Spent) -> None:
        scores = self._points[0][1] if self._points else []
        if task not in dict(scores):
            self._best[task] = score
            self._points[:1] = [("init", [*scores, (task, score)], spent)]

    def _select(self, event: Select, address: Address, spent: Spent) -> None:
        self._selected[address] = _digest(event)
        if address.loop == "inner":
            scores = [kept.score for kept in event.kept or () if kept.score is not None]
            if scores:
                self._best[address.task] = max(scores)
                self._inner = (address._replace(task=""), spent)
        elif address.loop == "outer" and event.score is not None:
            self._end_inner()
            scored = self._nodes.get(event.chosen or 0, {})
            self._best |= {task: max(score, self._under_new.get(task, 0.0)) for task, score in scored.items()}
            best_scores = list(self._best.items())
            if event.chosen and event.chosen not in self._nodes:
                best_scores = [("", event.score)]  # of a journal that does not say it task by task
            self._points.append((event.address, best_scores, spent))
            self._nodes, self._under_new = {}, {}
        self._close(event, f"{event.address}/")
        if event.prompts:
            self._parents[address.task] = event.prompts[0]

    def _end_inner(self) -> None:
        if self._inner:
            address, spent = self._inner
            self._points.append((str(address), list(self._best.items()), spent))
            self._inner = None

    def _close(self, event: Select, below: str) -> None:
        """The proposals of a round have their outcome, and what was scored there is of no more use."""
        for at in [at for at in self._open if at.startswith(below)]:
            proposed = replace(self._open.pop(at), score=self._scores.get(at), why=self._dropped.get(at, ""))
            self._done.append(proposed.selected_from(event.prompts, dropped=at in self._dropped))
        self._scores = {at: score for at, score in self._scores.items() if not at.startswith(below)}
        self._dropped = {at: why for at, why in self._dropped.items() if not at.startswith(below)}


def _digest(event: Select) -> int:
    """Of what was selected, whenever it was."""
    told = replace(event, t=0.0, kept=list(event.kept or ()), raced_out=list(event.raced_out or ()))
    return hash(repr(told))  # lists: as it is read again


def why_rejected(event: Rejected) -> str:
    """Why a candidate was out before it was scored in full, in words."""
    if event.invalid:
        return f"could not be selected: {event.invalid}"
    if event.guard is not None and event.reach is not None and event.floor is not None:
        fell = f"{event.reach:.1%} at most on guard '{event.guard}', where {event.floor:.1%} is wanted"
        return f"{fell}; {counted(event.unasked, 'example was', 'examples were')} not asked"
    more = counted(event.unasked, "more was", "more were")
    if event.raced is not None:
        return f"unlikely to win after {counted(event.rows or 0, 'example')}; {more} not asked"
    if event.gate is not None:
        parent = "" if event.parent is None else f", its parent {event.parent:.1%}"
        return f"did not pass the gate ({event.gate:.1%} on its rows{parent}); {more} not asked"
    reach = "" if event.bound is None else f"could not get above {event.bound:.1%} any more; "
    return f"{reach}{counted(event.unasked, 'example was', 'examples were')} not asked"
