"""Rows come out of every kind of file with their line numbers; what is wrong with a file is told by line."""

import datetime
import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaspo.engine.tasks import Columns, DataSource, TaskError
from metaspo.engine.tasks.cells import Row, answers_of, cell_text, question_of
from metaspo.engine.tasks.sources import read_rows


def _rows(path: Path, content: bytes) -> list[Row]:
    path.write_bytes(content)
    return list(read_rows(DataSource(path=path.name), base_dir=path.parent))


def _error(path: Path, content: bytes) -> str:
    with pytest.raises(TaskError) as caught:
        _rows(path, content)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_jsonl_bears_a_mark_blank_lines_and_windows_line_ends(tmp_path: Path) -> None:
    content = '\ufeff{"question": "q1"}\r\n\r\n  \n{"question": "q\u20282"}'.encode()
    assert _rows(tmp_path / "x.jsonl", content) == [
        Row("x.jsonl:1", {"question": "q1"}),
        Row("x.jsonl:4", {"question": "q\u20282"}),
    ]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b'{"question": "x" "answer": 1}', "not valid JSON: Expecting ',' delimiter at column 18"),
        (b'{"question": "x", "answer": NaN}', "NaN is not a JSON value"),
        (b'["x"]', "not a JSON object"),
        (b'{"question": "x", "answer": "a", "answer": "b"}', "not valid JSON: the key 'answer' stands there twice"),
        (b'{"question": {"text": "x", "text": "y"}}', "the key 'text' stands there twice"),
        (b'{"question": "\xff"}', "not UTF-8"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"question": "x"', "not valid JSON: Expecting ',' delimiter at column 17"),
    ],
)
def test_a_bad_jsonl_line_is_told_by_its_number(line: bytes, what: str, tmp_path: Path) -> None:
    message = _error(tmp_path / "x.jsonl", b'{"question": "fine"}\n\n' + line + b"\n")
    assert message.startswith("x.jsonl:3: ")
    assert what in message


@given(st.lists(st.dictionaries(st.text(min_size=1), st.text() | st.integers() | st.none() | st.lists(st.text()))))
def test_jsonl_rows_are_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, rows: Sequence[Mapping[str, object]]
) -> None:
    content = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()
    read = _rows(tmp_path_factory.mktemp("jsonl") / "x.jsonl", content)
    assert [row.cells for row in read] == list(rows)


def test_csv_rows_carry_the_line_they_begin_on(tmp_path: Path) -> None:
    content = '\ufeffquestion,answer\r\n"two\r\nlines, one ""cell""",5\r\n\r\nplain,6\r\n'.encode()
    assert _rows(tmp_path / "x.csv", content) == [
        Row("x.csv:2", {"question": 'two\r\nlines, one "cell"', "answer": "5"}),
        Row("x.csv:5", {"question": "plain", "answer": "6"}),
    ]


def test_tsv_is_parted_by_tabs(tmp_path: Path) -> None:
    assert _rows(tmp_path / "x.tsv", b"question\tanswer\na, b\tc\n") == [
        Row("x.tsv:2", {"question": "a, b", "answer": "c"})
    ]


@pytest.mark.parametrize(
    ("content", "where", "what"),
    [
        (b"question,answer\nfine,1\na,b,c\n", "x.csv:3: ", "3 cells under 2 column names"),
        (b"question,question\n", "x.csv:1: ", "every column once"),
        (b'question,answer\nfine,1\n"open,2\n', "x.csv:3: ", "not valid CSV"),
        (b"question,answer\nfine,1\n\xff,2\n", "x.csv:3: ", "not UTF-8"),
    ],
)
def test_a_bad_csv_line_is_told_by_its_number(content: bytes, where: str, what: str, tmp_path: Path) -> None:
    message = _error(tmp_path / "x.csv", content)
    assert message.startswith(where)
    assert what in message


@pytest.mark.parametrize("line", ['fine;"one, two"', "fine, or not;1", '"fine; or not";1'])
def test_a_line_that_is_broken_by_the_wrong_sign_is_told_with_the_key_that_names_it(line: str, tmp_path: Path) -> None:
    message = _error(tmp_path / "x.csv", f"question;answer\n{line}\n".encode())
    assert "set delimiter = ';' beside path" in message


