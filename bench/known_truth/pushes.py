"""Pushes to one label in the known-truth world: what they do to answers, and what invites a writer to one.

What was seen on a real model is taken as it was: Qwen2.5-Coder-0.5B leant to one of two labels, so that nearly all
wrong answers had expected the other one; the system prompts that a strong optimizer model wrote from these turned it
over (24 of 24 answers of one task were "formal" then, 33 of 33 of another "false"), and scored less than what they
were to replace.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from metaspo.backends.late_patterns import late_pattern

LEANING: Final = 0.9  # of what it does not know the model answers so much with the label that it leans to
TURNED: Final = 0.95  # of all answers that a push turns: 57 of 57 were seen, which leaves room for no less
FEW: Final = 2  # cases that count as seen besides, half of them each way: one or two wrong answers persuade nobody

_PUSH: Final = late_pattern(r"when in doubt, answer (\w+)", re.IGNORECASE)
_EXPECTED: Final = late_pattern(r"<right_answer>(\w+)</right_answer>")
_KEPT: Final = late_pattern(r"<kept_case>.*?</kept_case>", re.DOTALL)
_ERRORS: Final = late_pattern(r'"(\w+)" read as "[^"]+": (\d+) of \d+')
_RIGHT: Final = late_pattern(r'"(\w+)" read as that, and right: (\d+) of \d+')
_SAID: Final = late_pattern(r"For (\w+) speaks ([\d.]+), against it ([\d.]+)\.")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a message to the optimizer model says for a push to one label, and against it."""

    label: str = ""
    pro: float = 0.0
    contra: float = 0.0

    @property
    def one_sided(self) -> float:
        """How far the one is ahead of the other, as a share of what was seen; 0 or more."""
        return max(0.0, self.pro - self.contra) / (self.pro + self.contra + FEW)

    def __str__(self) -> str:
        """As an analysis says it."""
        return f"For {self.label} speaks {self.pro:g}, against it {self.contra:g}." if self.label else ""


def push_to(label: str) -> str:
    """A sentence of a prompt that pushes to a label."""
    return f"When in doubt, answer {label}."


def pushed_to(prompts: str) -> str:
    """The label that prompts push to, the last one if they disagree; "" if they push to none."""
    return str((_PUSH.findall(prompts) or [""])[-1]).lower()


def evidence(message: str, *, heeds: float) -> Evidence:
    """What a message says for a push to the label that most wrong answers should have been, and against it.

    Every wrong answer that is shown counts for what was expected, every error that is told with a number for so many
    more. Against a label speak wrong answers that expected another one, and for `heeds` of that right ones of another,
    be they shown or told. Where a message has analyses, these have counted.
    """
    said = _SAID.findall(message)
    shown = [(label, 1) for label in _EXPECTED.findall(_KEPT.sub("", message))]
    wrong = _summed([(label, pro) for label, pro, _ in said] or [*shown, *_ERRORS.findall(message)])
    if not wrong:
        return Evidence()
    label = max(wrong, key=wrong.__getitem__)
    contra = sum(wrong.values()) - wrong[label]
    if said:
        return Evidence(label, wrong[label], contra + sum(float(count) for of, _, count in said if of == label))
    kept = [(label, 1) for case in _KEPT.findall(message) for label in _EXPECTED.findall(case)]
    right = _summed([*kept, *_RIGHT.findall(message)])
    return Evidence(label, wrong[label], contra + heeds * (sum(right.values()) - right.get(label, 0.0)))


def _summed(counts: Iterable[tuple[str, str | int]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for label, count in counts:
        total[label] = total.get(label, 0.0) + float(count)
    return total
