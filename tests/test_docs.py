"""What the documents say is there."""

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from pkgutil import resolve_name
from random import Random
from typing import TypeVar

import orjson
import pytest
from chat_server import ChatServer
from command_line import here
from engine_sessions import Runs
from pydantic import BaseModel
from test_architecture import ENGINE, ORDER
from world import World, make_config, make_task

from metaspo.backends import Message
from metaspo.engine import prepare
from metaspo.engine.config.schema import RunConfig
from metaspo.engine.journal.events import KINDS, Proposal, Trial
from metaspo.engine.strategies import OuterContext, OuterStrategy
from metaspo.engine.strategies.registry import OUTER
from metaspo.engine.studies.grid_config import GridConfig
from metaspo.engine.tasks.answer_spec import ANSWER_KINDS
from metaspo.engine.tasks.spec_table import SpecTable
from metaspo.serving.config import ServeConfig

T = TypeVar("T")
ROOT = Path(__file__).resolve().parent.parent


def tables_below(table: type[BaseModel]) -> list[type[BaseModel]]:
    return [each for below in table.__subclasses__() for each in (below, *tables_below(below))]


FILES = (RunConfig, GridConfig, ServeConfig)  # whose modules bring those of all tables
TABLES = [table for table in tables_below(SpecTable) if table.__module__.startswith("metaspo.")]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
MAP = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
OF_CONFIGS = ("config", "compare", "judges", "serve")  # the pages that between them say every key


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__name__)
def test_every_key_of_a_config_is_documented(table: type[BaseModel]) -> None:
    pages = "".join((ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8") for page in OF_CONFIGS)
    code = re.findall(r"```.*?```|`[^`\n]+`|^ {4}[^\n]*", pages, re.DOTALL | re.MULTILINE)
    assert set(table.model_fields) <= set(re.findall(r"\w+", " ".join(code)))


def test_every_kind_of_answer_has_a_row() -> None:
    page = (ROOT / "docs" / "answers.md").read_text(encoding="utf-8")
    assert set(ANSWER_KINDS) <= set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))


def anchors(page: Path) -> set[str]:
    """What GitHub calls the headings of a page."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_or_a_heading_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:\s]*)(?:#([^)\s]+))?\)", page.read_text(encoding="utf-8"))
    to = [((page.parent / file if file else page), heading) for file, heading in links]
    assert [path.name for path, _ in to if not path.exists()] == []
    assert [(path.name, heading) for path, heading in to if heading and heading not in anchors(path)] == []


def test_the_map_names_every_room_of_the_engine_in_its_order() -> None:
    table = MAP[MAP.index("| room of `engine/`") : MAP.index("## The way of one request")]
    rows = [re.findall(r"`(\w+)/?`", row.split("|")[1]) for row in table.splitlines()[2:] if row]
    assert [room for row in rows for room in row] == ENGINE


def test_the_map_names_only_what_is_there() -> None:
    """`folder/module`, `room/module` and test files."""
    named = re.findall(r"`((?:\w+/)+\w+|test_\w+)`", MAP)
    folders = [ROOT, ROOT / "engine", ROOT / "tests"]
    there = [any((folder / f"{name}.py").is_file() or (folder / name).is_dir() for folder in folders) for name in named]
    assert len(named) > 20
    assert [name for name, is_there in zip(named, there, strict=True) if not is_there] == []


def test_the_map_names_no_module_that_is_called_otherwise_now() -> None:
    """Names without their folder, as those beside another have; outcomes are no modules."""
    named = set(re.findall(r"`(?!test_)([a-z_]+)`", MAP)) - {"scored", "malformed", "failed"}
    there = {path.stem for top in [*ORDER, "tests"] for path in [ROOT / top, *(ROOT / top).rglob("*")]}
    assert len(named) > 30
    assert named <= there | {"tools", "docs"}, named - there


async def test_the_strategy_in_the_documents_runs() -> None:
    text = (ROOT / "docs" / "strategies.md").read_text(encoding="utf-8")
    code, _ = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
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


def test_the_search_in_the_documents_is_installed_configured_and_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its entry point, with its options, through the whole engine."""
    text = (ROOT / "docs" / "strategies.md").read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    (tmp_path / "my_package.py").write_text("\n".join(code), encoding="utf-8")
    points = re.findall(
        r"```toml\n\[project.entry-points.\"(metaspo.outer_strategies)\"\]\n(.*?)```", text, flags=re.DOTALL
    )
    ((group, lines),) = points
    info = tmp_path / "my_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[{group}]\n{lines.replace(chr(34), '')}", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    config = make_config(
        {
            "system_prompt": "You are stubborn. You are careful. You are brief.",
            "outer": {"strategy": "pruning", "options": {"steps": 1}, "candidates": 3},
        }
    )
    runs = Runs(config, [make_task("a"), make_task("u", role="target")], World(3), timing=1, width=4)
    assert runs.session() is not None
    trials = {event.system for event in runs.journal.events if isinstance(event, Trial)}
    assert "You are careful. You are brief." in trials
    proposals = [
        event.system for event in runs.journal.events if isinstance(event, Proposal) and event.system is not None
    ]
    assert proposals
    assert set(proposals) <= trials


