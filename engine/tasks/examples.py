"""From a task's files to its examples: read, every answer checked."""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from metaspo.engine.tasks.answer_spec import AnswerSpec
from metaspo.engine.tasks.base import AnswerFormat, Example
from metaspo.engine.tasks.cells import Row, answers_of, metadata_of, question_of
from metaspo.engine.tasks.data_spec import DataSource
from metaspo.engine.tasks.errors import TaskError, in_row
from metaspo.engine.tasks.formats import build_format
from metaspo.engine.tasks.formats.label_sets import BETWEEN_LABELS, labels_in
from metaspo.engine.tasks.formats.labels import label_key
from metaspo.engine.tasks.history import history_of
from metaspo.engine.tasks.images import images_of
from metaspo.engine.tasks.metric_spec import MetricTable
from metaspo.engine.tasks.notices import Split
from metaspo.engine.tasks.numberwords import digits_for_words
from metaspo.engine.tasks.shown import shown
from metaspo.engine.tasks.sources import read_rows
from metaspo.engine.tasks.spec import TaskSpec

_MAX_LABELS: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRows:
    """What a task's files hold, every answer checked: what samples are drawn from, of any seed.

    Attributes:
        bad: by split, what is wrong with the rows that are left out.
    """

    answer: AnswerSpec
    answer_format: AnswerFormat
    train: tuple[Example, ...]
    test: tuple[Example, ...]
    bad: Mapping[Split, Sequence[str]]


Reader = Callable[[TaskSpec, Path], TaskRows]


def read_task(spec: TaskSpec, base_dir: Path) -> TaskRows:
    """Read a task's files. Raises `TaskError`."""
    raw_train, bad_train = _read(spec, spec.train, base_dir)
    raw_test, bad_test = _read(spec, spec.test, base_dir)
    answer = _with_labels(spec.answer, (*raw_train, *raw_test))
    answer_format = _format(answer, base_dir)
    return TaskRows(
        answer=answer,
        answer_format=answer_format,
        train=_canonical(spec, answer_format, raw_train, spec.train, bad_train),
        test=_canonical(spec, answer_format, raw_test, spec.test, bad_test),
        bad={"train": bad_train, "test": bad_test},
    )


def read_once() -> Reader:
    """A reader that reads each task's files once, however many runs are prepared with it."""
    kept: dict[tuple[str, Path], list[tuple[TaskSpec, TaskRows]]] = defaultdict(list)

    def read(spec: TaskSpec, base_dir: Path) -> TaskRows:
        of_name = kept[spec.name, base_dir]
        rows = next((rows for there, rows in of_name if there == spec), None)
        if rows is None:
            rows = read_task(spec, base_dir)
            of_name.append((spec, rows))
        return rows

    return read


def accepted_answers(spec: TaskSpec, answer_format: AnswerFormat, row: Row) -> tuple[str, ...]:
    """The accepted answers of a row, as the format has them, and as a run takes them; "" alone where there is none.

    Raises `TaskError` for a row that has none where one is needed, or one that does not fit.
    """
    return _accepted(spec, answer_format, Example("", _answers(spec, row), row.where))


def needs_no_gold(spec: TaskSpec) -> bool:
    """Whether what grades its answers can do without the data's, which are "" then: a judge, a function with calls."""
    table = spec.metric if isinstance(spec.metric, MetricTable) else None
    return table is not None and table.against != "gold" and (table.judge or table.max_calls) is not None


def _read(spec: TaskSpec, source: DataSource | None, base_dir: Path) -> tuple[list[Example], list[str]]:
    """The rows of one split with their answers as they stand in the data, and what was wrong with those left out."""
    examples: list[Example] = []
    bad: list[str] = []
    for row in read_rows(source, base_dir=base_dir) if source else ():
        try:
            examples.append(_example(spec, row, source, base_dir))
        except TaskError as fault:
            _leave_out(fault, source, bad)
    if source and not examples:
        raise TaskError(bad[0] if bad else f"{source.path or source.dataset or 'the list of rows'}: holds no examples")
    return examples, bad


def _example(spec: TaskSpec, row: Row, source: DataSource | None, base_dir: Path) -> Example:
    """With images that are not read yet. Raises `TaskError` for a row that cannot be used."""
    if row.fault:
        raise TaskError(row.fault)
    columns = spec.columns
    return Example(
        question_of(row, columns),
        _answers(spec, row),
        row.where,
        metadata_of(row, columns),
        history_of(row, columns.history),
        images_of(row, columns.images, source=source, base_dir=base_dir),
    )


