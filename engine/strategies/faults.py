"""Faults by which a prompt that can be read is none: a refusal, unfilled places, a fence, a quoted example, its length.

They are looked for in what metaspo's own writers propose (`informed`, and user prompts that are induced for
`outer.under` or an unseen task, which nobody selects before they count). Prompts of published strategies are scored as
they come; some are to show examples. What is taken for a fault is lost: a rule that good prompts break costs more than
one that a bad one gets by, which is scored all the same.
"""

import re
from collections.abc import Sequence
from itertools import takewhile

from metaspo.backends.late_patterns import late_pattern
from metaspo.engine.strategies.open_places import open_places
from metaspo.engine.tasks.base import PLACEHOLDER, Example

WORDS = 150  # that a prompt may have where nothing else is said
QUOTED = 40  # characters in a row of a question that make a quote
_SORRY = r"(?:i(?:'m| am)(?: \w+)? (?:sorry|afraid)|sorry|(?:my )?apologies|i (?:must )?apologi[sz]e|unfortunately)"
_AS_AI = r"as an? (?:ai|artificial intelligence|(?:large )?language model)\b[^.,;\n]{0,60}"
_CANNOT = (
    r"i(?:'m| am)? (?:\w+ly )?(?:can(?:'t|not| not)|(?:won't|will not)(?: be able to)?|unable to|not able to"
    r"|do(?:n't| not)|(?:must|have to) decline to)(?: \w+ly)?"
)
_WRITING = (
    r"(?:creat|craft|draft|fulfil|generat|giv|improv|mak|modif|offer|optimi|produc|propos|provid|revis|rewrit|shar|suggest"
    r"|writ)\w*"
)
_OF_IT = r"(?:prompts?|instructions?|requests?|that|this|such|you|content)"
_DOING = (
    r"(?:(?:help|assist)(?: you)?(?: (?:with|in) (?:that|this|these|those|such|your|writing|creating)\b|\W*\Z|[.,;!])"
    rf"|comply|proceed|do (?:that|this|so)\b|{_WRITING}[^.\n{{}}]{{0,40}}?\b{_OF_IT}\b"
    r"|have (?:enough|sufficient|access)\b|see any\b|feel comfortable)"
)
REFUSAL = late_pattern(
    rf"\W*(?:(?:{_SORRY}|{_AS_AI})[\s,.;:!–—-]*(?:but |that )?){{0,4}}"
    rf"(?:{_CANNOT} {_DOING}|i (?:must|have to) (?:respectfully )?(?:decline|refuse)\b"
    r"|(?:that|this)(?:'s| is)? (?:request )?(?:not something (?:that )?i (?:can|am able)|violates|goes against))"
    rf"|\W*{_SORRY}\W*\Z",
    re.IGNORECASE,
)
ELSEWHERE = late_pattern(  # in other languages
    r"\W*(?:(?:es )?tut mir (?:sehr )?leid|leider|lo siento|(?:je suis )?désolée?|malheureusement|mi dispiace"
    r"|sinto muito|desculpe|lamento|извините|к сожалению|很?抱歉|对不起|申し訳)[^.!?。\n]{0,60}?"
    r"(?:kann ich|ich kann|no puedo|ne peux pas|non posso|não posso|не могу|无法|不能|できません|できかねます)",
    re.IGNORECASE,
)
_BETTER = r"(?:new|revised|improved|updated|rewritten|optimi[sz]ed|refined|corrected|better)"
_ITSELF = r"(?:instructions|prompt|template)\b"
ANNOUNCED = late_pattern(
    rf"\W*(?:{_SORRY}[^.!\n]{{0,80}}[.!]\s*|(?:sure|certainly|of course|okay|absolutely)[,.!]\s*)?here(?:'s| is) "
    rf"(?:the|a|an|your|my) (?:\w+ ){{0,2}}?{_BETTER} (?:\w+ ){{0,2}}?"
    rf"(?:(?:version of (?:my|that|the|this|your) (?:\w+ ){{0,2}}?)?{_ITSELF}|version(?!:?\s*\W?{{question}})(?=[:\n]))"
    r"[^.:?!\n{]{0,60}(?:[:\n]|\.\s*\n)",
    re.IGNORECASE,
)
_APOSTROPHES = str.maketrans("’‘ʼ", "'''")
_PLACES = late_pattern(r"(?:\s*\{\w+\})+\s*")
_FENCE = late_pattern(r" {0,3}(?:`{3,}+|~{3,}+)(?P<info>[^`]*)")


