"""The letter of an option."""

import re
from dataclasses import dataclass, field
from itertools import takewhile
from string import ascii_uppercase
from typing import Final

from metaspo.backends.late_patterns import late_pattern
from metaspo.engine.tasks.formats.denials import denials
from metaspo.engine.tasks.formats.mentions import PLACES, Mention, given, listed, untabled
from metaspo.engine.tasks.formats.plain import AFTER_EDGE, BEFORE_EDGE, ends, plain, words
from metaspo.engine.tasks.formats.tagged import Kind

_GOLD: Final = late_pattern(r"\(?([A-Za-z])\)?[.:]?")
_START: Final = late_pattern(r"\A[\W_]*\Z")
_OPENING: Final = late_pattern(r"[*_\"']*+[)\].:]|(?:[^\w\n]|_)*+(?:\n|\Z)")
_ARTICLE: Final = late_pattern(
    r"\s+(?!(?:is|was|seems|looks|fits|would|could|can|cannot|will|does|has|must|or|and|but|because|since|as|if|not|"
    r"rather|isn't|wasn't|alone|only)\b)[a-z]"
)
_NAMED: Final = late_pattern(r"\b(?:option|choice|letter|answer|answer\s+is)\s+$", re.IGNORECASE)
# After these words a single capital is an option; after others it is part of a name, as in "Vitamin C".
_LEADS: Final = words(
    "answer answers option options choice choices letter letters is are was be being as that choose chose "
    "choosing pick picked picking select selected selecting say said saying think believe guess suggest suggests "
    "prefer mark therefore thus hence so then because since if when while whereas and or nor but not neither "
    "either both than only just it's that's isn't vs versus means gives would go still definitely certainly clearly "
    "probably maybe perhaps actually rather reject rejected eliminate eliminated exclude excluded except excluding "
    "leaving leaves es ist est é è jest respuesta antwort réponse risposta resposta ответ"
)
_CHOICES: Final = ("go with", "going with", "went with", "stick with")
_FOREIGN_LEADS: Final = late_pattern(
    r"(?:[是为為就选選项項案择擇肢はがえを而即く라]|정답|답|[은는이가]|คือ|ข้อ|เลือก|هو|هي|उत्तर|विकल्प)$"
)


