"""What prompts of the known-truth world can name, and what its questions hint at: one catalogue of skills."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from metaspo.backends.late_patterns import late_pattern


@dataclass(frozen=True, slots=True)
class Skill:
    """What a prompt can name.

    Attributes:
        mark: a text names the skill if it holds this (a pattern, case ignored).
        hint: the word in a question that needs the skill.
        sentences: ways to name it.
    """

    name: str
    mark: str
    hint: str
    sentences: tuple[str, ...]


COMMON: Final = (
    Skill(
        "negations",
        "negation",
        "denials",
        ("Note negations, comparisons and exceptions.", "Mind every negation.", "A negation turns the meaning around."),
    ),
    Skill(
        "irony",
        "irony",
        "jokes",
        (
            "You understand everyday language, slang and irony.",
            "Be alert to irony.",
            "Consider whether irony is meant.",
        ),
    ),
    Skill(
        "steps",
        r"one step|step by step",
        "sums",
        ("Work through the problem one step after the other.", "Take one step at a time.", "Go step by step."),
    ),
    Skill(
        "detail",
        "detail",
        "footnotes",
        ("You are attentive to detail.", "Look for the one detail that decides the matter.", "Each detail counts."),
    ),
    Skill(
        "tracking",
        "keep track",
        "crowds",
        ("Keep track of every person, thing and number that is mentioned.", "Keep track of who is who."),
    ),
    Skill(
        "whole",
        "whole (message|text)",
        "afterthoughts",
        ("Read the whole message before you answer.", "Do not guess from the first words; weigh the whole text."),
    ),
    Skill(
        "elimination",
        "rule out",
        "lookalikes",
        ("Rule out the answers that do not fit, then give the one that remains.", "Rule out what cannot be."),
    ),
    Skill(
        "grounding",
        "rely only",
        "hearsay",
        ("Rely only on what the message says.", "Rely only on what is written."),
    ),
)
HASTE: Final = Skill(
    "haste",
    r"\bbrief\b|not explain|one word\.",
    "hurry",
    ("Be as brief as possible.", "Do not explain.", "Answer in one word."),
)
_TOPICS = """
anchors barrels candles dials engravings feathers gates hinges idols jars kettles lanterns mirrors needles oars pigments
quills ropes saddles tapestries urns valves wagons yokes arches bellows coins drums enamels flasks glazes hammers inks
joists knots ladders masks nets ovens pulleys ribbons shutters
"""
TOPICS: Final = tuple(_TOPICS.split())


def own_skill(topic: str) -> Skill:
    """The skill that a topic is about."""
    sentences = (
        f"Apply the lore of {topic}.",
        f"The lore of {topic} decides here.",
        f"Recall the lore of {topic}.",
    )
    return Skill(topic, rf"lore of {topic}\b", topic, sentences)


CATALOGUE: Final = {skill.name: skill for skill in (*COMMON, HASTE, *map(own_skill, TOPICS))}
HINTS: Final = {skill.hint: skill.name for skill in CATALOGUE.values()}  # which skill a word hints at
_GENERAL: Final = tuple((skill.name, late_pattern(skill.mark, re.IGNORECASE)) for skill in (*COMMON, HASTE))
_LORE: Final = late_pattern(r"lore of (\w+)", re.IGNORECASE)


@lru_cache(maxsize=4096)
def named(text: str) -> frozenset[str]:
    """The skills that a text names."""
    general = {name for name, mark in _GENERAL if mark.search(text)}
    return frozenset(general | {topic for topic in _LORE.findall(text) if topic in CATALOGUE})


@lru_cache(maxsize=4096)
def hinted(text: str) -> frozenset[str]:
    """The skills that a text hints at."""
    return frozenset(HINTS[word] for word in re.findall(r"\w+", text) if word in HINTS)
