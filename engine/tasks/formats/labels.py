"""One label of a set."""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from metaspo.backends.late_patterns import late_pattern
from metaspo.engine.tasks.formats.denials import denials
from metaspo.engine.tasks.formats.mentions import PLACES, Mention, given
from metaspo.engine.tasks.formats.plain import (
    AFTER_EDGE,
    BEFORE_EDGE,
    HANGUL,
    KATAKANA,
    SPACELESS,
    ends,
    plain,
    within_ascii,
)
from metaspo.engine.tasks.numberwords import digits_for_words
from metaspo.engine.tasks.shown import shown

_TURKISH: Final = {0x0307: None, ord("ı"): "i"}  # "İYİ" is "iyi", and "YANLIŞ" "yanlış"
_SEPARATOR: Final = late_pattern(r"[\s_-]+")
_BETWEEN: Final = r"[\s_*-]+"
_NEGATIVE: Final = ("not", "non", "no")
_ENDS: Final = late_pattern(r"[)\].:!;*_\"']*(?:[.:!;](?=\W|\Z)|\n|\Z|\s-)|,\s*(?:because|since|as)\b")
_START: Final = late_pattern(r"\A[\W_]*\Z")
# "no evidence" and "a patient" say neither "no" nor "a"; before these words they do.
_DETERMINED: Final = late_pattern(
    r"[^\S\n]+(?!(?:because|since|as|it|its|it's|the|this|these|that|they|there|he|she|i|you|we|and|but|or|so|not|is|are|was|"
    r"if|for|from|in|on|with|to|rather|instead)\b)[^\W_]"
)
_DETERMINERS: Final = ("no", "a", "i")
_EDGE_NOISE: Final = " \t\r\n.!,;:*_\"'`()[]"


@dataclass(frozen=True, slots=True)
class Label:
    """A label of a set, as whole words; case does not count, and a space, "_" and any dash within it are equal.

    "Not", "non" and "no" before a label that the set also holds so negated are equal: "non-entailment" is the label
    "not-entailment". A label that is denied otherwise ("not yes") does not count, nor does a list of labels ("yes or
    no"). Several different labels are malformed, unless one alone is given as the answer: at the beginning ("Yes."),
    after "the answer is", as the last word after a colon. A word that goes on over a hyphen or an apostrophe is one
    word: "no-one" is not "no", and neither is the "no" of "no doubt".

    Attributes:
        labels: each is its own canonical form.
        number_words: "three" counts as the label "3".
        alone: the label has to be all that the text says, as for a program that looks the answer up; case, white space,
            quotes and a full stop do not count.
    """

    labels: tuple[str, ...]
    number_words: bool = False
    alone: bool = False
    _pattern: re.Pattern[str] = field(init=False, repr=False, compare=False)
    _ascii_pattern: re.Pattern[str] = field(init=False, repr=False, compare=False)
    _longest_first: tuple[str, ...] = field(init=False, repr=False, compare=False)
    _bare: dict[str, str] = field(init=False, repr=False, compare=False)
    _negated: dict[str, str] = field(init=False, repr=False, compare=False)
    _spelled: dict[str, str | None] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        keys = {label: _SEPARATOR.sub(" ", self.plain(label).strip()) for label in self.labels}
        longest_first = tuple(sorted(self.labels, key=lambda label: -len(keys[label])))
        negated = _negations(keys)
        words = "|".join(f"{_words(keys[label], label in negated.values())}()" for label in longest_first) or r"(?!)"
        object.__setattr__(self, "_longest_first", longest_first)
        object.__setattr__(self, "_pattern", late_pattern(words))
        object.__setattr__(self, "_ascii_pattern", late_pattern(within_ascii(words)))
        object.__setattr__(self, "_negated", negated)
        object.__setattr__(self, "_bare", {self.plain(label).strip(): label for label in reversed(self.labels)})
        # Read once: a tag mostly holds a label as it is written.
        object.__setattr__(self, "_spelled", {label: self._read(label, field=True) for label in self.labels})
        for label in self.labels:
            if (read := self.canonical(label)) != label or keys[label] in ("", *(keys[x] for x in self._before(label))):
                told = read if read != label else next(x for x in self.labels if keys[x] == keys[label])
                raise ValueError(
                    f"label {shown(label)} would be read as {shown(told)}; labels must be told apart, case ignored"
                )

    @property
    def wanted(self) -> str:
        return f"one of: {', '.join(self.labels)}"

    def parse(self, text: str, /) -> str | None:
        return self._read(text, field=False)

    def parse_field(self, text: str, /) -> str | None:
        return self._spelled[text] if text in self._spelled else self._read(text, field=True)

    def canonical(self, answer: str, /) -> str | None:
        text = self.plain(answer.strip())
        if text in self._bare:
            return self._bare[text]
        match = self._pattern_for(text).fullmatch(text)
        return None if match is None else self._label(match)

    def describe(self) -> str:
        return f"Answer with {self.wanted}{', and nothing else' if self.alone else ''}."

    def reading(self) -> str:
        if self.alone:
            return "The label has to be all that an answer says: one with anything beside it cannot be read."
        return f"A label counts wherever it stands in an answer, unless it is denied. {PLACES}"

    def _read(self, text: str, *, field: bool) -> str | None:
        text = self.plain(text)
        before = _EDGE_NOISE if self.alone else _EDGE_NOISE.replace("!", "")  # "!yes" is how programs deny
        if (bare := self._bare.get(text.lstrip(before).rstrip(_EDGE_NOISE))) is not None:
            return bare
        if self.alone:
            return None
        return given(text, self.mentions(text), field=field)

    def mentions(self, text: str) -> list[Mention]:
        """Every label that the text names and does not deny."""
        every = list(self._pattern_for(text).finditer(text))
        starts = {match.start() for match in every}
        matches = [match for match in every if not _determines(text, match, starts)]
        spans = [match.span() for match in matches]
        mentions = []
        for match, distance in zip(matches, denials(text, spans, answers=self._bare), strict=True):
            start, end = match.span()
            label = self._label(match)
            if distance is None:
                opens = start < 20 and _START.match(text[:start]) is not None and _ENDS.match(text, end) is not None
                mentions.append(Mention(label, start, end, opens))
            elif distance == 0 and label in self._negated:
                mentions.append(Mention(self._negated[label], start, end))
        return mentions

    def _pattern_for(self, text: str) -> re.Pattern[str]:
        return self._ascii_pattern if text.isascii() else self._pattern

    def _label(self, match: re.Match[str]) -> str:
        assert match.lastindex is not None
        return self._longest_first[match.lastindex - 1]

    def _before(self, label: str) -> tuple[str, ...]:
        return self.labels[: self.labels.index(label)]

    def plain(self, text: str) -> str:
        return _folded(text, number_words=self.number_words)


