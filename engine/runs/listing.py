"""Runs side by side: one line each, and in what two of them differ."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from time import localtime, strftime, time
from typing import Any, Literal, cast

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from metaspo.backends.late_patterns import late_pattern
from metaspo.engine.config.model_table import ModelTable
from metaspo.engine.config.presets import CALLS, LOOPS, PLUS, planned
from metaspo.engine.config.schema import ROLES, RunConfig
from metaspo.engine.config.toml import as_toml
from metaspo.engine.errors import RunDirectoryError
from metaspo.engine.journal.journal import StoredJournal
from metaspo.engine.journal.view import AllSessions, RunView
from metaspo.engine.money import show_dollars
from metaspo.engine.runs.directory import RunDirectory
from metaspo.engine.runs.files import Data
from metaspo.engine.runs.status import sources_of, weights_of
from metaspo.engine.runs.stored import run_data, summary_of
from metaspo.engine.tasks import TaskSpec

State = Literal["running", "finished", "stopped", "unfinished", "unreadable"]
# Keys that change no result: where things are, and how fast answers come.
WHERE = ("name", "runs", "cache", "cache_failure", "budget", "early_rejection", "telemetry", "track")
HOW_FAST = {"api_key_env", "attempts", "concurrency", "endpoints", "first_patience", "patience", "prices", "threads"}
HOW_FAST |= {"tier", "time_limit", "token_limit_parameter", "vllm"}
LONGEST = 60  # characters of a change in a table
NONE = "–"
LIMIT = late_pattern(r"(requests|tokens)_per_(minute|day)")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLine:
    """A run in a list.

    Attributes:
        date: when its last session began, in seconds since 1970.
        changed: keys of the config, with their values, in which it differs from the run of that name before it.
        before, after: scores on the train splits, of the first prompts and of those selected last, 0 to 1, or None.
        gain: on unseen tasks, in points of 0 to 1; None where not known.
        calls, dollars, seconds: of all sessions; `unpriced` calls are not in the dollars. `at_least`: there may have
            been more, since some of what the journal told is not known any more.
        goes_on_with: the command that goes on with one that has not finished; "" where there is none.
        hindered: why there is none, where that is known.
        unreadable: why nothing else is known of it.
    """

    run: str
    date: float
    state: State
    config: str = ""
    base: str = ""
    optimizer: str = ""
    judge: str = ""
    changed: tuple[str, ...] = ()
    before: float | None = None
    after: float | None = None
    gain: float | None = None
    calls: int = 0
    dollars: float = 0.0
    unpriced: int = 0
    seconds: float = 0.0
    at_least: bool = False
    goes_on_with: str = ""
    hindered: str = ""
    unreadable: str = ""


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


COLUMNS: Mapping[str, Callable[[RunLine], str]] = {
    "run": lambda line: line.run,
    "date": lambda line: strftime("%Y-%m-%d %H:%M", localtime(line.date)),
    "state": lambda line: line.state,
    "models": lambda line: _models(line),
    "changed": lambda line: line.unreadable or "\n".join(map(_cut, line.changed)),
    "train score": lambda line: "" if line.before is None else f"{line.before:.1%} → {line.after or 0:.1%}",
    "unseen": lambda line: "" if line.gain is None else f"{100 * line.gain:+z.1f}",
    "calls": lambda line: f"{'≥ ' if line.at_least else ''}{line.calls:,}",
    "dollars": lambda line: show_dollars(line.dollars, unpriced=line.unpriced),
    "minutes": lambda line: f"{line.seconds / 60:,.1f}",
}
"""Heads and texts, in the order in which tables have them."""


def _models(line: RunLine) -> str:
    """Each with its role: one model may have several."""
    roles = (("base", line.base), ("optimizer", line.optimizer), ("judge", line.judge))
    return "\n".join(f"{role} {model}" for role, model in roles if model)


def list_runs(runs: Sequence[RunDirectory]) -> list[RunLine]:
    """A line for each run, in the order given; one that cannot be read says why, and hides no other."""
    dates = {run.name: (run.path if run.closed else run.config).stat().st_mtime for run in runs}
    latest: dict[str, Data] = {}
    lines: dict[str, RunLine] = {}
    for run in sorted(runs, key=lambda run: dates[run.name]):
        try:
            data = run_data(run)
            config = data["config"]
            before = latest.get(config.get("name", ""), data)["config"]
            lines[run.name] = _line(run, data, date=dates[run.name], changed=_changed(before, config))
        except RunDirectoryError as reason:
            lines[run.name] = RunLine(run=run.name, date=dates[run.name], state="unreadable", unreadable=str(reason))
        else:
            latest[config.get("name", "")] = data
    return [lines[run.name] for run in runs]


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(f"{key} left out" if new == NONE else f"{key} = {new}" for key, _, new in differing_keys(before, now))


def differing_keys(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Dotted keys in which two configs differ, with both values as TOML has them ("–" for none).

    A key that an older version did not write down is as it is when left out. What is as the presets of both
    plan it is left out: it follows from what is told.
    """
    left, right = dict(_flat(_whole(old))), dict(_flat(_whole(new)))
    named = {**dict(_flat(old)), **dict(_flat(new))}
    keys = [key for key in named if left.get(key) != right.get(key) and _counts(key)]
    if keys and PLUS in (old.get("preset"), new.get("preset")):  # else nothing is planned otherwise than by default
        one, other = (dict(_flat(_whole(_unsaid(config)))) for config in (old, new))
        keys = [
            key for key in keys if key == "preset" or (left.get(key), right.get(key)) != (one.get(key), other.get(key))
        ]
    return [(key, left.get(key, NONE), right.get(key, NONE)) for key in keys]


