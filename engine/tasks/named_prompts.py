"""The prompts and numbers that a program names, as one text: so they are a user prompt like any other.

=== query ===
Name the words to search notes for: {question}

=== numbers ===
k = 3
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from metaspo.backends.late_patterns import late_pattern
from metaspo.engine.tasks.spec_table import SpecTable

NUMBERS: Final = "numbers"  # heads the last section, and so is no name of a prompt
_NAME: Final = r"[a-z][a-z0-9_]*"
_HEADING: Final = late_pattern(rf"^=== ({_NAME}) ===$", re.MULTILINE)
_SLOT: Final = late_pattern(rf"\{{({_NAME})\}}")
_DOUBLED: Final = late_pattern(rf"\{{{{+\s*({_NAME})\s*\}}+\}}")
_LARGEST: Final = 2**53  # that every reader of JSON tells from the next

Whole = Annotated[int, Field(strict=True, ge=-_LARGEST, le=_LARGEST)]
Real = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-_LARGEST, le=_LARGEST)]
Number = Whole | Real


class NumberRange(SpecTable):
    """Every number from `low` to `high`; whole ones where both are.

    Attributes:
        first: where the search begins; `low` if left out.
    """

    low: Number
    high: Number
    first: Number | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low = {self.low} must be below high = {self.high}")
        if self.first is not None and self.nearest(self.first) != self.first:
            raise ValueError(f"first = {self.first} is not among the numbers from {self.low} to {self.high}")
        return self

    @property
    def is_whole(self) -> bool:
        """Whether it holds whole numbers alone."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def start(self) -> int | float:
        """The first one."""
        return self.nearest(self.low if self.first is None else self.first)

    def nearest(self, value: float) -> int | float:
        """The number of the range that is nearest to a value, fractions to three digits; to more in a range that is
        narrow beside its numbers, which three would not tell apart."""
        within = min(max(value, self.low), self.high)
        if self.is_whole:
            return round(within)
        narrow = math.log10(max(abs(self.low), abs(self.high)) / (self.high - self.low))
        return min(max(float(f"{within:.{3 + max(0, int(narrow))}g}"), self.low), self.high)

    def has(self, value: float) -> bool:
        """Whether a value is in it."""
        return self.low <= value <= self.high and (not self.is_whole or value == int(value))


def _different(values: tuple[int | float, ...]) -> tuple[int | float, ...]:
    if len(set(values)) < max(2, len(values)):
        raise ValueError("must be two numbers or more to choose among, each once; the first is where the search begins")
    return values


Choices = Annotated[tuple[Number, ...], AfterValidator(_different)]


def _kind_of_space(value: object) -> str | None:
    if isinstance(value, list | tuple):
        return "[list]"
    return "[table]" if isinstance(value, Mapping | NumberRange) else None


Space = Annotated[
    Annotated[Choices, Tag("[list]")] | Annotated[NumberRange, Tag("[table]")],
    Discriminator(
        _kind_of_space,
        custom_error_type="no_space",
        custom_error_message="must be numbers to choose from, [3, 1, 5], or a range, {low = 1, high = 5}",
    ),
]


@dataclass(frozen=True, slots=True)
class NamedPrompts:
    """What a program is given: prompts and numbers by name. `str()` is the user prompt that they are."""

    texts: Mapping[str, str]
    numbers: Mapping[str, int | float] = field(default_factory=dict)

    def __str__(self) -> str:
        sections = [f"=== {name} ===\n{text}" for name, text in self.texts.items()]
        values = [f"{name} = {value}" for name, value in self.numbers.items()]
        return "\n\n".join([*sections, *(["\n".join([f"=== {NUMBERS} ===", *values])] if values else [])])

    def filled(self, name: str, slots: Mapping[str, str]) -> str:
        """The prompt of a name with a text for every place in it. Raises `KeyError` for one that is not given."""
        if name not in self.texts:
            there = f"there are {', '.join(self.texts)}" if self.texts else "the task names none"
            raise KeyError(f"there is no prompt {name!r}: {there}")
        missing = [slot for slot in slots_in(self.texts[name]) if slot not in slots]
        if missing:
            raise KeyError(f"the prompt {name!r} has a place {{{missing[0]}}}, for which nothing is given")
        return _SLOT.sub(lambda match: slots[match[1]], self.texts[name])


def slots_in(text: str) -> list[str]:
    """The places of a prompt, {question} and the like, in their order."""
    return _SLOT.findall(text)


