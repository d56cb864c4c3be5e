"""What `metaspo export` writes, read again by the rules of whom it is for."""

import json
import re
from dataclasses import replace
from pathlib import Path

import jinja2
import pytest
from chat_server import ChatServer
from command_line import here
from exchange_world import HARD, QUESTIONS, SYSTEMS, USERS, chat, found_of
from hypothesis import given
from hypothesis import strategies as st
from world import World

from metaspo.engine.config.load import load_config
from metaspo.engine.errors import ConfigError
from metaspo.engine.exchange import targets
from metaspo.engine.exchange.export import TOOLS
from metaspo.engine.exchange.templates import f_string, jinja, langfuse
from metaspo.engine.exchange.written import write_export
from metaspo.engine.runs.directory import RunDirectory
from metaspo.engine.tasks import AnswerSpec

WORLD = World(3)


@given(USERS, QUESTIONS)
def test_a_template_of_jinja_comes_out_as_the_prompt(user: str, question: str) -> None:
    rendered = jinja2.Environment(autoescape=False).from_string(jinja(user)).render(question=question)  # noqa: S701 - no HTML
    assert rendered == user.replace("{question}", question)


@given(USERS, QUESTIONS)
def test_a_template_of_format_comes_out_as_the_prompt(user: str, question: str) -> None:
    assert f_string(user).format(question=question) == user.replace("{question}", question)


def langfuse_compiles(content: str, question: str) -> str:
    """As Langfuse's client does: from two opening braces to the next closing ones is a variable, and one that is not
    given is left as it stands."""
    told = ""
    while "{{" in content:
        before, _, rest = content.partition("{{")
        name, closed, after = rest.partition("}}")
        if not closed:
            break
        told += before + (question if name.strip() == "question" else f"{{{{{name}}}}}")
        content = after
    return told + content


@given(st.tuples(HARD, HARD).map("{question}".join), QUESTIONS)
def test_a_template_of_langfuse_comes_out_as_the_prompt_or_is_refused(user: str, question: str) -> None:
    wanted = user.replace("{question}", question)
    if langfuse_compiles(user.replace("{question}", "{{question}}"), question) != wanted:
        with pytest.raises(ConfigError, match="that would hide it from Langfuse: use --to messages"):
            langfuse(user, what="x")
        return
    assert langfuse_compiles(langfuse(user, what="x"), question) == wanted


def test_prompts_are_named_after_their_config_and_task_by_the_rules_of_each_registry() -> None:
    found = found_of("Be exact.", "Q: {question}")
    one, other = (replace(found.tasks[0], name=name) for name in ("Tax.law", "tax-law"))
    found = replace(found, run="2_My.run-0123abcd", tasks=(one,))
    (langfuse_file,) = targets.langfuse_prompts(found).values()
    (langsmith_file,) = targets.langsmith_prompts(found).values()
    assert json.loads(langfuse_file)["name"] == "2_My.run.Tax.law"
    assert json.loads(langsmith_file)["prompt_identifier"] == "metaspo-2_my-run-tax-law"
    with pytest.raises(ConfigError, match=re.escape("'Tax.law' and 'tax-law' would be one prompt of LangSmith")):
        targets.langsmith_prompts(replace(found, tasks=(one, other)))


@given(SYSTEMS, USERS, QUESTIONS)
def test_a_body_of_a_request_is_the_chat_with_the_question_in_place(system: str, user: str, question: str) -> None:
    found = found_of(system, user)
    body = json.loads(targets.messages(found)["t.json"])
    said = [(each["role"], each["content"].replace("{question}", question)) for each in body["messages"]]
    assert said == chat(found, question)
    assert (body["model"], body["max_tokens"], body["metadata"]["score"]) == ("m", 64, "0.5")


def modelfile(text: str) -> dict[str, str]:
    """The commands of a Modelfile, as Ollama's parser reads them: rune by rune, a value ends at the first line end at
    which its quotes are closed, and what cannot be printed is lost within a line."""
    commands: dict[str, str] = {}
    at = 0
    while at < len(text):
        end = text.find("\n", at)
        line_end = len(text) if end < 0 else end
        if text[at] == "#":
            at = line_end + 1
            continue
        name, _, _ = text[at:line_end].partition(" ")
        start = at + len(name) + 1
        if name == "PARAMETER":
            name = text[start:line_end].partition(" ")[0]
            start += len(name) + 1
        value = ""
        for position in range(start, len(text) + 1):
            if position == len(text) or text[position] in "\r\n":
                closed = unquoted(value.strip())
                if closed is not None:
                    commands[name], at = closed, position + 1
                    break
                value += text[position]
            elif text[position].isprintable() or text[position] == "\t":
                value += text[position]
    return commands


