"""Places of a prompt that whoever wrote it left open, such as "[insert the subject]" or "{text}".

Brackets alone say little: good prompts show the form of an answer ("Answer: <label>", {"answer": "[your answer]"}),
have headings ("[Task]"), tags, mathematics and code. So what counts is what a place is named after: what the model is
to write is its own to fill in; a task, a text or a subject should have been there. Places in a row are labels, or the
form of an answer.

A model in a loop writes the same brackets until its answer is cut off: of each only what is near is looked at.
"""

import re
from collections.abc import Iterator, Set

from metaspo.backends.late_patterns import late_pattern
from metaspo.engine.tasks.base import PLACEHOLDER

_NAME = r"[^\W\d_][^{}\[\]<>$\n\"]{0,80}"
PLACES = late_pattern(
    rf"\$\{{{_NAME}\}}|\$[A-Za-z][A-Za-z_]{{2,}}|%\({_NAME}\)s"
    rf"|(?<![\w\\^}}{{$])\{{\{{?\s*{_NAME}\}}?\}}"
    rf"|(?<!\\)\[\[?{_NAME}\]\]?(?!\()"
    rf"|(?<!\w)<<?(?P<tag>{_NAME})>>?"
    r"|\b__[A-Z][A-Z_]{2,}__\b|\(insert [^()\n]{1,60}\)|\bINSERT(?: [A-Z]+){1,6} HERE\b"
)
# Mathematics and code show what they show.
SHOWN = late_pattern(
    r"^ {0,3}(`{3,}+|~{3,}+).*?(?:^ {0,3}\1|\Z)|`[^`\n]+`|\$\$.+?\$\$"
    r"|\\\[(?:(?!\\\[).)+?\\\]|\\\((?:(?!\\\().)+?\\\)|\$(?=\S)[^$\n]*?(?<=\S)\$(?!\w)",
    re.DOTALL | re.MULTILINE,
)


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


_FILLING = _words("add describe enter fill include insert paste provide put replace specify todo")
# What a prompt is about: it has that already, or has no use for a place.
_GIVEN = _words("""
    categories choices classes constraints context criteria data description document examples format input inputs
    instruction instructions labels options passage placeholder prompt query question questions requirements rules
    task tasks text
""")
# The same, but in the form of an answer, where a model may have to name one.
_NAMED = _words("""
    area audience company discipline domain expertise field industry language name organization persona product
    profession role specialty subject topic
""")
# What a model is to write.
_WRITTEN = _words("""
    analysis answer category choice class code conclusion decision explanation judgement judgment justification label
    letter no number option output prediction rationale reason reasoning response result score sentiment solution step
    steps summary thought thoughts translation value verdict word words work yes
""")
_HEAD_ENDS = _words("about for from goes here in of on that to with")
_FORM = late_pattern(
    r"(?:[:=→>\"'“‘«*]|\b(?:answer|end|reply|respond|begin|start|finish) (?:with|as|in))\s*\Z", re.IGNORECASE
)
_ANSWERED = late_pattern(
    r"\b(?:answer|output|response|result|reply|label|prediction|conclusion|translation|summary)\W{0,4}:\W*\Z",
    re.IGNORECASE,
)
_CALLED_TAG = late_pattern(
    r"(?:`?\s*(?:(?:,|and|or|to|…|\.\.\.)\s*)?`?</?[\w ]+>){0,5}`?\s*(?:XML |HTML )?"
    r"(?:tags?|elements?|markers?|blocks?|delimiters?|sections?)\b",
    re.IGNORECASE,
)
_THE = late_pattern(r"\b(?:an?|each|every|the|this)\s+\Z", re.IGNORECASE)
_CLOSED = late_pattern(rf"</({_NAME})>")
_BETWEEN = late_pattern(r"[ ,/|]*(?:and|or)?[ ,/|]*")
NEAR = 200  # characters before and after a place


def open_places(prompt: str) -> Iterator[str]:
    """The places that are left open, in their order."""
    text = SHOWN.sub(lambda shown: " " * len(shown[0]), prompt)
    closed = frozenset(_CLOSED.findall(text))
    places = list(PLACES.finditer(text))
    for before, place, after in zip([None, *places], places, [*places[1:], None], strict=False):
        if place[0] != PLACEHOLDER and _is_open(place, text, closed, in_row=_in_row(before, place, after, text)):
            yield place[0]


def _in_row(before: re.Match[str] | None, place: re.Match[str], after: re.Match[str] | None, text: str) -> bool:
    """Whether nothing but a comma or the like stands between it and another one, which is not the question's."""
    return any(
        left and right and PLACEHOLDER not in left[0] + right[0] and _BETWEEN.fullmatch(text, left.end(), right.start())
        for left, right in ((before, place), (place, after))
    )


def _is_open(place: re.Match[str], text: str, closed: Set[str], *, in_row: bool) -> bool:
    words = re.findall(r"[^\W\d_]+", re.split(r"[,;:()]|e\.g\.", place[0].lstrip("$%([{<_"))[0].casefold())
    before, after = text[max(0, place.start() - NEAR) : place.start()], text[place.end() : place.end() + NEAR]
    filling = bool(words) and words[0] in _FILLING
    head = _head(words[1:] if filling else words)
    filling |= words[:1] == ["your"] and head in _NAMED
    if not words or _ANSWERED.search(before) or _names_a_tag(place, closed, after):
        return False
    if not filling and (in_row or "," in place[0] or (place[0][0] in "[<_" and _is_heading(before, after))):
        return False
    if head in _GIVEN:
        spoken_of = place["tag"] and _THE.search(before)
        made = any(word in _WRITTEN or word.endswith(("ed", "en")) for word in words[:-1])
        return filling or not (spoken_of or made)
    if head in _NAMED:
        return filling or not _FORM.search(before)
    return filling and not _WRITTEN.intersection(words) and not _FORM.search(before)


def _head(words: list[str]) -> str:
    """What a phrase names: its last word before what says more of it."""
    end = next((place for place, word in enumerate(words) if word in _HEAD_ENDS and place), len(words))
    return words[end - 1] if words else ""


def _names_a_tag(place: re.Match[str], closed: Set[str], after: str) -> bool:
    """Whether it is a tag: one that is closed, with a part of the prompt in it, or that is spoken of."""
    return bool(place["tag"]) and (place["tag"] in closed or bool(_CALLED_TAG.match(after)))


def _is_heading(before: str, after: str) -> bool:
    """Whether it begins a line and stands above what it is the heading of."""
    line, rest = before.rpartition("\n")[2], after.partition("\n")
    if line.strip(" #*-\t"):
        return False
    beside = rest[0].lstrip(" *")
    if beside[:1] == ":" or beside[:1].isupper():
        return True
    return not beside.strip("#") and bool(rest[2].strip()) and not before.rstrip().endswith(":")
