"""`metaspo import`: what other tools wrote becomes a config; what metaspo exported comes back as it was."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import here
from exchange_world import QUESTIONS, SYSTEMS, USERS, found_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metaspo.engine import ConfigError
from metaspo.engine.config.load import load_config
from metaspo.engine.evaluation.answers import AnsweredExample, TaskAnswers
from metaspo.engine.exchange import targets
from metaspo.engine.exchange.exported import ExportedRun
from metaspo.engine.exchange.imported import Imported, config_files
from metaspo.engine.exchange.read import read_files
from metaspo.engine.tasks import load_tasks
from metaspo.engine.tasks.base import Example

IN_A_FOLDER = settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def as_files(folder: Path, texts: dict[str, str]) -> list[Path]:
    """The texts as files in a folder."""
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8", newline="")
    return [folder / name for name in texts]


def with_examples(found: ExportedRun, questions: list[str]) -> ExportedRun:
    examples = tuple(
        AnsweredExample(example=Example(question, ("yes", 'n"o')), before=None, after=None) for question in questions
    )
    return found.with_answers([TaskAnswers(task="t", role="source", split="test", examples=examples)])


TOOLS = [
    targets.messages,
    targets.promptfoo,
    targets.dspy,
    targets.langchain,
    targets.langfuse_prompts,
    targets.langsmith_prompts,
]


@pytest.mark.parametrize("tool", TOOLS)
@IN_A_FOLDER
@given(SYSTEMS, USERS, st.lists(QUESTIONS, max_size=3))
def test_an_export_comes_back_as_it_was(
    tmp_path: Path, tool: Callable[[ExportedRun], dict[str, str]], system: str, user: str, questions: list[str]
) -> None:
    try:
        files = tool(with_examples(found_of(system, user), questions))
    except ConfigError:  # what Langfuse cannot hold
        assert tool is targets.langfuse_prompts
        return
    imported = read_files(as_files(tmp_path, files))
    (task,) = imported.tasks
    assert (imported.system_prompt, task.name, task.user_prompt) == (system, "t", user)
    if tool is targets.promptfoo:
        assert list(task.rows) == [(question, ("yes", 'n"o')) for question in questions]


@IN_A_FOLDER
@given(SYSTEMS, USERS)
def test_text_files_come_back_with_line_ends_of_unix(tmp_path: Path, system: str, user: str) -> None:
    texts = {name: f"{text}\n" for name, text in targets.text_files(found_of(system, user)).items()}
    imported = read_files(as_files(tmp_path, texts))
    assert imported.system_prompt == system.replace("\r\n", "\n")
    assert imported.tasks[0].user_prompt == user.replace("\r\n", "\n")


@IN_A_FOLDER
@given(SYSTEMS, USERS, st.lists(QUESTIONS, min_size=2, max_size=4))
def test_the_config_that_is_written_says_the_same(tmp_path: Path, system: str, user: str, questions: list[str]) -> None:
    """Through TOML and JSON lines, whatever characters there are."""
    file = as_files(tmp_path, targets.promptfoo(with_examples(found_of(system, user), questions)))
    as_files(tmp_path, config_files(read_files(file), source="x"))
    config = load_config(tmp_path / "metaspo.toml")
    (task,) = load_tasks(config.tasks, base_dir=tmp_path, seed=1)
    assert (config.system_prompt, task.user_prompt) == (system, user)
    assert [example.question for split in (task.train, task.test) for example in split] == [
        *questions[0::2],
        *questions[1::2],
    ]


PROMPTFOO = """
prompts:
  - |-
    Context: {{context}}
    Question: {{ query }}
    Answer yes or no.
  - Another one {{query}}
providers:
  - id: openai:chat:gpt-4o-mini
    config: {max_tokens: 30, apiKeyEnvar: MY_KEY}
defaultTest:
  vars: {context: All is well.}
tests:
  - vars: {query: "Is it so?"}
    assert: [{type: llm-rubric, value: is kind}, {type: icontains, value: 'yes'}]
  - vars: {query: ["Is it not?", "Is it never?"], context: "{x}"}
    assert: [{type: contains-any, value: ['no', 'never']}]
  - vars: {query: "Is it kind?"}
    assert: [{type: llm-rubric, value: is kind}]
  - file://more.csv