def _unsaid(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a stored config's preset says where nothing else is said."""
    if config.get("preset") != PLUS:
        return {}
    given = {key: value for key, value in config.items() if key not in ("rows", *LOOPS)}
    return {**planned(given), "train_calls": CALLS}


def _whole(config: Mapping[str, Any]) -> dict[str, Any]:
    """With the defaults of what it does not say."""
    whole = _over(_defaults(RunConfig), config)
    for role in ROLES:
        if isinstance(whole.get(role), Mapping):
            whole[role] = _over(_defaults(ModelTable), whole[role])
    if isinstance(tasks := whole.get("tasks"), list):
        whole["tasks"] = [_over(_defaults(TaskSpec), task) if isinstance(task, Mapping) else task for task in tasks]
    return whole


@cache
def _defaults(table: type[BaseModel]) -> dict[str, Any]:
    fields = {name: field for name, field in table.model_fields.items() if not field.is_required()}
    plain = {name: field.get_default(call_default_factory=True) for name, field in fields.items()}
    return cast(dict[str, Any], to_jsonable_python(plain))


def _over(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    both = {
        key: _over(defaults[key], value)
        for key, value in given.items()
        if isinstance(value, Mapping) and isinstance(defaults.get(key), Mapping)
    }
    return {**defaults, **given, **both}


def _counts(key: str) -> bool:
    first, _, rest = key.partition(".")
    of_a_model = first in ROLES and (rest.partition(".")[0] in HOW_FAST or LIMIT.fullmatch(rest))
    return first not in WHERE and not of_a_model


def _flat(value: object, key: str = "") -> Iterator[tuple[str, str]]:
    """The values of a config by dotted key; tables of a list that have a name go by it."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flat(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list) and value and all(isinstance(item, Mapping) and "name" in item for item in value):
        for item in value:
            yield from _flat({name: inner for name, inner in item.items() if name != "name"}, f"{key}.{item['name']}")
    elif value is not None:
        yield key, as_toml(value)


def _line(run: RunDirectory, data: Data, *, date: float, changed: tuple[str, ...]) -> RunLine:
    config, result, summary = data["config"], data["result"], summary_of(data)
    state: State = "finished" if result else "stopped" if summary and summary.stopped else "unfinished"
    gain = next((gain for gain in summary.gains if gain.role == "target"), None) if summary else None
    view = None if result else RunView.of(StoredJournal(run.journal))
    points = view.history.points(weights_of(config), sources=sources_of(config)) if view else ()
    spent = view.all_sessions if view else summary.all_sessions if summary else AllSessions()
    # A session that goes on has taken longer than it said with its last line.
    unsaid = time() - view.start.wall - view.session.seconds if view and data["running"] and view.start.wall else 0.0
    return RunLine(
        run=run.name,
        config=config.get("name", ""),
        date=date,
        state="running" if data["running"] else state,
        base=(config.get("base") or {}).get("model", ""),
        optimizer=(config.get("optimizer") or {}).get("model", ""),
        judge=(config.get("judge") or {}).get("model", ""),
        changed=changed,
        before=result["train_before"] if result else points[0].score if points else None,
        after=result["train_after"] if result else points[-1].score if points else None,
        gain=gain.gain if gain else None,
        calls=spent.calls,
        dollars=spent.dollars,
        unpriced=spent.unpriced,
        seconds=spent.seconds + max(0.0, unsaid),
        at_least=spent.at_least,
        goes_on_with=data.get("goes_on_with", ""),
        hindered=data.get("hindered", ""),
    )
