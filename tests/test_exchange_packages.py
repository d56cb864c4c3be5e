"""What `metaspo export` writes, read by the real packages. Each is skipped where it is not installed."""

import inspect as python_inspect
import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from exchange_world import QUESTIONS, SYSTEMS, USERS, chat, found_of
from hypothesis import HealthCheck, given, settings
from registry_standin import registry

from metaspo.engine.errors import ConfigError
from metaspo.engine.evaluation.answers import AnsweredExample, TaskAnswers
from metaspo.engine.exchange import targets
from metaspo.engine.exchange.read import read_files
from metaspo.engine.tasks.base import Example

pytestmark = pytest.mark.filterwarnings("ignore")
SOME = settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
HARD_PAIR = ('Be "exact" \\n {{x}} {% if %} {# c #} """\nEnd {', 'Q: {x} {question}{ """ \\ {{y}} {% raw %}\n')


@SOME
@given(SYSTEMS, USERS, QUESTIONS)
def test_langchain_asks_as_the_run_does(system: str, user: str, question: str) -> None:
    load = pytest.importorskip("langchain_core.load").load
    found = found_of(system, user)
    template = load(json.loads(targets.langchain(found)["t.json"]), allowed_objects="core")
    roles = {"system": "system", "human": "user"}
    assert [(roles[each.type], each.content) for each in template.format_messages(question=question)] == chat(
        found, question
    )
    assert (template.metadata["score"], template.metadata["run"]) == (0.5, "r-00000000")


@SOME
@given(SYSTEMS, USERS, QUESTIONS)
def test_langfuse_compiles_what_it_can_hold_as_the_run_does(system: str, user: str, question: str) -> None:
    api, model = pytest.importorskip("langfuse.api"), pytest.importorskip("langfuse.model")
    found = found_of(system, user)

    def compiled(prompt: list[dict[str, str]]) -> list[tuple[str, str]]:
        kept = api.Prompt_Chat(prompt=prompt, name="t", version=1, config={}, labels=[], tags=[])
        return [(each["role"], each["content"]) for each in model.ChatPromptClient(kept).compile(question=question)]

    try:
        body = json.loads(targets.langfuse_prompts(found)["t.json"])
    except ConfigError:  # only what would come out as something else
        plain = [(each.role, each.content.replace("{question}", "{{question}}")) for each in found.tasks[0].messages()]
        assert compiled([{"role": role, "content": content} for role, content in plain]) != chat(found, question)
        return
    assert compiled(body["prompt"]) == chat(found, question)


def test_langfuse_takes_the_prompt_and_hands_it_out_again(tmp_path: Path) -> None:
    client_of = pytest.importorskip("langfuse").Langfuse
    pair = 'Be "exact" \\n {{x}} {% if %} """\nEnd {', "Q: {x} {question}{ {{y}}\n"
    found = found_of(*pair)
    body = json.loads(targets.langfuse_prompts(found)["t.json"])
    with registry() as server:
        client = client_of(public_key="p", secret_key="s", base_url=server.address, tracing_enabled=False)
        for _ in range(2):
            client.api.prompts.create(request=body)
        prompt = client.get_prompt("r.t", label="metaspo", type="chat")
    assert [(each["role"], each["content"]) for each in prompt.compile(question="Why?")] == chat(found, "Why?")
    assert (prompt.version, prompt.labels, prompt.config["max_tokens"]) == (2, ["metaspo"], 64)
    assert prompt.config["metaspo"]["score"] == 0.5
    assert prompt.commit_message == "metaspo run r-00000000, score 0.5, score_low 0.4, score_high 0.6"
    (tmp_path / "kept.json").write_text(json.dumps(server.prompts[-1]), encoding="utf-8")
    imported = read_files([tmp_path / "kept.json"])
    assert (imported.system_prompt, imported.tasks[0].user_prompt) == pair


