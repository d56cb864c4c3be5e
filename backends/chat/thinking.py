"""Takes a model's thinking out of the text of its answer.

Thinking is told by where it stands: a block that the text begins with, or one whose opening the prompt's template took
and of which only the closing came. Tags further on are the answer's own: a prompt may well be about them.
"""

import re
from typing import NamedTuple

from metaspo.backends.late_patterns import late_pattern

_PAIRS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<seed:think>", "</seed:think>"),
    ("<longcat_think>", "</longcat_think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("<|channel>thought", "<channel|>"),
    ("<unused94>thought", "<unused95>"),  # MedGemma
)
_ANSWER_MARKS = ("<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|begin_of_solution|>", "<|end_of_solution|>")
_BEGINNING = late_pattern(rf"\s*(?:{'|'.join(re.escape(opening) for opening, _ in _PAIRS)})|analysis", re.IGNORECASE)
_MAX_BLOCKS = 100
_FIRST = "<[◁Aa \n\t\r"
_QUOTES = "`'\"“”‘’"
_CHANNEL = late_pattern(r"(?:<\|start\|>\s*assistant\s*)?<\|channel\|>\s*(\w+).{0,200}?<\|message\|>")
_CHANNEL_END = late_pattern(r"<\|(?:end|return|call)\|>\s*\Z")
_BARE_CHANNELS = late_pattern(r"\Aanalysis(?=[A-Z])(?P<thinking>.*?)(?:assistantfinal(?P<answer>.*))?\Z", re.DOTALL)


class Thought(NamedTuple):
    """A text in its two parts: the answer, and what was thought before it ("" for none)."""

    answer: str
    thinking: str


def separate_thinking(text: str) -> tuple[str, str]:
    """The answer and the thinking in a text; a block that never ends leaves no answer.

    A text without thinking comes back as it is, to the last space.
    """
    if not may_hold_thinking(text):
        return text, ""
    channels = _from_channels(text)
    if channels is not None:
        return channels
    thoughts: list[str] = []
    rest = text
    while len(thoughts) < _MAX_BLOCKS and (block := _leading_block(rest)) is not None:
        thoughts.append(block.thinking)
        rest = block.answer
    if not thoughts:
        return _after_lone_closing(text)
    return Thought(_unmarked(rest), "\n\n".join(thought for thought in thoughts if thought))


def may_hold_thinking(text: str) -> bool:
    """Rules most answers out, by the quickest means there are: searches for one character, and what stands first."""
    if (text[:1] in _FIRST and _BEGINNING.match(text) is not None) or ("|" in text and ("<|" in text or "|>" in text)):
        return True
    if "/" not in text:
        return False
    lowered = text.lower()
    return "/think" in lowered or "/thought" in lowered or "think>" in lowered


def _leading_block(text: str) -> Thought | None:
    """What a block at the beginning holds, and what follows it; None if there is none."""
    stripped = text.lstrip()
    for opening, closing in _PAIRS:
        if stripped[: len(opening)].lower() == opening.lower():
            body = stripped[len(opening) :]
            end = _end_of_block(body, opening, closing)
            return Thought("", body.strip()) if end < 0 else Thought(_after(body, end, closing), body[:end].strip())
    return None


def _end_of_block(body: str, opening: str, closing: str) -> int:
    """Where the closing is that belongs to the opening before `body`; where none does, the last there is, or -1."""
    depth, last = 1, -1
    for tag in re.finditer(f"{re.escape(opening)}|{re.escape(closing)}", body, re.IGNORECASE):
        if tag[0].lower() == opening.lower():
            depth += 1
            continue
        depth, last = depth - 1, tag.start()
        if depth == 0:
            break
    return last


def _after_lone_closing(text: str) -> Thought:
    """The parts around a closing that no opening stands before; one in quotes is spoken of, not meant."""
    for opening, closing in _PAIRS:
        opened = re.search(re.escape(opening), text, re.IGNORECASE)
        for tag in re.finditer(re.escape(closing), text, re.IGNORECASE):
            if opened is not None and opened.start() < tag.start():
                break
            before, after = text[max(0, tag.start() - 1) : tag.start()], text[tag.end() : tag.end() + 1]
            if not (before and after and before in _QUOTES and after in _QUOTES):
                return Thought(_unmarked(_after(text, tag.start(), closing)), text[: tag.start()].strip())
    return Thought(text, "")


def _from_channels(text: str) -> Thought | None:
    """The parts of a text in harmony's channels, also without their marks ("analysis…assistantfinal…")."""
    bare = _BARE_CHANNELS.match(text)
    if bare is not None:
        return Thought((bare["answer"] or "").strip(), bare["thinking"].strip())
    if text.startswith("analysis<|message|>"):
        text = f"<|channel|>{text}"  # the prompt's template took the mark
    marks = list(_CHANNEL.finditer(text))
    if not marks or text[: marks[0].start()].strip():
        return None
    answer: list[str] = []
    thinking: list[str] = []
    for mark, following in zip(marks, [*(mark.start() for mark in marks[1:]), len(text)], strict=True):
        content = _CHANNEL_END.sub("", text[mark.end() : following]).strip()
        (answer if mark[1] == "final" else thinking).append(content)
    return Thought("\n\n".join(answer), "\n\n".join(thinking))


def _after(text: str, start: int, closing: str) -> str:
    return text[start + len(closing) :].lstrip()


def _unmarked(answer: str) -> str:
    """An answer without the marks that some models put around it once they have thought."""
    if "<|" not in answer:
        return answer
    for mark in _ANSWER_MARKS:
        answer = answer.replace(mark, "")
    return answer.strip()
