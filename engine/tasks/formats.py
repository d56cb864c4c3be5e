"""How an answer is read out of a completion: a kind of answer, and a tag that may stand around it."""

import re
from dataclasses import dataclass, field
from string import ascii_uppercase
from typing import Final, Protocol

from metaspo.engine.tasks.base import AnswerFormat
from metaspo.engine.tasks.numberwords import digits_for_words
from metaspo.engine.tasks.spec import AnswerSpec

_MINUS: Final = "-\u2212"
_GROUPED: Final = r"[0-9]{1,3}(?:[,\u00a0\u2009\u202f][0-9]{3})+(?!,?[0-9])"
_NUMBER: Final = re.compile(rf"((?<![\w.,)])[{_MINUS}])?({_GROUPED}|[0-9]+)(?:\.([0-9]+))?")
_NOT_DIGIT: Final = re.compile(r"[^0-9]")
_HYPHENS: Final = str.maketrans("\u2010\u2011", "--")


class Kind(AnswerFormat, Protocol):
    """An answer format that can also stand inside a tag."""

    @property
    def wanted(self) -> str:
        """What the model is to write, to be put in a sentence: "one whole number"."""
        ...


@dataclass(frozen=True, slots=True)
class Letter:
    """An option letter, with or without parentheses.

    Looked for in this order, and the first of the first that is found counts: a letter that opens the text ("B", "(B)",
    "b. Because"), a letter after "answer" or "answer is", a letter in parentheses, a capital that stands alone. An "A"
    or "I" before a small letter is an article or a pronoun unless "option" or "choice" precedes it.

    Attributes:
        letters: the letters that can be an answer; others are passed over.
    """

    letters: tuple[str, ...] = tuple(ascii_uppercase)
    _patterns: tuple[re.Pattern[str], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.letters or any(len(letter) != 1 or letter not in ascii_uppercase for letter in self.letters):
            raise ValueError(f"option letters must be single capitals, not {list(self.letters)}")
        capital = f"[{''.join(self.letters)}]"
        either = f"[{''.join(self.letters)}{''.join(self.letters).lower()}]"
        ends = r"(?=\W*$|[).:,\]])"
        alone = r"(?![A-Za-z0-9'’]|\.[A-Za-z])"
        patterns = (
            rf"^[\W_]*({either}){ends}",
            rf"\b(?i:answer)\b(?i:\s+(?:is|would\s+be))?[\s:=*_\"'(\[]*({capital}{alone}|{either}{ends})",
            rf"(?<![A-Za-z0-9])\(({either})\)",
            rf"(?:\b(?i:option|choice)\s+|(?<![A-Za-z0-9'’.])(?![AI]\s+[a-z]))({capital}){alone}",
        )
        object.__setattr__(self, "_patterns", tuple(re.compile(pattern) for pattern in patterns))

    @property
    def wanted(self) -> str:
        if len(self.letters) == len(ascii_uppercase):
            return "the letter of one option"
        return f"the letter of one option ({', '.join(self.letters)})"

    def parse(self, text: str, /) -> str | None:
        for pattern in self._patterns:
            if match := pattern.search(text):
                return match[1].upper()
        return None

    def canonical(self, answer: str, /) -> str | None:
        match = re.fullmatch(r"\(?([A-Za-z])\)?[.:]?", answer.strip())
        return match[1].upper() if match and match[1].upper() in self.letters else None

    def describe(self) -> str:
        return f"Answer with {self.wanted}."


@dataclass(frozen=True, slots=True)
class Integer:
    """The first number of the text, if it is whole: "1,234", "-5", "4.0"; "4.5" is malformed, not 4 and not 5.

    The canonical form has no separators, plus signs, leading zeros or fraction.

    Attributes:
        number_words: "three" counts as 3.
    """

    number_words: bool = False

    @property
    def wanted(self) -> str:
        return "one whole number"

    def parse(self, text: str, /) -> str | None:
        return _whole(_NUMBER.search(self._digits(text)))

    def canonical(self, answer: str, /) -> str | None:
        return _whole(_NUMBER.fullmatch(self._digits(answer.strip())))

    def describe(self) -> str:
        return f"Answer with {self.wanted}."

    def _digits(self, text: str) -> str:
        return digits_for_words(text) if self.number_words else text


@dataclass(frozen=True, slots=True)
class Label:
    """The first label of a set that occurs in the text as a whole word, case ignored; the longest where several start.

    A word that goes on over a hyphen or an apostrophe is one word: "no-one" is not "no".

    Attributes:
        labels: each is its own canonical form.
        number_words: "three" counts as the label "3".
    """

    labels: tuple[str, ...]
    number_words: bool = False
    _pattern: re.Pattern[str] = field(init=False, repr=False, compare=False)
    _longest_first: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        longest_first = tuple(sorted(self.labels, key=lambda label: -len(self._plain(label))))
        words = "|".join(f"({self._words(label)})" for label in longest_first)
        inside = r"[^\W_]"
        pattern = rf"(?<!{inside})(?<!{inside}[-'’])(?:{words})(?!{inside}|[-'’]{inside})"
        object.__setattr__(self, "_longest_first", longest_first)
        object.__setattr__(self, "_pattern", re.compile(pattern, re.IGNORECASE))
        for label in self.labels:
            if (read := self.parse(label)) != label:
                raise ValueError(f"label {label!r} would be read as {read!r}; labels must be told apart, case ignored")

    @property
    def wanted(self) -> str:
        return f"one of: {', '.join(self.labels)}"

    def parse(self, text: str, /) -> str | None:
        return self._label(self._pattern.search(self._plain(text)))

    def canonical(self, answer: str, /) -> str | None:
        return self._label(self._pattern.fullmatch(self._plain(answer.strip())))

    def describe(self) -> str:
        return f"Answer with {self.wanted}."

    def _label(self, match: re.Match[str] | None) -> str | None:
        # By group, not by text: what `re` takes as equal but for case is wider than any lower-casing.
        return None if match is None or match.lastindex is None else self._longest_first[match.lastindex - 1]

    def _plain(self, text: str) -> str:
        plain = text.translate(_HYPHENS)
        return digits_for_words(plain) if self.number_words else plain

    def _words(self, label: str) -> str:
        return r"\s+".join(re.escape(word) for word in self._plain(label).split())


@dataclass(frozen=True, slots=True)
class Text:
    """The whole text without the white space around it.

    Attributes:
        number_words: number words in it become digits.
    """

    number_words: bool = False

    @property
    def wanted(self) -> str:
        return "the answer alone, in as few words as possible"

    def parse(self, text: str, /) -> str | None:
        stripped = text.strip()
        return (digits_for_words(stripped) if self.number_words else stripped) or None

    def canonical(self, answer: str, /) -> str | None:
        return self.parse(answer)

    def describe(self) -> str:
        return f"Answer with {self.wanted}."


@dataclass(frozen=True, slots=True)
class Tagged:
    """An answer between `<answer>` and `</answer>`; the last one counts.

    No tag, or a last tag that is not closed, is malformed: the model was cut off or did not do as asked.

    Attributes:
        inner: what stands between the tags.
        tag: its name; case is ignored.
    """

    inner: Kind
    tag: str = "answer"
    _open: re.Pattern[str] = field(init=False, repr=False, compare=False)
    _close: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_open", re.compile(rf"<{re.escape(self.tag)}\s*>", re.IGNORECASE))
        object.__setattr__(self, "_close", re.compile(rf"</{re.escape(self.tag)}\s*>", re.IGNORECASE))

    def parse(self, text: str, /) -> str | None:
        start = None
        for opening in self._open.finditer(text):
            start = opening.end()
        closing = None if start is None else self._close.search(text, start)
        return None if closing is None else self.inner.parse(text[start : closing.start()])

    def canonical(self, answer: str, /) -> str | None:
        inner = self.inner.canonical(answer)
        if inner is None or self._open.search(inner) or self._close.search(inner):
            return None
        return inner

    def describe(self) -> str:
        return f"Between <{self.tag}> and </{self.tag}>, write {self.inner.wanted}."


def build_format(spec: AnswerSpec, *, labels: tuple[str, ...] = ()) -> AnswerFormat:
    """The format that a config's `answer` names; `labels` is for kind "label" without its own. Raises `ValueError`."""
    kind = _kind(spec, spec.labels or labels)
    return kind if spec.tag is None else Tagged(kind, spec.tag)


def _kind(spec: AnswerSpec, labels: tuple[str, ...]) -> Kind:
    match spec.kind:
        case "letter":
            return Letter(spec.labels) if spec.labels else Letter()
        case "integer":
            return Integer(number_words=spec.number_words)
        case "label":
            return Label(labels, number_words=spec.number_words)
        case "text":
            return Text(number_words=spec.number_words)


def _whole(match: re.Match[str] | None) -> str | None:
    # Stays text throughout: `int` refuses very long numbers, and a parser must not fail on any answer.
    if match is None or (match[3] or "").strip("0"):
        return None
    digits = _NOT_DIGIT.sub("", match[2]).lstrip("0") or "0"
    return f"-{digits}" if match[1] and digits != "0" else digits
