"""Configs: what is refused, and how it is said."""

import inspect
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from metaspo.engine import ConfigError, load_config
from metaspo.engine.config.schema import RunConfig
from metaspo.engine.config.toml import as_toml
from metaspo.engine.errors import UnknownStrategy
from metaspo.engine.strategies.registry import OUTER, _with_options, outer_strategy
from metaspo.engine.studies.grid_config import GridConfig
from metaspo.engine.tasks.answer_spec import AnswerSpec
from metaspo.engine.tasks.kinds import kinds_of, require_kind
from metaspo.engine.tasks.spec_table import SpecTable
from metaspo.serving import ServeConfig

GOOD = """
[base]
model = "m"
endpoints = ["http://127.0.0.1:8000/v1"]

[[tasks]]
name = "a"
role = "source"
train = "a.jsonl"
user_prompt = "Q: {question}"
"""


def config_file(folder: Path, text: str) -> Path:
    path = folder / "run.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(config_file(folder, text))
    return str(caught.value)


def test_defaults_are_the_papers(tmp_path: Path) -> None:
    config = load_config(config_file(tmp_path, GOOD))
    assert (config.iterations, config.inner.candidates, config.inner.failures, config.inner.keep) == (3, 3, 3, 3)
    assert (config.outer.candidates, config.outer.failures, config.seed) == (9, 2, 42)


def test_a_config_is_named_after_its_file(tmp_path: Path) -> None:
    assert load_config(config_file(tmp_path, GOOD)).name == "run"


