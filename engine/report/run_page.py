"""The page of one run, and its pictures as files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from matplotlib.figure import Figure

from metaspo.backends.counted import counted
from metaspo.backends.paths import write_whole
from metaspo.engine.config.schema import ROLES
from metaspo.engine.errors import RunDirectoryError
from metaspo.engine.evaluation.task_rows import COLUMNS, cost_sentence, task_rows
from metaspo.engine.evaluation.test_score import TestScore
from metaspo.engine.journal.address import Address
from metaspo.engine.journal.history import Point, Proposed
from metaspo.engine.journal.journal import StoredJournal
from metaspo.engine.journal.view import RunView
from metaspo.engine.money import show_dollars
from metaspo.engine.optimize.result import RunResult
from metaspo.engine.report.figures import Bar, before_and_after, draw, score_against_length, score_curve
from metaspo.engine.report.page import (
    Entry,
    Picture,
    Prompt,
    Section,
    TextTable,
    answered,
    changed_prompt,
    picture,
    render_page,
)
from metaspo.engine.runs.answers import RunAnswers
from metaspo.engine.runs.directory import RunDirectory
from metaspo.engine.runs.files import Data, finished_at, read_json, read_table, unreadable
from metaspo.engine.runs.going_on import going_on
from metaspo.engine.runs.records import read_as
from metaspo.engine.runs.status import weights_of
from metaspo.engine.runs.stored import rows_of, run_data, safety_sentences, summary_of
from metaspo.engine.runs.summary import USE_COLUMNS


def load_result(run: RunDirectory) -> RunResult:
    """A finished run's result. Raises `RunDirectoryError` for one that has not finished, or whose file is damaged."""
    if not run.result.is_file():
        command, hindered = going_on(run)
        how = hindered or f"`{command or 'metaspo optimize CONFIG'}` goes on with it"
        raise RunDirectoryError(f"{run.path}: the run has not finished; {how}")
    try:
        return read_as(RunResult, read_table(run.result))
    except ValueError as error:
        raise unreadable(run.result, error) from None


def run_page(run: RunDirectory, answers: RunAnswers | str = "") -> str:
    """Everything worth seeing of a finished run on one page of HTML; `answers`, or why there are none.

    Raises:
        RunDirectoryError: for a run that has not finished, or cannot be read.
    """
    result, data = load_result(run), run_data(run)
    config = data["config"]
    written = {task["name"]: task.get("user_prompt") or "" for task in config.get("tasks", ())}  # "" where left out
    first = {"": config.get("system_prompt") or "", **written, **result.first_user_prompts}
    view = RunView.of(StoredJournal(run.journal), texts=True)
    history, whole = view.history, view.all_sessions
    if not (points := history.points(weights_of(config))):
        raise unreadable(run.journal, "it tells nothing of this run")
    last = points[-1]
    proposals = history.proposals(first)
    sections = [
        Section(title="What it found", prompts=_final_prompts(result, first), warnings=_warnings(data)),
        _tasks(result),
        _took(data),
        _answers(answers),
        Section(title="The score on the way", pictures=_curves(points, proposals)),
        _way_to(result, proposals),
        Section(title="Every proposal", entries=tuple(map(_entry, proposals))),
        _made_of(run, result, config),
    ]
    models = " / ".join(table.get("model", "") for role in ROLES if (table := config.get(role)))
    return render_page(
        f"Run {run.name}",
        lead=(
            f"{finished_at(run):%Y-%m-%d}, {models}, seed {result.seed}. {'At least ' if whole.at_least else ''}"
            f"{counted(whole.calls, 'call')}, {show_dollars(whole.dollars, unpriced=whole.unpriced)}, "
            f"{whole.seconds:,.0f} s; {last.calls:,} of the calls up to the last selection, the rest on the test "
            "splits."
        ),
        verdicts=_verdicts(result, data),
        sections=[section for section in sections if section is not None],
    )


def write_figures(run: RunDirectory, folder: Path) -> list[Path]:
    """A run's pictures as SVG and PNG files in a folder; where they are. Raises `RunDirectoryError`."""
    result, view = load_result(run), RunView.of(StoredJournal(run.journal))
    drawn: dict[str, Figure] = {"score": score_curve(view.history.points(weights_of(read_json(run, part="config"))))}
    if bars := _bars(result.tests):
        drawn["tasks"] = before_and_after(bars)
    return write_all(drawn, folder)


