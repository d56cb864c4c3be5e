"""Answers a question out of notes: a query is written, notes are looked up, the question is asked with them."""

import math
import re
from pathlib import Path

from metaspo import Call, Completion, Example, PromptPair

NOTES = Path(__file__).with_name("notes.txt").read_text(encoding="utf-8").splitlines()
K = 3  # notes that are shown


def words(text: str) -> set[str]:
    """The words of a text, in lower case."""
    return set(re.findall(r"\w+", text.lower()))


def rarity(word: str) -> float:
    """What it says of a note that a word stands in it: 0 for one that stands in all."""
    return math.log(len(NOTES) / sum(word in words(note) for note in NOTES))


def look_up(query: str) -> list[str]:
    """The notes that share the rarest words with a query."""
    wanted = words(query)
    return sorted(NOTES, key=lambda note: -sum(map(rarity, words(note) & wanted)))[:K]


async def answer(prompts: PromptPair, example: Example, call: Call) -> Completion:
    """`prompts` are the two that are being tried; `call` asks the base model, through cache, limits and budget."""
    query = await call(f"Name the words to search notes for to answer: {example.question}", max_tokens=16)
    notes = "\n".join(look_up(f"{example.question} {query.text}"))
    return await call(prompts.messages(f"{notes}\n\n{example.question}"))
