"""Which of the answers that a text mentions it gives: what it denies or merely lists is not given."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from metaspo.backends.late_patterns import late_pattern

_JOINT: Final = late_pattern(
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
    "i mean ",
)
# Searched for by its words, and only then for what may stand before them: the other way around is quadratic.
_CORRECTED: Final = late_pattern(
    r"""(?:wait|actually|i\s+mean(?=\s)|correction|scratch\s+that|on\s+second\s+thoughts?|hold\s+on|sorry|i\s+was\s+wrong
      |let\s+me\s+(?:correct|re-?(?:check|do|calculate|compute|consider|think|examine|evaluate|phrase))\w*)
    (?=\s*[,:.!\u2026-]|\s+(?:i|it|it's|this|that|the\s+(?:\w+\s+)?answer|no|yes|so|my)\b
      |\s+(?:(?-i:[A-Z])|-?\d[\d.,]*)[)\s*_]*(?:\Z|\n|[.;!]))""",
    re.VERBOSE | re.IGNORECASE,
)
_BEFORE_CORRECTED: Final = late_pattern(r"(?:\A|[.!?\n\u2026-])\W*(?:(?:but|no|oh|hmm|ah)\b\W+)*\Z", re.IGNORECASE)
_LOOK_BACK: Final = 24  # characters
_FARTHEST: Final = 40  # characters
_MAX_CORRECTIONS: Final = 20  # are looked at, from the end
# Between a correction and what it puts in an answer's place: "Wait, it's", "Scratch that. I mean".
_INSTEAD: Final = late_pattern(
    r"""[\W_]*(?:(?:no|yes|so|rather|myself|it|that|this|make\s+(?:it|that)|i\s+meant?|(?:it|that|this)'s|is|was|option
      |choice|letter|label|an?|the|(?:must|should|would)\s+be)\b[\W_]+)*""",
    re.VERBOSE | re.IGNORECASE,
)
_CONCLUDES: Final = late_pattern(
    r"""(?:[.,;:!?\n-]|\b(?:so|no|but|then|and|think|thus|therefore|hence|believe)\b)\W*
    (?:(?:it|that|this)(?:'s|\s+(?:is|(?:must|should|would)\s+be))|so|thus|therefore|hence|i\s+(?:choose|pick|meant?))\b
    [\W_]*\Z""",
    re.VERBOSE | re.IGNORECASE,
)
_CLAUSE_ENDS: Final = late_pattern(r"""[)\]\s*_"'`$%}]{0,9}(?:\Z|\n|[.;!](?!\w)|,\s|\s-)""")
_SAID_OF: Final = late_pattern(r"[)\]*_\"'`]*\s(?:is|was|seems|looks|fits|works|would)\b", re.IGNORECASE)
_HASHED: Final = late_pattern(r"#{4}[\s*_$]*\Z")  # as GSM8K writes its answers
_LINE_ENDS: Final = late_pattern(r"[^\w\n]*+(?:\n|\Z)")
_ANNOUNCED: Final = late_pattern(
    r"""(?:
      \b(?:answer|solution|verdict|label|prediction|conclusion|classification)
        (?:\s+(?:to|for|of|here)\b[^.!?\n]{0,60}?)?(?:\s*(?:is|was|are|would\s+be|should\s+be|must\s+be|will\s+be|=)\b)?
    | \b(?:option|choice)\s*(?:is|was|would\s+be|[:=])
    | boxed\{ | (?:答案|答え|回答|正解|정답|답|คำตอบ)(?:应该是|應該是|是|为|為|は|은|는|คือ)?
    )[\s:=*_"'`(\[{>-]*$""",
    re.VERBOSE | re.IGNORECASE,
)
# "Some would answer yes", "If it rained, the answer would be yes" announce nothing.
_SUPPOSED: Final = late_pattern(
    r"""\b(?:some|many|most|others?|one|you|people|they|someone|somebody|anyone)\b[^.,;:!?\n]{0,24}
      \b(?:would|might|could|may|will|can)\s+(?:\w+ly\s+)?\Z
    | \b(?:if|had|were|unless|otherwise)\b[^.;:!?\n]{0,80}\Z""",
    re.VERBOSE | re.IGNORECASE,
)
_ROW: Final = late_pattern(
    r"""[)*_"'`\]]*\s?[:=]\s?[*_]*(?:[-+]?\.?[0-9]|(?:true|false|yes|no|right|wrong|correct|incorrect)\b)""",
    re.VERBOSE | re.IGNORECASE,
)
_SCALE: Final = late_pattern(r"""[)*_"'`\]]*\s?[:=]\s?[*_]*\w""")  # "1: bad, 5: good"
_LAST_WORD: Final = late_pattern(r"(?:^|[:=>\u2192\n])[\s*_\"'`(\[]*$")
_REST: Final = late_pattern(r"[\W_]*\Z")


