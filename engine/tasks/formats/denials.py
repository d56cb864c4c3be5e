"""Whether a text denies what it names, and what is listed beside it.

Denials are known by words of English and by the short negation words of other languages; where a text denies in a way
that is not known here, another mention beside the denied one still makes it malformed.
"""

import re
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Final

from metaspo.backends.late_patterns import late_pattern
from metaspo.engine.tasks.formats.plain import words

_NEGATORS: Final = words(
    "not non no never neither nor none nothing nobody nowhere cannot without hardly barely except excluding unlike "
    "lack lacks lacking fail fails failed opposite reverse contrary absence absent devoid wrong incorrect false "
    "unlikely impossible unable unclear unsure uncertain deny denies avoid avoiding refuse refuses decline disagree "
    "mistake mistaken zero sans dont doesnt didnt isnt arent aint wasnt wont cant couldnt wouldnt shouldnt "
    "nicht kein keine keinen keiner keineswegs keinesfalls mitnichten weder niemals kaum pas jamais nunca jamás "
    "tampoco nem mai nemmeno neanche não niet geen nooit ikke ekki inte не нема није ні nie nije nisu ne ni není "
    "nejsou nem nincs nu ei eivät pole nav nėra nuk δεν δε όχι μη ούτε không bukan tidak chưa "
    "вряд никак ليس ليست ليسا لا ولا لن غير لم לא אינו אינה אין نه არ ոչ"
)
_DOUBTS: Final = words("doubt doubts doubtful")
_UNDOUBTING: Final = words("no not without any beyond little never")
_REJECTING: Final = ("ruled", "rules", "ruling", "eliminat", "exclud", "reject", "discard")
_AFTER_PAIRS: Final = frozenset(
    {
        *(
            ("rather", "than"),
            ("other", "than"),
            ("else", "than"),
            ("less", "than"),
            ("instead", "of"),
            ("opposed", "to"),
            ("far", "from"),
            ("rule", "out"),
            ("andere", "als"),
            ("loin", "d'être"),
            ("loin", "de"),
            ("free", "of"),
            ("free", "from"),
            ("clear", "of"),
            ("hard", "to"),
            ("harder", "to"),
            ("difficult", "to"),
            ("tough", "to"),
            ("reluctant", "to"),
        ),
        *((first, "but") for first in words("anything everything everyone all options choices answers labels letters")),
    }
)
_MAY_DENY: Final = late_pattern(rf"n't|\b(?:than|of|but|to|from|out|doubt|als|loin|{'|'.join(_REJECTING)})")
_NONE_BUT: Final = late_pattern(r"\b(?:none|no|nothing|nobody|no\s+one)\s+(?:\w+\s+)?(?:other\s+than|but|except)\b")
_BREAKERS: Final = words(
    "but because since so thus therefore hence which while whereas although though instead however then"
)
_IDIOMS: Final = words("doubt doubts question only just merely surprise surprisingly wonder matter")
# "No" that is an answer elsewhere denies before these: "no longer yes", "no reason to say yes".
_NO_SUCH: Final = words(
    "longer reason reasons way basis grounds evidence chance case need support indication proof sign hint one "
    "single es está creo parece"
)
_COMPARING: Final = words("rather more sooner better")  # "rather A than B"
_FILLERS: Final = words("a an the at all really very exactly actually quite simply")
_CLAUSE: Final = late_pattern(r"[,.;:!?()\n\u3002\u3001\uff0c]")
_WORD: Final = late_pattern(r"[^\W_]+(?:'[^\W_]+)*")
# Of these a denial reaches to the end of the clause: "I don't think that the review as a whole is positive". Who cannot
# believe it is amazed.
_UNTHOUGHT: Final = late_pattern(
    r"""(?:\bnot|n't|\bcannot|\bnever|\bhardly)\s+(?:\w+ly\s+)?
    (?:think|(?<!\bcan't\ )(?<!cannot\ )(?<!couldn't\ )believe|find|feel|see|consider|call|say|describe|regard|classify
    |label|agree|claim|suggest|conclude|suppose|expect|imagine|support|(?:true|correct|right|the\s+case)\s+that)\b
    (?:(?!\b(?:but|because|since|so|thus|therefore|hence|which|while|whereas|although|though|instead|however|then)\b)
      [^,.;:!?()\n])*+\Z""",
    re.VERBOSE | re.IGNORECASE,
)
_NOT_SO: Final = late_pattern(r"(?:\bnot|n't) (?:(?:quite|at all|all) )?so [\"'*_`]*\Z", re.IGNORECASE)
_FARTHEST_THOUGHT: Final = 160  # characters
_CLOSE: Final = " \t\n('\"*_`[-"
REACH: Final = 5
NEAR: Final = 3  # before a number