def test_langsmith_takes_the_prompt_and_hands_it_out_again(tmp_path: Path) -> None:
    client_of = pytest.importorskip("langsmith").Client
    pytest.importorskip("langchain_core")
    found = found_of(*HARD_PAIR)
    said = json.loads(targets.langsmith_prompts(found)["t.json"])
    with registry() as server:
        client = client_of(api_url=server.address, api_key="k", auto_batch_tracing=False)
        for _ in range(2):
            client.push_prompt(**said)
        template = client.pull_prompt("r-t")
        manifest = client.pull_prompt_commit("r-t").manifest
    roles = {"system": "system", "human": "user"}
    assert [(roles[each.type], each.content) for each in template.format_messages(question="Why?")] == chat(
        found, "Why?"
    )
    assert (template.metadata["score"], template.metadata["run"]) == (0.5, "r-00000000")
    assert [commit["description"] for commit in server.commits["r-t"]] == [
        "metaspo run r-00000000, score 0.5, score_low 0.4, score_high 0.6"
    ] * 2
    (tmp_path / "kept.json").write_text(json.dumps(manifest), encoding="utf-8")
    imported = read_files([tmp_path / "kept.json"])
    assert (imported.system_prompt, imported.tasks[0].user_prompt) == HARD_PAIR


@SOME
@given(SYSTEMS, USERS, QUESTIONS)
def test_mlflow_formats_a_prompt_as_the_run_does(system: str, user: str, question: str) -> None:
    prompt_version = pytest.importorskip("mlflow.entities.model_registry.prompt_version").PromptVersion
    found = found_of(system, user)
    (prompt,) = json.loads(targets.mlflow_prompts(found)["prompts.json"])
    made = prompt_version("t", 1, prompt["template"], tags=prompt["tags"], model_config=prompt["model_config"])
    assert [(each["role"], each["content"]) for each in made.format(question=question)] == chat(found, question)
    assert made.tags["score"] == "0.5"


