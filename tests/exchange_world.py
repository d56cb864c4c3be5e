"""Prompts that are hard to carry over: full of what other tools' templates take for commands."""

from hypothesis import strategies as st

from metaspo.engine.exchange.exported import ExportedRun, ExportedTask
from metaspo.engine.prompts import PromptPair
from metaspo.engine.tasks import AnswerSpec
from metaspo.engine.tasks.base import PLACEHOLDER, single_braces

PIECES = [
    *("{", "}", "{{", "}}", "{%", "%}", "{#", "#}", "{{ question }}x", "{x}", "{{x}}", "{% raw %}", "{% endraw %}"),
    *('"""', '"', "'", "\\", "\\n", "\n", "\r\n", "\t", " ", "$question", "${q}", "#", "ä", "漢", "🙂", "word"),
]
HARD = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)
SYSTEMS = HARD.map(lambda text: f"Be exact. {text}").filter(lambda text: PLACEHOLDER not in single_braces(text))
USERS = (
    st.tuples(HARD, HARD)
    .map(lambda parts: PLACEHOLDER.join(parts))
    .filter(lambda text: single_braces(text).count(PLACEHOLDER) == 1 and single_braces(text) == text)
)
QUESTIONS = HARD.filter(lambda text: text.strip() == text != "" and "question" not in text)


def found_of(system: str, user: str, **settings: object) -> ExportedRun:
    """A run of one task that found these prompts."""
    about: dict[str, str | float] = {
        "metaspo": "1",
        "run": "r-00000000",
        "model": "m",
        "score": 0.5,
        "score_low": 0.4,
        "score_high": 0.6,
    }
    task = ExportedTask(
        name="t",
        pair=PromptPair(system, user),
        roles="separate",
        answer=AnswerSpec(),
        about={**about, "task": "t"},
        sampling={"temperature": 0.0, "max_tokens": 64, **settings},
    )
    return ExportedRun(run="r-00000000", model="m", server={}, system=system, tasks=(task,), about=about)


def chat(found: ExportedRun, question: str) -> list[tuple[str, str]]:
    """The chat that the run asks with."""
    return [(message.role, message.content) for message in found.tasks[0].messages(question)]