@pytest.mark.parametrize("told", ["sep=;", '"sep=;"'])
def test_a_first_line_for_excel_names_the_sign_and_lines_keep_their_numbers(told: str, tmp_path: Path) -> None:
    content = f"\ufeff{told}\r\nquestion;answer\r\na, b;c\r\nd;e;f\r\n".encode()
    (tmp_path / "x.csv").write_bytes(content)
    rows = list(read_rows(DataSource(path="x.csv", bad_rows="skip"), base_dir=tmp_path))
    assert rows[0] == Row("x.csv:3", {"question": "a, b", "answer": "c"})
    assert rows[1].fault.startswith("x.csv:4: 3 cells under 2")


def test_outer_space_of_a_columns_name_is_seen_where_the_column_is_missed(tmp_path: Path) -> None:
    (row,) = _rows(tmp_path / "x.csv", b"question, answer\nfine, 1\n")
    with pytest.raises(TaskError, match="there are: question, ' answer'"):
        answers_of(row, Columns())


def test_a_date_is_text_and_fields_are_told_by_their_names() -> None:
    day = datetime.date(2026, 12, 31)
    assert cell_text(day) == "2026-12-31"
    assert cell_text(datetime.datetime.combine(day, datetime.time(23, 59))) == "2026-12-31 23:59:00"
    with pytest.raises(ValueError, match=r'holds fields \(text, id\): name one of them, "COLUMN\.FIELD"'):
        cell_text({"text": "a", "id": 1})


@pytest.mark.parametrize("sign", [";", "|"])
def test_cells_that_end_at_another_sign_are_told_with_the_key_that_names_it(sign: str, tmp_path: Path) -> None:
    (row,) = _rows(tmp_path / "x.csv", f"question{sign}answer\nfine{sign}1\n".encode())
    with pytest.raises(TaskError, match=re.escape(f"set delimiter = '{sign}' beside path")):
        question_of(row, Columns())


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (Path.mkdir, "is a folder; name the file in it"),
        (os.mkfifo, "is a pipe or a device, and is read more than once: keep its content in a file"),
        (lambda path: path.symlink_to("/dev/zero"), "is a pipe or a device"),
        (lambda path: path.symlink_to(path), "is a link that leads to itself"),
        (lambda path: path.symlink_to("gone.jsonl"), r"is a link that leads to gone\.jsonl, where nothing is"),
        (lambda path: path.symlink_to("/proc/self/mem"), r"x\.jsonl: cannot be read: Input/output error"),
    ],
)
def test_what_stands_in_a_files_place_is_told(make: Callable[[Path], object], told: str, tmp_path: Path) -> None:
    make(tmp_path / "x.jsonl")
    with pytest.raises(TaskError, match=told):
        list(read_rows(DataSource(path="x.jsonl"), base_dir=tmp_path))


def test_a_file_that_cannot_be_looked_at_is_told_with_the_reason(tmp_path: Path) -> None:
    """As one is that stands in a folder which is closed to us."""
    with pytest.raises(TaskError, match="cannot be reached: File name too long"):
        list(read_rows(DataSource(path=f"{'x' * 300}.jsonl"), base_dir=tmp_path))


def test_parquet_rows_come_with_nested_columns_and_numbers(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows: list[dict[str, object]] = [
        {"q": "x", "answers": {"text": ["a", "b"]}, "n": 1.0},
        {"q": "y", "answers": {"text": ["c"]}, "n": None},
    ]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "x.parquet")
    read = list(read_rows(DataSource(path="x.parquet"), base_dir=tmp_path))
    assert read == [Row("x.parquet:1", rows[0]), Row("x.parquet:2", rows[1])]
    assert answers_of(read[0], Columns(answer="answers.text")) == ("a", "b")
    assert answers_of(read[0], Columns(answer="n")) == ("1",)


