"""What a method's scores took, and where methods are not compared on equal terms."""

from dataclasses import dataclass
from statistics import fmean

from metaspo.engine.studies.study import Study

ALIKE = 1.1  # more than this many times as much is said


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """What a cell of a method took in the mean, as if the cache had been empty; transfers and protocols included.

    It can depend on timing: what is dropped early has been asked more or less. Calls without a known price are not in
    the dollars, but `unpriced`. What `train` counts depends on no timing: base calls on train splits, each answer once,
    candidates that are dropped early in full.
    """

    base: float
    optimizer: float
    dollars: float
    unpriced: float = 0.0
    train: float = 0.0


def effort(study: Study, method: str) -> Effort:
    """Over its finished cells; nothing if there are none."""
    cells = [result for _, result in study.of_method(method)]
    if not cells:
        return Effort(base=0.0, optimizer=0.0, dollars=0.0)
    return Effort(
        base=fmean(cell.answers - cell.optimizer_answers for cell in cells),
        optimizer=fmean(cell.optimizer_answers for cell in cells),
        dollars=fmean(cell.worth for cell in cells),
        unpriced=fmean(cell.unpriced_worth for cell in cells),
        train=fmean(cell.train_calls for cell in cells),
    )


def about_equal_calls(study: Study) -> list[str]:
    """What `equal_calls` makes equal, where it is given."""
    given = study.grid.config.equal_calls
    if given is None:
        return []
    return [
        f"Each method that searches had {given:,} train calls to work with. Its scores are those of as many base calls "
        "on train splits: with early_rejection = false it makes them all and finds the same; with it some are spared."
    ]


def about_effort(study: Study) -> list[str]:
    """Which methods that search did not have equal budgets; of dollars where everything has a price."""
    efforts = {method: effort(study, method) for method in study.methods if study.searches(method)}
    efforts = {method: took for method, took in efforts.items() if took.base}
    priced = not any(took.unpriced for took in efforts.values())
    figures = {
        "train calls": ({method: took.train for method, took in efforts.items()}, ",.0f"),
        "base calls": ({method: took.base for method, took in efforts.items()}, ",.0f"),
        "optimizer calls": ({method: took.optimizer for method, took in efforts.items()}, ",.0f"),
        "dollars": ({method: took.dollars for method, took in efforts.items() if priced}, ",.4g"),
    }
    differences = []
    for what, (spent, form) in figures.items():
        cheapest, dearest = min(spent, key=spent.__getitem__, default=""), max(spent, key=spent.__getitem__, default="")
        if spent and spent[dearest] > ALIKE * spent[cheapest]:
            low, high = format(spent[cheapest], form), format(spent[dearest], form)
            differences.append(f"{what} go from {low} ({cheapest}) to {high} ({dearest})")
    return [f"Budgets are not equal: {', '.join(differences)}."] if differences else []


def about_everywhere(study: Study) -> list[str]:
    """Which methods have one search for all domains."""
    names = [each.name for each in study.grid.methods if each.everywhere]
    return [f"{', '.join(names)}: one search for all domains, of which each one's cell counts its share."] * bool(names)


def about_user_prompts(study: Study) -> list[str]:
    """Which methods wrote user prompts for the very tasks that they are scored on."""
    names = [method for method in study.methods if any(cell.on_targets for cell, _ in study.of_method(method))]
    if not names:
        return []
    return [
        f"{', '.join(names)}: user prompts only, written for the target tasks from their train examples, which the "
        "other methods have not seen."
    ]
