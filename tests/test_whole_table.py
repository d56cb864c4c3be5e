"""What is printed loses nothing, however narrow the terminal is."""

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.measure import Measurement

from metaspo.tables.printing import make_table
from metaspo.tables.runs import print_run_data
from metaspo.tables.whole import fit_widths

WIDTHS = (20, 40, 80, 120)
WORDS = st.text("abcdefgh0123456789-_/", min_size=1, max_size=30)


def printed(thing: object, *, width: int) -> str:
    """What a terminal of that width is sent."""
    console = Console(file=io.StringIO(), soft_wrap=True, width=width)
    console.print(thing)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@given(
    rows=st.lists(
        st.tuples(st.lists(WORDS, min_size=1, max_size=6), st.integers(0, 10**12), st.floats(0, 1e6)), max_size=4
    ),
    width=st.sampled_from(WIDTHS),
)
def test_no_word_and_no_figure_of_a_table_is_cut_or_broken(
    rows: list[tuple[list[str], int, float]], width: int
) -> None:
    table = make_table(None, "run", "number of calls", "saved by the cache")
    expected = ["run", "number", "of", "calls", "saved", "by", "the", "cache"]
    for words, count, dollars in rows:
        figures = (f"{count:,}", f"${dollars:.4f} (5–9)")
        table.add_row(" ".join(words), *figures)
        expected += [*words, figures[0], *figures[1].split()]
    text = printed(table, width=width)
    found = [word for word in text.split() if set(word) != {"─"}]
    assert sorted(found) == sorted(expected)


def test_a_table_that_can_fit_by_wrapping_fits() -> None:
    table = make_table(None, "task", "role", "tokens of all prompts together", "dollars saved by the cache")
    table.add_row("a name of several words " * 4, "source", "4,773", "$0.0000")
    table.add_row("live-10e75f42", "target", "1", "$12.0000")
    lines = printed(table, width=80).splitlines()
    assert max(map(len, lines)) <= 80
    assert any("live-10e75f42" in line and "$12.0000" in line for line in lines)


@pytest.mark.parametrize(("name", "wrapped"), [("unseen", True), ("n" * 60, False)])
def test_an_interval_goes_below_its_score_only_if_the_table_fits_then(name: str, wrapped: bool) -> None:
    table = make_table(None, "task", "before", "after")
    table.add_row(name, "100.0% (51–100)", "100.0% (51–100)")
    lines = printed(table, width=40).splitlines()
    assert any("100.0% (51–100)" in line for line in lines) != wrapped
    assert (max(map(len, lines)) <= 40) == wrapped


def test_a_table_with_room_is_not_wrapped() -> None:
    table = make_table(None, "task", "dollars saved by the cache")
    table.add_row("a name of several words", "$0.0000")
    assert "dollars saved by the cache" in printed(table, width=80)
    assert "a name of several words" in printed(table, width=80)


@given(
    reaches=st.lists(st.tuples(st.integers(1, 30), st.integers(0, 60)), min_size=1, max_size=8), excess=st.integers()
)
def test_widths_give_way_by_what_is_too_much_and_never_below_their_least(
    reaches: list[tuple[int, int]], excess: int
) -> None:
    excess = max(-1000, min(excess, 1000))
    columns = [Measurement(least, least + more) for least, more in reaches]
    widths = fit_widths(columns, excess=excess)
    assert all(column.minimum <= width <= column.maximum for column, width in zip(columns, widths, strict=True))
    given_way = sum(column.maximum for column in columns) - sum(widths)
    assert given_way == min(max(excess, 0), sum(more for _, more in reaches))


@pytest.mark.parametrize("width", WIDTHS)
def test_the_whole_system_prompt_of_a_run_is_shown(width: int) -> None:
    prompt = " ".join(f"word{number}" for number in range(200)) + "\n\n" + "x" * 300 + "\n{brackets} [bold] :smile: end"
    data = {
        "name": "run",
        "directory": "",
        "summary": {},
        "result": {"system_prompt": prompt, "strategies": {}},
    }
    console = Console(file=io.StringIO(), soft_wrap=True, width=width)
    print_run_data(console, data)
    assert isinstance(console.file, io.StringIO)
    box = console.file.getvalue().partition("╭")[2].partition("╰")[0].split("\n", 1)[1]
    assert re.sub(r"[\s│]", "", box) == re.sub(r"\s", "", prompt)
