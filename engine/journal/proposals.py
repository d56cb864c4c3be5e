"""How many of a session's proposals could not be used: a run that changed no prompt for lack of any looks finished too.

Counted from what the journal is told, so a replay from the cache counts the same. A strategy that had nothing to learn
from proposed nothing, which is no fault and not counted.
"""

from dataclasses import asdict, dataclass
from typing import Any

from metaspo.engine.journal.events import Proposal

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

    def after(self, proposal: Proposal) -> "Proposals":
        """The count after one more."""
        if proposal.none is None:
            return Proposals(made=self.made + 1, unusable=self.unusable, last_reason=self.last_reason)
        if not proposal.unusable:
            return self
        return Proposals(made=self.made + 1, unusable=self.unusable + 1, last_reason=proposal.none)

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