def test_every_option_of_a_strategy_is_documented_with_its_default() -> None:
    rows = re.findall(
        r"^\| (`[^|]+`) \| `(\w+)` \| ([^|]+) \|",
        (ROOT / "docs" / "strategies.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    said = {(name, option): default for names, option, default in rows for name in re.findall("`(.+?)`", names)}
    own = dict[tuple[str, str], object]()
    for name, place in OUTER.items():
        made = resolve_name(f"metaspo.engine.strategies.{place}")()
        options = inspect.signature(type(made)).parameters
        own |= {(name, option): getattr(made, option) for option in options}
    assert said == {key: told(default) for key, default in own.items()}


def told(default: object) -> str:
    if default is None or isinstance(default, tuple):
        return "none" if default is None else "[]"
    return f"{default:g}" if isinstance(default, float) else orjson.dumps(default).decode()


def test_the_journals_page_names_every_event_and_its_fields() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \|[^|]*\|(.*)\|$", (ROOT / "docs" / "runs.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    said = {event: set(re.findall(r"`(\w+)`", text)) for event, text in rows}
    own = {event: {field.name for field in fields(kind)} - {"address", "t", "details"} for event, kind in KINDS.items()}
    assert said == own


def test_the_client_in_the_documents_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a real server; what it samples is three samples."""
    text = (ROOT / "docs" / "embed.md").read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)[0]
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"print": lambda *_: None}
    with ChatServer(lambda request: f"yes to {request.messages[-1].content}") as server:
        code = code.replace("http://127.0.0.1:8000/v1", server.url).replace("minute=600", "minute=60_000")
        exec(code, names)  # noqa: S102 - the document's own example
    assert names["samples"] == ["yes to Is 0 prime?"] * 3
    assert sum(server.asked.values()) == 100 + 3


def test_the_search_in_a_program_of_ones_own_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a function for a model; run again it asks nothing."""
    text = (ROOT / "docs" / "embed.md").read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)[1]
    monkeypatch.chdir(tmp_path)
    asked, printed = list[object](), list[str]()
    rows = [{"question": f"Is {number} even?", "answer": "no" if number % 2 else "yes"} for number in range(24)]

    def generate(messages: object) -> str:
        asked.append(messages)
        return "yes"

    calls = []
    for _ in range(2):
        exec(code, {"rows": rows, "generate": generate, "print": printed.append})  # noqa: S102 - the document's own example
        calls.append(len(asked))
    half = len(printed) // 2
    assert printed[:half] == printed[half:]
    assert (printed[0], printed[half - 1]) == ("init: 50.0%", "You are a helpful assistant.")
    assert calls[0] == calls[1] > len(rows)


@pytest.mark.parametrize("grades", ["judge", "function"])
def test_the_config_on_the_page_on_judges_runs_as_it_stands_on_data_without_answers(
    grades: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "docs" / "judges.md").read_text(encoding="utf-8")
    config, function = re.findall(r"```toml\n(.*?)```", text, flags=re.DOTALL)
    if grades == "function":
        config = config.partition("[tasks.metric]")[0] + function
    (tmp_path / "metaspo.toml").write_text(config)
    (tmp_path / "polite.py").write_text(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)[0])
    for split, question in (("train", "The kettle leaks."), ("test", "The lid is lost.")):
        (tmp_path / f"replies.{split}.jsonl").write_text(f'{{"question": "{question}"}}\n')
    monkeypatch.chdir(tmp_path)
    assert here("plan", "metaspo.toml").code == 0
    (task,) = prepare(Path("metaspo.toml")).tasks
    assert task.user_prompt == "{question}", "a rule that asks for few words would stand against the rubric"
