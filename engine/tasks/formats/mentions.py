"""Which of the answers that a text mentions it gives: what it denies or merely lists is not given."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

_JOINT: Final = re.compile(
    r"""[\s,;/|&+()\[\]"'*_`<>~、，・-]*
    (?:(?:and|or|vs\.?|versus|und|oder|et|ou|y|o|e|to|through|或者?|和|与|與|と|や|か|または|또는|หรือ)(?![^\W_])
       [\s(\["'*_`]*)?(?:(?:option|choice|letter|label)\s+)?[(\["'*_`]*""",
    re.VERBOSE | re.IGNORECASE,
)
_CORRECTING: Final = (
    "wait",
    "actually",
    "correct",
    "scratch",
    "second thought",
    "hold on",
    "sorry",
    "wrong",
    "let me re",
)
_CORRECTED: Final = re.compile(
    r"""(?:\A|[.!?\n;\u2026-])\W*(?:(?:but|no|oh|hmm|ah)\b\W+)*
    (?:wait|actually|correction|scratch\s+that|on\s+second\s+thoughts?|hold\s+on|sorry|i\s+was\s+wrong|let\s+me\s+(?:correct|re)\w*)
    (?=\s*[,:.!\u2026-]|\s+(?:i|it|it's|this|that|the\s+(?:\w+\s+)?answer|no|yes|so|my)\b
      |\s+(?:(?-i:[A-Z])|-?\d[\d.,]*)[)\s*_]*(?:\Z|\n|[.;!]))""",
    re.VERBOSE | re.IGNORECASE,
)
_ANNOUNCED: Final = re.compile(
    r"""(?:
      \b(?:answer|solution|verdict|label|prediction|conclusion|classification)
        (?:\s+(?:to|for|of|here)\b[^.!?\n]{0,60}?)?(?:\s*(?:is|was|are|would\s+be|should\s+be|must\s+be|will\s+be|=)\b)?
    | \b(?:option|choice)\s*(?:is|was|would\s+be|[:=])
    | boxed\{ | (?:答案|答え|回答|正解|정답|답|คำตอบ)(?:应该是|應該是|是|为|為|は|은|는|คือ)?
    )[\s:=*_"'`(\[{>-]*$""",
    re.VERBOSE | re.IGNORECASE,
)
_LAST_WORD: Final = re.compile(r"(?:^|[:=>\u2192\n])[\s*_\"'`(\[]*$")
_REST: Final = re.compile(r"[\W_]*\Z")


@dataclass(frozen=True, slots=True)
class Mention:
    """One place where a text names an answer.

    Attributes:
        value: the answer.
        start, end: where its characters stand.
        opens: whether it stands at the very beginning as an answer does: "B)", "Yes."
    """

    value: str
    start: int
    end: int
    opens: bool = False


def given(text: str, mentions: Sequence[Mention], *, field: bool) -> str | None:
    """The answer that the mentions agree on; None where none is given, or several different ones are.

    Args:
        mentions: in the order of the text, without the denied ones.
        field: the text stands in a place of its own, such as a tag, and must name one answer only. Otherwise mentions
            in an answer's place (at the beginning, after "the answer is", as the last word after a colon) count alone,
            and lists of answers do not.
    """
    if len({mention.value for mention in mentions}) <= 1:
        return mentions[0].value if mentions else None
    if field:
        return None
    start = corrected(text, mentions[-1].start)
    if start and len({mention.value for mention in mentions if mention.start >= start}) == 1:
        return mentions[-1].value
    in_lists = listed(text, mentions)
    single = [mention for index, mention in enumerate(mentions) if index not in in_lists]
    values = {mention.value for mention in single if _in_place(text, mention)} or {mention.value for mention in single}
    return values.pop() if len(values) == 1 else None


def corrected(text: str, end: int) -> int:
    """Where what comes after the last correction ("Wait, …") before `end` begins; 0 where there is none."""
    lowered = text.lower()
    if not any(word in lowered for word in _CORRECTING):
        return 0
    return max((match.end() for match in _CORRECTED.finditer(text) if match.end() <= end), default=0)


def listed(text: str, mentions: Sequence[Mention]) -> set[int]:
    """Positions of the mentions that stand in a list of different answers: "A, B or C", "yes/no", "1 to 5"."""
    inside: set[int] = set()
    for index, (candidate, next_one) in enumerate(pairwise(mentions)):
        if candidate.value != next_one.value and _JOINT.fullmatch(text, candidate.end, next_one.start):
            inside |= {index, index + 1}
    return inside


def announced(text: str, mention: Mention) -> bool:
    """Whether the text says that the answer follows, right before the mention."""
    return _ANNOUNCED.search(text[max(0, mention.start - 90) : mention.start]) is not None


def _in_place(text: str, mention: Mention) -> bool:
    return (
        mention.opens
        or announced(text, mention)
        or (
            _REST.match(text, mention.end) is not None
            and _LAST_WORD.search(text[max(0, mention.start - 12) : mention.start]) is not None
        )
    )
