"""`metaspo check`: what is wrong with a config, its servers and its data is said before a run."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chat_server import BAD_KEY, GONE, TOO_LONG, UNKNOWN_MODEL, ChatServer, Refusal
from command_line import here, write_project
from world import World

from metaspo.backends import Message, Request
from metaspo.backends.alike import told_once
from metaspo.engine import prepare
from metaspo.engine.check.servers import COUNTING, HEEDED
from metaspo.engine.check.tasks import TaskCheck, context_advice
from metaspo.engine.evaluation.scorecard import Outcome, Status
from metaspo.engine.tasks.base import Example

QUESTION = re.compile(r"number \d+")

PRICES = "prices = {input = 0, output = 0}"
WORLD = World(3)


def answer(request: Request) -> str:
    """Counts and obeys where it is only checked; else answers as the world does."""
    asked = request.messages[-1].content
    if asked == COUNTING:
        return " ".join(map(str, range(1, 41)))
    if any(HEEDED in message.content for message in request.messages):
        return HEEDED.lower()
    return "Green." if "grass" in asked else WORLD.answer(request)


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with ChatServer(answer) as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_project(tmp_path, server.url, lane=PRICES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_config_that_is_well_takes_two_calls_an_endpoint_and_one_a_task(project: Path, server: ChatServer) -> None:
    ended = here("check", "run.toml")
    assert (ended.code, ended.errors) == (0, [])
    assert "All is well. 3 examples asked, 0 in the cache already" in ended.out
    assert server.calls == 2 * 2 + 3
    assert "About unseen: is unseen test number 0 even?" in ended.out
    again = here("check", "run.toml", "--json").data
    assert server.calls == 2 * 2 + 3 + 2 * 2
    assert [task["task"] for task in again["tasks"]] == ["a", "b", "unseen"]
    assert [server["heeds_system"] for server in again["servers"]] == [True, True]
    assert (again["faults"], again["advice"]) == ([], [])


def test_a_second_call_that_hangs_is_not_waited_for_as_long_as_a_run_would(
    project: Path, server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time limit of a call is for the longest answers, and was ten minutes."""
    monkeypatch.setattr("metaspo.engine.check.servers.AT_LEAST", 0.2)
    server.hold_after(1)
    ended = here("check", "run.toml", "--set", "optimizer.time_limit=1")
    assert ended.code == 3
    (fault,) = (line for line in ended.errors if "base:" in line)
    assert re.search(
        r"gave no whole answer within [\d.]+ seconds\. The call before it was answered in \d+\.\d\.", fault
    )


def test_a_first_call_that_hangs_is_told_while_it_is_waited_for(
    project: Path, server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For as long as a server may need to load its model: ten minutes had gone by without a word."""
    monkeypatch.setattr("metaspo.engine.check.servers.AT_LEAST", 0.1)
    server.hold_after(0)
    ended = here("check", "run.toml", "--set", "base.time_limit=0.3", "--set", "optimizer.time_limit=0.3")
    assert ended.code == 3
    said = [line for line in ended.err.splitlines() if "may be loading the model" in line]
    assert [line.partition(": ")[2].partition(":")[0] for line in said] == ["base", "optimizer"]
    assert all("gets 0.3 (" in line for line in said)


def test_the_run_finds_the_examples_of_the_check_in_the_cache(project: Path, server: ChatServer) -> None:
    assert here("check", "run.toml").code == 0
    kept = {body for body in server.answered if "About" in body}
    assert len(kept) == 3
    assert here("optimize", "run.toml", "--quiet").code == 0
    assert [server.answered[body] for body in kept] == [1, 1, 1]


def test_an_example_is_read_and_graded_as_the_run_does_it(project: Path) -> None:
    tasks = {task["task"]: task for task in here("check", "run.toml", "--json").data["tasks"]}
    assert here("optimize", "run.toml", "--quiet").code == 0
    (unseen,) = (task for task in here("answers", "--json").data["tasks"] if task["task"] == "unseen")
    (first,) = (each for each in unseen["examples"] if each["where"] == "unseen.test.jsonl:1")
    assert tasks["unseen"]["outcome"] == first["before"]
    assert tasks["unseen"]["example"]["question"] == first["question"]


@pytest.mark.parametrize(
    ("refusal", "says"),
    [
        (BAD_KEY, "refuses access to answerer (status 401"),
        (UNKNOWN_MODEL, "does not know the model answerer"),
        (GONE, "closed the connection before its answer"),
        (Refusal(400, "", "System role not supported"), 'the model has no system role: set roles = "merged" for it'),
    ],
)
def test_what_a_server_refuses_is_a_fault_in_a_sentence(
    project: Path, server: ChatServer, refusal: Refusal, says: str
) -> None:
    server.refuse = lambda request, _before: refusal if request.model == "answerer" else None
    ended = here("check", "run.toml")
    assert ended.code == 3
    (error,) = ended.errors
    assert error.startswith("base: ")
    assert says in error


def test_all_faults_are_told_at_once(project: Path, server: ChatServer) -> None:
    server.refuse = lambda request, _before: BAD_KEY if request.model == "answerer" else None
    ended = here("check", "run.toml", "--set", "optimizer.api_key_env=NO_SUCH_KEY")
    assert [error.partition(":")[0] for error in ended.errors] == ["base", "optimizer"]
    assert "NO_SUCH_KEY is not set" in ended.errors[1]


@pytest.mark.parametrize("role", ["base", "optimizer"])
def test_a_key_that_is_not_set_ends_a_check_as_it_ends_a_run(project: Path, server: ChatServer, role: str) -> None:
    unset = ("run.toml", "--set", f"{role}.api_key_env=NO_SUCH_KEY")
    checked, run = here("check", *unset), here("optimize", *unset)
    assert checked.code == run.code == 2
    assert all("NO_SUCH_KEY is not set" in ended.errors[0] for ended in (checked, run))


def test_a_misspelt_model_is_told_with_what_there_is(project: Path, server: ChatServer) -> None:
    server.refuse = lambda request, _before: UNKNOWN_MODEL if request.model == "answrer" else None
    refused = here("check", "run.toml", "--set", "base.model=answrer")
    assert refused.errors[0].endswith(". It lists answerer, writer (did you mean 'answerer'?).")
    server.refuse = lambda _request, _before: None
    answered = here("check", "run.toml", "--set", "base.model=answrer", "--json").data
    assert any("answrer" in line and "did you mean 'answerer'" in line for line in answered["advice"])


def test_an_endpoint_that_has_another_name_for_the_model_is_asked_by_that(project: Path, server: ChatServer) -> None:
    """It is what the server's list has to have."""
    config = project / "run.toml"
    said = config.read_text().replace('"answerer"', '"our-answerer"', 1)
    config.write_text(said.replace(f'["{server.url}"]', f'[{{url = "{server.url}", model = "answerer"}}]', 1))
    told = here("check", "run.toml", "--json").data
    assert not any("not what the server lists" in line for line in told["advice"])
    config.write_text(config.read_text().replace('model = "answerer"', 'model = "answrer"'))
    assert (
        "an endpoint of base: model = 'answrer' is answered, but not what the server lists. "
        "It lists answerer, writer (did you mean 'answerer'?)." in here("check", "run.toml", "--json").data["advice"]
    )


def form_of(text: str, finish_reason: str) -> Any:  # noqa: ANN401 - a body
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 20, "completion_tokens": 64}
    return {"choices": [{"index": 0, "finish_reason": finish_reason, "message": message}], "usage": usage}


