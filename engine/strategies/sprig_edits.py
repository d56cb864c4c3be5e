"""SPRIG's edits: a system prompt as a list of components, what one edit makes of it, which components to try next."""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import combinations
from math import sqrt
from random import Random

from metaspo.engine.strategies.bandits import ucb
from metaspo.engine.strategies.components import families


@dataclass(frozen=True, slots=True)
class Component:
    """One line of a prompt.

    Attributes:
        arm: the library's component that it is, or was reworded from; None for a line from elsewhere.
    """

    text: str
    arm: int | None = None


Prompt = tuple[Component, ...]


@dataclass(frozen=True, slots=True)
class Edit:
    """A prompt one edit away from its parent.

    Attributes:
        added: the arm that the edit put in; None for another edit.
        deleted: the arm that it took out.
    """

    prompt: Prompt
    added: int | None = None
    deleted: int | None = None


@cache
def library() -> tuple[str, ...]:
    """Every component: those of the embedded proposer and those of `sprig_components.toml`, kind by kind."""
    kinds = tomllib.loads(files(__package__).joinpath("sprig_components.toml").read_text(encoding="utf-8"))["kinds"]
    sprig_components = (text for kind in kinds for text in kind["components"])
    return tuple(dict.fromkeys([*(text for family in families() for text in family.components), *sprig_components]))


def read(text: str, *, longest: int) -> Prompt:
    """The components of a prompt: one a line; the whole prompt is one where it has more than `longest` lines."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    arms = {component: arm for arm, component in enumerate(library())}
    return tuple(Component(line, arms.get(line)) for line in (lines if len(lines) <= longest else [text]))


def write(prompt: Prompt) -> str:
    """Undo `read`."""
    return "\n".join(component.text for component in prompt)


def edits(
    prompt: Prompt, *, arms: Sequence[int], rewordings: Mapping[str, Sequence[str]], longest: int
) -> Iterator[Edit]:
    """Every prompt that one edit makes.

    Each of `arms` that is not there already at every place (while there are fewer than `longest` components), each
    component left out (a single one stays), each pair swapped, each component in each of its `rewordings`.
    """
    there = {component.arm for component in prompt}
    if len(prompt) < longest:
        for arm in arms:
            for position in range(len(prompt) + 1) if arm not in there else ():
                yield Edit((*prompt[:position], Component(library()[arm], arm), *prompt[position:]), added=arm)
    if len(prompt) > 1:
        for position, component in enumerate(prompt):
            yield Edit((*prompt[:position], *prompt[position + 1 :]), deleted=component.arm)
    for first, second in combinations(range(len(prompt)), 2):
        swapped = list(prompt)
        swapped[first], swapped[second] = swapped[second], swapped[first]
        yield Edit(tuple(swapped))
    for position, component in enumerate(prompt):
        for text in rewordings.get(component.text, ()):
            yield Edit((*prompt[:position], Component(text, component.arm), *prompt[position + 1 :]))


def most_edits(*, up_to: int, arms: int, paraphrases: int, longest: int) -> int:
    """At most so many edits has a prompt of `up_to` components or fewer."""
    return max(
        (length + 1) * arms * (length < longest)
        + length * (length > 1)
        + length * (length - 1) // 2
        + length * paraphrases
        for length in range(up_to + 1)
    )


def promising(gains: Sequence[Sequence[float]], count: int, *, rng: Random) -> list[int]:
    """The `count` arms with the highest mean gain + sqrt(2 ln N / n), those without any gain first, ties at random.

    Args:
        gains: of each arm: the changes in score when it was added, and the negated ones when it was deleted.
    """
    total = sum(map(len, gains))
    order = rng.sample(range(len(gains)), len(gains))

    def index(arm: int) -> float:
        seen = gains[arm]
        return ucb(sum(seen) / len(seen) if seen else 0.0, pulls=len(seen), total=total, c=sqrt(2))

    return sorted(order, key=index, reverse=True)[:count]
