"""One self-contained page of HTML: no script, nothing fetched, every text of a model escaped."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure

from metaspo.engine.differences import Span, differences
from metaspo.engine.evaluation.answers import AnsweredExample, TaskAnswers, confusion_rows, read_as
from metaspo.engine.report.figures import draw

MAX_ANSWERS = 100  # a task


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An SVG, base64-encoded, and what it shows in words."""

    alt: str
    data: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTable:
    """Rows of texts under column heads."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A prompt, marked with what changed."""

    title: str
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A prompt that is folded away until it is asked for."""

    title: str
    fate: str
    kept: bool
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """A task's answers, folded away one by one; `left_out` of them for want of room."""

    task: TaskAnswers
    labels: TextTable | None
    shown: tuple[AnsweredExample, ...]
    left_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of the page."""

    title: str
    paragraphs: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    tables: tuple[TextTable, ...] = ()
    prompts: tuple[Prompt, ...] = ()
    entries: tuple[Entry, ...] = ()
    answers: tuple[Answers, ...] = ()


def picture(figure: Figure, *, alt: str) -> Picture:
    """A figure for a page."""
    return Picture(alt=alt, data=base64.b64encode(draw(figure, "svg")).decode())


def answered(task: TaskAnswers) -> Answers:
    """A task's answers for a page, regressions first."""
    labels = None
    if task.labels:
        heads, rows = confusion_rows(task)
        labels = TextTable(columns=tuple(heads), rows=tuple(map(tuple, rows)))
    shown = task.examples[:MAX_ANSWERS]
    return Answers(task=task, labels=labels, shown=shown, left_out=len(task.examples) - len(shown))


def changed_prompt(title: str, old: str, new: str) -> Prompt:
    """A prompt with what changed against an older one."""
    return Prompt(title=title, spans=tuple(differences(old, new)))


def render_page(title: str, *, lead: str, verdicts: Sequence[str], sections: Sequence[Section]) -> str:
    """The page as HTML."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files(__package__).joinpath("page.html").read_text(encoding="utf-8"))
    return template.render(
        read_as=read_as, title=title, lead=lead, verdicts=verdicts, sections=sections, version=version("metaspo")
    )
