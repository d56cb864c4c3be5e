"""A mathematical expression, compared by what it is worth and not by how it is written."""

import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final

from metaspo.backends.late_patterns import late_pattern
from metaspo.engine.tasks.formats.denials import denied
from metaspo.engine.tasks.formats.equivalence import Equivalence
from metaspo.engine.tasks.formats.plain import plain
from metaspo.engine.tasks.formats.tagged import Kind

_ANNOUNCED: Final = late_pattern(
    r"(?:\banswer\s*(?:is\b|=|:|would\s+be)|答案(?:是|为|為|:)|答えは|정?답은)\s{0,40}[:*]{0,40}\s{0,40}(.+?)\s{0,8}(?:[.!*。]{0,8}\s{0,8}(?:\n|\Z)|\.\s)",
    re.IGNORECASE,
)
_DENIAL: Final = late_pattern(r"(?:not|never|neither)\b|≠", re.IGNORECASE)
_MARKUP: Final = late_pattern(r"\A```\w*\n(.*)\n```\Z|\A(?:#+\s|>\s)?\s*(\*{1,3}|`|__?|)([^*`_\n]+)\2\Z", re.DOTALL)
_DISPLAYED: Final = late_pattern(r"\$\$(.+?)\$\$|\$([^$\n]+)\$|\\\((.{1,1000}?)\\\)|\\\[(.{1,1000}?)\\\]", re.DOTALL)
_HEADED: Final = late_pattern(r"(?:^|\n)\W{0,8}(?:final\s)?answer\W{0,8}\n\s*([^\n]+)\Z", re.IGNORECASE)
_CASING: Final = late_pattern(r"\A(?:\$\$?|\\\(|\\\[)(.*?)(?:\$\$?|\\\)|\\\])\Z", re.DOTALL)
_BOXED: Final = late_pattern(r"\\(?:boxed|fbox)\s*\{")
_BRACE: Final = late_pattern(r"(?<!\\)[{}]")
_MAX_BOXES: Final = 10  # are looked at, from the end
_MAX_CASINGS: Final = 20  # are taken off, one within the other
_LONGEST: Final = 500


@dataclass(frozen=True, slots=True)
class Math(Kind):
    r"""An expression: the last one in \boxed{…}, else what "the answer is" announces, else the last one between dollar
    signs, else the line below a heading "answer" at the end, else the text, if it is one line.

    The canonical form is the expression as written. Needs the extra `math`.

    Attributes:
        time_limit: seconds of CPU time for one comparison; expressions not shown to be equal by then are different.
    """

    blocking: ClassVar[bool] = True

    time_limit: float = 5.0
    _equivalence: Equivalence = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if importlib.util.find_spec("math_verify") is None:
            raise ValueError('kind = "math" needs a library that is not installed: pip install "metaspo[math]"')
        object.__setattr__(self, "_equivalence", Equivalence(seconds=self.time_limit))

    @property
    def wanted(self) -> str:
        return "a number or a mathematical expression"

    def parse(self, text: str, /) -> str | None:
        text = plain(text).replace(self.wanted, " ").strip()
        if match := _MARKUP.match(text):
            text = (match[1] or match[3] or "").strip()
        if boxes := _boxes(text):
            return _last(text, boxes)
        if announced := _ANNOUNCED.findall(text):
            return next((_bare(each) for each in reversed(announced) if not _DENIAL.match(each)), None)
        if "\n" not in text and (cased := _CASING.match(text)) and "$" not in cased[1]:
            return _bare(text)
        if shown := list(_DISPLAYED.finditer(text)):
            return _last(text, [(each.start(), each.end(), "".join(filter(None, each.groups()))) for each in shown])
        alone = _HEADED.search(text)
        return _bare(alone[1] if alone else text) if alone or "\n" not in text else None

    def canonical(self, answer: str, /) -> str | None:
        return self.parse(answer)

    def reading(self) -> str:
        return (
            r'The last expression in \boxed{} counts; without one, that after "the answer is", the last one between '
            "dollar signs, or an answer of one line as a whole."
        )

    def similarity(self, prediction: str, answer: str, /) -> float:
        """1 where the two are equal as expressions, else 0."""
        same = "".join(prediction.split()) == "".join(answer.split())
        return float(same or self._equivalence.equal(answer, prediction))


def _boxes(text: str) -> list[tuple[int, int, str]]:
    """Start, end and content of the last boxes that are closed."""
    matches = list(_BOXED.finditer(text))[-_MAX_BOXES:]
    read = ((match, _braced(text, match.end())) for match in matches)
    return [(match.start(), match.end() + len(box) + 1, box) for match, box in read if box is not None]


def _last(text: str, places: Sequence[tuple[int, int, str]]) -> str | None:
    """The last of some expressions that the text does not deny."""
    kept = (each for start, end, each in reversed(places) if denied(text, start, end, number=True) is None)
    return next(map(_bare, kept), None)


def _bare(expression: str) -> str | None:
    """The expression without what encloses it; None where there is none."""
    expression = expression.strip().rstrip(".").strip()
    for _ in range(_MAX_CASINGS):
        if not (match := _CASING.fullmatch(expression)) or "$" in match[1]:
            break
        expression = match[1].strip().rstrip(".").strip()
    if len(expression) > _LONGEST or not any(map(str.isalnum, expression)):
        return None
    return expression


def _braced(text: str, start: int) -> str | None:
    """What stands from `start` to the brace that closes it."""
    depth = 1
    for brace in _BRACE.finditer(text, start):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return text[start : brace.start()]
    return None
