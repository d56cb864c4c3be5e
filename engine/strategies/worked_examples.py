"""Worked examples: questions with their right answers, as a block of a prompt that can be read back from its text."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from metaspo.backends.late_patterns import late_pattern
from metaspo.engine.prompts import PromptPair

_HEADING: Final = "Worked examples:"
_TURN: Final = "Now the next one:"
_INPUT: Final = "Input: "
_OUTPUT: Final = "Output: "
_PAIR: Final = rf"\n\n{_INPUT}([^\n]*)\n{_OUTPUT}[^\n]*"
_BLOCK: Final = late_pattern(rf"(?P<before>\n\n)?{_HEADING}(?P<pairs>(?:{_PAIR})+)(?P<turn>\n\n{_TURN}\n\n)?")


@dataclass(frozen=True, slots=True)
class WorkedExample:
    """A question and its right answer, one line each."""

    question: str
    answer: str

    def __str__(self) -> str:
        return f"{_INPUT}{self.question}\n{_OUTPUT}{self.answer}"


def join_system(text: str, examples: Sequence[WorkedExample]) -> str:
    """A system prompt that ends in the examples; the text alone if there are none."""
    return "\n\n".join([text, _HEADING, *map(str, examples)]) if examples else text


def split_system(prompt: str) -> tuple[str, tuple[WorkedExample, ...]]:
    """Undo `join_system`; the whole prompt and () where it does not end in such a block."""
    text, _, block = prompt.rpartition(f"\n\n{_HEADING}\n\n")
    examples = _read(block)
    return (text, examples) if examples and text else (prompt, ())


def join_user(examples: Sequence[WorkedExample], text: str) -> str:
    """A user prompt that begins with the examples; the text alone if there are none."""
    return "\n\n".join([_HEADING, *map(str, examples), _TURN, text]) if examples else text


def split_user(prompt: str) -> tuple[tuple[WorkedExample, ...], str]:
    """Undo `join_user`; () and the whole prompt where it does not begin with such a block."""
    block, _, text = prompt.partition(f"\n\n{_TURN}\n\n")
    examples = _read(block.removeprefix(f"{_HEADING}\n\n")) if block.startswith(_HEADING) else ()
    return (examples, text) if examples and text else ((), prompt)


def shows_examples(prompt: str) -> bool:
    """Whether there may be worked examples in a prompt."""
    return _HEADING in prompt


def leave_out(prompt: str, is_own: Callable[[str], bool]) -> str:
    """The prompt without those of its worked examples, wherever they stand, of whose questions that is said."""

    def rest(block: re.Match[str]) -> str:
        before, pairs, turn = block["before"] or "", block["pairs"], block["turn"] or ""
        left = "".join(pair[0] for pair in re.finditer(_PAIR, pairs) if not is_own(pair[1]))
        if left == pairs:
            return block[0]
        if not left:
            return before if turn else ""
        return f"{before}{_HEADING}{left}{turn}"

    return _BLOCK.sub(rest, prompt)


def demonstrates(pair: PromptPair) -> bool:
    """Whether there may be examples in the prompts."""
    return shows_examples(pair.system) or shows_examples(pair.user)


def without_own(pair: PromptPair, question: str) -> PromptPair:
    """The prompts without what they demonstrate of this question.

    A user prompt shows bare questions; a system prompt shows them as they were asked once, within some user prompt, and
    so whatever holds the question there is left out.
    """
    if not demonstrates(pair):
        return pair
    own = " ".join(question.split())
    return PromptPair(leave_out(pair.system, lambda asked: own in asked), leave_out(pair.user, own.__eq__))


def _read(block: str) -> tuple[WorkedExample, ...]:
    """The examples of a block; () if anything in it is something else."""
    examples = []
    for part in block.split("\n\n"):
        question, separator, answer = part.partition(f"\n{_OUTPUT}")
        if not separator or not question.startswith(_INPUT) or "\n" in question + answer:
            return ()
        examples.append(WorkedExample(question.removeprefix(_INPUT), answer))
    return tuple(examples)