"""
MORE = 'query,context,__expected\nWhy?,"a,b",equals: no\nHow?,,yes\n'


def test_a_config_of_promptfoo_becomes_a_task(tmp_path: Path) -> None:
    (path, _) = as_files(tmp_path, {"promptfooconfig.yaml": PROMPTFOO, "more.csv": MORE})
    imported = read_files([path])
    (task,) = imported.tasks
    assert (task.name, task.user_prompt) == (tmp_path.name.strip("-_"), "Context: {question}\nAnswer yes or no.")
    assert task.rows == (
        ("All is well.\nQuestion: Is it so?", ("yes",)),
        ("{x}\nQuestion: Is it not?", ("no", "never")),
        ("{x}\nQuestion: Is it never?", ("no", "never")),
        ("a,b\nQuestion: Why?", ("no",)),
        ("\nQuestion: How?", ("yes",)),
    )
    assert imported.base == {"backend": "openai", "model": "gpt-4o-mini", "max_tokens": 30, "api_key_env": "MY_KEY"}
    assert imported.notes == (
        "the first of 2 prompts was taken",
        "1 of 5 tests have no answer to compare with (equals, contains …): left out",
    )


def test_what_a_prompt_of_promptfoo_holds_as_text_is_no_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a config without a name is named after its folder, wherever one stands."""
    prompt = "{a} {% raw %}{{x}} {% y %}{% endraw %} {{ '{{z}}' }} {{text}} {% raw %}{{text}}{% endraw %} {{text}}."
    config = {"prompts": [prompt], "tests": [{"vars": {"text": "T"}, "assert": [{"type": "equals", "value": "yes"}]}]}
    as_files(tmp_path, {"promptfooconfig.yaml": json.dumps(config)})
    monkeypatch.chdir(tmp_path)
    (task,) = read_files([Path("promptfooconfig.yaml")]).tasks
    assert task.name == tmp_path.name.strip("-_")
    assert task.user_prompt == "{a} {{x}} {% y %} {{z}} {question}."
    assert task.rows == (("T {{text}} T", ("yes",)),)


def program(*demos: dict[str, Any]) -> str:
    fields = [{"prefix": "Text:", "description": "${text}"}, {"prefix": "Label:", "description": "which"}]
    state: dict[str, Any] = {
        "traces": [],
        "demos": demos,
        "signature": {"instructions": "Say {which}.", "fields": fields},
        "lm": None,
    }
    return json.dumps({"one.predict": state, "metadata": {"dependency_versions": {}}})


def test_a_program_of_dspy_becomes_a_task_with_its_demonstrations(tmp_path: Path) -> None:
    demos = [{"augmented": True, "text": f"t{n}", "label": "ab"[n % 2]} for n in range(4)]
    (path,) = as_files(tmp_path, {"program.json": program(*demos, {"text": "no label"})})
    (task,) = read_files([path]).tasks
    assert (task.name, task.user_prompt) == ("one.predict", "Say {which}.\n\n{question}")
    assert task.rows == (("t0", ("a",)), ("t1", ("b",)), ("t2", ("a",)), ("t3", ("b",)))


def test_a_program_that_was_changed_since_the_export_is_read_as_it_is_now(tmp_path: Path) -> None:
    state = json.loads(targets.dspy(found_of("Be brief.", "Q: {question}"))["t.json"])
    state["signature"]["instructions"] = "Be long.\n\nQ: {question}"
    imported = read_files(as_files(tmp_path, {"t.json": json.dumps(state)}))
    assert (imported.system_prompt, imported.tasks[0].user_prompt) == ("", "Be long.\n\nQ: {question}")


def langchain(text: str, kind: str = "HumanMessagePromptTemplate", form: str = "f-string") -> dict[str, Any]:
    """A message as LangChain writes it."""
    said = {"template": text, "template_format": form}
    prompt = {"lc": 1, "id": ["langchain", "prompts", "prompt", "PromptTemplate"], "kwargs": said}
    return {"lc": 1, "id": ["langchain", "prompts", "chat", kind], "kwargs": {"prompt": prompt}}


