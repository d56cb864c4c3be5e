"""Answers a question out of notes: a query is written, notes are looked up, the question is asked with them."""

import math
import re
from pathlib import Path

NOTES = Path(__file__).with_name("notes.txt").read_text(encoding="utf-8").splitlines()
K = 3  # notes that are shown


def words(text):
    return set(re.findall(r"\w+", text.lower()))


RARE = {word: math.log(len(NOTES) / sum(word in words(note) for note in NOTES)) for word in set().union(*map(words, NOTES))}


def look_up(query):
    """The notes that share the rarest words with a query."""
    wanted = words(query)
    return sorted(NOTES, key=lambda note: -sum(RARE[word] for word in words(note) & wanted))[:K]


async def answer(prompts, example, call):
    """`prompts` is the pair that is being tried; `call` asks the base model, through cache, limits and budget."""
    query = await call(f"Name the words to search notes for to answer: {example.question}", max_tokens=16)
    notes = "\n".join(look_up(f"{example.question} {query.text}"))
    return await call(prompts.messages(f"{notes}\n\n{example.question}"))
