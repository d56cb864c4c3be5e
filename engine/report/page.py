"""One self-contained page of HTML: one script, for its copy buttons, nothing fetched, every text of a model escaped."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.resources import files

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from metaspo.engine.differences import Span, differences
from metaspo.engine.evaluation.answers import AnsweredExample, TaskAnswers, confusion_rows, read_as
from metaspo.engine.report.figures import draw
from metaspo.engine.studies.table_formats import text_columns

MAX_ANSWERS = 100  # a task
NARROW = 4.2  # inches of a picture on a phone
COPY = files(__package__).joinpath("copy.js").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An SVG, and what it shows in words; `narrow` is the same for a phone, empty if there is no other."""

    alt: str
    svg: bytes
    narrow: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTable:
    """Rows of texts under column heads; without heads, what each row is about stands in its first cell."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def text_columns(self) -> tuple[bool, ...]:
        """Which columns hold words and not figures."""
        return text_columns(self.rows, count=max(map(len, (self.columns, *self.rows))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A prompt, marked with what changed.

    Attributes:
        text: as it is, to be copied; "" where only the changes are shown.
    """

    title: str
    spans: tuple[Span, ...]
    text: str = ""

    @property
    def changed(self) -> bool:
        """Whether anything did."""
        return any(span.change != "same" for span in self.spans)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A text that is folded away until it is asked for."""

    title: str
    outcome: str
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
    """A part of the page.

    Attributes:
        warnings: paragraphs that have to be seen.
    """

    title: str
    warnings: tuple[str, ...] = ()
    paragraphs: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    tables: tuple[TextTable, ...] = ()
    prompts: tuple[Prompt, ...] = ()
    entries: tuple[Entry, ...] = ()
    answers: tuple[Answers, ...] = ()


def picture(figure: Figure, *, alt: str) -> Picture:
    """A figure for a page."""
    svg = draw(figure, "svg")
    if len(figure.axes) > 1:
        return Picture(alt=alt, svg=svg)
    width, height = figure.get_size_inches()
    figure.set_size_inches(NARROW, height)
    narrow = draw(figure, "svg")
    figure.set_size_inches(width, height)
    return Picture(alt=alt, svg=svg, narrow=narrow)


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
    return Prompt(title=title, spans=tuple(differences(old, new)), text=new)


def with_code(sentence: str) -> Markup:
    """A sentence of ours as HTML: what stands between backticks is code, and everything is text."""
    parts = [escape(part) for part in sentence.split("`")]
    if len(parts) % 2 == 0:  # a backtick too few
        return escape(sentence)
    code = (Markup(f"<code>{part}</code>") if number % 2 else part for number, part in enumerate(parts))  # noqa: S704 - escaped
    return Markup("").join(code)


def render_page(title: str, *, lead: str, verdicts: Sequence[str], sections: Sequence[Section]) -> str:
    """The page as HTML."""
    return _template().render(
        script=COPY,
        digest=_base64(hashlib.sha256(COPY.encode()).digest()),
        read_as=read_as,
        title=title,
        lead=lead,
        verdicts=verdicts,
        sections=sections,
        version=version("metaspo"),
    )


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["with_code"] = with_code
    environment.filters["base64"] = _base64
    return environment.from_string(files(__package__).joinpath("page.html").read_text(encoding="utf-8"))


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
