"""Ablations of the bilevel method, as methods of a grid: one thing changed at a time."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, get_args

from metaspo.engine.studies.grid import MethodTable

Ablation = Literal["loops", "roles", "sources", "strategies", "tasks", "width"]
WIDTHS = (1, 3, 9, 18)
STRATEGIES = ("metaspo", "metaspo-ape", "metaspo-evo")


def ablation_names() -> tuple[Ablation, ...]:
    """What can be ablated."""
    return get_args(Ablation)


def ablation(over: Ablation, *, like: str, sources: Sequence[str]) -> tuple[MethodTable, ...]:
    """The methods to put side by side; the first is the whole one.

    Args:
        over: "loops" (no inner, no outer loop), "roles" (separate against merged), "sources" (1 to n source tasks),
            "strategies" (who proposes), "tasks" (each source task left out), "width" (system candidates a round).
        like: the method that is changed, e.g. "metaspo".
        sources: the names of the source tasks.
    """
    made: Mapping[Ablation, Callable[[], list[MethodTable]]] = {
        "loops": lambda: [
            MethodTable(name=like, like=like),
            MethodTable(
                name="no-inner-loop",
                like=like,
                set={"inner.candidates": 0},
                times=2,
                about="the outer loop alone, with twice the iterations",
            ),
            MethodTable(name="no-outer-loop", like=like, set={"outer.candidates": 0}, about="the inner loop alone"),
        ],
        "roles": lambda: [
            MethodTable(name=f"{roles}-roles", like=like, set={"roles": roles}) for roles in ("separate", "merged")
        ],
        "sources": lambda: [
            MethodTable(name=f"{number}-source-tasks", like=like, sources=number)
            for number in range(len(sources), 0, -1)
        ],
        "strategies": lambda: [MethodTable(name=name, like=name) for name in STRATEGIES],
        "tasks": lambda: [
            MethodTable(name="all-source-tasks", like=like),
            *(MethodTable(name=_plain(f"without-{name}"), like=like, without=name) for name in sources),
        ],
        "width": lambda: [
            MethodTable(name=f"{width}-candidates", like=like, set={"outer.candidates": width}) for width in WIDTHS
        ],
    }
    return tuple(made[over]())


def _plain(name: str) -> str:
    return "".join(letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "-" for letter in name)
