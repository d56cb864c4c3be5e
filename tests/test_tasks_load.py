"""A spec and its files become a task: every answer checked, the sample a function of seed, name, split and question."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaspo.engine.tasks import Example, Label, Notice, Task, TaskError, TaskSpec, load_task, load_tasks, read_once
from metaspo.engine.tasks.data_spec import DataSource
from metaspo.engine.tasks.sampling import draw
from metaspo.engine.tasks.sources import read_rows


def _write(path: Path, rows: Sequence[tuple[str, object]]) -> None:
    lines = [json.dumps({"question": question, "answer": answer}) for question, answer in rows]
    path.write_text("\n".join(lines), encoding="utf-8")


def _spec(**keys: object) -> TaskSpec:
    return TaskSpec.model_validate({"name": "mine", "train": "train.jsonl", **keys})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    _write(
        tmp_path / "train.jsonl", [(f"train question {number}", "Yes" if number % 2 else "no") for number in range(30)]
    )
    _write(tmp_path / "test.jsonl", [(f"test question {number}", "yes") for number in range(30)])
    return tmp_path


def _questions(task: Task) -> list[str]:
    return [example.question for example in task.train]


def test_labels_left_out_are_the_answers_of_the_data(folder: Path) -> None:
    task = load_task(_spec(answer="label", test="test.jsonl"), base_dir=folder, seed=1)
    assert task.answer_format == Label(("no", "Yes"))
    assert {answer for example in (*task.train, *task.test) for answer in example.answers} == {"no", "Yes"}


def test_answers_of_the_data_that_look_alike_are_one_label(tmp_path: Path) -> None:
    alike = ["né\tgatif", "NE\u0301\u00a0GATIF", "né gatif", "né\r\ngatif"]
    _write(tmp_path / "train.jsonl", [(f"q{number}", answer) for number, answer in enumerate([*alike, "positif"])])
    task = load_task(_spec(answer="label", sample="head"), base_dir=tmp_path, seed=1)
    assert [example.answers for example in task.train] == [(alike[0],)] * 4 + [("positif",)]


def test_signs_that_differ_stay_labels_apart(tmp_path: Path) -> None:
    _write(tmp_path / "train.jsonl", [("q1", "-"), ("q2", "--")])
    with pytest.raises(TaskError, match="labels must be told apart"):
        load_task(_spec(answer="label"), base_dir=tmp_path, seed=1)


def test_a_reader_reads_once_for_every_seed_and_no_two_specs_are_taken_for_one(folder: Path) -> None:
    specs = [_spec(train_size=5, answer=kind) for kind in ("label", "text")]
    alone = {
        (spec.answer.kind, seed): load_task(spec, base_dir=folder, seed=seed) for spec in specs for seed in (1, 2, 3)
    }
    reader = read_once()
    load_tasks(specs[:1], base_dir=folder, seed=1, reader=reader)
    load_task(specs[1], base_dir=folder, seed=1, reader=reader)
    (folder / "train.jsonl").unlink()
    for (kind, seed), task in alone.items():
        (spec,) = (spec for spec in specs if spec.answer.kind == kind)
        assert load_task(spec, base_dir=folder, seed=seed, reader=reader).train == task.train
    with pytest.raises(TaskError, match="no such file"):
        load_task(_spec(answer="integer"), base_dir=folder, seed=1, reader=reader)


def test_a_reader_tells_each_run_of_rows_that_are_left_out(folder: Path) -> None:
    with (folder / "train.jsonl").open("a", encoding="utf-8") as file:
        file.write("\nnonsense")
    spec = _spec(train={"path": "train.jsonl", "bad_rows": "skip"}, answer="label")
    reader, told = read_once(), list[Notice]()
    for seed in (1, 2):
        load_task(spec, base_dir=folder, seed=seed, notify=told.append, reader=reader)
    assert [notice.kind for notice in told] == ["bad-rows", "bad-rows"]


def test_number_words_and_digits_are_one_label_where_they_count_as_such(tmp_path: Path) -> None:
    _write(tmp_path / "train.jsonl", [("q1", "2"), ("q2", "Two"), ("q3", "one")])
    task = load_task(_spec(answer={"kind": "label", "number_words": True}), base_dir=tmp_path, seed=1)
    assert [example.answers for example in task.train] == [("2",), ("2",), ("one",)]


def test_the_first_user_prompt_says_how_to_answer_unless_given(folder: Path) -> None:
    task = load_task(_spec(answer="label"), base_dir=folder, seed=1)
    assert task.user_prompt == "{question}\n\nAnswer with one of: no, Yes."
    given = load_task(_spec(answer="label", user_prompt="Q: {question}"), base_dir=folder, seed=1)
    assert given.user_prompt == "Q: {question}"


def test_graders_see_the_columns_that_a_config_names_and_no_others(tmp_path: Path) -> None:
    row = {"question": "q", "answer": "a", "meta": {"level": 3, "tags": ["x"]}, "date": None, "secret": 1}
    (tmp_path / "train.jsonl").write_text(json.dumps(row), encoding="utf-8")
    task = load_task(_spec(columns={"metadata": ["meta", "meta.level", "date"]}), base_dir=tmp_path, seed=1)
    assert task.train[0].metadata == {"meta": {"level": 3, "tags": ["x"]}, "meta.level": 3, "date": None}
    assert load_task(_spec(), base_dir=tmp_path, seed=1).train[0].metadata == {}
    with pytest.raises(TaskError, match=r"train\.jsonl:1: no column 'levle'"):
        load_task(_spec(columns={"metadata": ["levle"]}), base_dir=tmp_path, seed=1)


def test_a_sample_does_not_depend_on_the_other_tasks_nor_their_order(folder: Path) -> None:
    specs = [_spec(name=name, train_size=5) for name in ("a", "b", "c")]
    forward = load_tasks(specs, base_dir=folder, seed=7)
    backward = load_tasks(specs[::-1], base_dir=folder, seed=7)[::-1]
    alone = [load_task(spec, base_dir=folder, seed=7) for spec in specs]
    assert list(map(_questions, forward)) == list(map(_questions, backward)) == list(map(_questions, alone))
    assert len({tuple(_questions(task)) for task in forward}) == 3


def test_a_sample_depends_on_the_seed_and_the_split(folder: Path) -> None:
    spec = _spec(test="train.jsonl", train_size=5, test_size=5)
    task, other = (load_task(spec, base_dir=folder, seed=seed) for seed in (1, 2))
    assert len({task.train, task.test, other.train, other.test}) == 4


def test_head_takes_the_first(folder: Path) -> None:
    task = load_task(_spec(train_size=3, sample="head"), base_dir=folder, seed=1)
    assert [example.where for example in task.train] == ["train.jsonl:1", "train.jsonl:2", "train.jsonl:3"]


questions = st.lists(st.text(), unique=True)


@given(questions, st.integers(1, 20), st.integers(1, 20), st.text())
def test_a_larger_sample_holds_the_smaller_one_in_the_order_of_the_file(
    texts: list[str], one: int, other: int, key: str
) -> None:
    examples = [Example(text, ("x",)) for text in texts]
    small, large = (draw(examples, size, order="random", key=key) for size in sorted((one, other)))
    assert set(small) <= set(large)
    assert large == sorted(set(large))
    assert len(large) == min(max(one, other), len(examples))


@given(questions, st.integers(1, 20))
def test_moving_lines_does_not_change_which_questions_are_drawn(texts: list[str], size: int) -> None:
    def drawn(order: list[str]) -> set[str]:
        examples = [Example(text, ("x",)) for text in order]
        return {order[position] for position in draw(examples, size, order="random", key="k")}

    assert drawn(texts) == drawn(sorted(texts)) == drawn(texts[::-1])


def test_every_question_is_drawn_about_equally_often() -> None:
    """2000 draws of 5 of 20: each question 500 times, give or take five standard deviations (about 19 each)."""
    examples = [Example(f"question {number}", ("x",)) for number in range(20)]
    counts = [0] * 20
    for seed in range(2000):
        for position in draw(examples, 5, order="random", key=f"{seed}/mine/train"):
            counts[position] += 1
    assert all(abs(count - 500) < 100 for count in counts)


def test_long_questions_are_left_out_before_sampling_and_counted(tmp_path: Path) -> None:
    _write(tmp_path / "train.jsonl", [("x" * length, "a") for length in range(1, 11)])
    notices: list[Notice] = []
    spec = _spec(train_size=4, max_question_chars=4)
    task = load_task(spec, base_dir=tmp_path, seed=1, notify=notices.append)
    assert [len(example.question) for example in task.train] == [1, 2, 3, 4]
    assert [(notice.kind, notice.count) for notice in notices] == [("too-long", 6)]


def test_a_split_with_long_questions_only_is_an_error(tmp_path: Path) -> None:
    _write(tmp_path / "train.jsonl", [("xxxxx", "a")])
    with pytest.raises(TaskError, match="max_question_chars: every question of train"):
        load_task(_spec(max_question_chars=4), base_dir=tmp_path, seed=1)


def test_questions_in_both_splits_are_noticed_and_kept(folder: Path) -> None:
    _write(folder / "train.jsonl", [("one", "yes"), ("two", "no"), ("three", "no"), ("two", "no")])
    _write(folder / "test.jsonl", [("new", "yes"), ("two ", "no"), ("three", "no")])
    notices: list[Notice] = []
    task = load_task(_spec(test="test.jsonl"), base_dir=folder, seed=1, notify=notices.append)
    (repeated, notice) = notices
    assert (repeated.task, repeated.kind, repeated.count) == ("mine", "repeated", 1)
    assert (notice.task, notice.kind, notice.count) == ("mine", "in-both-splits", 2)
    assert "test.jsonl:2, equal to train.jsonl:2" in notice.message
    assert len(task.test) == 3


def test_a_question_that_has_another_answer_the_second_time_is_told_with_both(tmp_path: Path) -> None:
    _write(tmp_path / "train.jsonl", [("one", "yes"), ("two", "no"), ("one", ["no", "maybe"]), ("two", ["no", "yes"])])
    notices: list[Notice] = []
    load_task(_spec(), base_dir=tmp_path, seed=1, notify=notices.append)
    assert "1 has another answer, such as 'no' in train.jsonl:3 for 'yes' in train.jsonl:1" in notices[0].message


@pytest.mark.parametrize(
    ("kind", "train", "test", "told"),
    [
        (
            "label",
            ["yes", "no"],
            ["no", "maybe", "maybe"],
            "2 test examples have labels that no train example has (maybe)",
        ),
        ("label", ["yes", "no"], ["no", "YES", ["maybe", "no"]], ""),
        ("label", ["yes, but", "no"], ["yes, but"], ""),
        ("labels", ["joy, fear", "none"], ["fear", "none", "joy, anger"], "1 test example has a label that no train"),
        ("text", ["a"], ["b"], ""),
    ],
)
def test_labels_of_test_examples_alone_are_told(
    kind: str, train: list[object], test: list[object], told: str, tmp_path: Path
) -> None:
    _write(tmp_path / "train.jsonl", [(f"a{number}", answer) for number, answer in enumerate(train)])
    _write(tmp_path / "test.jsonl", [(f"b{number}", answer) for number, answer in enumerate(test)])
    notices: list[Notice] = []
    load_task(_spec(test="test.jsonl", answer=kind, train_size=1), base_dir=tmp_path, seed=1, notify=notices.append)
    assert [notice.kind for notice in notices] == (["new-labels"] if told else [])
    assert not told or notices[0].message.startswith(told)


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        (["['Paris', 'Rome']", "['Oslo']", "Bern"], 2),
        (["{'text': ['Paris'], 'start': [1]}"], 1),
        (["['Paris']", "Oslo"], 0),
        (['["Paris"]', "[1, 2]", "{x}"], 0),
    ],
)
def test_lists_that_a_table_holds_as_text_are_told(answers: list[str], told: int, tmp_path: Path) -> None:
    _write(tmp_path / "train.jsonl", [(f"q{number}", answer) for number, answer in enumerate(answers)])
    notices: list[Notice] = []
    load_task(_spec(), base_dir=tmp_path, seed=1, notify=notices.append)
    assert [(notice.kind, notice.count) for notice in notices] == [("written-lists", told)] * (told > 0)
    row = json.dumps({"question": "q", "answer": "a", "options": "['a', 'b']"})
    (tmp_path / "train.jsonl").write_text(row, encoding="utf-8")
    with pytest.raises(TaskError, match=r"column 'options' is a list written as text, .* save the data as JSONL"):
        load_task(_spec(answer="letter", columns={"choices": "options"}), base_dir=tmp_path, seed=1)


def test_a_size_asked_for_and_not_there_is_noticed(folder: Path) -> None:
    notices: list[Notice] = []
    load_task(_spec(train_size=40), base_dir=folder, seed=1, notify=notices.append)
    load_task(_spec(), base_dir=folder, seed=1, notify=notices.append)
    assert [(notice.kind, notice.count) for notice in notices] == [("fewer-than-asked", 10)]
    assert notices[0].message == "train_size asks for 40 examples, the task has 30"


def test_equal_answers_are_kept_once(tmp_path: Path) -> None:
    _write(tmp_path / "train.jsonl", [("q", ["Paris", " Paris ", "paris"])])
    assert load_task(_spec(), base_dir=tmp_path, seed=1).train == (Example("q", ("Paris", "paris"), "train.jsonl:1"),)


@pytest.mark.parametrize(
    ("keys", "answer", "message"),
    [
        ({"answer": "integer"}, "4.5", "train.jsonl:2: the answer '4.5' does not fit answer.kind = 'integer'"),
        ({"answer": "letter"}, "AB", "train.jsonl:2: the answer 'AB' does not fit"),
        ({"answer": {"kind": "label", "labels": ["1"]}}, "2", "train.jsonl:2: the answer '2' does not fit"),
        ({"answer": "tagged"}, "<answer>", "train.jsonl:2: the answer '<answer>' does not fit"),
        ({"answer": "label"}, " ", "train.jsonl:2: the answer ' ' does not fit"),
        ({"answer": "integer", "metric": "macro-f1"}, ["1", "2"], "train.jsonl:2: 2 accepted answers"),
        (
            {"answer": {"kind": "label", "labels": ["1", "one"], "number_words": True}},
            "1",
            "answer: label 'one' would be",
        ),
        ({"metric": "no_such_module_xyz:fn"}, "1", "metric: cannot import 'no_such_module_xyz'"),
    ],
)
def test_data_that_do_not_fit_are_told_with_line_and_task(
    keys: dict[str, object], answer: object, message: str, tmp_path: Path
) -> None:
    _write(tmp_path / "train.jsonl", [("q1", "1") if keys.get("answer") != "letter" else ("q1", "A"), ("q2", answer)])
    with pytest.raises(TaskError) as caught:
        load_task(_spec(train_size=1, sample="head", **keys), base_dir=tmp_path, seed=1)
    assert str(caught.value).startswith(message)
    assert str(caught.value).endswith("[task 'mine']")


def test_too_many_different_answers_are_no_labels(tmp_path: Path) -> None:
    _write(tmp_path / "train.jsonl", [("q", f"answer {number}") for number in range(101)])
    with pytest.raises(TaskError, match="101 different answers"):
        load_task(_spec(answer="label"), base_dir=tmp_path, seed=1)


def test_an_empty_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text("\n")
    with pytest.raises(TaskError, match=r"train\.jsonl: holds no examples"):
        load_task(_spec(), base_dir=tmp_path, seed=1)


def test_two_tasks_of_one_name_are_an_error(folder: Path) -> None:
    with pytest.raises(TaskError, match="'mine' is the name of 2 tasks"):
        load_tasks([_spec(), _spec()], base_dir=folder, seed=1)


def test_rows_can_stand_in_the_config_itself(tmp_path: Path) -> None:
    rows = [{"text": f"q{number}", "answer": number % 2} for number in range(4)]
    task = load_task(_spec(train=rows, columns={"question": "text"}), base_dir=tmp_path, seed=1)
    assert [(example.question, example.answers, example.where) for example in task.train] == [
        (f"q{number}", (str(number % 2),), f"row {number + 1}") for number in range(4)
    ]


@given(st.integers(1, 99), st.lists(st.tuples(st.text(max_size=3), st.integers(0, 3)), min_size=1, max_size=40))
def test_shares_of_one_file_make_two_splits_that_have_no_row_in_common(
    percent: int, rows: list[tuple[str, int]]
) -> None:
    table = [{"question": f"q{text}", "answer": answer} for text, answer in rows]
    found: list[str] = []
    for part in (f"0-{percent}%", f"{percent}-100%"):
        source = DataSource.model_validate({"given": table, "part": part})
        taken = [row.where for row in read_rows(source, base_dir=Path())]
        assert {str(table[int(where.split()[1]) - 1]) for where in taken}.isdisjoint(
            {str(table[int(where.split()[1]) - 1]) for where in found}
        )
        found += taken
    assert sorted(found, key=lambda where: int(where.split()[1])) == [f"row {n + 1}" for n in range(len(rows))]


def test_a_row_with_too_many_cells_is_told_with_the_files_own_delimiter(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("question;answer\na;b;c\n")
    with pytest.raises(TaskError, match=r"rows\.csv:2: 3 cells under 2 column names; put quotes around cells with ';'"):
        load_task(_spec(train={"path": "rows.csv", "delimiter": ";"}), base_dir=tmp_path, seed=1)


@pytest.mark.parametrize(("name", "delimiter"), [("rows.csv", ";"), ("rows.tsv", "|")])
def test_cells_are_parted_by_the_delimiter_that_is_told(tmp_path: Path, name: str, delimiter: str) -> None:
    text = f"question{delimiter}answer\na, b\t{delimiter}yes\n"
    (tmp_path / name).write_text(text, encoding="utf-8")
    task = load_task(_spec(train={"path": name, "delimiter": delimiter}), base_dir=tmp_path, seed=1)
    assert [(example.question, example.answers) for example in task.train] == [("a, b\t", ("yes",))]


BAD_LINES = [
    ("not JSON", "train.jsonl:2: not valid JSON"),
    ('{"question": "", "answer": "yes"}', "train.jsonl:2: the question"),
    ('{"question": "q"}', "train.jsonl:2: no column 'answer'"),
    ('{"question": "q", "answer": "perhaps"}', "train.jsonl:2: the answer 'perhaps' does not fit"),
]


@pytest.mark.parametrize(("line", "says"), BAD_LINES)
def test_a_bad_row_is_left_out_and_told_where_that_is_asked_for_and_else_a_fault(
    tmp_path: Path, line: str, says: str
) -> None:
    good = '{"question": "one", "answer": "yes"}'
    (tmp_path / "train.jsonl").write_text(f"{good}\n{line}\n{good}\n", encoding="utf-8")
    answer = {"kind": "label", "labels": ["yes", "no"]}
    with pytest.raises(TaskError, match=says):
        load_task(_spec(answer=answer), base_dir=tmp_path, seed=1)
    notices: list[Notice] = []
    source = {"path": "train.jsonl", "bad_rows": "skip"}
    task = load_task(_spec(train=source, answer=answer), base_dir=tmp_path, seed=1, notify=notices.append)
    assert [example.where for example in task.train] == ["train.jsonl:1", "train.jsonl:3"]
    (told,) = (notice for notice in notices if notice.kind == "bad-rows")
    assert told.count == 1
    assert told.message.startswith("1 train row left out, which cannot be used; the first: " + says)


def test_a_file_of_bad_rows_alone_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("question,answer\none\ntwo\n", encoding="utf-8")
    with pytest.raises(TaskError, match=r"train\.csv:2: 1 cells under 2 column names"):
        load_task(_spec(train={"path": "train.csv", "bad_rows": "skip"}), base_dir=tmp_path, seed=1)