def unquoted(value: str) -> str | None:
    for quotes in ('"""', '"'):
        if value.startswith(quotes):
            whole = len(value) >= 2 * len(quotes) and value.endswith(quotes)
            return value[len(quotes) : -len(quotes)] if whole else None
    return value


@given(SYSTEMS, HARD)
def test_a_modelfile_holds_the_system_prompt_or_is_refused(system: str, stop: str) -> None:
    system += '"""\n' if "漢" in system else ""  # often enough what cannot be held
    found = found_of(system, "{question}", stop=[stop])
    if any(line.rstrip().endswith('"""') for text in (system, stop) for line in re.split("[\r\n]", text)[:-1]):
        with pytest.raises(ConfigError, match="use --to messages"):
            targets.ollama(found)
        return
    files = targets.ollama(found)
    commands = modelfile(files["Modelfile"])
    assert (commands["SYSTEM"], commands["stop"], commands["FROM"]) == (system, stop, "m")
    assert commands["num_predict"] == "64"
    assert "# score on t: 0.5" in files["Modelfile"]


def test_every_export_asks_nothing_and_says_where_it_comes_from(finished: Path, server: ChatServer) -> None:
    calls = server.calls
    (result,) = finished.glob(".metaspo/runs/*/result.json")
    rows = {
        row["task"]: row
        for row in json.loads(result.read_bytes())["tests"]
        if row["stage"] == "after" and not row["prompt"]
    }
    for tool in TOOLS:
        ended = here("export", "--to", tool, "--out", f"out/{tool}", "--json")
        assert ended.code == 0
        assert all(Path(path).is_file() for path in ended.data["files"])
        about = json.loads(Path("out", tool, "about.json").read_bytes())
        assert (about["run"], about["model"], about["optimizer"]) == (result.parent.name, "answerer", "writer")
        assert [gain["role"] for gain in about["gains"]] == ["target", "source"]
        assert [task["task"] for task in about["tasks"]] == ["a", "b", "unseen"]
        for task in about["tasks"]:
            row = rows[task["task"]]
            assert (task["score_low"], task["score_high"]) == (row["interval"]["low"], row["interval"]["high"])
    assert server.calls == calls


@pytest.mark.parametrize("tool", ["text", "messages", "promptfoo", "dspy"])
def test_how_answers_look_comes_back(finished: Path, tool: str) -> None:
    """Of what no tool's own file says; where it cannot be read that is said."""
    files = here("export", "--to", tool, "--task", "a", "--out", "out", "--json").data["files"]
    about = Path("out/about.json")
    assert here("import", *files, "--out", "new", "--data", "a.test.jsonl").code == 0
    assert load_config(Path("new/metaspo.toml")).tasks[0].answer == AnswerSpec(kind="label", labels=("yes", "no"))
    about.write_text(about.read_text().replace('"label"', '"integer"').replace('"labels"', '"options"'))
    (fault,) = here("import", *files, "--out", "other").errors
    assert fault.startswith("out/about.json: is not as `metaspo export` writes it")


def test_examples_go_along_where_the_tool_has_a_place_for_them(finished: Path) -> None:
    for tool in ("promptfoo", "inspect", "sft"):
        assert here("export", "--to", tool, "--out", tool).code == 0
    test = [json.loads(line) for line in Path("a.test.jsonl").read_text(encoding="utf-8").splitlines()]
    wanted = sorted((row["question"], row["answer"]) for row in test)
    tests = json.loads(Path("promptfoo/promptfooconfig.a.json").read_bytes())["tests"]
    said = [(each["vars"]["question"], *json.loads(each["vars"]["expected"])) for each in tests]
    assert sorted(said) == wanted
    samples = [json.loads(line) for line in Path("inspect/a.jsonl").read_text(encoding="utf-8").splitlines() if line]
    assert sorted(each["target"][0] for each in samples) == sorted(answer for _, answer in wanted)
    assert all(question in "".join(each["input"][-1]["content"] for each in samples) for question, _ in wanted)