def manifest(*messages: dict[str, Any], **metadata: str) -> dict[str, Any]:
    """A chat template as LangSmith keeps it."""
    kwargs = {"messages": messages, "metadata": metadata}
    return {"lc": 1, "id": ["langchain", "prompts", "chat", "ChatPromptTemplate"], "kwargs": kwargs}


def langfuse(prompt: object, **said: object) -> dict[str, Any]:
    """A prompt as Langfuse's API answers it."""
    kind = "text" if isinstance(prompt, str) else "chat"
    return {"type": kind, "name": "team/sums", "version": 3, "prompt": prompt, "config": {}, "labels": [], **said}


SYSTEM = {"lc": 1, "id": ["langchain", "schema", "messages", "SystemMessage"], "kwargs": {"content": 'Be {"a": {x}}'}}
IN_BRACES = [
    {"role": "system", "content": 'Be {"a": {x}}'},
    {"type": "chatmessage", "role": "user", "content": "{{ n }}!"},
]


@pytest.mark.parametrize(
    ("kept", "name", "system", "user"),
    [
        (langfuse(IN_BRACES), "team-sums", 'Be {"a": {x}}', "{question}!"),
        (langfuse(IN_BRACES, config=None), "team-sums", 'Be {"a": {x}}', "{question}!"),
        (langfuse('{"n": {{n}}} {x}'), "team-sums", "", '{"n": {question}} {x}'),
        (manifest(SYSTEM, langchain("{{x}} {n}")), "p", 'Be {"a": {x}}', "{x} {question}"),
        ({"commit_hash": "1", "manifest": manifest(langchain("{n}"), task="sums")}, "sums", "", "{question}"),
        (manifest(langchain("{x} {{n}}", form="mustache")), "p", "", "{x} {question}"),
        (langchain("Add: {n}")["kwargs"]["prompt"], "p", "", "Add: {question}"),
    ],
)
def test_a_prompt_that_a_registry_keeps_becomes_a_task(
    tmp_path: Path, kept: dict[str, Any], name: str, system: str, user: str
) -> None:
    imported = read_files(as_files(tmp_path, {"p.json": json.dumps(kept)}))
    (task,) = imported.tasks
    assert (task.name, imported.system_prompt, task.user_prompt) == (name, system, user)


def test_a_system_prompt_that_a_registry_keeps_goes_with_a_users_prompt_beside_it(tmp_path: Path) -> None:
    for kept in (langfuse("Be kind."), langfuse([{"role": "system", "content": "Be kind."}])):
        imported = read_files(as_files(tmp_path, {"p.json": json.dumps(kept), "user.t.txt": "Q: {question}\n"}))
        assert (imported.system_prompt, imported.tasks[0].user_prompt) == ("Be kind.", "Q: {question}")


def test_an_imported_config_is_written_and_runs_as_far_as_its_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    demos = [{"text": f"t{n}", "label": "ab"[n % 2]} for n in range(8)]
    as_files(tmp_path, {"program.json": program(*demos)})
    ended = here("import", "program.json", "--out", "new")
    assert ended.code == 0
    assert ended.out.splitlines()[0] == "new/metaspo.toml"
    (plan,) = here("plan", "new/metaspo.toml", "--json").data
    assert plan["name"] == "new"
    assert load_config(Path("new/metaspo.toml")).tasks[0].answer.kind == "label"
    again = here("import", "program.json", "--out", "new")
    assert (again.code, "is there already" in again.errors[0]) == (2, True)