def test_mlflow_registers_the_prompt_under_an_alias(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow.genai")
    found = found_of(*HARD_PAIR)
    for name, text in targets.mlflow_prompts(found).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    for _ in range(2):
        runpy.run_path("register.py")
    prompt = mlflow.load_prompt("prompts:/r.t@metaspo")
    assert prompt.version == 2
    assert [(each["role"], each["content"]) for each in prompt.format(question="Why?")] == chat(found, "Why?")
    assert (prompt.tags["run"], prompt.model_config["model_name"]) == ("r-00000000", "m")


@SOME
@given(SYSTEMS, USERS)
def test_dspy_loads_the_program_with_both_prompts(tmp_path: Path, system: str, user: str) -> None:
    dspy = pytest.importorskip("dspy")
    path = tmp_path / "t.json"
    path.write_text(targets.dspy(found_of(system, user))["t.json"], encoding="utf-8")
    program = dspy.Predict("question -> answer")
    program.load(path)
    assert program.signature.instructions == python_inspect.cleandoc(targets.dspy_instructions(system, user))
    assert list(program.signature.fields) == ["question", "answer"]


def test_a_program_that_dspy_saves_is_imported(tmp_path: Path) -> None:
    dspy = pytest.importorskip("dspy")
    program = dspy.Predict(dspy.Signature("context, query -> label", "Say which, in {braces} and \\n."))
    program.demos = [dspy.Example(context="c", query=f"q{n}", label="ab"[n % 2]) for n in range(4)]
    program.save(tmp_path / "p.json")
    (task,) = read_files([tmp_path / "p.json"]).tasks
    assert (task.name, task.user_prompt) == ("p", "Say which, in {braces} and \\n.\n\n{question}")
    assert task.rows == tuple((f"context: c\nquery: q{n}", ("ab"[n % 2],)) for n in range(4))


def test_an_export_that_dspy_loads_and_saves_again_is_imported_as_it_was(tmp_path: Path) -> None:
    dspy = pytest.importorskip("dspy")
    (tmp_path / "t.json").write_text(targets.dspy(found_of(*HARD_PAIR))["t.json"], encoding="utf-8")
    program = dspy.Predict("question -> answer")
    program.load(tmp_path / "t.json")
    program.save(tmp_path / "again.json")
    (task,) = read_files([tmp_path / "again.json"]).tasks
    assert task.user_prompt == python_inspect.cleandoc(targets.dspy_instructions(*HARD_PAIR))


def test_inspect_asks_every_example_as_the_run_does(tmp_path: Path) -> None:
    pytest.importorskip("inspect_ai")
    found = found_of(*HARD_PAIR)
    examples = tuple(
        AnsweredExample(example=Example(question, ("yes",), f"t:{number}"), before=None, after=None)
        for number, question in enumerate(["{x}?", '"""', "\\n"])
    )
    found = found.with_answers([TaskAnswers(task="t", role="source", split="test", examples=examples)])
    files = {**targets.inspect_tasks(found), "about.json": json.dumps({"tasks": [found.tasks[0].about]})}
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    task = runpy.run_path(str(tmp_path / "tasks.py"))["task_1_t"]()
    asked = [[(each.role, each.content) for each in sample.input] for sample in task.dataset]
    assert asked == [chat(found, each.example.question) for each in examples]
    assert [sample.target for sample in task.dataset] == [["yes"]] * 3
    assert (task.metadata["score"], task.config.max_tokens) == (0.5, 64)


def test_inspect_evaluates_the_exported_tasks(tmp_path: Path) -> None:
    pytest.importorskip("inspect_ai")
    found = found_of("Be exact.", "Q: {question}")
    examples = (AnsweredExample(example=Example("Is it so?", ("default",), "t:1"), before=None, after=None),)
    found = found.with_answers([TaskAnswers(task="t", role="source", split="test", examples=examples)])
    files = {**targets.inspect_tasks(found), "about.json": json.dumps({"tasks": [found.tasks[0].about]})}
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    command = [str(Path(sys.executable).with_name("inspect")), "eval", "tasks.py", "--model", "mockllm/model"]
    ended = subprocess.run([*command, "--display", "plain"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "accuracy" in ended.stdout


NUNJUCKS = """
const nunjucks = require("nunjucks");
nunjucks.configure({autoescape: false});
const asked = JSON.parse(require("fs").readFileSync(0, "utf8"));
console.log(JSON.stringify(asked.map(([raw, vars]) =>
    JSON.parse(raw).map((message) => [message.role, nunjucks.renderString(message.content, vars)]))));
"""


def test_nunjucks_which_promptfoo_renders_with_renders_the_prompts_as_the_run_does() -> None:
    """As promptfoo does: a prompt that is JSON is parsed, then each of its texts is a template."""
    modules = Path(__file__).parent.parent / ".cache" / "adapters" / "promptfoo" / "node_modules"
    if shutil.which("node") is None or not (modules / "nunjucks").is_dir():
        pytest.skip("no nunjucks here: `make adapters` installs it")
    cases: list[tuple[str, str, str]] = [(*HARD_PAIR, "{x}?")]

    @settings(max_examples=200, database=None, deadline=None)
    @given(SYSTEMS, USERS, QUESTIONS)
    def collect(system: str, user: str, question: str) -> None:
        cases.append((system, user, question))

    collect()
    founds = [found_of(system, user) for system, user, _ in cases]
    asked: list[Any] = []
    for found, (_, _, question) in zip(founds, cases, strict=True):
        config = json.loads(targets.promptfoo(found)["promptfooconfig.t.json"])
        asked.append([config["prompts"][0]["raw"], {"question": question}])
    ended = subprocess.run(
        ["node", "-e", NUNJUCKS],
        cwd=modules.parent,
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=True,
    )
    said = [[tuple(message) for message in messages] for messages in json.loads(ended.stdout)]
    assert said == [chat(found, question) for found, (_, _, question) in zip(founds, cases, strict=True)]
