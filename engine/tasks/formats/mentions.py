"""Which of the answers that a text mentions it gives: what it denies or merely lists is not given.

Denials are known by words of English and by the short negation words of some other languages; where a text denies in a
way that is not known here, another mention beside the denied one still makes it malformed.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from metaspo.engine.tasks.formats.plain import words

_NEGATORS: Final = words(
    "not non no never neither nor none nothing nobody cannot without hardly barely except excluding unlike lack lacks "
    "lacking fail fails failed opposite wrong incorrect false unlikely impossible deny denies avoid avoiding disagree "
    "mistake mistaken dont doesnt didnt isnt arent wasnt wont cant couldnt wouldnt shouldnt "
    "nicht kein keine keinen keiner pas jamais não niet geen ikke inte не nie không bukan tidak ليس ليست לא"
)
_DOUBTS: Final = words("doubt doubts doubtful")
_UNDOUBTING: Final = words("no not without any beyond little never")
_REJECTING: Final = ("ruled", "rules", "ruling", "eliminat", "exclud", "reject", "discard")
_AFTER_PAIRS: Final = frozenset(
    {
        *(
            ("rather", "than"),
            ("other", "than"),
            ("instead", "of"),
            ("opposed", "to"),
            ("far", "from"),
            ("rule", "out"),
        ),
        *((first, "but") for first in words("anything everything everyone all options choices answers labels letters")),
    }
)
_MAY_DENY: Final = re.compile(rf"n't|\b(?:than|of|but|to|from|out|doubt|{'|'.join(_REJECTING)})")
_NONE_BUT: Final = re.compile(r"\b(?:none|no|nothing|nobody|no\s+one)\s+(?:\w+\s+)?(?:other\s+than|but|except)\b")
_BREAKERS: Final = words(
    "but because since so thus therefore hence which while whereas although though instead however then"
)
_IDIOMS: Final = words("doubt doubts question only just merely surprise surprisingly wonder matter")
_FILLERS: Final = words("a an the really very exactly actually quite simply")
_CLAUSE: Final = re.compile(r"[,.;:!?()\n\u3002\u3001\uff0c]")
_WORD: Final = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_CLOSE: Final = " \t\n('\"*_`[-"
REACH: Final = 5
NEAR: Final = 3  # before a number

_DENIED_BEFORE: Final = re.compile(
    r"(?:[不非没沒未無无](?:是|为|為|属于|屬於|能|会|會|可能|算|应该?|應該?)*(?:选|選|择|擇)?|ไม่(?:ใช่|เป็น)?|(?:\A|\n)\W*[✗✘❌])\s*$"
)
_HEADING: Final = re.compile(
    r"(?:^|[\n.;!?(*-])\s*(?P<word>wrong|incorrect|false|rejected|excluded|eliminated|not)\b"
    r"(?:\s+(?:answers?|options?|choices?|letters?|labels?))?\W{0,3}:\W*\Z"
)
_ELSEWHERE: Final = """(?:wrong|incorrect|fails)\\b | [✗✘❌]
    | [是并並]?不(?:对|對|正确|正確|是|成立) | (?:是|为|為)?错 | (?:是|為)?錯
    | (?:では|じゃ|で)(?:は)?(?:ない|なく|ありません) | [はが](?:違|間違|誤|不正解)
    | (?:이|가|은|는)?\\s*(?:아니|아닌|아닙|않) | değil | नहीं | ليس"""
_REFUSED: Final = (
    r"wrong|incorrect|false|excluded|eliminated|rejected|discarded|ruled\ out|out(?!\ of)|unlikely|impossible|mistaken?"
)
_DENIED_AFTER: Final = re.compile(
    rf"""[()\[\]"'*_~\s]*(?:
      (?:is|are|was|were|seems|looks|can|could|should|would|does|do|did|must|has|have)\s+(?:\w+ly\s+)?
        (?:(?:be|to\s+be|been)\s+(?:\w+ly\s+)?)?(?:(?:the|an?)\s+)?(?:not|never|{_REFUSED})\b
    | (?:is|are|was|were|does|do|ca|could|should|would)n't\b | cannot\b | {_ELSEWHERE}
    )""",
    re.VERBOSE | re.IGNORECASE,
)
# "5 were not sold" counts, and denies no 5.
_DENIED_NUMBER: Final = re.compile(
    rf"""[()\[\]"'*_~\s]*(?:
      (?:is|was|seems|looks|can|could|should|would|must)\s+(?:\w+ly\s+)?(?:(?:be|to\s+be)\s+(?:\w+ly\s+)?)?
        (?:(?:the|an?)\s+)?(?:not\s+(?:the|it|correct|right|true|possible|my)|{_REFUSED})\b
    | (?:isn't|wasn't|can't\s+be|cannot\s+be)\s+(?:the|it|correct|right|true|possible|my)\b
    | (?:does\s+not|doesn't)\s+(?:fit|work|match|apply)\b | {_ELSEWHERE}
    )""",
    re.VERBOSE | re.IGNORECASE,
)
_ANSWERED_NO: Final = re.compile(
    r"""[)\]"'*_]*(?:(?P<mark>[?:])[\s"'*_]*(?P<no>no|nope|false|wrong|incorrect)(?=\W*(?:\Z|\n|[.,;!]))
      | (?:,|\s?-)\s*(?:no|nope|wrong|incorrect)(?=[\s*_"')\]]*(?:\Z|\n|[.;!])))""",
    re.VERBOSE | re.IGNORECASE,
)
_MAY_ANSWER: Final = frozenset(")]\"'*_?:,-")
_ANSWERED_HARDLY: Final = re.compile(
    r"""[)\]"'*_]*\?\s*(?:i\s+(?:don't|do\s+not)\s+think|not|hardly|unlikely)\b""", re.IGNORECASE
)
_JOINT: Final = re.compile(
    r"""[\s,;/|&+()\[\]"'*_`<>~、，・-]*
    (?:(?:and|or|vs\.?|versus|und|oder|et|ou|y|o|e|to|through|或者?|和|与|與|と|や|か|または|또는|หรือ)(?![^\W_])
       [\s(\["'*_`]*)?(?:(?:option|choice|letter|label)\s+)?[(\["'*_`]*""",
    re.VERBOSE | re.IGNORECASE,
)
_SIDE_BY_SIDE: Final = re.compile(
    r"[\s*_\"']*(?:,\s*(?:and|or|nor)?|and|or|nor|&|/)[\s*_\"']*(?:(?:option|choice|letter)\s+)?", re.IGNORECASE
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
    (?=\s*[,:.!\u2026-]|\s+(?:i|it|it's|this|that|the\s+(?:\w+\s+)?answer|no|yes|so|my)\b)""",
    re.VERBOSE | re.IGNORECASE,
)
_ASIDE: Final = re.compile(r"(?:\bnot|n't|\bnever),[^,.;:!?\n]{1,40},\W*\Z")
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
    return max((match.end() for match in _CORRECTED.finditer(text, 0, end)), default=0)


def denied(text: str, start: int, end: int, *, answers: Collection[str] = (), number: bool = False) -> int | None:
    """How many words a denial stands before what stands from start to end, 0 for right before it.

    None where it is not denied.

    Args:
        answers: words that are answers themselves, such as "no", and deny nothing.
        number: a number stands there, which may count what something is not true of.
    """
    if not text.isascii() and _DENIED_BEFORE.search(text[max(0, start - 9) : start]):
        return 0
    if end < len(text) and (distance := _denied_after(text, start, end, answers=answers, number=number)) is not None:
        return distance
    reach = NEAR if number else REACH
    before = text[max(0, start - 10 * reach - 20) : start].rstrip(_CLOSE).lower()
    if not before or before[-1] in ".,;:!?":
        return reach if before and _denied_over_mark(before, answers) else None
    clause = _WORD.findall(_CLAUSE.split(before)[-1])[-reach - 2 :]
    if (_NEGATORS.isdisjoint(clause) and not _MAY_DENY.search(before)) or _NONE_BUT.search(before):
        return None
    return _denial(clause, answers, reach)


def _denied_after(text: str, start: int, end: int, *, answers: Collection[str], number: bool) -> int | None:
    if text[end] not in ".,;:!?\n":
        if (_DENIED_NUMBER if number else _DENIED_AFTER).match(text, end):
            return REACH
        if text.startswith("~~", end) and text.endswith("~~", 0, start):
            return 0
    if text[end] not in _MAY_ANSWER and not text.startswith(" -", end):
        return None
    # After a letter a colon or a dash begins what the option says: "B: No".
    no = _ANSWERED_NO.match(text, end)
    if no and "no" not in answers and (no["mark"] == "?" or number or end - start > 1):
        return 0
    return REACH if _ANSWERED_HARDLY.match(text, end) else None


def _denied_over_mark(before: str, answers: Collection[str]) -> bool:
    """Whether a denial reaches over the comma or the colon that a text ends with."""
    if before[-1] == ",":
        return _ASIDE.search(before) is not None
    heading = _HEADING.search(before) if before[-1] == ":" else None
    return heading is not None and heading["word"] not in answers


def denials(text: str, spans: Sequence[tuple[int, int]], *, answers: Collection[str] = ()) -> list[int | None]:
    """For each place what `denied` says; what is listed before a denied one is denied with it: "A and B are wrong"."""
    distances = [denied(text, start, end, answers=answers) for start, end in spans]
    for index in range(len(spans) - 2, -1, -1):
        beside = _SIDE_BY_SIDE.fullmatch(text, spans[index][1], spans[index + 1][0]) is not None
        if beside and distances[index] is None and distances[index + 1] is not None:
            distances[index] = REACH
    return distances


def _denial(clause: Sequence[str], answers: Collection[str], reach: int) -> int | None:
    """How far from the end the last word that denies stands; words such as "the" do not count."""
    distance = 0
    for index in range(len(clause) - 1, -1, -1):
        word, after = clause[index], clause[index + 1 : index + 2]
        pair = (clause[index - 1] if index else "", word)
        if word in answers or (word in _BREAKERS and pair not in _AFTER_PAIRS):
            return None
        negates = word in _NEGATORS or word.endswith("n't") or word.startswith(_REJECTING)
        negates = negates or (word in _DOUBTS and not (index and clause[index - 1] in _UNDOUBTING))
        if (negates or pair in _AFTER_PAIRS) and not (after and after[0] in _IDIOMS):
            return distance if distance <= reach else None
        distance += word not in _FILLERS
    return None


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
