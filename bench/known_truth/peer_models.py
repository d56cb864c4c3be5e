"""The known-truth world's models, for packages that search by themselves: every call is counted and paid for."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from metaspo.backends import Message, Request
from metaspo.backends.chat.usage import estimate_usage
from metaspo.bench.known_truth.world import BASE, FORMAT, WRITER, World
from metaspo.engine.prompts import PromptPair
from metaspo.engine.prompts import render as render_pair
from metaspo.engine.tasks.base import PLACEHOLDER, Example
from metaspo.scheduling import Prices

SMALL_PRICES = Prices(input=0.15, cached=0.15, output=0.60)  # dollars per million tokens: a small model answers,
LARGE_PRICES = Prices(input=2.50, cached=2.50, output=10.0)  # a large one writes
SYSTEM = "system"


@dataclass
class Models:
    """The base model, whose answers are kept, and what the optimizer model took.

    Attributes:
        base: questions that the base model was asked, each with its prompts counted once.
        optimizer: calls of the optimizer model.
    """

    world: World
    base: int = 0
    optimizer: int = 0
    draws: Iterator[int] = field(default_factory=itertools.count)
    _answers: dict[tuple[Message, ...], str] = field(default_factory=dict)
    _paid: list[float] = field(default_factory=list)

    @property
    def dollars(self) -> float:
        """Of both, to the last digit whichever call came first: packages ask from several threads."""
        return math.fsum(self._paid)

    def answer(self, messages: tuple[Message, ...]) -> str:
        """The base model's answer."""
        if messages not in self._answers:
            request = Request(model=BASE, messages=messages)
            text = self._answers[messages] = self.world.base(request)
            self.base += 1
            self._paid.append(SMALL_PRICES.dollars(estimate_usage(request, text)))
        return self._answers[messages]

    def right(self, pair: PromptPair, example: Example) -> bool:
        """Whether the base model is right about an example."""
        return FORMAT.parse(self.answer(render_pair(pair, example.question))) in example.answers

    def wrote(self, messages: tuple[Message, ...], text: str) -> str:
        """Books a call of the optimizer model; the text that it wrote."""
        self.optimizer += 1
        self._paid.append(LARGE_PRICES.dollars(estimate_usage(Request(model=WRITER, messages=messages), text)))
        return text


def chat(system: str, user: str) -> tuple[Message, ...]:
    """Two messages."""
    return (Message("system", system), Message("user", user))


def instruction_of(user_prompt: str) -> str:
    """A user prompt without the question's place, as packages have it whose prompts stand before the question."""
    return user_prompt.replace(PLACEHOLDER, "").strip()


def as_user_prompt(instruction: str) -> str:
    """The other way around."""
    return f"{instruction}\n\n{PLACEHOLDER}"
