"""Answers a question out of notes: a query is written, notes are looked up, the question is asked with them."""

import math
import re
from pathlib import Path

from metaspo import Call, Completion, Example, PromptPair

NOTES = Path(__file__).with_name("notes.txt").read_text(encoding="utf-8").splitlines()


def words(text: str) -> set[str]:
    """The words of a text, in lower case."""
    return set(re.findall(r"\w+", text.lower()))


def rarity(word: str) -> float:
    """What it says of a note that a word stands in it: 0 for one that stands in all."""
    return math.log(len(NOTES) / sum(word in words(note) for note in NOTES))


def look_up(query: str, *, k: int) -> list[str]:
    """The `k` notes that share the rarest words with a query."""
    wanted = words(query)
    return sorted(NOTES, key=lambda note: -sum(map(rarity, words(note) & wanted)))[:k]


async def answer(prompts: PromptPair, example: Example, call: Call) -> Completion:
    """`prompts` are those that are being tried; `call` asks the base model, through cache, limits and budget."""
    query = await call(prompts.text("query", question=example.question), max_tokens=16)
    notes = look_up(query.text, k=int(prompts.numbers["k"]))
    return await call(prompts.chat("answer", notes="\n".join(notes), question=example.question))