def test_a_model_is_tuned_on_right_answers_alone(finished: Path) -> None:
    assert here("export", "--to", "sft", "--out", "sft").code == 0
    chats = [json.loads(line)["messages"] for line in Path("sft/sft.jsonl").read_text(encoding="utf-8").splitlines()]
    answered = here("answers", "--split", "train", "--json").data
    right = sum(each["after"]["grade"] == 1 for task in answered["tasks"] for each in task["examples"])
    assert len(chats) == right > 0
    for messages in chats:
        number = int(messages[-2]["content"].partition("number ")[2].split()[0])
        assert messages[-1]["content"] == ("yes" if number % 2 == 0 else "no")


def test_chats_to_tune_on_can_be_had_without_the_system_prompt(finished: Path) -> None:
    """Whose effect is what they teach then."""
    for folder, options in (("with", []), ("without", ["--without-system"])):
        assert here("export", "--to", "sft", "--out", folder, *options).code == 0
    chats = {
        folder: [json.loads(line)["messages"] for line in (finished / folder / "sft.jsonl").read_text().splitlines()]
        for folder in ("with", "without")
    }
    assert {messages[0]["role"] for messages in chats["with"]} == {"system"}
    assert [messages[1:] for messages in chats["with"]] == chats["without"]
    assert here("export", "--to", "text", "--without-system").code == 2


def test_one_tasks_prompts_can_be_had_alone_and_without_a_place_they_lie_in_the_run(finished: Path) -> None:
    files = here("export", "--to", "text", "--task", "b", "--json").data["files"]
    (run,) = finished.glob(".metaspo/runs/run-*")
    names = ["system.txt", "user.b.txt", "about.json"]
    assert files == [str(run.relative_to(finished) / "export" / "text" / name) for name in names]
    system = json.loads((run / "result.json").read_bytes())["system_prompt"]
    assert Path(files[0]).read_text(encoding="utf-8") == f"{system}\n"


def test_the_server_that_is_asked_first_goes_along_with_its_own_name_for_the_model(finished: Path) -> None:
    (file,) = finished.glob(".metaspo/runs/run-*/config.json")
    config = json.loads(file.read_bytes())
    config["base"]["endpoints"] = [
        {"url": "http://second/v1", "standby": True},
        {"url": "http://first/v1", "model": "org/answerer"},
    ]
    file.write_text(json.dumps(config))
    assert here("export", "--to", "promptfoo", "--out", "out").code == 0
    (provider,) = json.loads((finished / "out" / "promptfooconfig.a.json").read_bytes())["providers"]
    assert (provider["id"], provider["config"]["apiBaseUrl"]) == ("openai:chat:org/answerer", "http://first/v1")


def test_a_tasks_own_settings_go_along_with_its_prompts(project: Path, server: ChatServer) -> None:
    kind = {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "string"}}}
    text = Path("run.toml").read_text(encoding="utf-8")
    own = "max_tokens = 9\n[tasks.response_format]\ntype = 'json_schema'\n[tasks.response_format.json_schema]\n"
    own += "name = 'answer'\nschema = {type = 'string'}\n\n[[tasks]]"
    head, first, rest = text.split("[[tasks]]", 2)
    Path("run.toml").write_text(f"{head}[[tasks]]{first}{own}{rest}", encoding="utf-8")
    assert here("optimize", "run.toml", "--quiet").code == 0
    said = {}
    for tool in ("messages", "promptfoo", "mlflow", "inspect", "langfuse"):
        assert here("export", "--to", tool, "--out", tool).code == 0
    for task in ("a", "b"):
        body = json.loads(Path(f"messages/{task}.json").read_bytes())
        kept = json.loads(Path(f"langfuse/{task}.json").read_bytes())["config"]
        (provider,) = json.loads(Path(f"promptfoo/promptfooconfig.{task}.json").read_bytes())["providers"]
        said[task] = [(each["max_tokens"], each.get("response_format")) for each in (body, provider["config"], kept)]
    assert said == {"a": [(9, kind)] * 3, "b": [(64, None)] * 3}
    registered = [each["model_config"] for each in json.loads(Path("mlflow/prompts.json").read_bytes())]
    assert [(each["max_tokens"], each.get("response_format")) for each in registered] == [
        (9, kind),
        (64, None),
        (64, None),
    ]
    configs = re.findall(r"GenerateConfig\((.+)\)\)", Path("inspect/tasks.py").read_text(encoding="utf-8"))
    assert [eval(f"dict({each})") for each in configs] == [  # noqa: S307 - what we wrote
        {"temperature": 0.0, "max_tokens": 9, "extra_body": {"response_format": kind}},
        {"temperature": 0.0, "max_tokens": 64},
        {"temperature": 0.0, "max_tokens": 64},
    ]
    assert "a Modelfile holds no response_format" in here("export", "--to", "ollama").errors[0]
    assert here("export", "--to", "ollama", "--task", "b").code == 0