@pytest.mark.parametrize(
    ("of_a", "advised"),
    [("Well", ": raise it"), ("<answer>yes</answer>", ", and read all the same: raise it if it was to say more")],
)
def test_answers_that_are_cut_or_unreadable_say_what_to_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of_a: str, advised: str
) -> None:
    def form(request: Request, text: str) -> object:
        asked = request.messages[-1].content
        cut = "About a" in asked
        return form_of(of_a if cut else "Well" if "About" in asked else text, "length" if cut else "stop")

    monkeypatch.chdir(tmp_path)
    with ChatServer(answer, form=form) as server:
        write_project(tmp_path, server.url, lane=PRICES)
        advice = here("check", "run.toml", "--json").data["advice"]
    assert advice[0] == f"task a: the answer is cut off at base.max_tokens = 64{advised}"
    assert advice[1].startswith("task b: the answer cannot be read. The user prompt should say how to answer:")


@pytest.mark.parametrize("said", [False, True])
def test_an_unreadable_answer_is_advised_what_the_prompt_lacks_and_what_comes_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: bool
) -> None:
    monkeypatch.chdir(tmp_path)

    def unreadable(request: Request) -> str:
        return "Well" if "About" in request.messages[-1].content else answer(request)

    with ChatServer(unreadable) as server:
        path = write_project(tmp_path, server.url, lane=PRICES)
        (how,) = {task.answer_format.describe() for task in prepare(path).tasks}
        if said:
            path.write_text(re.sub('(?m)^(user_prompt = .*)"$', rf'\1\\n{how}"', path.read_text()))
        advice = here("check", "run.toml", "--json").data["advice"]
    assert ["although the prompts say how" in line for line in advice[:-1]] == [said] * 3
    assert [how in line for line in advice[:-1]] == [not said] * 3
    assert "`metaspo optimize run.toml`" in advice[-1]


def test_a_system_prompt_that_does_not_arrive_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deaf(request: Request) -> str:
        return answer(replace(request, messages=request.messages[-1:]))

    monkeypatch.chdir(tmp_path)
    with ChatServer(deaf) as server:
        write_project(tmp_path, server.url, lane=PRICES)
        (line,) = here("check", "run.toml", "--json").data["advice"]
        merged = here("check", "run.toml", "--json", "--set", "roles=merged").data
    assert 'set roles = "merged"' in line
    assert merged["servers"][0]["heeds_system"] is None