def write_all(figures: Mapping[str, Figure], folder: Path) -> list[Path]:
    """Every figure as SVG and as PNG; where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in figures.items():
        for kind in ("svg", "png"):
            path = folder / f"{name}.{kind}"
            write_whole(path, draw(figure, "svg" if kind == "svg" else "png"))
            paths.append(path)
    return paths


def _bars(tests: Sequence[TestScore]) -> dict[str, tuple[Bar, Bar]]:
    """Per task before and after, where there are both."""
    best = {(row.task, row.stage): row for row in reversed(tests) if row.prompt == 0}
    bars = {}
    for row in tests:
        before, after = best.get((row.task, "before")), best.get((row.task, "after"))
        if row.stage == "before" and before and after and before.score is not None and after.score is not None:
            bars[row.task] = (_bar(before), _bar(after))
    return bars


def _bar(row: TestScore) -> Bar:
    score = row.score or 0.0
    return Bar(
        score=score, low=row.interval.low if row.interval else score, high=row.interval.high if row.interval else score
    )


def _verdicts(result: RunResult, data: Data) -> list[str]:
    """The gains, where no system prompt was adopted why, and what became of the guards."""
    summary = summary_of(data)
    search = summary.system_search.sentence if summary and result.system_prompt == result.first_system_prompt else ""
    cost = summary.system_search.guards_cost if summary else ""
    wording = summary.proposals.sentence if summary else ""
    guards = [guard.sentence for guard in result.guards]
    gains = [gain.sentence for gain in result.gains]
    return [*filter(None, [search]), *gains, *guards, *filter(None, [cost, wording]), *safety_sentences(data)]


def _warnings(data: Data) -> tuple[str, ...]:
    summary = summary_of(data)
    return tuple(filter(None, [summary.proposals.warning])) if summary else ()


def _tasks(result: RunResult) -> Section | None:
    """Every task in one row, before and after."""
    rows = task_rows(result.tests)
    if not rows:
        return None
    bars = _bars(result.tests)
    pictures = (picture(before_and_after(bars), alt="test score per task before and after"),) if bars else ()
    columns = [name for name in COLUMNS if any(COLUMNS[name](row) for row in rows)]
    table = TextTable(columns=tuple(columns), rows=tuple(tuple(COLUMNS[name](row) for name in columns) for row in rows))
    return Section(title="Tasks", pictures=pictures, tables=(table,), paragraphs=("Test splits, 95% intervals.",))


def _took(data: Data) -> Section | None:
    """What the last session took, lane by lane, and what the prompts found cost a call."""
    summary = summary_of(data)
    if summary is None:
        return None
    rows = tuple((lane, *(text(use) for text in USE_COLUMNS.values())) for lane, use in summary.usage.lanes.items())
    said = tuple(filter(None, (cost_sentence(rows_of(data)), summary.together)))
    columns = ("model", *USE_COLUMNS)
    return Section(title="What it took", tables=(TextTable(columns=columns, rows=rows),), paragraphs=said)


def _curves(points: Sequence[Point], proposals: Sequence[Proposed]) -> tuple[Picture, ...]:
    tried = [
        (len(each.text), each.score, each.outcome == "kept")
        for each in proposals
        if each.level == "system" and each.score is not None
    ]
    curve = picture(score_curve(points), alt="train score over selections and over what was spent")
    if not tried:
        return (curve,)
    return curve, picture(score_against_length(tried), alt="train score of system prompts over their length")


def _way_to(result: RunResult, proposals: Sequence[Proposed]) -> Section:
    """How the system prompt came about."""
    entries = tuple(map(_entry, _lineage(result, proposals)))
    none = () if entries else ("No system prompt that was proposed was adopted: it is the first one.",)
    return Section(title="How the system prompt came about", paragraphs=none, entries=entries)


def _lineage(result: RunResult, proposals: Sequence[Proposed]) -> list[Proposed]:
    """The system prompts on the way from the first to the last, each the parent of the next."""
    kept = {each.text: each for each in proposals if each.level == "system" and each.outcome == "kept"}
    chain, text = [], result.system_prompt
    while text != result.first_system_prompt and text in kept:
        chain.append(kept.pop(text))
        text = chain[-1].parent
    return chain[::-1]


def _made_of(run: RunDirectory, result: RunResult, config: Mapping[str, Any]) -> Section:
    """By what it was made: models, strategies, when, and the whole config."""
    optimizer, judge = config.get("optimizer"), config.get("judge")
    facts = (
        ("run", run.name),
        ("date", f"{finished_at(run):%Y-%m-%d %H:%M} UTC"),
        ("base model", (config.get("base") or {}).get("model", "")),
        ("optimizer", optimizer.get("model", "") if optimizer else "none"),
        *((("judge", judge.get("model", "")),) if judge else ()),
        ("seed", str(result.seed)),
        ("system prompts", result.strategies["outer"]),
        ("user prompts", result.strategies["inner"]),
        ("train calls", f"{result.train_calls:,}"),
    )
    text = orjson.dumps(config, option=orjson.OPT_INDENT_2).decode()
    whole = Entry(title="the whole config", outcome="", kept=False, spans=changed_prompt("", text, text).spans)
    return Section(title="How it was made", tables=(TextTable(columns=(), rows=facts),), entries=(whole,))


def _answers(answers: RunAnswers | str) -> Section | None:
    if isinstance(answers, str):
        return Section(title="Answers", paragraphs=(answers,)) if answers else None
    said = tuple(filter(None, (answers.missing, answers.changed)))
    return Section(title="Answers", paragraphs=said, answers=tuple(map(answered, answers.tasks)))


def _final_prompts(result: RunResult, first: Mapping[str, str]) -> tuple[Prompt, ...]:
    prompts = [changed_prompt("System prompt", result.first_system_prompt, result.system_prompt)]
    for task, users in result.user_prompts.items():
        prompts.append(changed_prompt(f"Best user prompt of {task}", first.get(task, users[0]), users[0]))
    return tuple(prompts)


def _entry(proposed: Proposed) -> Entry:
    outcome = proposed.outcome if proposed.score is None else f"{proposed.outcome}, {proposed.score:.1%}"
    return Entry(
        title=Address.parse(proposed.address).words,
        outcome=outcome,
        kept=proposed.outcome == "kept",
        spans=changed_prompt("", proposed.parent, proposed.text).spans if proposed.text else (),
    )
