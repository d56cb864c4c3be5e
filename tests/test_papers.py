"""What differs from the papers: complete in its methods, true in its values; presets that can be afforded."""

import re
from pathlib import Path

import pytest
from world import make_config, make_task

from metaspo.engine.config.calls import count_calls
from metaspo.engine.config.load import parse_config, with_overrides
from metaspo.engine.strategies import inner_strategy, outer_strategy
from metaspo.engine.studies import method, method_names

DOCS = Path(__file__).resolve().parent.parent / "docs"
ROW = re.compile(r"^\| ([^|]+) \| [^|]* \| ([^|]*) \|$", re.MULTILINE)
NAME = re.compile(r"`([^`]+)`")
ROWS = [  # the methods are those of the heading, else those that begin a row
    (names, here)
    for heading, _, section in (
        part.partition("\n") for part in (DOCS / "papers.md").read_text(encoding="utf-8").split("\n## ")[1:]
    )
    for point, here in ROW.findall(section)
    if (names := NAME.findall(heading) or NAME.findall(point.partition(":")[0]))
]
VALUE = re.compile(r"`(\w+) = ([^`]+)`")
OURS = {"default", "metaspo+", "metaspo-embedded", "outer-only-embedded"}
SMALL = [name for name in method_names() if name.endswith("-small")]
VALUES = [(name, key, value) for names, here in ROWS for name in names for key, value in VALUE.findall(here)]


def test_every_method_that_follows_a_paper_is_in_the_table() -> None:
    named = {name for names, _ in ROWS for name in names}
    assert set(method_names()) - OURS - set(SMALL) <= named


@pytest.mark.parametrize(("name", "key", "value"), VALUES)
def test_the_values_in_the_table_are_the_methods_own(name: str, key: str, value: str) -> None:
    changes = method(name).changes
    loop = "inner" if changes.get("outer.candidates") == 0 else "outer"
    made = (inner_strategy if loop == "inner" else outer_strategy)(
        changes[f"{loop}.strategy"], changes.get(f"{loop}.options", {})
    )
    searching = getattr(made, "search", made)
    options = getattr(searching, "__self__", searching)
    said = {"true": "True", "false": "False"}.get(value, value.strip('"'))
    actual = getattr(options, key)
    assert str(actual) == said or float(actual) == float(said)


@pytest.mark.parametrize("name", SMALL)
def test_a_small_preset_can_be_afforded_and_says_that_it_is_not_the_published_one(name: str) -> None:
    """At the paper's 50 train examples: under a thousand calls a task, all told."""
    tasks = [make_task(task, train=50) for task in "abcde"]
    calls = {}
    for each in (name, name.removesuffix("-small")):
        raw = with_overrides(make_config().model_dump(exclude_unset=True), method(each).overrides(1))
        counted = count_calls(parse_config(raw), tasks)
        calls[each] = counted.initial + counted.inner + counted.outer
    small, published = calls.values()
    assert small < 1_000 * len(tasks)
    assert published > 5 * small
    assert "not the published counts" in method(name).about
    assert f"`{name}`" in (DOCS / "compare.md").read_text(encoding="utf-8")
