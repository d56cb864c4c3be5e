"""What the documents say is there."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import TypeVar

import pytest
from pydantic import BaseModel

from metaspo.backends import Message
from metaspo.engine.config import BudgetTable, InnerTable, ModelTable, OuterTable, RunConfig, TestTable
from metaspo.engine.strategies import OuterContext, OuterStrategy
from metaspo.engine.tasks import AnswerSpec, Columns, DataSource, TaskSpec

T = TypeVar("T")
ROOT = Path(__file__).resolve().parent.parent
TABLES = (
    RunConfig,
    ModelTable,
    InnerTable,
    OuterTable,
    TestTable,
    BudgetTable,
    TaskSpec,
    AnswerSpec,
    Columns,
    DataSource,
)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TABLE_NAMES = {"base", "optimizer", "inner", "outer", "test", "budget", "tasks", "path"}


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__name__)
def test_every_key_of_the_config_is_documented(table: type[BaseModel]) -> None:
    words = set(re.findall(r"\w+", (ROOT / "docs" / "config.md").read_text(encoding="utf-8")))
    assert set(table.model_fields) - TABLE_NAMES <= words


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.name
)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


async def test_the_strategy_in_the_documents_runs() -> None:
    text = (ROOT / "docs" / "strategies.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    names: dict[str, Callable[[], OuterStrategy]] = {}
    exec(code, names)  # noqa: S102 - the document's own example

    async def never(step: str, messages: Sequence[Message], parse: Callable[[str], T], /) -> T:
        raise AssertionError("this strategy asks no optimizer")

    context = OuterContext(
        address="iter=1/outer/cand=1",
        candidate=1,
        show=2,
        rng=Random(1),
        system_prompt="Be brief. Be kind. Be right.",
        tasks=(),
        ask=never,
    )
    proposed = await names["Shortest"]().propose(context)
    assert proposed in ("Be kind. Be right.", "Be brief. Be right.", "Be brief. Be kind")