PLACES: Final = (
    'Where several different ones stand there, only one at the very beginning, after "the answer is" or as the last '
    "word after a colon counts, and none if these differ, too."
)


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
    standing = settled(text, untabled(text, mentions))
    if not standing:
        return None
    if len({mention.value for mention in standing}) == 1:
        return standing[0].value
    mentions = standing
    in_lists = listed(text, mentions)
    single = [mention for index, mention in enumerate(mentions) if index not in in_lists]
    values = {mention.value for mention in single if _in_place(text, mention)} or {mention.value for mention in single}
    return values.pop() if len(values) == 1 else None


def untabled(text: str, mentions: Sequence[Mention]) -> Sequence[Mention]:
    """The mentions that are not rows of a table that says something of several answers: "A: 10%, B: 90%"."""
    rows = [
        (_SCALE if mention.value[:1].isdigit() else _ROW).match(text, mention.end) is not None for mention in mentions
    ]
    if len({mention.value for mention, row in zip(mentions, rows, strict=True) if row}) < 2:
        return mentions
    return [mention for mention, row in zip(mentions, rows, strict=True) if not row]


def settled(text: str, mentions: Sequence[Mention]) -> Sequence[Mention]:
    """The mentions that the text's corrections ("Wait, …") leave standing; none where they leave it open which.

    Behind a correction counts what is announced as the answer there, or put in its place at once ("Wait, it's B.").
    Without either, an answer given before stays, unless the text comes to another value.
    """
    if not mentions or not (starts := corrections(text, mentions[-1].start)):
        return mentions
    standing = [mention for mention in mentions if mention.start < starts[0]]
    given_before = [mention for mention in standing if mention.opens or announced(text, mention)]
    is_open = False
    for start, end in pairwise((*starts, len(text) + 1)):
        said = [mention for mention in mentions if start <= mention.start < end]
        reached = [mention for mention in said if _reached(text, start, mention)][-1:]
        if replacing := _replacing(text, start, said, reached):
            given_before, is_open = replacing, False
        elif given_before:
            is_open = is_open or not {mention.value for mention in reached} <= {
                mention.value for mention in given_before
            }
        elif reached and _concludes(text, start, reached[0]):
            given_before = reached
        else:
            standing += said
    return [] if is_open else given_before or standing


def _replacing(text: str, start: int, said: Sequence[Mention], reached: Sequence[Mention]) -> list[Mention]:
    """What stands behind a correction as the answer; nothing where it goes on to another value."""
    if announcing := [mention for mention in said if announced(text, mention)]:
        return announcing
    first = said[0] if said else None
    if first is None or first.start - start > _FARTHEST or not _INSTEAD.fullmatch(text, start, first.start):
        return []
    ends = _CLAUSE_ENDS.match(text, first.end) is not None
    return [first] if ends and all(mention.value == first.value for mention in reached) else []


def _reached(text: str, start: int, mention: Mention) -> bool:
    """Whether a text may come to a value there, and does not merely speak of it: "so it is 15", "= 15."."""
    followed = _CLAUSE_ENDS.match(text, mention.end) or _SAID_OF.match(text, mention.end)
    return followed is not None or _concludes(text, start, mention)


def _concludes(text: str, start: int, mention: Mention) -> bool:
    return _CONCLUDES.search(text, max(start, mention.start - _FARTHEST), mention.start) is not None


def corrections(text: str, end: int) -> list[int]:
    """Where what comes after each correction before `end` begins."""
    lowered = text.lower()
    if not any(word in lowered for word in _CORRECTING):
        return []
    matches = (match for match in _CORRECTED.finditer(text) if match.end() <= end)
    starts = [m.end() for m in matches if _BEFORE_CORRECTED.search(text, max(0, m.start() - _LOOK_BACK), m.start())]
    return starts[-_MAX_CORRECTIONS:]


def listed(text: str, mentions: Sequence[Mention]) -> set[int]:
    """Positions of the mentions that stand in a list of different answers: "A, B or C", "yes/no", "1 to 5"."""
    inside: set[int] = set()
    for index, (candidate, next_one) in enumerate(pairwise(mentions)):
        if candidate.value != next_one.value and _JOINT.fullmatch(text, candidate.end, next_one.start):
            inside |= {index, index + 1}
    return inside


def opens_clause(text: str, start: int, end: int) -> bool:
    """Whether a clause of its own stands there, at the very beginning of a text: "18.", "18, since …"."""
    return not text[:start].strip(" \n\t*_$") and _CLAUSE_ENDS.match(text, end) is not None


def announced(text: str, mention: Mention) -> bool:
    """Whether the text says that the answer follows, right before the mention."""
    before = text[max(0, mention.start - 90) : mention.start]
    if "####" in before and _HASHED.search(before) and _LINE_ENDS.match(text, mention.end):
        return True
    said = _ANNOUNCED.search(before)
    if said is None:
        return False
    supposing = "would" in said[0].lower() or said[0][:6].lower() == "answer"
    return not (supposing and _SUPPOSED.search(before, 0, said.start()))


def _in_place(text: str, mention: Mention) -> bool:
    return (
        mention.opens
        or announced(text, mention)
        or (
            _REST.match(text, mention.end) is not None
            and _LAST_WORD.search(text[max(0, mention.start - 12) : mention.start]) is not None
        )
    )
