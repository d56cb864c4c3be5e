"""Faults by which a prompt that can be read is none: a refusal, unfilled places, a fence, a quoted example, its length.

They are looked for in what metaspo's own writers propose (`informed`, and user prompts that are induced for
`outer.under` or an unseen task, which nobody selects before they count). Prompts of published strategies are scored as
they come; some are to show examples.
"""

import re
from collections.abc import Sequence

from metaspo.backends.late_patterns import late_pattern
from metaspo.engine.tasks.base import Example

WORDS = 150  # that a prompt may have where nothing else is said
QUOTED = 40  # characters in a row of a question that make a quote
REFUSAL = late_pattern(
    r"\s*(sorry|i(['’]m| am) (sorry|unable|not able)|i apologi[sz]e|(unfortunately, )?i can(not|['’]t)|as an ai\b)",
    re.IGNORECASE,
)
UNFILLED = late_pattern(
    r"\$[a-z_]{3,}|\[(insert|your|task\s|add)\b[^\]]{0,300}\]|<(?P<tag>insert|your|task)\b[^>]{0,300}>", re.IGNORECASE
)


def fault_in(prompt: str, *, examples: Sequence[Example], parent: str = "", words: int = WORDS) -> str:
    """Why a prompt is no proposal, though it can be read; "" if it is one.

    What stands in the prompt that it was made from, or in several questions alike, is no place left open and no quote;
    nor is a fence one where that prompt has it, around the question for example.
    """
    if REFUSAL.match(prompt) and not REFUSAL.match(parent):
        return "the prompt is a refusal"
    places = (match for match in UNFILLED.finditer(prompt) if not _is_closed(match, prompt))
    if left := next((place[0] for place in places if place[0] not in parent), ""):
        return f"the prompt has places that are not filled in: {left}"
    if _fences(prompt) - _fences(parent):
        return "the prompt stands in a fence"
    if (count := len(prompt.split())) > words:
        return f"the prompt has {count} words, more than {words}"
    questions = {_plain(example.question): example.where for example in examples}
    prompt, parent = _plain(prompt), _plain(parent)
    for question, where in questions.items():
        for part in _parts(question):
            if part in prompt and part not in parent and sum(part in text for text in questions) == 1:
                return f"the prompt quotes an example ({where})"
    return ""


def _is_closed(place: re.Match[str], prompt: str) -> bool:
    """Whether it is a tag, with a part of the prompt in it."""
    return bool(place["tag"]) and f"</{place['tag']}>" in prompt


def _fences(text: str) -> set[str]:
    """At which ends of a text there is one."""
    return {end for end, there in (("first", text.startswith("```")), ("last", text.endswith("```"))) if there}


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _parts(question: str) -> list[str]:
    """The parts of a question that make a quote; a short one counts as a whole, a very short one not at all."""
    parts = [question[start : start + QUOTED] for start in range(0, max(1, len(question) - QUOTED), QUOTED // 2)]
    return [part for part in parts if len(part) >= QUOTED // 2]