@dataclass(frozen=True, slots=True)
class Letter(Kind):
    """An option letter, with or without parentheses.

    A letter counts that stands where an answer does: at the beginning ("B", "(b)", "b. Because"), in parentheses, after
    "answer is", as a capital of its own after a word such as "choose" or "option". "Vitamin C" names none, an "A" or
    "I" before a small letter is an article or a pronoun. Denied letters ("not A") do not count, a list of options does
    not ("A, B or C"), and several different letters are malformed unless one alone is given as the answer.

    Attributes:
        letters: the letters that can be an answer; others are passed over.
    """

    letters: tuple[str, ...] = tuple(ascii_uppercase)
    _capital: re.Pattern[str] = field(init=False, repr=False, compare=False)
    _small: tuple[re.Pattern[str], ...] = field(init=False, repr=False, compare=False)
    _bare: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.letters or any(len(letter) != 1 or letter not in ascii_uppercase for letter in self.letters):
            raise ValueError(f"option letters must be single capitals, not {list(self.letters)}")
        capital = f"[{''.join(self.letters)}]"
        small = capital.lower()
        alone = rf"{capital}{AFTER_EDGE}(?<!['.&+-].){BEFORE_EDGE}(?!'[^\W_]|[&+#]|[-.][^\W_])"
        ends = r"(?=[).:,\]]|[\W_]*\Z)"
        patterns = (
            rf"[\W_]*({small}){ends}",
            rf"[(\[](?<![^\W_].)({small})[)\]]",
            rf"swer(?:\s+is)?[\s:=*_\"'(\[]*({small}){ends}",
        )
        object.__setattr__(self, "_capital", late_pattern(alone))
        object.__setattr__(self, "_small", tuple(map(late_pattern, patterns)))
        object.__setattr__(self, "_bare", late_pattern(rf"[\s(*_\[]*([{capital[1:-1]}{small[1:]})[\s).:*_\]]*"))

    @property
    def wanted(self) -> str:
        if len(self.letters) == len(ascii_uppercase):
            return "the letter of one option"
        return f"the letter of one option ({', '.join(self.letters)})"

    def parse(self, text: str, /) -> str | None:
        return self._read(text, field=False)

    def parse_field(self, text: str, /) -> str | None:
        return self._read(text, field=True)

    def canonical(self, answer: str, /) -> str | None:
        match = _GOLD.fullmatch(plain(answer).strip())
        return match[1].upper() if match and match[1].upper() in self.letters else None

    def reading(self) -> str:
        places = 'at the beginning, in parentheses, after "the answer is" or a word such as "choose"'
        return f"An option letter counts {places}. {PLACES}"

    def _read(self, text: str, *, field: bool) -> str | None:
        text = plain(ends(text))
        if bare := self._bare.fullmatch(text):
            return bare[1].upper()
        spans = [match.span() for match in self._capital.finditer(text)]
        spans += self._small_letters(text)
        spans = [span for span in sorted(set(spans)) if not _is_article(text, *span)]
        named = [Mention(text[start].upper(), start, end, _opens(text, start, end)) for start, end in spans]
        apart = {mention.start for mention in untabled(text, named)}
        mentions = [
            mention
            for mention, distance in zip(named, denials(text, spans), strict=True)
            if distance is None and mention.start in apart
        ]
        if not field:
            mentions = mentions[self._echoed(text, mentions) :]
        return given(text, _options(text, mentions), field=field)

    def _small_letters(self, text: str) -> list[tuple[int, int]]:
        """Where a small letter is an option: at the beginning, in parentheses, after "answer is"."""
        opening, bracketed, announced = self._small
        spans = [match.span(1) for match in bracketed.finditer(text)]
        if match := opening.match(text):
            spans.append(match.span(1))
        if "swer" in text:
            spans += [match.span(1) for match in announced.finditer(text)]
        return spans

    def _echoed(self, text: str, mentions: list[Mention]) -> int:
        """How many mentions at the front are the options of the question, written out: "A) … B) … C) …"."""
        marks = [(mention, letter) for mention, letter in zip(mentions, self.letters, strict=False)]
        same = list(takewhile(lambda pair: pair[0].value == pair[1] and _is_mark(text, pair[0]), marks))
        return len(same) if len(same) > 1 else 0


def _options(text: str, mentions: list[Mention]) -> list[Mention]:
    """The mentions that stand where an option does, or beside one in a list."""
    placed = [_leads(text, mention.start) for mention in mentions]
    if all(placed):
        return mentions
    in_lists = listed(text, mentions)
    beside = any(placed[index] for index in in_lists)
    return [mention for index, mention in enumerate(mentions) if placed[index] or (index in in_lists and beside)]


def _opens(text: str, start: int, end: int) -> bool:
    return start < 20 and _START.match(text[:start]) is not None and _OPENING.match(text, end) is not None


def _is_article(text: str, start: int, end: int) -> bool:
    """Whether an "A" or "I" is an article or a pronoun."""
    return (
        text[start] in "AI"
        and _ARTICLE.match(text, end) is not None
        and not _NAMED.search(text[max(0, start - 20) : start])
    )


def _leads(text: str, start: int) -> bool:
    """Whether an option can stand here; a part of a name, as in "Vitamin C", stands after another word."""
    before = text[max(0, start - 16) : start].rstrip(" \t*_")
    if not before or not before[-1].isalnum():
        return True
    word = before[before.rfind(" ") + 1 :].lstrip("([\"'*_\n.,;:").lower()
    if word in _LEADS or (word == "with" and before.lower().endswith(_CHOICES)):
        return True
    return not word.isascii() and _FOREIGN_LEADS.search(before) is not None


def _is_mark(text: str, mention: Mention) -> bool:
    return text[mention.end : mention.end + 1] in (")", ".", ":", "]")