def _leave_out(fault: TaskError, source: DataSource | None, bad: list[str]) -> None:
    """Note a row that is left out. Raises the fault where no row may be."""
    if source is None or source.bad_rows == "stop":
        raise fault
    bad.append(str(fault))


def _answers(spec: TaskSpec, row: Row) -> tuple[str, ...]:
    """The accepted answers of a row, as they stand in the data."""
    values = spec.answer.facts.values
    if needs_no_gold(spec) and spec.columns.answer not in row.cells and not spec.columns.either:
        return ("",)
    none = spec.answer.unanswerable is not None or values == "whole" or needs_no_gold(spec)
    answers = _gold(spec, answers_of(row, spec.columns, none=none, objects=values == "objects"), row.where)
    return (BETWEEN_LABELS.join(answers),) if values == "whole" else answers


def _gold(spec: TaskSpec, answers: tuple[str, ...], where: str) -> tuple[str, ...]:
    """The answers within the data's answers, where a pattern says how to find them."""
    if spec.answer.gold_pattern is None:
        return answers
    pattern = re.compile(spec.answer.gold_pattern)
    extracted = []
    for answer in answers:
        matches = list(pattern.finditer(answer))
        if not matches and answer.strip():
            raise TaskError(
                f"{where}: the answer {shown(answer)} has no match for answer.gold_pattern = "
                f"{spec.answer.gold_pattern!r}; mend the line or the pattern"
            )
        extracted.append((matches[-1][pattern.groups] or "") if matches else "")
    return tuple(extracted)


def _with_labels(answer: AnswerSpec, raw: Sequence[Example]) -> AnswerSpec:
    """The labels of the data, where the config names none."""
    if not answer.facts.labels_of_data or answer.labels:
        return answer
    split = labels_in if answer.facts.values == "whole" else lambda whole: [whole]
    return answer.model_copy(update={"labels": _labels_in(raw, split=split, number_words=answer.number_words)})


def _labels_in(raw: Sequence[Example], *, split: Callable[[str], list[str]], number_words: bool) -> tuple[str, ...]:
    """The distinct answers, sorted, in the spelling that comes first; case, white space and what Unicode calls one
    text do not count."""
    spellings: dict[str, str] = {}
    written = {answer.strip(): None for example in raw for whole in example.answers for answer in split(whole)}
    for answer in written:
        if answer:
            spellings.setdefault(label_key(answer, number_words=number_words), answer)
    if len(spellings) > _MAX_LABELS:
        raise TaskError(
            f"answer: the data hold {len(spellings)} different answers, too many for labels; "
            'set answer = "text" or list them in answer.labels'
        )
    return tuple(sorted(spellings.values(), key=lambda answer: _in_order(answer, number_words)))


def _in_order(label: str, number_words: bool) -> str:
    """What labels are sorted by; their order is the first user prompt's, and so what a run asks."""
    return (digits_for_words(label) if number_words else label).casefold()


def _format(answer: AnswerSpec, base_dir: Path) -> AnswerFormat:
    try:
        return build_format(answer, base_dir=base_dir)
    except TaskError:
        raise
    except ValueError as error:
        raise TaskError(f"answer: {error}") from error


def _canonical(
    spec: TaskSpec, answer_format: AnswerFormat, raw: Sequence[Example], source: DataSource | None, bad: list[str]
) -> tuple[Example, ...]:
    """The examples with their answers as the format has them; those left out are noted in `bad`."""
    examples = []
    for example in raw:
        try:
            examples.append(replace(example, answers=_accepted(spec, answer_format, example)))
        except TaskError as fault:
            _leave_out(fault, source, bad)
    if raw and not examples:
        raise TaskError(bad[-1])
    return tuple(examples)


def _accepted(spec: TaskSpec, answer_format: AnswerFormat, example: Example) -> tuple[str, ...]:
    accepted: dict[str, None] = {}
    for answer in example.answers:
        if not answer and needs_no_gold(spec):
            return ("",)
        canonical = in_row(spec.name, example.where, answer_format.canonical, answer)
        if canonical is None:
            raise TaskError(
                f"{example.where}: the answer {shown(answer)} does not fit answer.kind = {spec.answer.kind!r} "
                f"({answer_format.describe()}); mend the line or set another kind"
            )
        accepted[canonical] = None
    if spec.metric_name() == "macro-f1" and len(accepted) > 1:
        raise TaskError(f'{example.where}: {len(accepted)} accepted answers; metric = "macro-f1" takes one each')
    return tuple(accepted)
