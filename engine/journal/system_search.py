"""What became of the system prompts that a session tried: a run that adopted none says why."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from metaspo.engine.journal.address import Address
from metaspo.engine.journal.events import Candidate, Event, Proposal, Rejected, Select


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemSearch:
    """Counts of system prompts.

    Attributes:
        tried: proposed, and usable.
        unusable: asked for, and not to be used.
        outscored: scored in full, and no better than the one there was.
        dropped: not scored to the end, since they could not win any more, or by statistical evidence.
        gated: no better than their parent on the examples of the gate, and so not scored on the others.
        refused: the server refused an example under them.
        adopted: how often a round adopted one.
        best, against: of the loser that came closest, and of what it lost to: mean scores on the train splits.
    """

    tried: int = 0
    unusable: int = 0
    outscored: int = 0
    dropped: int = 0
    gated: int = 0
    refused: int = 0
    adopted: int = 0
    best: float | None = None
    against: float | None = None

    @property
    def sentence(self) -> str:
        """Why none was adopted; "" if one was."""
        if self.adopted:
            return ""
        if not self.tried:
            return "No system prompt was adopted: none " + (
                f"of the {self.unusable} that were proposed could be used." if self.unusable else "was tried."
            )
        close = ""
        if self.best is not None and self.against is not None:
            close = f" (the best of them {self.best:.1%} against {self.against:.1%})"
        reasons = [
            (self.dropped, "dropped as soon as they could not win any more"),
            (self.gated, "no better on the examples of the gate"),
            (self.outscored, f"scored no better on the train examples{close}"),
            (self.refused, "refused by the server"),
        ]
        why = "; ".join(f"{number} {reason}" for number, reason in reasons if number)
        return f"No system prompt was adopted; of {self.tried} tried: {why}."

    def as_json(self) -> dict[str, Any]:
        """Plain data for a summary."""
        return {**asdict(self), "sentence": self.sentence}


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
                self.search = replace(search, unusable=search.unusable + 1)
            case Rejected(invalid=None, gate=float()):
                self.search = replace(search, gated=search.gated + 1)
            case Rejected(invalid=None):
                self.search = replace(search, dropped=search.dropped + 1)
            case Rejected() | Candidate(score=None):
                self.search = replace(search, refused=search.refused + 1)
            case Candidate(score=score) if score is not None:
                self._scored[address.candidate] = score
            case Select():
                self._select(event)

    def _select(self, event: Select) -> None:
        losers = {number: score for number, score in self._scored.items() if number != event.chosen}
        self._scored = {}
        search = replace(
            self.search,
            outscored=self.search.outscored + len(losers),
            adopted=self.search.adopted + bool(event.chosen),
        )
        if losers and event.score is not None and not event.chosen:
            best = max(losers.values())
            if search.best is None or search.against is None or best - event.score > search.best - search.against:
                search = replace(search, best=best, against=event.score)
        self.search = search