def test_of_a_task_that_a_program_answers_the_prompts_alone_go_along(project: Path, server: ChatServer) -> None:
    Path("own.py").write_text(
        "def once(prompts, example, call):\n    return call(prompts.messages(example.question)).text\n",
        encoding="utf-8",
    )
    text = Path("run.toml").read_text(encoding="utf-8")
    table = 'program = "own:once"\nmax_calls = 1\n\n[[tasks]]'
    Path("run.toml").write_text(table.join(text.rsplit("[[tasks]]", 1)), encoding="utf-8")
    assert here("optimize", "run.toml", "--quiet").code == 0
    for tool in TOOLS:
        ended = here("export", "--to", tool)
        assert ended.code == (0 if tool == "text" else 2)
        assert tool == "text" or "task 'b' is answered by a program" in ended.errors[0]
        assert here("export", "--to", tool, "--task", "a").code == 0


def test_a_folder_that_cannot_be_made_is_named_with_what_to_do(finished: Path) -> None:
    taken = finished / "taken"
    taken.write_text("mine", encoding="utf-8")
    ended = here("export", "--to", "langfuse", "--out", "taken")
    assert (ended.code, ended.errors) == (
        2,
        ["taken: cannot write there: taken is a file; name another folder with --out"],
    )
    assert taken.read_text(encoding="utf-8") == "mine"


def test_what_a_person_has_changed_stays_and_what_nobody_has_is_written_anew(tmp_path: Path) -> None:
    about = {"metaspo": "1"}
    write_export(tmp_path, {"a.txt": "one", "b.txt": "one"}, about=about)
    write_export(tmp_path, {"a.txt": "two"}, about=about)  # another run's, of one task
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "two\n"
    (tmp_path / "a.txt").write_text("mine\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"a\.txt: is not as it was exported: move it away, or name another folder"):
        write_export(tmp_path, {"b.txt": "three", "a.txt": "three"}, about=about)
    assert [(tmp_path / name).read_text(encoding="utf-8") for name in ("a.txt", "b.txt")] == ["mine\n", "one\n"]
    write_export(tmp_path, {"a.txt": "mine", "b.txt": "three"}, about=about)  # as it stands there
    (tmp_path / "about.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"about\.json: is not as it was exported"):
        write_export(tmp_path, {"b.txt": "three"}, about=about)


def test_a_file_that_cannot_be_written_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(ConfigError, match=r"a\.txt: cannot be written: Is a directory; name another folder with --out"):
        write_export(tmp_path, {"a.txt": "one"}, about={})


def test_mistakes_are_told(project: Path) -> None:
    assert here("export").errors == [
        "there are no runs in .metaspo/runs; `metaspo optimize CONFIG` makes one",
    ]
    assert here("optimize", "run.toml", "--quiet", "--set", "budget.calls=1").code == 3
    finishes = "this run has no result yet; this finishes it: metaspo optimize run.toml --set budget.calls=2"
    assert here("export").errors[0].endswith(finishes)
    (run,) = Path(".metaspo/runs").iterdir()
    evaluated = here("evaluate", "run.toml", "--run", run.name)
    assert (evaluated.code, evaluated.errors[0].endswith(finishes)) == (2, True)
    with RunDirectory(run).held():
        assert here("export").errors[0].endswith("this run has no result yet; it is under way: wait for its end")
    (error,) = here("export", "--to", "promtfoo").errors
    assert error.startswith("'promtfoo' is no kind of export (did you mean 'promptfoo'?)")
