"""Which rows of a source count, and how options, other names and several columns become a question and its answer."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from metaspo.engine.tasks import Columns, DataSource, TaskError
from metaspo.engine.tasks.cells import Row, answers_of, question_of
from metaspo.engine.tasks.selection import selected
from metaspo.engine.tasks.sources import read_rows

OPTIONS = ["red", "green", "blue", "teal"]


def rows(*cells: Mapping[str, object]) -> list[Row]:
    return [Row(f"f:{number}", one) for number, one in enumerate(cells, 1)]


def source(**keys: object) -> DataSource:
    return DataSource.model_validate({"path": "f.csv", **keys})


def test_where_keeps_rows_with_one_of_the_values_numbers_and_classes_as_text() -> None:
    table = rows({"s": "a", "n": 1.0}, {"s": "b", "n": 1}, {"s": None, "n": 1}, {"s": "a", "n": 2})
    assert [row.where for row in selected(table, source(where={"s": "a"}))] == ["f:1", "f:4"]
    assert [row.where for row in selected(table, source(where={"s": ["a", "b"], "n": "1"}))] == ["f:1", "f:2"]


def test_what_no_row_holds_is_told_with_what_they_hold() -> None:
    table = rows({"s": "True", "n": 1}, {"s": "False", "n": 2})
    told = r"f\.csv: no row has in 's' what `where` asks for \('true'\); there are: 'True', 'False'"
    with pytest.raises(TaskError, match=told):
        list(selected(table, source(where={"n": "1", "s": "true"})))
    assert not list(selected(table, source(where={"n": "1", "s": "False"}))), "each of them holds one of the two"
    assert len(list(selected(table, source(where={"s": ["true", "True"]})))) == 1


@pytest.mark.parametrize("other", [{}, {"s": ["a", "list"]}])
def test_a_row_that_one_column_leaves_out_need_not_have_the_others(other: Mapping[str, object]) -> None:
    table = rows({"kind": "note", **other}, {"kind": "question", "s": "a"})
    assert [row.where for row in selected(table, source(where={"kind": "question", "s": "a"}))] == ["f:2"]


def test_where_and_part_name_a_column_that_is_not_there() -> None:
    for keys in ({"where": {"subject": "a"}}, {"part": "0-30%", "group": "subject"}):
        with pytest.raises(TaskError, match="f:1: no column 'subject'; there are: s"):
            list(selected(rows({"s": "a"}), source(**keys)))


def test_rows_are_counted_before_any_is_left_out() -> None:
    table = rows({"s": "b"}, {"s": "a"}, {"s": "a"})
    assert [row.where for row in selected(table, source(rows=2, where={"s": "a"}))] == ["f:2"]


@given(st.lists(st.tuples(st.text(max_size=3), st.integers(0, 9))), st.integers(1, 99))
def test_parts_share_the_rows_out_and_keep_groups_together(cells: Sequence[tuple[str, int]], cut: int) -> None:
    table = rows(*({"g": group, "n": number} for group, number in cells))
    low = list(selected(table, source(part=f"0-{cut}%", group="g")))
    high = list(selected(table, source(part=f"{cut}-100%", group="g")))
    assert sorted(row.where for row in (*low, *high)) == sorted(row.where for row in table)
    assert not {row.cells["g"] for row in low} & {row.cells["g"] for row in high}


def test_a_part_is_about_its_share_of_the_groups() -> None:
    table = rows(*({"g": f"group {number}"} for number in range(2_000)))
    assert 500 < len(list(selected(table, source(part="0-30%", group="g")))) < 700


def test_a_file_is_selected_from_too(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("question,answer,s\nq1,1,a\nq2,2,b\n", encoding="utf-8")
    found = list(read_rows(source(where={"s": "b"}), base_dir=tmp_path))
    assert [row.where for row in found] == ["f.csv:3"]


@pytest.mark.parametrize(
    ("keys", "hint"),
    [
        ({"part": "30%", "group": "g"}, 'write "0-30%"'),
        ({"part": "30-30%", "group": "g"}, 'write "0-30%"'),
        ({"part": "0-101%", "group": "g"}, 'write "0-30%"'),
        ({"group": "g"}, "group says how part counts"),
        ({"files": "x.json"}, "belong to a dataset"),
        ({"rows": 0}, "greater than or equal to 1"),
        ({"where": {"s": [1]}}, "valid string"),
        ({"where": "s"}, "valid dictionary"),
    ],
)
def test_what_is_wrong_with_a_selection_is_told(keys: dict[str, object], hint: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(hint)):
        source(**keys)


@pytest.mark.parametrize("right", ["blue", " blue ", "C", "c"])
def test_options_are_lettered_in_their_order_and_the_answer_is_a_letter(right: str) -> None:
    (row,) = rows({"question": "Which?", "options": OPTIONS, "answer": right})
    columns = Columns(choices="options")
    assert question_of(row, columns) == "Which?\n(A) red\n(B) green\n(C) blue\n(D) teal"
    assert answers_of(row, columns) == ("C",)


def test_options_may_stand_in_columns_of_their_own() -> None:
    (row,) = rows({"question": "Which?", "x": "red", "y": "blue", "answer": "blue"})
    assert question_of(row, Columns(choices=("x", "y"))) == "Which?\n(A) red\n(B) blue"
    assert answers_of(row, Columns(choices=("x", "y"))) == ("B",)


@given(st.text(min_size=1).filter(str.strip), st.sampled_from(OPTIONS))
def test_a_shuffle_moves_the_answer_along(text: str, right: str) -> None:
    """Whether the data give the answer as text or as the letter of its place."""
    columns = Columns(choices="options", shuffle=True)
    by_text, by_letter = rows(
        {"question": text, "options": OPTIONS, "answer": right},
        {"question": text, "options": OPTIONS, "answer": "ABCD"[OPTIONS.index(right)]},
    )
    (letter,) = answers_of(by_text, columns)
    assert question_of(by_text, columns).splitlines()[-4:]["ABCD".index(letter)] == f"({letter}) {right}"
    assert answers_of(by_letter, columns) == (letter,)


def test_shuffles_put_the_first_option_everywhere() -> None:
    table = rows(*({"question": f"q{n}", "options": OPTIONS, "answer": "red"} for n in range(200)))
    letters = [answers_of(row, Columns(choices="options", shuffle=True))[0] for row in table]
    assert all(30 <= letters.count(letter) <= 70 for letter in "ABCD")


@pytest.mark.parametrize(
    ("cells", "columns", "message"),
    [
        ({"answer": "pink"}, {"choices": "options"}, "f:1: column 'answer' is 'pink', none of the 4 options"),
        ({"answer": "E"}, {"choices": "options"}, "f:1: column 'answer' is 'E', none of the 4 options"),
        ({"options": []}, {"choices": "options"}, "f:1: column 'options' holds 0 options"),
        ({"options": ["a"] * 27}, {"choices": "options"}, "f:1: column 'options' holds 27 options"),
        ({"options": ["a", None]}, {"choices": "options"}, "f:1: column 'options' is missing"),
        ({}, {"choices": ["x", "y"]}, "f:1: no column 'x'"),
        ({"answer": "maybe"}, {"names": {"0": "no", "1": "yes"}}, "'maybe', which columns.names does not hold"),
        ({}, {"without": ["Which"]}, "f:1: the question .* is empty"),
        ({}, {"either": {"a": "yes", "b": "no"}}, "f:1: no column 'a'"),
    ],
)
def test_a_row_that_does_not_fit_its_columns_is_told(
    cells: dict[str, object], columns: dict[str, object], message: str
) -> None:
    (row,) = rows({"question": "Which", "options": OPTIONS, "answer": "red", **cells})
    with pytest.raises(TaskError, match=message):
        (question_of(row, Columns.model_validate(columns)), answers_of(row, Columns.model_validate(columns)))


@pytest.mark.parametrize(
    ("columns", "hint"),
    [
        ({"without": ["("]}, "no regular expression"),
        ({"shuffle": True}, "shuffle is for choices"),
        ({"either": {"a": "yes"}}, "at least two columns"),
        ({"either": {"a": "yes", "b": "no"}, "choices": "c"}, "goes without choices"),
    ],
)
def test_what_is_wrong_with_columns_is_told(columns: dict[str, object], hint: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(hint)):
        Columns.model_validate(columns)


def test_answers_may_have_other_names() -> None:
    (row,) = rows({"question": "q", "answer": [1, 0]})
    assert answers_of(row, Columns(names={"0": "no", "1": "yes"})) == ("yes", "no")


def test_what_is_not_wanted_is_taken_out_of_the_question() -> None:
    (row,) = rows({"question": "Q: [TLE] What?\nA:"})
    columns = Columns(without=(r"\AQ: ", r"\[TLE\] ", r"\nA:\Z"))
    assert question_of(row, columns) == "What?"


def test_lists_in_a_template_become_lines() -> None:
    (row,) = rows({"texts": ["one", ["two", " three"]], "docs": {"title": ["A", "B"], "lines": [["x", " y"], ["z"]]}})
    assert question_of(row, Columns(question="{texts}|{docs}")) == "one\ntwo three|A: x y\nB: z"


def test_either_takes_one_of_the_columns_and_about_as_often_each() -> None:
    columns = Columns(either={"bad": "yes", "good": "no"})
    table = rows(*({"bad": f"bad {n}", "good": f"good {n}"} for n in range(400)))
    drawn = [(question_of(row, columns), answers_of(row, columns)) for row in table]
    assert all(answer == (("yes",) if question.startswith("bad") else ("no",)) for question, answer in drawn)
    assert 150 < sum(answer == ("yes",) for _, answer in drawn) < 250


def test_every_group_is_on_one_side_of_every_cut() -> None:
    """Also those whose place is exactly at the cut, which a few random groups seldom are."""
    table = rows(*({"g": f"group {number}"} for number in range(500)))
    for cut in range(1, 100):
        low = {row.where for row in selected(table, source(part=f"0-{cut}%", group="g"))}
        high = {row.where for row in selected(table, source(part=f"{cut}-100%", group="g"))}
        assert not low & high
        assert len(low) + len(high) == 500