@pytest.mark.parametrize(
    ("wrong", "key", "hint"),
    [
        ("[outer]\ncandidate = 4\n", "outer.candidate", "candidates"),
        ("[budget]\ndollar = 4\n", "budget.dollar", "dollars"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_known_one(tmp_path: Path, wrong: str, key: str, hint: str) -> None:
    message = refusal(tmp_path, GOOD + wrong)
    assert message == f"{tmp_path / 'run.toml'}: {key}: unknown key (did you mean '{hint}'?)"


def test_an_unknown_key_inside_a_task_is_named_with_its_task(tmp_path: Path) -> None:
    assert "tasks.0.metrik: unknown key (did you mean 'metric'?)" in refusal(tmp_path, GOOD + 'metrik = "accuracy"\n')


@pytest.mark.parametrize(
    ("head", "tail", "message"),
    [
        ("", "seed = 3", "tasks.0.seed: unknown key here: `seed` stands at the top, above the first [table]"),
        ("attempts = 3", "", "attempts: unknown key here: `attempts` stands in [base] or [optimizer] or [judge]"),
        ("", "[outer]\nmetric = 'accuracy'", "outer.metric: unknown key here: `metric` stands in [[tasks]]"),
    ],
)
def test_a_key_that_stands_in_the_wrong_table_is_told_the_right_one(
    tmp_path: Path, head: str, tail: str, message: str
) -> None:
    assert message in refusal(tmp_path, f"{head}\n{GOOD}{tail}\n")


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("iterations", "whole number"),
        ("racing", "number"),
        ("budget.dollars", "number"),
        ("base.temperature", 'number or "none"'),
        ("base.concurrency", 'whole number or "auto"'),
    ],
)
def test_true_is_no_number(tmp_path: Path, key: str, kind: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(GOOD, encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"{re.escape(key)}: must be a {kind} \(it is true\)"):
        load_config(path, overrides={key: True})
    assert load_config(path, overrides={"early_rejection": True}).early_rejection


def tables_within(table: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield table
    kinds = {kind for field in table.model_fields.values() for kind in kinds_of(field.annotation)}
    for kind in sorted(kinds & {*every_table(SpecTable)}, key=repr):
        assert isinstance(kind, type)
        yield from tables_within(kind)


def every_table(table: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for each in table.__subclasses__():
        yield each
        yield from every_table(each)


@pytest.mark.parametrize("config", [RunConfig, GridConfig, ServeConfig])
def test_text_is_no_number_and_no_truth_value_and_a_number_is_none_either(config: type[BaseModel]) -> None:
    """In any table, for any key that takes no text by its JSON schema."""
    seen = 0
    for table in set(tables_within(config)):
        for key, schema in table.model_json_schema()["properties"].items():
            kinds = {each.get("type") for each in schema.get("anyOf", [schema])} - {"null"}
            if not kinds or kinds - {"boolean", "integer", "number"}:
                continue
            seen += 1
            wrong: list[object] = ["3", "true"] if kinds == {"boolean"} else ["3", "x", True]
            wrong += [0, 1.0] if kinds == {"boolean"} else [3.5] if kinds == {"integer"} else []
            for value in wrong:
                with pytest.raises(ValidationError) as caught:
                    table.model_validate({key: value})
                (fault,) = (each for each in caught.value.errors() if each["loc"][:1] == (key,))
                assert "must be " in fault["msg"]
                meant = "true" if kinds == {"boolean"} else "3"
                assert ("leave the quotes out" in fault["msg"]) == (value == meant), (table, key, value, fault["msg"])
    assert seen >= 8


@pytest.mark.parametrize("name", ["ape", "evoprompt-ga", "gepa", "mipro", "opro", "protegi", "sprig", "textgrad"])
def test_an_option_of_a_strategy_is_of_its_kind_too(name: str) -> None:
    options = inspect.signature(resolve_name(f"metaspo.engine.strategies.{OUTER[name]}"), eval_str=True).parameters
    for option, parameter in options.items():
        if kinds_of(parameter.annotation) & {int, float} and str not in kinds_of(parameter.annotation):
            with pytest.raises(UnknownStrategy, match=f"'{name}': {option}: must be a .*leave the quotes out"):
                outer_strategy(name, {option: "3"})


@pytest.mark.parametrize("annotation", ["Unknown | int", "int | 'Unknown'", "Path.Unknown", "int |"])
def test_an_option_whose_annotation_cannot_be_read_takes_what_the_strategy_takes(annotation: str) -> None:
    def factory(option: object) -> object:
        return option

    factory.__annotations__["option"] = annotation
    assert _with_options("own", factory, {"option": "3"}) == "3"


def test_text_is_taken_by_a_key_of_another_type_that_may_be_read_from_it() -> None:
    require_kind("a/b", kinds_of(Path | int))
    with pytest.raises(ValueError, match="must be a whole number: leave the quotes out"):
        require_kind("3", kinds_of(int | None))


@pytest.mark.parametrize("worth", [True, "1000"])
def test_what_a_unit_is_worth_is_a_number(worth: object) -> None:
    with pytest.raises(ValidationError, match=r"units\.km"):
        AnswerSpec.model_validate({"kind": "number", "units": {"km": worth}})
    assert AnswerSpec.model_validate({"kind": "number", "units": {"km": 1000}}).units == {"km": 1000}


@pytest.mark.parametrize(
    ("given", "told"), [(0, "greater than or equal to 1"), ([3], r"a whole number \(it is \[3\]\)")]
)
def test_an_option_of_a_strategy_is_refused_in_words_for_people(given: object, told: str) -> None:
    with pytest.raises(UnknownStrategy, match=rf"^'gepa': minibatch: must be {told}$"):
        outer_strategy("gepa", {"minibatch": given})


@pytest.mark.parametrize("given", ['["a.jsonl", "b.jsonl"]', "3", "true"])
def test_what_is_no_data_source_is_told_what_is_one(tmp_path: Path, given: str) -> None:
    message = refusal(tmp_path, GOOD.replace('train = "a.jsonl"', f"train = {given}"))
    assert 'tasks.0.train: give either a file, "train.jsonl", or a dataset, {' in message


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("concurrency = -1", "base.concurrency: must be greater than or equal to 1 or 'auto' (it is -1)"),
        ("concurrency = []", 'base.concurrency: must be a whole number or "auto"'),
        ("max_tokens = 1e30", "base.max_tokens: must be a whole number of fewer digits (it is 1e+30)"),
        ("max_tokens = [96]", "base.max_tokens: must be a whole number"),
        ('temperature = ["none"]', 'base.temperature: must be a number or "none"'),
        ("max_tokens = 1979-05-27", "base.max_tokens: must be a whole number"),
        ("stop = 3", "base.stop: must be a list, […] (it is 3)"),
        ("revision = 3", "base.revision: must be text in quotes (it is 3)"),
    ],
)
def test_a_value_that_a_key_does_not_take_is_told_in_one_line(tmp_path: Path, said: str, told: str) -> None:
    """Of whatever kinds the key's may be."""
    (line,) = refusal(tmp_path, GOOD.replace('model = "m"', f'model = "m"\n{said}')).splitlines()
    assert line.endswith(f": {told}")


@pytest.mark.parametrize(
    ("seeds", "meant"), [('["1"]', ": leave the quotes out (one is '1')"), ("[1.5]", " (one is 1.5)")]
)
def test_a_list_that_holds_a_value_of_another_kind_is_told_which(seeds: str, meant: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(f"each must be a whole number{meant}")):
        GridConfig.model_validate({"seeds": tomllib.loads(f"seeds = {seeds}")["seeds"]})


def test_every_fault_gets_a_line_of_its_own(tmp_path: Path) -> None:
    message = refusal(tmp_path, "iterations = -1\nsed = 1\n" + GOOD)
    assert [line.split(": ")[1] for line in message.splitlines()] == ["iterations", "sed"]


@pytest.mark.parametrize("fault", ['answer = "lable"', 'user_prompt = "no question"', 'program = "own:answer"'])
def test_a_fault_of_the_only_task_is_told_once(tmp_path: Path, fault: str) -> None:
    key, table = fault.partition(" = ")[0], GOOD[GOOD.index("[[tasks]]") :]
    kept = "".join(line for line in table.splitlines(keepends=True) if not line.startswith(f"{key} ="))
    (line,) = refusal(tmp_path, GOOD.replace(table, f"{kept}{fault}\n")).splitlines()
    assert line.split(": ")[1].startswith("tasks.0")
    head = GOOD[: GOOD.index("[[tasks]]")]
    assert refusal(tmp_path, "tasks = []\n" + head).endswith("tasks: must not be empty")


def test_a_number_where_it_cannot_be_is_shown(tmp_path: Path) -> None:
    assert "(it is -1)" in refusal(tmp_path, "iterations = -1\n" + GOOD)


def test_a_text_that_is_refused_is_shown_once(tmp_path: Path) -> None:
    assert refusal(tmp_path, GOOD.replace('name = "a"', 'name = "für Ärzte"')).count("'für Ärzte'") == 1


def test_broken_toml_is_told_with_its_line(tmp_path: Path) -> None:
    assert "line 2" in refusal(tmp_path, "seed = 1\nseed seed\n")


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("forgotten", range(3))
def test_the_string_of_several_lines_that_was_not_closed_is_told_with_its_line(
    tmp_path: Path, forgotten: int, ends: str
) -> None:
    """Else the next one's beginning ends it, and what is wrong is said of a line far below."""
    kinds = ('"""', '"""', "'''")
    prompts = [f"[[tasks]]  # it's\ntext = {kind}\nIt's \"x\".\n" for kind in kinds]
    text = '# """\n' + "".join(
        prompt + kind * (number != forgotten) + "\n"
        for number, (prompt, kind) in enumerate(zip(prompts, kinds, strict=True))
    )
    with pytest.raises(ConfigError) as caught:
        load_config(config_file(tmp_path, text.replace("\n", ends)))
    told = f"the string that begins with {kinds[forgotten]} in line {3 + 4 * forgotten} "
    assert told in str(caught.value), caught.value


@pytest.mark.parametrize("closed", ['"""\\""""""', r"""'''C:\prompts\'''""", '"""x"""""'])
def test_a_string_that_ends_is_not_told_as_one_that_does_not(tmp_path: Path, closed: str) -> None:
    """A backslash escapes nothing between single quotes; and what is wrong here is elsewhere."""
    with pytest.raises(ConfigError, match=r"line 2, column 8\)$"):
        load_config(config_file(tmp_path, f"name = {closed}\nseed = x\n"))


def test_a_string_without_an_end_is_looked_for_once(tmp_path: Path) -> None:
    """And not from every quote of a line anew: of this one that would take many minutes."""
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_config(config_file(tmp_path, 1_000_000 * '\\"'))


def test_a_missing_file_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file; `metaspo init DIR`"):
        load_config(tmp_path / "none.toml")


def test_a_folder_is_told_as_one_with_the_config_in_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path)
    assert str(caught.value) == f"{tmp_path}: is a folder"
    (tmp_path / "metaspo.toml").write_text(GOOD, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path)
    assert str(caught.value) == f"{tmp_path}: is a folder; did you mean {tmp_path / 'metaspo.toml'}?"


def test_a_key_itself_is_refused_and_not_repeated(tmp_path: Path) -> None:
    message = refusal(tmp_path, GOOD.replace('model = "m"', 'model = "m"\napi_key_env = "sk-live-123456"'))
    assert "NAME of an environment variable" in message
    assert "sk-live" not in message


def test_two_tasks_of_one_name_are_refused(tmp_path: Path) -> None:
    assert "two tasks are named 'a'" in refusal(tmp_path, GOOD + GOOD[GOOD.index("[[tasks]]") :])


def test_a_system_prompt_must_not_hold_the_placeholder(tmp_path: Path) -> None:
    assert "system_prompt: a system prompt is the same for every question" in refusal(
        tmp_path, 'system_prompt = "Answer {question}"\n' + GOOD
    )


def test_an_override_wins_over_the_file(tmp_path: Path) -> None:
    config = load_config(config_file(tmp_path, GOOD), overrides={"outer.candidates": 4, "base.model": "other"})
    assert (config.outer.candidates, config.base.model) == (4, "other")


def test_an_override_of_an_unknown_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"outer\.candidats: unknown key \(did you mean 'candidates'\?\)"):
        load_config(config_file(tmp_path, GOOD), overrides={"outer.candidats": 4})