_DENIED_BEFORE: Final = late_pattern(
    r"(?:[不非没沒未無无](?:是|为|為|属于|屬於|能|会|會|可能|算|应该?|應該?|太|怎么|怎麼|够|夠|很|那么|那麼|完全|一定|见得|見得|认为|認為|觉得"
    r"|覺得|像|再|全|都|具有?|有|包含|含|带|帶|表达|表達|体现|體現|上|出|说|說)*(?:选|選|择|擇)?|[谈談称稱说說看]不[上出]|缺[乏少]|(?:很?[难難]以?|[无無]法)\w{0,4}"
    r"|ไม่(?:ใช่|เป็น|ได้)*|មិន(?:មែន)?|ບໍ່(?:ແມ່ນ)?|(?:\A|\n)\W*[✗✘❌])[\s*_]*$"
)
# Signs: "!= B", "¬B", "!yes", a box without a tick; an exclamation mark of prose has a space behind it.
_CROSSES: Final = frozenset("✗✘❌")
_SIGNS: Final = frozenset("≠¬=!]☐)")
_DENIED_BY_SIGN: Final = late_pattern(
    r"(?:[≠¬☐]|\[\s?\]|\(\s?(?:not|non|un)\s?\)|!=|=/=|(?<![\w!?.])!|\\(?:neq?|lnot|neg|not\s?=))\s*[\"'*_`(\[{]*\Z"
)
_HEADING: Final = late_pattern(
    r"(?:^|[\n.;!?(*-])\s*(?P<word>wrong|incorrect|false|rejected|excluded|eliminated|not)\b"
    r"(?:\s+(?:answers?|options?|choices?|letters?|labels?))?\W{0,3}:\W*\Z"
)
_ELSEWHERE: Final = """(?:wrong|incorrect|fails)\\b | [✗✘❌]
    | [是并並]?不(?:对|對|正确|正確|是|成立|太?可能|算|[够夠]|准确|準確|合适|合適|恰当|恰當)
    | (?:是|为|為)?错 | (?:是|為)?錯
    | 的可能性(?:很小|不大|不高|较低|很低)
    | (?:[でとに]|じゃ|だと)(?!(?:間)?違い?(?:な|あり|ござ))[^。、，,.!?\n]{0,8}?
      (?:ない|なく|なかっ|ません|がたい|難い|難しい)
    | (?:ist|est|è)\\s+(?:nicht|falsch|pas|faux|falso)\\b | trifft\\s+nicht
    | 的[说說]法不
    | [はが](?:違|間違|誤|不正解)
    | (?:적|으로|이라고|라고|이|가|은|는|지|인|할|볼|수|고|\\s){0,8}(?:아니|아닌|아닙|않|없|못)
    | değil | deyil | emas | емес | биш | नहीं | नाही | ليس | نیست | نہیں | নয় | அல்ல | இல்லை | కాదు | ಅಲ್ಲ | അല്ല
    | નથી | ਨਹੀਂ | မဟုတ် | አይደለም"""
_REFUSED: Final = (
    r"wrong|incorrect|false|excluded|eliminated|rejected|discarded|ruled\ out|out(?!\ of\ (?!the\ question))"
    r"|off\ the\ table|unlikely|impossible|mistaken?"
)
_UNFIT: Final = r"""absent|missing|lacking|non-?existent|misleading|least|out\ of\ place|stretch
    |in(?:appropriate|accurate|applicable|apt|adequate|valid|defensible)
    |un(?:suitable|fitting|supported|justified|warranted|founded|tenable)
    |too\ (?:strong|harsh|weak|extreme|generous|kind|much|far)"""
