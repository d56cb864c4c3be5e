"""The methods that are compared, ours and searches of our own: a function of the calls to the changes of a config."""

from collections.abc import Mapping
from math import isqrt
from typing import Any

from metaspo.bench.known_truth.world import SOURCES
from metaspo.engine.config.load import with_overrides
from metaspo.engine.config.presets import PLUS, planned, shape, with_planned

Changes = Mapping[str, Any]
REFERENCE = PLUS


def changed(calls: int, sets: Mapping[str, Any]) -> Changes:
    """What "metaspo+" plans around what is set otherwise (dotted keys), as for a config that says so."""
    said = with_overrides({}, sets)
    tasks = [{"role": "source"} for _ in SOURCES]
    plan = planned({"preset": PLUS, "train_calls": calls, "tasks": tasks, "optimizer": {}, **said})
    return {"train_calls": calls, **with_planned(said, plan)}


def _plus(calls: int) -> Changes:
    return shape(calls, sources=len(SOURCES), optimizer=True)


def _one_pass(calls: int) -> Changes:
    """The same shape without what it plans for few calls."""
    shape = _plus(calls)
    return {**shape, "outer": {**shape["outer"], "first_passes": 1, "shared_margin": 0.0}}


def _informed(calls: int) -> Changes:
    """The same shape with our own strategy in both loops."""
    shape = _plus(calls)
    return {**shape, **{loop: {**shape.get(loop, {}), "strategy": "informed"} for loop in ("inner", "outer")}}


def _short(calls: int) -> Changes:
    """The paper's loops with few rows and candidates, as long as they go: what the shape alone is worth."""
    rows = isqrt(calls // len(SOURCES))
    return {"train_calls": calls, "rows": rows, "inner": {"candidates": 3, "keep": 1}, "outer": {"candidates": 3}}


def _search(name: str, options: Changes, *, level: str = "both") -> Any:  # noqa: ANN401 - a function of calls
    """Both loops by one search, round after round; with few rows as metaspo+ has them, or searches get nowhere."""

    def changes(calls: int) -> Changes:
        rows = isqrt(calls // len(SOURCES))
        table = {"strategy": name, "options": options, "candidates": 3}
        loops = {"both": {"inner": {**table, "keep": 1}, "outer": table}}
        loops["user"] = {"inner": {**table, "keep": 1}, "outer": {"candidates": 0}}
        loops["system"] = {"inner": {"candidates": 0}, "outer": table}
        return {"train_calls": calls, "rows": rows, **loops[level]}

    return changes


METHODS: Mapping[str, Any] = {
    "metaspo+": _plus,
    "metaspo+, one rewriting": _one_pass,
    "metaspo+, informed": _informed,
    "default": lambda _: {"inner": {"candidates": 0}, "outer": {"candidates": 0}},
    "metaspo, the paper's shape": lambda calls: {"train_calls": calls},
    "metaspo, short rounds": _short,
    "outer loop only": lambda calls: {"train_calls": calls, "inner": {"candidates": 0}},
    "protegi": _search(
        "protegi",
        {"rounds": 1, "beam": 1, "minibatch": 64, "gradients": 3, "errors": 8, "paraphrases": 0, "select": "full"},
    ),
    "textgrad": _search("textgrad", {"epochs": 1, "steps": 3}),
    "gepa, metaspo's own": _search("gepa", {"steps": 3, "minibatch": 8, "merges": 1}),
    "mipro": _search("mipro", {"instructions": 4, "sets": 3, "trials": 6, "minibatch": 16, "full_every": 3}),
    "opro": _search("opro", {"steps": 4, "samples": 2, "exemplars": 6}),
    "ape": _search("ape", {"inductions": 3, "resample": 1, "top": 1, "variations": 1}),
    "evoprompt-ga": _search("evoprompt-ga", {"population": 4, "generations": 2}),
    "evoprompt-de": _search("evoprompt-de", {"population": 4, "generations": 2}),
    "sprig": _search(
        "sprig",
        {"steps": 3, "beam": 2, "questions": 5, "add_candidates": 12, "paraphrases": 2} | {"max_candidates": 10},
        level="system",
    ),
}