def test_prompts_alone_take_their_examples_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = "".join(json.dumps({"question": f"{n}?", "answer": str(n % 3)}) + "\n" for n in range(40))
    as_files(tmp_path, {"rows.jsonl": rows, "system.txt": "Be {kind}.\n", "user.sums.txt": "Add: {{ sum }}\n"})
    assert here("import", "system.txt", "user.sums.txt", "--out", "new", "--data", "rows.jsonl").code == 0
    config = load_config(Path("new/metaspo.toml"))
    (task,) = load_tasks(config.tasks, base_dir=Path("new"), seed=1)
    assert (config.system_prompt, task.name, task.user_prompt) == ("Be {kind}.", "sums", "Add: {question}")
    assert len(task.train) + len(task.test) == 40
    assert config.tasks[0].answer.kind == "label"
    as_files(
        tmp_path,
        {"rows.jsonl": rows.replace('"answer": "', '"answer": "a story of more than forty characters, about number ')},
    )
    assert here("import", "user.sums.txt", "--out", "free", "--data", "rows.jsonl").code == 0
    assert load_config(Path("free/metaspo.toml")).tasks[0].answer.kind == "text"
    as_files(tmp_path, {"rows.csv": "question;answer\nq;a\n"})
    told = here("import", "user.sums.txt", "--out", "parted", "--data", "rows.csv")
    assert (told.code, "rows.csv:2" in told.err, "set delimiter = ';'" in told.err) == (0, True, True)
    missing = here("import", "user.sums.txt", "--out", "other", "--data", "nope.jsonl")
    assert (missing.code, "no such file" in missing.errors[0], Path("other").exists()) == (2, True, False)
    without = here("import", "user.sums.txt", "--out", "other")
    assert 'Put the examples into other/tasks/sums.jsonl: {"question"' in without.out


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("p.txt", "", "is empty"),
        ("reviews.toml", 'user_prompt = "Say: {question}"', "reviews.toml: is TOML, as metaspo's own configs are"),
        ("p.txt", "{a} or {b}", "one place for the question is wanted, {question}; it has: {a}, {b}"),
        ("p.txt", "Be kind.", "no task there"),
        ("p.json", "[1]", "no config of promptfoo, no saved program of DSPy, no prompt of Langfuse or LangSmith"),
        ("p.json", json.dumps(langfuse("{{a}} {{b}}")), "in the user's message; it has: a, b"),
        ("p.json", json.dumps(langfuse([{"role": "system", "content": "{{a}}"}])), "in the user's message; it has: a"),
        ("p.json", json.dumps(langfuse([{"type": "placeholder", "name": "turns"}])), "both of text"),
        ("p.json", json.dumps(langfuse([7])), "is not as its tool writes it: a text, a list or a table stands where"),
        ("p.json", json.dumps(manifest(langchain("{a} {question}"))), "it has: a, question"),
        ("p.json", json.dumps(manifest(langchain("{n", form="f-string"))), "is not as its tool writes it"),
        ("p.json", json.dumps(manifest(langchain("{{{n}}}", form="mustache"))), "its mustache template is more than"),
        ("p.json", json.dumps(manifest(langchain("{{n}}", form="jinja2"))), "its jinja2 template is more than a text"),
        ("p.json", json.dumps(manifest(langchain("{n}"), langchain("a", "AIMessagePromptTemplate"))), "both of text"),
        ("p.json", json.dumps(manifest({"id": ["MessagesPlaceholder"], "kwargs": {}})), "both of text"),
        ("p.json", json.dumps({"lc": 1, "kwargs": {}}), "is not as its tool writes it: 'messages' is missing"),
        ("p.json", "{", "not valid JSON"),
        ("p.yaml", "a: [", "not valid YAML"),
        ("p.json", json.dumps({"prompts": ["{% if x %}{{x}}"], "tests": []}), "more than a text with variables"),
        ("p.json", json.dumps({"prompts": ["Hello"], "tests": []}), "its prompt has no variable"),
        ("p.json", json.dumps({"prompts": [], "tests": []}), "holds no prompt"),
        (
            "p.json",
            json.dumps({"prompts": ["{{x}}"], "tests": [{"assert": [{"type": "equals", "value": "a"}]}]}),
            "'x'",
        ),
        ("p.json", json.dumps({"messages": [{"role": "user", "content": []}]}), "both of text"),
        ("p.json", json.dumps({"messages": []}), "holds no user's message"),
    ],
)
def test_what_cannot_be_taken_is_said_in_a_sentence(tmp_path: Path, name: str, text: str, says: str) -> None:
    with pytest.raises(ConfigError) as told:
        read_files(as_files(tmp_path, {name: text}))
    assert says in str(told.value)
    assert "\n" not in str(told.value)


def test_files_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ConfigError, match="different system prompts"):
        Imported(system_prompt="a").beside(Imported(system_prompt="b"))
