"""Edits of a user prompt that need no language model. Each keeps the question placeholder exactly once."""

from collections.abc import Callable
from typing import Final

from metaspo.engine.tasks.base import PLACEHOLDER

_MARK: Final = "Text: "
_CUE: Final = "Answer:"


def toggle_rule(prompt: str, rule: str) -> str:
    """Say how an answer must look, as a paragraph before the cue if there is one; take it back where it is said."""
    paragraphs = prompt.split("\n\n")
    if rule in paragraphs:
        return "\n\n".join(paragraph for paragraph in paragraphs if paragraph != rule)
    end = len(paragraphs) - (paragraphs[-1] == _CUE)
    return "\n\n".join([*paragraphs[:end], rule, *paragraphs[end:]])


def move_question(prompt: str) -> str:
    """Put the question's paragraph last, or first if it is last already (before the cue)."""
    paragraphs = prompt.split("\n\n")
    cue = [_CUE] if paragraphs[-1] == _CUE else []
    paragraphs = paragraphs[: len(paragraphs) - len(cue)]
    asked = next(paragraph for paragraph in paragraphs if PLACEHOLDER in paragraph)
    rest = [paragraph for paragraph in paragraphs if paragraph != asked]
    return "\n\n".join([asked, *rest, *cue] if paragraphs[-1] == asked else [*rest, asked, *cue])


def toggle_mark(prompt: str) -> str:
    """Mark where the question begins; take the mark away where it stands."""
    if _MARK + PLACEHOLDER in prompt:
        return prompt.replace(_MARK + PLACEHOLDER, PLACEHOLDER)
    return prompt.replace(PLACEHOLDER, _MARK + PLACEHOLDER)


def toggle_cue(prompt: str) -> str:
    """End with a cue to answer; take it away where it stands."""
    text = prompt.removesuffix(f"\n\n{_CUE}")
    return text if text != prompt else f"{prompt}\n\n{_CUE}"


ARRANGEMENTS: Final[tuple[Callable[[str], str], ...]] = (move_question, toggle_mark, toggle_cue)