def test_a_task_without_an_answer_is_a_fault_though_its_endpoint_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with ChatServer(answer) as server:
        write_project(tmp_path, server.url, lane=PRICES)
        server.refuse = lambda request, _: TOO_LONG if QUESTION.search(request.messages[-1].content) else None
        ended = here("check", "run.toml")
    assert ended.code == 3
    assert len(ended.errors) == 3
    assert all("no answer: " in error and "maximum context length" in error for error in ended.errors), ended.errors


def test_a_program_that_raises_is_a_fault_and_no_prompts(project: Path) -> None:
    Path("mine.py").write_text("def answer(prompts, example, call):\n    return nothing\n", encoding="utf-8")
    text = Path("run.toml").read_text(encoding="utf-8")
    program = 'name = "b"\nprogram = "mine:answer"\nmax_calls = 1'
    Path("run.toml").write_text(text.replace('name = "b"', program), encoding="utf-8")
    ended = here("check", "run.toml")
    says = "the program failed: NameError: name 'nothing' is not defined"
    assert (ended.code, ended.errors) == (3, [f"task b: {says} (b.train.jsonl:1)"])
    assert f"no answer: {says}" in " ".join(ended.out.split())
    assert here("check", "run.toml", "--json").data["advice"] == []


def test_what_calls_cost_is_asked_for_where_it_is_not_known(project: Path) -> None:
    text = Path("run.toml").read_text(encoding="utf-8").replace(PRICES, "", 1)
    Path("run.toml").write_text(text, encoding="utf-8")
    (line,) = here("check", "run.toml", "--json").data["advice"]
    assert line.startswith("what answerer costs is not known: with base.prices")


def test_a_prompt_that_does_not_fit_the_servers_context_is_told() -> None:
    example = Example("q", ("a",))
    outcome = Outcome(example=example, status=Status.SCORED, text="a", prediction="a", grade=1.0)
    asked = TaskCheck(
        task="t",
        role="source",
        train=1,
        test=1,
        messages=(Message("user", "x" * 400),),
        example=example,
        outcome=outcome,
        prompt_tokens=100,
        longest=4_000,
    )
    (line,) = context_advice([asked], context=1_050, max_tokens=64)
    assert "some 1,064 tokens, the server's context is 1,050" in line
    assert context_advice([asked], context=1_064, max_tokens=64) == ()
    assert context_advice([asked], context=None, max_tokens=64) == ()


def test_nothing_that_a_check_prints_is_obeyed_by_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with ChatServer(lambda _request: "\x1b[2J[red]no[/red]") as server:
        write_project(tmp_path, server.url, lane=PRICES)
        ended = here("check", "run.toml")
        data = here("check", "run.toml", "--json")
    assert "[red]no[/red]" in ended.out
    assert json.loads(data.out)["tasks"][0]["outcome"]["text"] == "\x1b[2J[red]no[/red]"


def test_what_holds_for_several_replicas_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the names of those it holds for, where it does not for all of a model."""
    monkeypatch.chdir(tmp_path)

    def refuse(_request: Request, _before: int) -> Refusal:
        return BAD_KEY

    def replicas(*servers: ChatServer) -> list[str]:
        write_project(tmp_path, servers[0].url, lane=PRICES)
        urls = json.dumps([server.url for server in servers])
        config = (tmp_path / "run.toml").read_text().replace(f'["{servers[0].url}"]', urls)
        (tmp_path / "run.toml").write_text(config)
        return [server.url.removeprefix("http://").removesuffix("/v1") for server in servers]

    with ChatServer(lambda request: "No.") as one, ChatServer(lambda request: "No.") as two, ChatServer(answer) as good:
        replicas(one, two)
        told = here("check", "run.toml")
        assert told.out.count("base: an order in the system prompt is not followed.") == 1
        assert sum("if that is no weakness of the model" in line for line in told.out.splitlines()) == 1
        names = replicas(one, two, good)
        mixed = here("check", "run.toml").out
        (advice,) = (line for line in mixed.splitlines() if "if that is no weakness of the model" in line)
        assert advice.endswith(f"(said by {names[0]}, {names[1]})")
        assert f"base: an order in the system prompt is followed at {names[2]}." in mixed
        two.refuse = refuse
        names = replicas(one, two)
        alone = here("check", "run.toml")
        (advice,) = (line for line in alone.out.splitlines() if "if that is no weakness of the model" in line)
        assert not advice.endswith(")"), "the other one has said nothing of it"
    with ChatServer(answer, refuse=refuse) as one, ChatServer(answer, refuse=refuse) as two:
        names = replicas(one, two)
        errors = here("check", "run.toml").errors
        assert len([error for error in errors if "check the API key" in error]) == 2, "the base's and the optimizer's"
        assert all(f"The same is true of {names[1]}." in error for error in errors)


@pytest.mark.parametrize(("end", "told"), [("?", "?"), (".", "."), ("", ".")])
def test_what_is_told_once_ends_as_a_sentence_does(end: str, told: str) -> None:
    one, two = (f"{name} is not there: is it running{end}" for name in ("a", "b"))
    assert told_once([("a", one)]) == [f"a is not there: is it running{told}"]
    assert told_once([("a", one), ("b", two)]) == [f"a is not there: is it running{told} The same is true of b."]