_OF_LABELS: Final = (
    r"(?:label|option|choice|answer|class|category|sentiment|verdict|reading|content|language|tone|relation|rating)s?"
)
_DENIED_AFTER: Final = late_pattern(
    rf"""[()\[\]"'*_~\s]*(?:{_OF_LABELS}\s+)?(?:
      (?:is|are|was|were|seems|looks|can|could|should|would|will|does|do|did|must|has|have)\s+(?:\w+ly\s+)?
        (?:(?:be|to\s+be|been)\s+(?:\w+ly\s+)?)?(?:(?:the|an?)\s+)?(?:not|never|{_REFUSED}|{_UNFIT})\b
    | (?:is|are|was|were|does|do|did|has|have|had|ca|could|should|would|wo)n't\b | cannot\b
    | or\s+not(?=\s*(?:[.,;:!?)\n]|\Z)) | {_ELSEWHERE}
    )""",
    re.VERBOSE | re.IGNORECASE,
)
# "5 were not sold" counts, and denies no 5.
_DENIED_NUMBER: Final = late_pattern(
    rf"""[()\[\]"'*_~\s]*(?:
      (?:is|was|seems|looks|can|could|should|would|must)\s+(?:\w+ly\s+)?(?:(?:be|to\s+be)\s+(?:\w+ly\s+)?)?
        (?:(?:the|an?)\s+)?(?:not\s+(?:the|it|correct|right|true|possible|my)|{_REFUSED})\b
    | (?:isn't|wasn't|can't\s+be|cannot\s+be)\s+(?:the|it|correct|right|true|possible|my)\b
    | (?:does\s+not|doesn't)\s+(?:fit|work|match|apply)\b | {_ELSEWHERE}
    )""",
    re.VERBOSE | re.IGNORECASE,
)
_ASIDE: Final = late_pattern(r"(?:\bnot|n't|\bnever),[^,.;:!?\n]{1,40},\W*\Z")
_ANSWERED_NO: Final = late_pattern(
    r"""[)\]"'*_]*(?:(?P<mark>\s?=|[?:])[\s"'*_]*(?P<no>no|nope|nah|nein|non|nee|nej|nie|нет|不是?|否|いいえ|いや|아니[요오]?|لا|false|wrong|incorrect)(?=\W*(?:\Z|\n|[.,;!]))
      | (?:,|\s?-|\s?\()\s*(?:no|nope|wrong|incorrect)(?=[\s*_"')\]]*(?:\Z|\n|[.;!])))""",
    re.VERBOSE | re.IGNORECASE,
)
# Nothing of a label: "Positive: 0", "positive sentiment: none".
_ANSWERED_NONE: Final = late_pattern(
    rf"""[)\]"'*_]*(?:\s+{_OF_LABELS})?\s?[:=][\s"'*_]*(?P<none>none|absent|0(?:\.0+)?(?!\.?\w))\s?%?(?=[\s*_"')\]]*(?:\Z|\n|[.,;!]))""",
    re.VERBOSE | re.IGNORECASE,
)
_MAY_ANSWER: Final = frozenset(")]\"'*_?:,-(=")
_ANSWERED_HARDLY: Final = late_pattern(
    r"""[)\]"'*_]*(?:
      (?P<asked>\?)\s*(?:[^,.;:!?\n]{0,40}?(?:n't|\bnot)|i\s+doubt|far\s+from|quite\s+the\s+opposite|not|never|hardly|unlikely|by\s+no\s+means|no\s+way
        |on\s+the\s+contrary|(?:absolutely|certainly|definitely|clearly|surely|probably|of\s+course|maybe|perhaps)\s+not)\b
    | \s?(?:[:,]|-+)\s*(?:not\s+at\s+all|never|by\s+no\s+means
        |(?:absolutely|certainly|definitely|clearly|surely|probably|of\s+course)\s+not)(?=[\s*_"')\]]*(?:\Z|\n|[.;!]))
    )""",
    re.VERBOSE | re.IGNORECASE,
)
_SIDE_BY_SIDE: Final = late_pattern(
    r"""[\s()*_"'`]*(?:,\s*(?P<last>and|x?or|nor)?|(?P<conjunction>and/or|and|x?or|nor|noch|ni|&|/))(?![^\W_])[\s(*_"'`]*
    (?:(?:of|an?|the|option|choice|letter|label)\s+)*["'*_`(]*""",
    re.VERBOSE | re.IGNORECASE,
)
_WIDEST_JOINT: Final = 40  # characters
_NONE_OF: Final = late_pattern(r"\b(?:none|neither|any|either|nor)\s+(?:of\s+)?(?:the\s+)?[\W_]*\Z", re.IGNORECASE)
_AFFIRMED: Final = late_pattern(r"[\W_]*(?:is|are|was|seems|fits|works)\b", re.IGNORECASE)


def denied(text: str, start: int, end: int, *, answers: Collection[str] = (), number: bool = False) -> int | None:
    """How many words a denial stands before what stands from start to end, 0 for right before it.

    None where it is not denied.

    Args:
        answers: words that are answers themselves, such as "no", and deny nothing.
        number: a number stands there, which may count what something is not true of.
    """
    if not text.isascii() and (match := _DENIED_BEFORE.search(text[max(0, start - 9) : start])):
        crossed = match[0].strip(" \n\t#*_>-")[:1] in _CROSSES
        if not (crossed and text[start:end].lower() in _NEGATORS):  # "❌ No" says no
            return 0
    if end < len(text) and (distance := _denied_after(text, start, end, answers=answers, number=number)) is not None:
        return distance
    reach = NEAR if number else REACH
    before = text[max(0, start - 10 * reach - 20) : start].rstrip(_CLOSE).lower()
    if before and (before[-1] in _SIGNS or "\\" in before) and _DENIED_BY_SIGN.search(text, max(0, start - 12), start):
        return 0
    if not before or before[-1] in ".,;:!?":
        return reach if before and _denied_over_mark(before, answers) else None
    if before.endswith("so") and _NOT_SO.search(text, max(0, start - 16), start):
        return 0
    clause = _WORD.findall(_CLAUSE.split(before)[-1])[-reach - 2 :]
    if _NONE_BUT.search(before):
        return None
    if not _NEGATORS.isdisjoint(clause) or _MAY_DENY.search(before):
        distance = _denial(clause, answers, reach)
        if distance is not None:
            return distance
    return reach if _UNTHOUGHT.search(text, max(0, start - _FARTHEST_THOUGHT), start) else None