def fault_in(
    prompt: str,
    *,
    examples: Sequence[Example],
    parent: str = "",
    beside: Sequence[str] = (),
    words: int = WORDS,
    below: str = "",
) -> str:
    """Why a prompt is no proposal, though it can be read; "" if it is one.

    What stands in the prompt that it was made from, or in several questions alike, is no place left open and no quote;
    nor is a fence one where that prompt has it around all of it, too. Nor is a place one that a prompt `beside` has,
    the user prompts of a system prompt for example. What was put `below` what was written is not counted.
    """
    if _refuses(prompt) and not _refuses(parent):
        return "the prompt is a refusal"
    if ANNOUNCED.match(prompt.translate(_APOSTROPHES)):
        return "the prompt begins with words about itself"
    familiar = "\n".join((parent, *beside, *(example.question for example in examples)))
    if left := next((place for place in dict.fromkeys(open_places(prompt)) if place not in familiar), ""):
        return f"the prompt has places that are not filled in: {left}"
    if _is_fenced(prompt) and not _is_fenced(parent):
        return "the prompt stands in a fence"
    if (count := len(prompt.split()) - len(below.split())) > words:
        return f"the prompt has {count} words, more than {words}"
    return _quote(prompt, parent, examples)


def _refuses(prompt: str) -> bool:
    """Not where the question has a place within what was written, or follows a colon: a person may ask so."""
    above = takewhile(lambda line: not _PLACES.fullmatch(line), prompt.splitlines())
    said = "\n".join(above).rstrip().translate(_APOSTROPHES)
    asks = PLACEHOLDER in said or said.endswith(":")
    return not asks and bool(REFUSAL.match(said) or ELSEWHERE.match(said))


def _is_fenced(text: str) -> bool:
    """Whether one fence stands around all of it, or one at an end is opened or closed alone.

    All of it is what stands above a line that is places for data: those may have been put below what was written.
    """
    lines = text.strip().splitlines()
    if len(lines) <= 1:
        return text.strip().startswith("```") and text.strip().endswith("```")
    depth, outside, last = 0, False, lines[0]
    for line in lines:
        if not depth and _PLACES.fullmatch(line):
            break
        if not (fence := _FENCE.fullmatch(line)):
            outside |= depth == 0 and bool(line.strip())
        elif depth and not fence["info"].strip():
            depth -= 1
        else:
            depth += 1
        last = line if line.strip() else last
    at_an_end = any(_FENCE.fullmatch(line) for line in (lines[0], last))
    return at_an_end and (depth > 0 or not outside)


def _quote(prompt: str, parent: str, examples: Sequence[Example]) -> str:
    questions = {_plain(example.question): example.where for example in examples}
    prompt, parent = _plain(prompt), _plain(parent)
    for question, where in questions.items():
        for part in _parts(question):
            if part in prompt and part not in parent and sum(part in text for text in questions) == 1:
                return f"the prompt quotes an example ({where})"
    return ""


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _parts(question: str) -> list[str]:
    """The parts of a question that make a quote; a short one counts as a whole, a very short one not at all."""
    parts = [question[start : start + QUOTED] for start in range(0, max(1, len(question) - QUOTED), QUOTED // 2)]
    return [part for part in parts if len(part) >= QUOTED // 2]