def test_a_file_that_is_no_parquet_is_named(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    assert _error(tmp_path / "x.parquet", b"question,answer").startswith("x.parquet: not a readable Parquet file")


@pytest.mark.parametrize(
    ("source", "library"),
    [(DataSource(path="x.parquet"), "pyarrow"), (DataSource(dataset="squad", split="train"), "datasets")],
)
def test_a_missing_library_is_named_with_the_command(
    source: DataSource, library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.parquet").touch()
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, "pyarrow.parquet", raising=False)
    with pytest.raises(TaskError, match=rf"needs {library}, .*pip install 'metaspo\[data\]'"):
        list(read_rows(source, base_dir=tmp_path))


def test_a_local_dataset_comes_with_the_names_of_its_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    features = datasets.Features({"q": datasets.Value("string"), "y": datasets.ClassLabel(names=["neg", "pos"])})
    rows = [{"q": "good", "y": 1}, {"q": "unlabelled", "y": -1}]
    (tmp_path / "mine").mkdir()
    table = pyarrow.Table.from_pylist(rows, schema=features.arrow_schema)
    parquet.write_table(table, tmp_path / "mine" / "train.parquet")
    read = list(read_rows(DataSource(dataset="./mine", split="train"), base_dir=tmp_path))
    assert [row.cells["y"] for row in read] == ["pos", None]
    assert [row.where for row in read] == ["./mine[train] row 0", "./mine[train] row 1"]
    with pytest.raises(TaskError, match=r"'\./mine': cannot be loaded: Unknown split"):
        list(read_rows(DataSource(dataset="./mine", split="tst"), base_dir=tmp_path))


def test_a_bad_parquet_cell_is_a_fault_of_its_column_alone(tmp_path: Path) -> None:
    """Text that is no UTF-8, also inside lists and structs; times that no calendar holds."""
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    encoded = pyarrow.array([b"fine", b"\xff\xfe"], pyarrow.binary())
    text = pyarrow.Array.from_buffers(pyarrow.string(), 2, encoded.buffers())
    columns = {
        "text": text,
        "list": pyarrow.ListArray.from_arrays([0, 1, 2], text),
        "struct": pyarrow.StructArray.from_arrays([text], ["text"]),
        "time": pyarrow.array([0, 2**40], pyarrow.timestamp("s")),
        "day": pyarrow.array([0, 2**30], pyarrow.date32()),
    }
    table = pyarrow.table({"question": ["a", "b"], **columns})
    parquet.write_table(table, tmp_path / "x.parquet")
    fine, bad = read_rows(DataSource(path="x.parquet"), base_dir=tmp_path)
    assert (question_of(fine, Columns()), question_of(bad, Columns())) == ("a", "b")
    assert question_of(fine, Columns(question="{text} {list}")) == "fine fine"
    for column in columns:
        with pytest.raises(TaskError, match=f"x.parquet:2: column '{column}' (is not UTF-8 text|cannot be read: )"):
            question_of(bad, Columns(question=column))


@given(st.data())
def test_whatever_bytes_of_a_parquet_file_are_broken_it_is_read_or_told(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path_factory.mktemp("parquet") / "x.parquet"
    parquet.write_table(pyarrow.table({"question": ["a", "bé"], "answer": [1.5, 2.0]}), path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with suppress(TaskError):
        for row in _rows(path, bytes(content)):
            question_of(row, Columns())


def test_files_of_other_splits_may_have_other_columns_or_be_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole dataset cannot be loaded then, as its library does it; what is asked for can."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    splits = {"train": '{"q": "a"}\n', "test": '{"q": "b", "more": 1}\n', "validation": '{"q": "c", "more": "x"}\n'}
    for folder, odd in {"columns": "", "broken": "{"}.items():
        (tmp_path / folder).mkdir()
        for split, line in splits.items():
            (tmp_path / folder / f"{split}.jsonl").write_text(line + odd * (split == "test"), encoding="utf-8")

    def read(folder: str, split: str, rows: int | None) -> list[object]:
        source = DataSource(dataset=f"./{folder}", split=split, rows=rows)
        return [row.cells["q"] for row in read_rows(source, base_dir=tmp_path)]

    for rows in (None, 5):
        assert [read("columns", split, rows) for split in splits] == [["a"], ["b"], ["c"]]
        assert read("broken", "train", rows) == ["a"]
        with pytest.raises(TaskError, match=r"'\./broken': cannot be loaded: JSON parse error"):
            read("broken", "test", rows)
    assert read("columns", "train[:1]", None) == ["a"]
    with pytest.raises(TaskError, match="the files of the split differ in their columns; say in `files`"):
        read("columns", "train+test", None)


def test_a_missing_file_is_told_by_its_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who stands in the wrong folder sees it."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TaskError, match=f"^here/none.jsonl: .*{tmp_path}/here/none.jsonl"):
        list(read_rows(DataSource(path="none.jsonl"), base_dir=Path("here")))


def test_files_of_a_dataset_may_be_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing one is told by its whole path."""
    pytest.importorskip("datasets")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with pytest.raises(TaskError, match=f"{tmp_path}/home/none.json"):
        list(read_rows(DataSource(dataset="json", files="~/none.json", split="train"), base_dir=Path("here")))


def test_a_missing_file_and_an_unknown_kind_of_file_are_told(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="no such file"):
        list(read_rows(DataSource(path="none.jsonl"), base_dir=tmp_path))
    with pytest.raises(TaskError, match=r"use \.jsonl, \.csv, \.tsv, \.parquet"):
        list(read_rows(DataSource(path="x.xlsx"), base_dir=tmp_path))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5, "5"),
        (5.0, "5"),
        ("5", "5"),
        ("5.0", "5.0"),
        (0.25, "0.25"),
        (-3, "-3"),
        (True, "true"),
        ("", ""),
        (10**30, "1" + "0" * 30),
    ],
)
def test_numbers_become_text_without_a_fraction_of_zero(value: object, text: str) -> None:
    assert cell_text(value) == text


@given(st.integers(-(2**53), 2**53))
def test_an_integer_reads_the_same_whether_written_whole_or_as_a_float(number: int) -> None:
    assert cell_text(number) == cell_text(float(number)) == str(number)


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), {"a": 1}, ["a"], b"x", "\ud800"])
def test_what_is_no_text_and_no_number_is_refused_by_name(value: object) -> None:
    row = Row("f:7", {"question": value, "answer": {"deep": value}})
    with pytest.raises(TaskError, match="f:7: column 'question' "):
        question_of(row, Columns())
    if not isinstance(value, list):
        with pytest.raises(TaskError, match=r"f:7: column 'answer\.deep' "):
            answers_of(row, Columns(answer="answer.deep"))


def test_a_template_fills_in_columns() -> None:
    row = Row("f:1", {"context": "C {query}", "query": "Q", "n": 2})
    assert question_of(row, Columns(question="{context}\n\n{query} ({n})")) == "C {query}\n\nQ (2)"


def test_a_column_with_a_dot_in_its_name_comes_before_a_nested_one() -> None:
    row = Row("f:1", {"a.b": "flat", "a": {"b": "nested"}})
    assert answers_of(row, Columns(answer="a.b")) == ("flat",)


@pytest.mark.parametrize(
    ("cells", "what"),
    [
        ({"Question": "x", "answer": 1}, "f:3: no column 'question'; there are: Question, answer"),
        ({"question": " \n", "answer": 1}, "f:3: the question .* is empty"),
        ({"question": "x", "answer": []}, "f:3: the list of answers .* is empty"),
        ({"question": "x", "answer": ["a", None]}, "f:3: column 'answer' is missing"),
        ({"question": "x"}, "f:3: no column 'answer'"),
    ],
)
def test_a_row_without_a_question_or_an_answer_is_told(cells: Mapping[str, object], what: str) -> None:
    row = Row("f:3", cells)
    with pytest.raises(TaskError, match=what):
        (question_of(row, Columns()), answers_of(row, Columns()))


def test_a_cell_may_be_longer_than_a_book(tmp_path: Path) -> None:
    long = "x" * 300_000
    (row,) = _rows(tmp_path / "x.csv", f"question,answer\n{long},5\n".encode())
    assert row.cells["question"] == long


@pytest.mark.parametrize(
    ("name", "content", "advice"),
    [
        ("x.csv", b",question,answer\n0,a,b\n", "index=False"),
        ("x.tsv", b'question\tanswer\n"Hello" he said\tyes\n', "a cell that begins with a quote must end with one"),
        ("x.csv", b"question,answer\ra,b\r", "line ends of Unix or Windows"),
    ],
)
def test_what_other_programs_write_is_told_how_to_mend(tmp_path: Path, name: str, content: bytes, advice: str) -> None:
    assert advice in _error(tmp_path / name, content)