def label_key(label: str, *, number_words: bool) -> str:
    """What is equal of labels that a reader sees as one: in another case, white space or Unicode form."""
    return " ".join(_folded(label, number_words=number_words).split())


def _folded(text: str, *, number_words: bool) -> str:
    folded = plain(ends(text)).casefold().translate(_TURKISH)
    return digits_for_words(folded) if number_words else folded


def _determines(text: str, match: re.Match[str], starts: Collection[int]) -> bool:
    """Whether a label is a word that goes with the next one, which is none of the labels that begin at `starts`."""
    following = _DETERMINED.match(text, match.end()) if match[0] in _DETERMINERS else None
    return following is not None and following.end() - 1 not in starts


def _negations(keys: dict[str, str]) -> dict[str, str]:
    """Label to the label that is its negation by its words: "toxic" to "non-toxic" or "nontoxic"."""
    by_key = {key: label for label, key in keys.items()}
    pairs: dict[str, list[str]] = {}
    for key, label in by_key.items():
        first, _, rest = key.partition(" ")
        positive = rest if first in _NEGATIVE else key.removeprefix("non")
        if positive != key and positive in by_key:
            pairs.setdefault(by_key[positive], []).append(label)
    return {positive: negative for positive, (negative, *more) in pairs.items() if not more}


def _words(key: str, negation: bool) -> str:
    """A pattern for a label, with the edges that its scripts ask for; begins with a letter, so that `re` scans fast."""
    first, rest = re.escape(key[:1]), _joined(key[1:])
    if negation:
        positive = _joined(re.sub(r"^(?:(?:not|non|no)\s+|non)", "", key))
        first, rest = "n", rf"o(?:n[\s_*-]*|t?{_BETWEEN}){positive}"
    return rf"{first}{_edge_before(key[:1])}{rest}{_edge_after(key[-1:])}"


def _joined(key: str) -> str:
    return _BETWEEN.join(re.escape(word) for word in key.split(" "))


def _is_of(script: str, char: str) -> bool:
    """Whether a character is within a script's ranges, which take milliseconds to compile and hold no ASCII."""
    return not char.isascii() and re.match(f"[{script}]", char) is not None


def _edge_before(char: str) -> str:
    """What may stand before a label, said after its first character."""
    if _is_of(SPACELESS, char):
        return ""
    if _is_of(KATAKANA, char):
        return rf"(?<![{KATAKANA}].)"
    if _is_of(HANGUL, char):
        return r"(?<![^\W_].)"
    signed = r"(?<!-.)" if char.isdigit() else ""  # "-3" is not the label "3"
    return rf"{AFTER_EDGE}(?<![^\W_][-'_].){signed}"


def _edge_after(char: str) -> str:
    if _is_of(f"{SPACELESS}{HANGUL}", char):
        return ""
    if _is_of(KATAKANA, char):
        return rf"(?![{KATAKANA}])"
    return rf"{BEFORE_EDGE}(?![-'_][^\W_])"
