"""Ablations of the bilevel method, as methods of a grid: one thing changed at a time."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, get_args

from metaspo.engine.config.model_table import ModelTable
from metaspo.engine.errors import ConfigError
from metaspo.engine.studies.grid_config import MethodTable

Ablation = Literal["loops", "optimizer", "roles", "sources", "strategies", "tasks", "width"]
WIDTHS = (1, 3, 9, 18)
MAX_SOURCES = 6  # as many as the paper goes up to
STRATEGIES = ("metaspo", "metaspo-ape", "metaspo-evo")


def ablation_names() -> tuple[Ablation, ...]:
    """What can be ablated."""
    return get_args(Ablation)


def ablation(
    over: Ablation, *, like: str, sources: Sequence[str], optimizers: Sequence[ModelTable] = ()
) -> tuple[MethodTable, ...]:
    """The methods to put side by side; the first is the whole one.

    Args:
        over: "loops" (no inner, no outer loop), "optimizer" (who writes prompts), "roles" (separate against merged),
            "sources" (6 source tasks to 1, drawn by the seed), "strategies" (who proposes), "tasks" (each source task
            left out), "width" (system candidates a round).
        like: the method that is changed, e.g. "metaspo".
        sources: the names of the source tasks.
        optimizers: the optimizer models, the config's own first; for "optimizer".

    Raises:
        ConfigError: for fewer than two optimizer models.
    """
    made: Mapping[Ablation, Callable[[], list[MethodTable]]] = {
        "loops": lambda: _by_loops(like),
        "optimizer": lambda: _by_optimizer(like, optimizers),
        "roles": lambda: [
            MethodTable(name=f"{roles}-roles", like=like, set={"roles": roles}) for roles in ("separate", "merged")
        ],
        "sources": lambda: [
            MethodTable(name=f"{number}-source-tasks", like=like, sources=number, drawn=True)
            for number in range(min(len(sources), MAX_SOURCES), 0, -1)
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


def _by_loops(like: str) -> list[MethodTable]:
    """The method whole, and with one of its loops alone."""
    return [
        MethodTable(name=like, like=like),
        MethodTable(
            name="no-inner-loop",
            like=like,
            set={"inner.candidates": 0},
            times=2,
            about="the outer loop alone, with twice the iterations",
        ),
        MethodTable(name="no-outer-loop", like=like, set={"outer.candidates": 0}, about="the inner loop alone"),
    ]


def _by_optimizer(like: str, models: Sequence[ModelTable]) -> list[MethodTable]:
    """The method with each optimizer model, named after it."""
    if len(models) < 2:
        raise ConfigError(
            "--over optimizer: wants further optimizer models: --to OTHER.toml, a config with [optimizer]"
        )
    methods: dict[str, MethodTable] = {}
    for table in models:
        name = f"{like}-by-{_plain(table.model)}"
        if name in methods:
            raise ConfigError(
                f"--over optimizer: two models are called '{table.model}'; compare them one after the other"
            )
        said = table.model_dump(mode="json", exclude_unset=True)
        methods[name] = MethodTable(name=name, like=like, set={"optimizer": said}, about=f"written by {table.model}")
    return list(methods.values())


def _plain(name: str) -> str:
    return "".join(letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "-" for letter in name)