def _denied_after(text: str, start: int, end: int, *, answers: Collection[str], number: bool) -> int | None:
    if text[end] not in ".,;:!?\n":
        if (_DENIED_NUMBER if number else _DENIED_AFTER).match(text, end):
            return REACH
        if text.startswith("~~", end) and text.endswith("~~", 0, start):
            return 0
    a_word = number or end - start > 1
    if a_word and not number and _says_none(text, end, answers):
        return REACH
    if text[end] not in _MAY_ANSWER and not text.startswith((" -", " (", " ="), end):
        return None
    # After a letter a colon or a dash begins what the option says: "B: No".
    no, hardly = _ANSWERED_NO.match(text, end), _ANSWERED_HARDLY.match(text, end)
    said = (no["no"] or "no").lower() if no else ""
    if no and "no" not in answers and said not in answers and (a_word or no["mark"] == "?"):
        return 0
    return REACH if hardly and (a_word or hardly["asked"]) else None


def _says_none(text: str, end: int, answers: Collection[str]) -> bool:
    if text.find(":", end, end + 16) < 0 and text.find("=", end, end + 16) < 0:
        return False
    none = _ANSWERED_NONE.match(text, end)
    return none is not None and none["none"].lower() not in answers


def _denied_over_mark(before: str, answers: Collection[str]) -> bool:
    """Whether a denial reaches over the comma or the colon that a text ends with."""
    if before[-1] == ",":
        return _ASIDE.search(before) is not None
    heading = _HEADING.search(before) if before[-1] == ":" else None
    return heading is not None and heading["word"] not in answers


def denials(text: str, spans: Sequence[tuple[int, int]], *, answers: Collection[str] = ()) -> list[int | None]:
    """For each place what `denied` says; what is listed beside a denied one is denied with it.

    Before it in a list ("A and B are wrong"), and behind it as far as "or", "nor" or "and" reach ("not A or B"); over
    commas alone only after "none of": "not A, B" may well mean B.
    """
    distances = [denied(text, start, end, answers=answers) for start, end in spans]
    if all(distance is None for distance in distances):
        return distances
    joints = [
        _SIDE_BY_SIDE.fullmatch(text, end, start) if start - end <= _WIDEST_JOINT else None
        for (_, end), (start, _) in pairwise(spans)
    ]
    until = 0
    for index, distance in enumerate(distances):
        if distance is not None and index >= until:
            until = _denied_until(text, spans, joints, index)
        elif distance is None and index < until:
            distances[index] = REACH
    for index in range(len(joints) - 1, -1, -1):
        if joints[index] and distances[index] is None and distances[index + 1] is not None:
            distances[index] = REACH
    return distances


def _denied_until(
    text: str, spans: Sequence[tuple[int, int]], joints: Sequence[re.Match[str] | None], index: int
) -> int:
    """The position behind the last place that is denied with the one at `index`."""
    whole_list = _NONE_OF.search(text, max(0, spans[index][0] - 24), spans[index][0]) is not None
    until = index + 1
    for position in range(index, len(joints)):
        joint = joints[position]
        if joint is None:
            break
        joined = joint["conjunction"] or (joint["last"] or "and").lower() != "and"
        if (whole_list or joined) and not _AFFIRMED.match(text, spans[position + 1][1]):
            until = position + 2
    return until


def _denial(clause: Sequence[str], answers: Collection[str], reach: int) -> int | None:
    """How far from the end the last word that denies stands; words such as "the" do not count."""
    distance = 0
    for index in range(len(clause) - 1, -1, -1):
        word, after = clause[index], clause[index + 1 : index + 2]
        pair = (clause[index - 1] if index else "", word)
        if word in answers and not (word == "no" and after and after[0] in _NO_SUCH):
            return None
        if word in _BREAKERS and pair not in _AFTER_PAIRS:
            return None
        negates = word in _NEGATORS or word.endswith("n't") or word.startswith(_REJECTING)
        negates = negates or (word in _DOUBTS and pair[0] not in _UNDOUBTING) or pair in _AFTER_PAIRS
        negates = negates or (word == "than" and not _COMPARING.isdisjoint(clause[:index]))
        negates = negates or (word == "to" and clause[max(0, index - 2) : index][:1] == ["too"])
        if negates and not (after and after[0] in _IDIOMS):
            return distance if distance <= reach else None
        distance += word not in _FILLERS
    return None