def test_a_key_that_holds_a_dot_is_set_in_quotes_as_toml_has_it(tmp_path: Path) -> None:
    file = config_file(tmp_path, GOOD)
    set_over = {'base.extra."a.b"': 1, "base.extra.'c d'.e": 2, "base.extra.f.g": 3}
    assert load_config(file, overrides=set_over).base.extra == {"a.b": 1, "c d": {"e": 2}, "f": {"g": 3}}
    for broken in ('base.extra."a.b', 'base.extra."a" "b"', '"', 'a"\n"b'):
        with pytest.raises(ConfigError, match="is no key"):
            load_config(file, overrides={broken: 1})


def test_extra_fields_cannot_undo_what_budgets_reserve(tmp_path: Path) -> None:
    assert "base.extra: must not hold 'n'" in refusal(
        tmp_path, GOOD.replace('model = "m"', 'model = "m"\nextra = {n = 4}')
    )


@pytest.mark.parametrize("number", ["nan", "-inf"])
def test_a_number_that_json_does_not_have_is_no_field_of_a_request(tmp_path: Path, number: str) -> None:
    extra = f"extra = {{a = [{{b = {number}}}]}}"
    assert "base.extra: must not hold nan or inf" in refusal(
        tmp_path, GOOD.replace('model = "m"', f'model = "m"\n{extra}')
    )


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
)


@given(VALUES)
def test_a_value_is_written_as_a_config_says_it_whatever_its_keys_are(value: object) -> None:
    assert tomllib.loads(f"x = {as_toml(value)}") == {"x": value}
