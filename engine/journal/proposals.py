"""How many of a session's proposals could not be used: a run that changed no prompt for lack of any looks finished too.

Counted from what the journal is told, so a replay from the cache counts the same. A strategy that had nothing to learn
from proposed nothing, which is no fault and not counted.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from metaspo.engine.journal.barriers import EVENT as BARRIER
from metaspo.engine.journal.journal import Journal
from metaspo.engine.journal.warn import Warn

EVENT = "proposal"
LEAST = 3  # lost proposals that are worth a warning, if they are half of all


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposals:
    """The proposals of a session.

    Attributes:
        made: candidates for which a prompt was proposed or asked for.
        unusable: of these, those that brought no prompt that can be used.
        last_reason: why the last of these did not; "" if there is none.
    """

    made: int = 0
    unusable: int = 0
    last_reason: str = ""

    def after(self, event: str, data: Mapping[str, Any]) -> "Proposals":
        """The count after one more event of the journal; a new session starts from nothing."""
        if event == "start":
            return Proposals()
        if event != EVENT or ("none" in data and not data.get("unusable")):
            return self
        if "none" not in data:
            return Proposals(made=self.made + 1, unusable=self.unusable, last_reason=self.last_reason)
        return Proposals(made=self.made + 1, unusable=self.unusable + 1, last_reason=str(data["none"]))

    @property
    def warning(self) -> str:
        """What the user has to know; "" unless a good part was lost."""
        if self.unusable < LEAST or 2 * self.unusable < self.made:
            return ""
        used = self.made - self.unusable
        few = f"only {used} of the {self.made} proposals" if used else f"none of the {self.made} proposals"
        left = "The others changed no prompt" if used else "No prompt was changed"
        return (
            f"{few} could be used (the last that could not: {self.last_reason}). {left}: "
            "try a stronger optimizer model or a larger [optimizer] max_tokens."
        )

    def as_json(self) -> dict[str, Any]:
        """Plain data for a summary."""
        return {**asdict(self), "warning": self.warning}


def proposals(events: Iterable[Mapping[str, Any]]) -> Proposals:
    """Those of the last session in a journal."""
    count = Proposals()
    for event in events:
        count = count.after(event["event"], event)
    return count


class WatchedJournal:
    """Hands events on to a journal; warns once, as the first loop ends with a good part of the proposals lost."""

    def __init__(self, journal: Journal, warn: Warn) -> None:
        self._journal = journal
        self._warn = warn
        self._warned = False
        self._count = Proposals()

    def write(self, event: str, address: str, data: Mapping[str, Any]) -> None:
        """Append one event."""
        self._journal.write(event, address, data)
        self._count = self._count.after(event, data)
        if event == BARRIER and not self._warned and (text := self._count.warning):
            self._warned = True
            self._warn(f"so far {text}")