def read_named(text: str) -> NamedPrompts | None:
    """What `str()` of named prompts came from; None for any other user prompt."""
    before, *parts = _HEADING.split(text)
    names, bodies = parts[::2], [body.strip() for body in parts[1::2]]
    if before.strip() or not names or len(set(names)) < len(names):
        return None
    texts = dict(zip(names, bodies, strict=True))
    numbers = _read_numbers(texts.pop(NUMBERS, ""))
    return None if numbers is None else NamedPrompts(texts, numbers)


def _read_numbers(text: str) -> dict[str, int | float] | None:
    numbers: dict[str, int | float] = {}
    for name, equals, value in (line.partition("=") for line in text.splitlines()):
        try:
            numbers[name.strip()] = int(value) if re.fullmatch(r"\s*-?\d+\s*", value) else float(value)
        except ValueError:
            return None
        if not equals:
            return None
    return numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptForm:
    """What every user prompt of a task is made of whose program names prompts, in the order of the names: that of a
    table is nobody's to keep.

    Attributes:
        slots: by the name of a prompt, the places that it must have, each once.
        numbers: by name, what each may be.
        together: whether a candidate changes all of them, or one in turn.
    """

    slots: Mapping[str, tuple[str, ...]]
    numbers: Mapping[str, tuple[int | float, ...] | NumberRange] = field(default_factory=dict)
    together: bool = False

    @classmethod
    def of(
        cls,
        texts: Mapping[str, str],
        numbers: Mapping[str, tuple[int | float, ...] | NumberRange],
        *,
        together: bool = False,
    ) -> tuple["PromptForm", str]:
        """The form of first prompts, and these as a user prompt. Raises `ValueError` if they can be none."""
        for kind, name in [*(("prompts", name) for name in texts), *((NUMBERS, name) for name in numbers)]:
            if not re.fullmatch(_NAME, name) or name == NUMBERS:
                raise ValueError(f"{kind}: {name!r} is no name for one: use small letters, digits and '_'")
        plain = {name: _DOUBLED.sub(r"{\1}", texts[name]).strip() for name in sorted(texts)}
        form = cls(
            slots={name: tuple(slots_in(text)) for name, text in plain.items()},
            numbers={name: numbers[name] for name in sorted(numbers)},
            together=together,
        )
        spaces = form.numbers.items()
        first = {name: space.start if isinstance(space, NumberRange) else space[0] for name, space in spaces}
        return form, form.checked(str(NamedPrompts(plain, first)))

    def checked(self, prompt: str) -> str:
        """The user prompt as it is kept. Raises `ValueError` for one that is not of this form."""
        return str(self.read(prompt))

    def read(self, prompt: str) -> NamedPrompts:
        """The named prompts that a user prompt is. Raises `ValueError` for one that is not of this form."""
        named = read_named(_DOUBLED.sub(r"{\1}", prompt))
        if named is None or {*named.texts} != {*self.slots} or {*named.numbers} != {*self.numbers}:
            sections = [f"=== {name} ===" for name in (*self.slots, *([NUMBERS] if self.numbers else []))]
            values = f", the last with {', '.join(f'{name} = …' for name in self.numbers)}" if self.numbers else ""
            raise ValueError(
                f"a user prompt of this task must have the sections {', '.join(sections)}, each once{values}"
            )
        texts = {name: named.texts[name] for name in self.slots}
        for name, text in texts.items():
            self._check(name, text)
        numbers = {name: self._taken(name, named.numbers[name]) for name in self.numbers}
        return NamedPrompts(texts, numbers)

    def _check(self, name: str, text: str) -> None:
        if not text:
            raise ValueError(f"the prompt {name!r} is empty")
        for slot in self.slots[name]:
            if (count := text.count(f"{{{slot}}}")) != 1:
                raise ValueError(f"the prompt {name!r} must hold {{{slot}}} exactly once, it holds it {count} times")
        if more := [slot for slot in slots_in(text) if slot not in self.slots[name]]:
            raise ValueError(f"the prompt {name!r} holds {{{more[0]}}}, for which the program gives no text")

    def _taken(self, name: str, value: float) -> int | float:
        space = self.numbers[name]
        if isinstance(space, NumberRange):
            if not space.has(value):
                raise ValueError(f"{name} = {value} is not from {space.low} to {space.high}")
            return int(value) if space.is_whole else float(value)
        if value not in space:
            raise ValueError(f"{name} = {value} is none of {', '.join(map(str, space))}")
        return space[space.index(value)]
