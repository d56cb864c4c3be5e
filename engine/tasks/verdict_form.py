"""The form of a judge's verdict: what it is asked to say, and how what it says is read."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import orjson

from metaspo.backends.late_patterns import late_pattern
from metaspo.engine.tasks.formats.objects import Json

TIE: Final = 0.5
_AROUND: Final = " \t\r\n.!*\"'`"
_ANSWER: Final = late_pattern(r"^answer[\s_]+")
_OF: Final = r"(?:\s*(?:/|out\s+of)\s*[0-9]+)?"
_FRACTION: Final = late_pattern(r"([0-9]+)(?:\.0+)?(?:\s*(?:/|out\s+of)\s*([0-9]+))?")
# Where a verdict stands in a text; what follows it must not make it another one, as in "2.7", "3-4" or "a tie".
_NAMED: Final = r"\b{key}[\"'*\s]*[:=][\"'*\s]*"
_AFTER: Final = r"(?=[\"'*`]*(?:[,;.!](?!\w)(?!\s*or\b)|\s*(?:\Z|[)}}\]\n])|\s+(?:\(|because\b|[-–—](?!\s*[0-9]))))"
_CONCLUDED: Final = (
    r"(?:\A|[.!?\n])(?:(?!\b(?:not|never|neither|nor|if|whether)\b|n['’]t\b)[^.!?\n])*"
    r"\b{key}(?:\s+(?:one|answer|response|of\s+the\s+two))?\s+is[\s\"'*:]+{label}\Z"
)
_CUT: Final = r"[{{,]\s*\"{key}\"\s*:\s*\"?{label}\"?\s*[,}}]"  # a number that ends the text may be half of one
REASONS: Final = "First give your reasons in one or two sentences, then "
NO_REASONS: Final = "Give "


class Verdict(NamedTuple):
    """What a judge said: what it is worth, 0 to 1, and why."""

    score: float
    reasons: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The form of a verdict: which key holds it, what it may say and what that is worth, whether reasons go along."""

    key: Literal["score", "better"]
    grades: Mapping[str, float]
    choices: str
    numbers: bool = False
    reasons: bool = True

    @property
    def example(self) -> str:
        """What a verdict in this form looks like; it names none, which small models would only repeat."""
        reasons, value = '"reasons": "…", ' if self.reasons else "", "…" if self.numbers else '"…"'
        return f'{{{reasons}"{self.key}": {value}}}'

    @property
    def words(self) -> dict[str, str]:
        """What a question says of it."""
        first = REASONS if self.reasons else NO_REASONS
        return {"first": first, "choices": self.choices, "example": self.example}

    @property
    def response_format(self) -> dict[str, Any]:
        """The same as a JSON schema, for servers that can hold a model to one."""
        values: list[str] | list[int] = list(map(int, self.grades)) if self.numbers else list(self.grades)
        fields: dict[str, Any] = {"reasons": {"type": "string"}} if self.reasons else {}
        fields[self.key] = {"type": "integer" if self.numbers else "string", "enum": values}
        schema = {"type": "object", "properties": fields, "required": [*fields], "additionalProperties": False}
        return {"type": "json_schema", "json_schema": {"name": "verdict", "strict": True, "schema": schema}}

    def read(self, text: str, *, cut: bool = False) -> Verdict | None:
        """The verdict in an answer: in a JSON object, or after the key and a colon, or all that is said.

        An object that has the key decides alone. Of an answer that is cut off only what is JSON counts: the rest are
        reasons, which speak of scores too.
        """
        written = Json().parse(text)
        said: dict[str, Any] = orjson.loads(written) if written else {}
        fields = {name.casefold(): value for name, value in said.items()}
        if self.key in fields:
            grade = self._grade(fields[self.key])
        else:
            grade = self._grade_at(_CUT, text) if cut else self._grade_in_prose(text)
        if grade is None:
            return None
        reasons = fields.get("reasons", fields.get("reason", ""))
        return Verdict(grade, reasons if isinstance(reasons, str) and reasons else "" if said else text.strip())

    def _grade(self, value: object) -> float | None:
        """Of a value that is a label and nothing else; of numbers also "4/5", where 5 is the scale's end."""
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            return None
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        said = str(value).strip().casefold()
        if self.key == "better":
            said = _ANSWER.sub("", said)
        elif self.numbers and (fraction := _FRACTION.fullmatch(said)):
            said = fraction[1] if fraction[2] in (None, str(len(self.grades))) else ""
        return {name.strip().casefold(): grade for name, grade in self.grades.items()}.get(said)

    def _grade_in_prose(self, text: str) -> float | None:
        text = text.strip(_AROUND)
        if (grade := self._grade(text)) is not None:
            return grade
        named = [*re.finditer(_NAMED.format(key=self.key), text.casefold())]
        if named:
            return self._grade_at(r"\A{label}" + _AFTER, text.casefold()[named[-1].end() :])
        return self._grade_at(_CONCLUDED, text) if self.key == "better" else None

    def _grade_at(self, pattern: str, text: str) -> float | None:
        """Of the last value that stands where the pattern, with slots for key and value, says that one does."""
        words = sorted((re.escape(name.strip().casefold()) for name in self.grades), key=len, reverse=True)
        before, after = r"(?:answer\s+)?" if self.key == "better" else "", _OF if self.numbers else ""
        label = rf"({before}(?:{'|'.join(words)}){after})"
        *_, last = "", *re.findall(pattern.format(key=self.key, label=label), text.casefold())
        return self._grade(last)


def form_of(scale: int | Sequence[str]) -> Form:
    """The form of a score: whole numbers from 1 up, or words from the worst to the best, evenly spaced from 0 to 1."""
    names = [str(number) for number in range(1, scale + 1)] if isinstance(scale, int) else [*scale]
    grades = {name: position / (len(names) - 1) for position, name in enumerate(names)}
    if isinstance(scale, int):
        choices = f"a whole number from 1 (the worst) to {scale} (the best)"
        return Form(key="score", grades=grades, choices=choices, numbers=True)
    return Form(key="score", grades=grades, choices=f"one of {', '.join(names)}, from the worst to the best")


WHICH: Final = Form(key="better", grades={"tie": TIE, "B": 0.0, "A": 1.0}, choices='"A", "B", or "tie" for neither')
