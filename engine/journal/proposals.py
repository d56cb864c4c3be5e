"""How many of a session's proposals could not be used: a run that changed no prompt for lack of any looks finished too.

Counted from what the journal is told, so a replay from the cache counts the same. A strategy that had nothing to learn
from proposed nothing, which is no fault and not counted.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

from metaspo.backends.counted import counted
from metaspo.engine.journal.events import Malformed, Proposal

MIN_LOST = 3  # lost proposals that are worth a warning, if they are half of all
TRY = "try a stronger optimizer model or a larger [optimizer] max_tokens"
REFUSED = "see to what [optimizer] says of the model (max_tokens, temperature, extra); `metaspo check CONFIG` asks it"
LOOSEN = "ask less of a prompt's wording in [outer], or have an optimizer model write it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposals:
    """The proposals of a session.

    Attributes:
        made: candidates for which a prompt was proposed or asked for.
        unusable: of these, those that brought no prompt that can be used.
        refused: of these, those for which the optimizer's server refused an answer.
        last_reason: why the last of these did not; "" if there is none.
        unfit: answers that were drawn again because the prompt in them broke what the config asks of its wording.
        last_unfit: what the last of these broke; "" if there is none.
        asked: whether an optimizer model was, as it always was before summaries said so.
    """

    made: int = 0
    unusable: int = 0
    refused: int = 0
    last_reason: str = ""
    unfit: int = 0
    last_unfit: str = ""
    asked: bool = True

    def after(self, proposal: Proposal) -> "Proposals":
        """The count after one more."""
        if proposal.none is None:
            return replace(self, made=self.made + 1)
        if not proposal.unusable:
            return self
        lost = replace(self, made=self.made + 1, unusable=self.unusable + 1, last_reason=proposal.none)
        return replace(lost, refused=self.refused + 1, asked=True) if proposal.refused else lost

    def after_unfit(self, answer: Malformed) -> "Proposals":
        """The count after one more answer that could not be used."""
        asked = replace(self, asked=True)
        return replace(asked, unfit=self.unfit + 1, last_unfit=answer.why) if answer.unfit else asked

    @property
    def sentence(self) -> str:
        """How often a prompt was not taken for its wording; "" if never."""
        if not self.unfit:
            return ""
        answers = counted(self.unfit, "answer of the optimizer model was", "answers of the optimizer model were")
        return (
            f"{answers} not taken, because the prompt broke what the config asks of its wording "
            f"(the last: {self.last_unfit})."
        )

    @property
    def warning(self) -> str:
        """What the user has to know; "" unless a good part was lost."""
        if (self.unusable < MIN_LOST and not self.refused) or 2 * self.unusable < self.made:
            return ""
        left = "The others changed no prompt" if self.made > self.unusable else "No prompt was changed"
        return f"{self._few} be used (the last that could not: {self.last_reason}). {left}: {self._advice}."

    @property
    def short_warning(self) -> str:
        """The same without the last reason."""
        return f"{self._few} be used: {self._advice}." if self.warning else ""

    @property
    def _advice(self) -> str:
        if 2 * self.refused > self.unusable:
            return REFUSED
        return TRY if self.asked else LOOSEN

    @property
    def _few(self) -> str:
        used = self.made - self.unusable
        if self.made == 1:
            return "the one proposal could not"
        return f"only {used} of the {self.made} proposals could" if used else f"none of the {self.made} proposals could"

    def as_json(self) -> dict[str, Any]:
        """Plain data for a summary."""
        return {**asdict(self), "warning": self.warning, "sentence": self.sentence}
