"""What became of the system prompts that a session tried: a run that adopted none says why."""

from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import Any

from metaspo.engine.journal.address import Address
from metaspo.engine.journal.events import Candidate, Event, Proposal, Rejected, Select


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarded:
    """A system prompt that a guard cost the run, whatever else it was worth.

    Attributes:
        address: the candidate's.
        guard: the task's name.
        reach, floor: the most that it scored or could still score there, and what it had to; 0 to 1.
        value: its score on the source tasks, or the best that this could still have come to.
        complete: whether it was scored to the end, so that both are what it scored.
        against: the score of what its round selected; None while the round goes on.
    """

    address: str
    guard: str
    reach: float
    floor: float
    value: float
    complete: bool
    against: float | None = None

    @property
    def better(self) -> bool:
        """Whether it might have been selected without the guard."""
        return self.against is not None and self.value > self.against

    @property
    def sentence(self) -> str:
        """Why it was refused."""
        most, selected = ("", "scored") if self.complete else (" at most", "could have come to")
        against = "" if self.against is None else f", where {self.against:.1%} was selected"
        return (
            f"{self.address} {selected} {self.value:.1%}{most}{against}, but {self.reach:.1%}{most} on guard "
            f"'{self.guard}', whose floor is {self.floor:.1%}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemSearch:
    """Counts of system prompts.

    Attributes:
        tried: proposed, and usable.
        unusable: asked for, and not to be used.
        outscored: scored in full, and no better than the one there was.
        unshared: better in the mean, but the gain was one task's, or too little beside what the best user prompts lost.
        dropped: not scored to the end, since they could not win any more, or by statistical evidence.
        gated: did not pass the gate, and so were not scored on the other examples.
        refused: not to be selected, whatever the score: an example has no answer under them.
        refusal: why not, the first of them.
        guarded: those that fell below the floor of a guard.
        adopted: how often a round adopted one.
        untried: why nothing was proposed, or what was could not be used, the first time.
        best, against: of the loser that came closest, and of what it lost to: mean scores on the train splits.
    """

    tried: int = 0
    unusable: int = 0
    outscored: int = 0
    unshared: int = 0
    dropped: int = 0
    gated: int = 0
    refused: int = 0
    refusal: str = ""
    adopted: int = 0
    untried: str = ""
    best: float | None = None
    against: float | None = None
    guarded: tuple[Guarded, ...] = ()

    @property
    def guards_cost(self) -> str:
        """What the guards cost the run, with the best that they refused; "" if nothing."""
        if not self.guarded:
            return ""
        by = ", ".join(f"{guard} {count}" for guard, count in Counter(lost.guard for lost in self.guarded).items())
        better = [lost for lost in self.guarded if lost.better]
        told = f"Refused by a guard: {len(self.guarded)} of {self.tried} system prompts tried ({by})"
        if not better:
            return f"{told}; none of them would have been selected without."
        best = max(better, key=lambda lost: lost.value - (lost.against or 0.0))
        return f"{told}; {len(better)} of them might have been selected without: {best.sentence}."

    @property
    def sentence(self) -> str:
        """Why none was adopted; "" if one was."""
        if self.adopted:
            return ""
        if not self.tried:
            none = "none that could be used was proposed" if self.unusable else "none was tried"
            return f"No system prompt was adopted: {none}{self.untried and ': '}{self.untried.removesuffix('.')}."
        close = ""
        if self.best is not None and self.against is not None:
            charged = " before its length was charged" if self.best > self.against else ""
            close = f" (the best of them {self.best:.1%}{charged} against {self.against:.1%})"
        reasons = [
            (self.dropped, "dropped once a win was out of reach"),
            (self.gated, "did not pass the gate"),
            (self.outscored, f"scored no better on the train examples{close}"),
            (
                self.unshared,
                "better in the mean, but by one task alone, or by little beside what user prompts lost",
            ),
            (self.refused, f"not to be selected, whatever the score ({self.refusal})"),
            (len(self.guarded), "below the floor of a guard"),
        ]
        why = "; ".join(f"{number} {reason}" for number, reason in reasons if number)
        return f"No system prompt was adopted; of {self.tried} tried: {why}."

    def as_json(self) -> dict[str, Any]:
        """Plain data for a summary."""
        return {**asdict(self), "sentence": self.sentence, "guards_cost": self.guards_cost}


class SystemTrials:
    """Takes a session's events one by one."""

    def __init__(self) -> None:
        self.search = SystemSearch()
        self._scored: dict[int, float] = {}  # of the round that goes on, by candidate

    def apply(self, event: Event, address: Address) -> None:
        """The next event; those of other loops do not count."""
        if address.loop != "outer":
            return
        search = self.search
        match event:
            case Proposal() if event.system is not None:
                self.search = replace(search, tried=search.tried + 1)
            case Proposal(unusable=True):
                self.search = replace(search, unusable=search.unusable + 1, untried=search.untried or event.none or "")
            case Proposal(none=str(why)) if not search.untried:
                self.search = replace(search, untried=why)
            case Rejected(guard=str()) | Candidate(guard=str()):
                lost = _guarded(event, complete=isinstance(event, Candidate))
                self.search = replace(search, guarded=(*search.guarded, lost))
            case Rejected(invalid=None, gate=float()):
                self.search = replace(search, gated=search.gated + 1)
            case Rejected(invalid=None):
                self.search = replace(search, dropped=search.dropped + 1)
            case Rejected() | Candidate(score=None):
                why = search.refusal or event.invalid or ""
                self.search = replace(search, refused=search.refused + 1, refusal=why)
            case Candidate(score=score) if score is not None:
                self._scored[address.candidate] = score
            case Select():
                self._select(event)

    def _select(self, event: Select) -> None:
        apart = (event.chosen, event.unshared)
        losers = {number: score for number, score in self._scored.items() if number not in apart}
        self._scored = {}
        search = replace(
            self.search,
            outscored=self.search.outscored + len(losers),
            unshared=self.search.unshared + (event.unshared is not None),
            adopted=self.search.adopted + bool(event.chosen),
            guarded=tuple(
                replace(lost, against=event.score) if lost.against is None else lost for lost in self.search.guarded
            ),
        )
        if losers and event.score is not None and not event.chosen:
            best = max(losers.values())
            if search.best is None or search.against is None or best - event.score > search.best - search.against:
                search = replace(search, best=best, against=event.score)
        self.search = search


def _guarded(event: Rejected | Candidate, *, complete: bool) -> Guarded:
    return Guarded(
        address=event.address,
        guard=event.guard or "",
        reach=event.reach or 0.0,
        floor=event.floor or 0.0,
        value=event.bound or 0.0,
        complete=complete,
    )
