"""System prompts as a list of components: one-line pieces out of the families of `components.toml`.

The idea of optimizing a system prompt by edits over a library of components is SPRIG's (arXiv 2410.14826); the
components and the edits are our own.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from random import Random


@dataclass(frozen=True, slots=True)
class Family:
    """Components that do the same for a prompt; a prompt holds at most one of them."""

    name: str
    components: tuple[str, ...]


@cache
def families() -> tuple[Family, ...]:
    """The library, in the order in which its families stand in a prompt."""
    tables = tomllib.loads(files(__package__).joinpath("components.toml").read_text(encoding="utf-8"))["families"]
    return tuple(Family(table["name"], tuple(table["components"])) for table in tables)


def split_components(text: str) -> tuple[str, ...]:
    """The pieces of a prompt: each known component alone, and what stands between them, however many lines that is."""
    pieces: list[str] = []
    foreign: list[str] = []
    for line in [*text.splitlines(), None]:
        if line is not None and _family_of(line) is None:
            foreign.append(line)
            continue
        if between := "\n".join(foreign).strip("\n"):
            pieces.append(between)
        foreign = []
        if line is not None:
            pieces.append(line)
    return tuple(pieces)


def join_components(pieces: Sequence[str]) -> str:
    """Undo `split_components`: one piece a line."""
    return "\n".join(pieces)


def vary(pieces: tuple[str, ...], names: Sequence[str], *, rng: Random) -> tuple[str, ...]:
    """Put one component of each named family in: swapped for the one that is there, or added at the family's place."""
    for family in families():
        if family.name in names:
            pieces = _put(pieces, rng.choice([text for text in family.components if text not in pieces]))
    return pieces


def drop(pieces: tuple[str, ...], *, rng: Random) -> tuple[str, ...]:
    """Leave one piece out; a single piece stays."""
    if len(pieces) < 2:
        return pieces
    position = rng.randrange(len(pieces))
    return pieces[:position] + pieces[position + 1 :]


def reorder(pieces: tuple[str, ...], *, rng: Random) -> tuple[str, ...]:
    """Let two pieces change places."""
    if len(pieces) < 2:
        return pieces
    first, second = rng.sample(range(len(pieces)), 2)
    swapped = list(pieces)
    swapped[first], swapped[second] = swapped[second], swapped[first]
    return tuple(swapped)


def _put(pieces: tuple[str, ...], component: str) -> tuple[str, ...]:
    family = _family_of(component)
    assert family is not None, "only components of the library are put in"
    for position, piece in enumerate(pieces):
        if _family_of(piece) == family:
            return (*pieces[:position], component, *pieces[position + 1 :])
    position = sum(1 for piece in pieces if (of := _family_of(piece)) is None or of < family)
    return (*pieces[:position], component, *pieces[position:])


def _family_of(piece: str) -> int | None:
    """The position of the piece's family; None for a text that is not in the library."""
    for position, family in enumerate(families()):
        if piece in family.components:
            return position
    return None
