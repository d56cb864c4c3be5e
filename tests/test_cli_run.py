"""Runs from the command line against a real server: interrupted, resumed, capped, piped."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import FileIO
from pathlib import Path

import pytest
from chat_server import BAD_KEY, ChatServer
from command_line import LIMIT, Ended, apart, end, here, result_bytes, run_into, start, write_project
from sizes import rest_is_slow
from world import World

from metaspo.actions.init import TEMPLATES
from metaspo.backends import Request
from metaspo.engine import read_journal, selections
from metaspo.engine.config.load import load_config
from metaspo.engine.journal.events import Event, Malformed
from metaspo.engine.project import file_name

WORLD = World(3, malformed=0.1)
KEY = "sk-planted-4711-never-to-be-seen"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Counter[str]]:
    """The result of a run that nothing disturbs, and how often it had each body answered.

    A body may come several times: draws of one request differ in nothing that is sent.
    """
    folder = tmp_path_factory.mktemp("undisturbed")
    with ChatServer(WORLD.answer) as running:
        write_project(folder, running.url)
        assert apart("optimize", "run.toml", folder=folder).code == 0
        return result_bytes(folder), running.answered


def journal_of(folder: Path) -> list[Event]:
    (path,) = folder.glob(".metaspo/runs/*/journal.jsonl")
    return read_journal(path)


def interrupted(ended: Ended) -> None:
    """Exit status 130 and one message that says how to go on."""
    assert ended.code == 130
    assert ended.err.count("Interrupted") == 1
    assert "run the same command again" in ended.err
    assert ended.errors == []


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_pays_only_for_what_is_missing(
    project: Path, server: ChatServer, undisturbed: tuple[bytes, Counter[str]], stop: signal.Signals
) -> None:
    running = run_into(project, server, calls=60)
    running.send_signal(stop)
    interrupted(end(running))
    assert server.calls == 60
    server.wait_until_clients_hung_up()
    server.release()
    assert here("optimize", "run.toml").code == 0
    assert (result_bytes(project), server.answered) == undisturbed
    assert selections(journal_of(project))


@pytest.mark.slow
def test_an_interrupted_run_that_drops_candidates_early_pays_for_no_more(
    tmp_path: Path, server: ChatServer, undisturbed: tuple[bytes, Counter[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which examples of a dropped candidate are asked depends on timing; what is selected does not."""
    write_project(tmp_path, server.url, head="")
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        before = server.calls
        server.hold_after(50)
        running = start("optimize", "run.toml", folder=tmp_path)
        server.wait_for(answered=before + 50)
        running.send_signal(signal.SIGINT)
        interrupted(end(running))
    server.wait_until_clients_hung_up()
    server.release()
    assert here("optimize", "run.toml").code == 0
    assert json.loads(result_bytes(tmp_path)) == json.loads(undisturbed[0])
    base = {body: count for body, count in server.answered.items() if '"answerer"' in body}
    assert set(base) <= set(undisturbed[1])
    # Calls in flight are given up when their candidate is dropped, and when the run is interrupted.
    assert sum(base.values()) - len(base) <= 3 * 4


def test_a_killed_run_repeats_nothing_that_was_kept(
    project: Path, server: ChatServer, undisturbed: tuple[bytes, Counter[str]]
) -> None:
    running = run_into(project, server, calls=80)
    running.kill()
    assert end(running).code == -signal.SIGKILL
    server.wait_until_clients_hung_up()  # or one that is dead already might still be answered
    server.release()
    assert here("optimize", "run.toml").code == 0
    assert (result_bytes(project), server.answered) == undisturbed
    assert selections(journal_of(project))


@pytest.mark.slow
def test_a_run_killed_at_full_speed_comes_to_the_same(
    project: Path, server: ChatServer, undisturbed: tuple[bytes, Counter[str]]
) -> None:
    for answered in (30, 80):
        running = start("optimize", "run.toml", folder=project)
        server.wait_for(answered=answered)
        running.kill()
        assert end(running).code == -signal.SIGKILL
    assert here("optimize", "run.toml").code == 0
    assert result_bytes(project) == undisturbed[0]
    assert set(server.answered) == set(undisturbed[1])
    # Two kills, two lanes, each with four calls in flight at most and eight answers not on disk yet.
    assert server.asked.total() - undisturbed[1].total() <= 2 * 2 * (4 + 8)
    assert selections(journal_of(project))


@pytest.mark.parametrize("early_rejection", ["true", "false"])
def test_a_finished_run_makes_no_call_when_run_again(project: Path, server: ChatServer, early_rejection: str) -> None:
    write_project(project, server.url, head=f"early_rejection = {early_rejection}")
    first = here("optimize", "run.toml", "--json")
    calls, result = server.calls, result_bytes(project)
    assert first.code == 0
    # Calls given up half-way, for candidates that were dropped, are counted and brought no completion.
    assert first.data[0]["summary"]["usage"]["total"]["calls"] >= calls
    before = selections(journal_of(project))
    again = here("optimize", "run.toml", "--json")
    assert again.code == 0
    assert server.calls == calls
    assert again.data[0]["summary"]["usage"]["total"]["calls"] == 0
    assert again.data[0]["result"] == first.data[0]["result"]
    assert result_bytes(project) == result
    assert selections(journal_of(project)) == before


def test_a_second_process_on_the_same_run_is_turned_away(project: Path, server: ChatServer) -> None:
    server.hold_after(5)
    first = start("optimize", "run.toml", folder=project)
    server.wait_for(answered=5)
    second = apart("optimize", "run.toml", folder=project)
    assert second.code == 2
    assert len(second.errors) == 1
    assert "going on already, here or in another process" in second.errors[0]
    server.release()
    assert end(first).code == 0


def test_a_cap_on_calls_is_never_passed_and_a_higher_one_goes_on(
    project: Path, server: ChatServer, undisturbed: tuple[bytes, Counter[str]]
) -> None:
    capped = here("optimize", "run.toml", "--set", "budget.calls=50")
    assert capped.code == 3
    assert len(capped.errors) == 1
    assert "50" in capped.errors[0]
    assert capped.err.count("is kept") == 1
    assert "[budget]" in capped.err
    assert 40 < sum(server.asked.values()) <= 50
    assert not list(project.glob(".metaspo/runs/*/result.json"))
    assert here("optimize", "run.toml", "--set", "budget.calls=5000").code == 0
    assert (result_bytes(project), server.answered) == undisturbed


def test_of_two_configs_one_may_reach_its_cap_and_the_other_finish(project: Path) -> None:
    text = (project / "run.toml").read_text(encoding="utf-8")
    (project / "poor.toml").write_text(
        text.replace("seed = 7", "seed = 8").replace("[inner]", "[budget]\ncalls = 20\n\n[inner]"), encoding="utf-8"
    )
    both = here("optimize", "poor.toml", "run.toml", "--json")
    assert both.code == 3
    assert [report["result"]["name"] for report in both.data] == ["run"]
    assert len(both.errors) == 1
    assert both.errors[0].startswith("poor: ")
    states = {run["result"].get("name", ""): run["summary"]["finished"] for run in here("runs", "--json").data}
    assert states == {"": False, "run": True}


def test_two_runs_of_one_name_are_told_apart_by_their_directories(project: Path) -> None:
    (project / "again").mkdir()
    text = (project / "run.toml").read_text(encoding="utf-8").replace("seed = 7", "seed = 8")
    for data in project.glob("*.jsonl"):
        (project / "again" / data.name).write_bytes(data.read_bytes())
    (project / "again" / "run.toml").write_text(text, encoding="utf-8")
    both = here("optimize", "run.toml", "again/run.toml")
    assert both.code == 0
    said = {line.partition(":")[0] for line in both.err.splitlines() if line.endswith("test splits")}
    assert said == {path.name for path in (project / ".metaspo" / "runs").iterdir() if path.name.startswith("run-")}
    assert len(said) == 2


def test_openais_own_client_runs_the_same_way(
    project: Path,
    server: ChatServer,
    undisturbed: tuple[bytes, Counter[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Base and optimizer through the SDK, the key from its usual variable."""
    text = (project / "run.toml").read_text(encoding="utf-8")
    (project / "run.toml").write_text(text.replace("concurrency = 4", 'concurrency = 4\nbackend = "openai"'), "utf-8")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    done = here("optimize", "run.toml")
    assert done.code == 0
    assert result_bytes(project) == undisturbed[0]
    assert server.keys == {f"Bearer {KEY}"}
    assert [path for path in project.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()] == []
    assert KEY not in done.out + done.err


def test_a_plan_spends_nothing_and_bounds_the_calls(project: Path, server: ChatServer) -> None:
    plan = here("plan", "run.toml", "--json")
    assert (plan.code, server.calls) == (0, 0)
    assert not (project / ".metaspo").exists()
    assert here("optimize", "run.toml").code == 0
    calls = {role: lane["calls"] for role, lane in plan.data[0]["lanes"].items()}
    asked = {role: sum(f'"{model}"' in body for body in server.asked) for role, model in MODELS.items()}
    assert 0 < asked["base"] <= calls["base"]
    assert 0 < asked["optimizer"] <= calls["optimizer"] + count_malformed(project)


def test_a_plan_names_the_caps_that_it_may_come_to(project: Path) -> None:
    (plan,) = here("plan", "run.toml", "--json").data
    lanes = plan["lanes"].values()
    calls = sum(lane["calls"] for lane in lanes)
    tokens = sum(lane["prompt_tokens"] + lane["completion_tokens"] for lane in lanes)
    prices = [word for role in MODELS for word in ("--set", f"{role}.prices={{input = 1, output = 1}}")]

    def caps_named(**caps: float) -> list[str]:
        sets = [word for key, cap in caps.items() for word in ("--set", f"budget.{key}={cap}")]
        return [line for line in here("plan", "run.toml", *prices, *sets).out.splitlines() if "[budget]" in line]

    assert caps_named() == []
    assert caps_named(calls=calls, tokens=tokens, dollars=100) == []
    few = caps_named(calls=calls - 1, tokens=tokens - 1, dollars=0.000001)
    assert few[0] == (
        f"[budget] calls = {calls - 1} is less than the {calls:,} calls that it may take: it may stop before its end."
    )
    assert [line.split()[1] for line in few] == ["calls", "tokens", "dollars"]
    told = here("plan", "run.toml", "--json", "--set", f"budget.calls={calls - 1}").data[0]
    assert told["caps"] == few[:1]


def test_what_is_made_in_a_folder_is_called_after_it(project: Path) -> None:
    """And not all of it after the one name that every such file has."""
    for folder, name in (("trip advice", "trip-advice"), ("größe", "gr-e"), (".", project.name)):
        for template in ([], ["--template", "rag"]):
            assert here("init", folder, *template).code == 0
            config = Path(folder, "metaspo.toml")
            assert load_config(config).name == file_name(name)
            config.unlink()
    (project / "run.toml").rename("my first run.toml")
    assert here("plan", "my first run.toml", "--json").data[0]["name"] == "my-first-run"


def test_a_run_without_end_and_without_a_cap_is_warned_of(project: Path, server: ChatServer) -> None:
    """A million iterations are for whoever wants them, but no slip of the pen."""

    def warned(*sets: str) -> bool:
        server.refuse = lambda _request, _before: BAD_KEY  # whatever it is told, it ends at once
        ended = here("optimize", "run.toml", *(word for key in sets for word in ("--set", key)))
        return "days by the estimate" in ended.err and "[budget] caps nothing" in ended.err

    assert warned("iterations=1000000")
    assert not warned("iterations=1000000", "budget.calls=100")
    assert not warned()


def test_more_calls_than_can_be_planned_are_told_by_the_key_that_asks_for_them(project: Path) -> None:
    given = here("plan", "run.toml", "--calls", str(10**17))
    written = here("plan", "run.toml", "--set", "preset=metaspo+", "--set", f"train_calls={10**17}")
    assert (given.code, written.code) == (2, 2)
    assert "--calls" in given.err
    assert [line.split(":")[1].strip() for line in written.errors] == ["train_calls"]
    assert here("plan", "run.toml", "--calls", str(10**12)).code == 0


@pytest.mark.parametrize("command", ["optimize", "plan"])
def test_fewer_calls_than_the_first_prompts_take_are_told_by_what_was_written(project: Path, command: str) -> None:
    (option,) = here(command, "run.toml", "--calls", "1").errors
    (key,) = here(command, "run.toml", "--set", "train_calls=1").errors
    (both,) = here(command, "run.toml", "--calls", "500", "--set", "train_calls=1").errors
    assert option.startswith("run.toml: --calls 1: the first prompts alone take")
    assert key.startswith("run.toml: train_calls: the first prompts alone take")
    assert both.startswith("run.toml: train_calls: the first prompts alone take")


def test_a_plan_for_calls_says_that_the_optimizer_may_be_asked_more(project: Path) -> None:
    capped, whole = (" ".join(here("plan", "run.toml", *said).out.split()) for said in (["--calls", "500"], []))
    assert "what a gate spares goes into further rounds" in capped
    assert (
        "Calls are upper bounds, as if the cache were empty and every answer of the optimizer could be used;" in whole
    )
    assert "further rounds" not in whole


def test_a_plan_without_an_optimizer_speaks_of_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert here("init", "mine").code == 0
    told = " ".join(here("plan", "mine/metaspo.toml").out.split())
    assert "as if the cache were empty; tokens" in told


MODELS = {"base": "answerer", "optimizer": "writer"}


def count_malformed(folder: Path) -> int:
    return sum(isinstance(event, Malformed) for event in journal_of(folder))


def test_the_starter_runs_as_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def starter_answer(request: Request) -> str:
        asked = request.messages[-1].content
        words = {"bus": "bus", "dog": "dog", "lunch": "lunch"}
        return next((answer for word, answer in words.items() if word in asked), "")

    monkeypatch.chdir(tmp_path)
    assert here("init", "new").code == 0
    with ChatServer(starter_answer) as running:
        changes = ["base.backend=openai-compatible", "base.model=m", f'base.endpoints=["{running.url}"]']
        sets = [word for change in changes for word in ("--set", change)]
        plan = here("plan", "new/metaspo.toml", "--json", *sets)
        done = here("optimize", "new/metaspo.toml", "--json", *sets)
        assert (plan.code, done.code) == (0, 0)
        assert 0 < running.calls <= plan.data[0]["lanes"]["base"]["calls"]
    (found,) = done.data
    assert {row["task"] for row in found["summary"]["scores"]} == {"transport", "animal", "meal"}
    again = here("init", "new")
    assert (again.code, len(again.errors)) == (2, 1)


def test_there_is_a_template_for_each_of_these() -> None:
    assert list(TEMPLATES) == ["classify", "extract", "rag", "tools", "judge", "safety"]


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_runs_as_it_is_written_and_again_without_a_call(
    template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(request: Request) -> str:
        asked = request.messages[-1].content
        if "fraud?" in asked:
            return ("fair", "fraud")[len(asked) % 3 == 0]
        return ("wrong", "right")[len(asked) % 2] if request.model == "j" else str(len(asked) % 7)

    monkeypatch.chdir(tmp_path)
    assert here("init", "new", "--template", template).code == 0
    models = {"base": "m", "judge": "j"} if template == "judge" else {"base": "m"}
    with ChatServer(said) as running:
        changes = [
            change
            for role, model in models.items()
            for change in (
                f"{role}.backend=openai-compatible",
                f"{role}.model={model}",
                f'{role}.endpoints=["{running.url}"]',
            )
        ]
        sets = [word for change in changes for word in ("--set", change)]
        plan = here("plan", "new/metaspo.toml", "--json", *sets)
        done = here("optimize", "new/metaspo.toml", "--json", *sets)
        assert (plan.code, done.code) == (0, 0), done.err
        calls = running.calls
        assert 0 < calls <= sum(lane["calls"] for lane in plan.data[0]["lanes"].values())
        again = here("optimize", "new/metaspo.toml", "--json", *sets)
        assert running.calls == calls
        assert again.data[0]["summary"]["scores"] == done.data[0]["summary"]["scores"]
        answers = here("answers", "--json").data
        assert not answers["missing"], "read from the cache, through the program"
        assert running.calls == calls


def test_init_wants_a_folder_that_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty one, as of a variable that is not set, was the current folder."""
    monkeypatch.chdir(tmp_path)
    assert here("init", "").code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_template_that_is_none_is_told_with_those_there_are(tmp_path: Path) -> None:
    ended = here("init", str(tmp_path / "new"), "--template", "rga")
    assert (ended.code, len(ended.errors)) == (2, 1)
    assert "rag" in ended.err
    assert here("init", str(tmp_path / "new"), "--template", "rag", "--domain", "medical").code == 2
    assert not (tmp_path / "new").exists()


def test_a_run_directory_holds_what_it_promises(finished: Path) -> None:
    (run,) = finished.glob(".metaspo/runs/*")
    assert {path.name for path in run.iterdir() if not path.name.startswith(".")} == {
        "config.json",
        "journal.jsonl",
        "live.json",
        "origin.json",
        "prompts",
        "result.json",
        "summary.json",
    }
    shown = here("show", run.name[:6], "--json").data
    system = (run / "prompts" / "system.txt").read_text(encoding="utf-8")
    assert system == shown["result"]["system_prompt"] + "\n"
    for task in ("a", "b"):
        pasted = (run / "prompts" / f"user.{task}.txt").read_text(encoding="utf-8")
        assert pasted == shown["result"]["user_prompts"][task][0] + "\n"
    listed = here("runs", "--json").data
    assert [row["name"] for row in listed] == [run.name]
    assert here("show", run.name).code == here("runs").code == 0


def test_prompts_of_a_run_score_the_same_when_evaluated(project: Path, server: ChatServer) -> None:
    done = here("optimize", "run.toml", "--json").data[0]
    calls = server.calls
    evaluated = here("evaluate", "run.toml", "--run", done["name"], "--json")
    assert evaluated.code == 0
    after = {
        row["task"]: row["score"] for row in done["result"]["tests"] if (row["stage"], row["prompt"]) == ("after", 0)
    }
    assert {row["task"]: row["score"] for row in evaluated.data["scores"]} == after
    assert server.calls == calls


HIDDEN, SHOWN = "\x1b[?25l", "\x1b[?25h"
HANGING = """
import asyncio, time
from pathlib import Path

async def stubborn(prompts, example, call):
    Path("hangs").touch()
    while True:
        try:
            await asyncio.sleep(1e8)
        except asyncio.CancelledError:
            Path("holds").touch()

def in_thread(prompts, example, call):
    Path("hangs").touch()
    time.sleep(1e8)
"""


def all_shown(terminal: FileIO) -> bytes:
    """All that is written to a terminal until nobody has it open any more, which Linux calls an error."""
    read = b""
    with suppress(OSError):
        while piece := terminal.read(4096):
            read += piece
    return read


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such signal")
@pytest.mark.parametrize(
    ("program", "presses", "told"), rest_is_slow([("in_thread", 1, "kept"), ("stubborn", 2, "at once")])
)
def test_a_program_that_nothing_ends_does_not_hold_up_the_end(
    project: Path, server: ChatServer, program: str, presses: int, told: str
) -> None:
    config = project / "run.toml"
    config.write_text(
        config.read_text().replace('name = "a"', f'name = "a"\nprogram = "hang:{program}"\nmax_calls = 1')
    )
    (project / "hang.py").write_text(HANGING)
    ours, theirs = os.openpty()
    running = subprocess.Popen(
        [sys.executable, "-m", "metaspo", "optimize", "run.toml"],
        cwd=project,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(theirs)
    with ThreadPoolExecutor() as reader, open(ours, "rb", buffering=0) as terminal:
        shown = reader.submit(all_shown, terminal)
        try:
            for sign in ("hangs", "holds")[:presses]:
                while not (project / sign).exists():
                    assert running.poll() is None
                    time.sleep(0.005)
                running.send_signal(signal.SIGINT)
            assert running.wait(LIMIT) == 130
        finally:
            running.kill()
        err = shown.result().decode()
    assert err.count("Interrupted") == 1
    assert err.rfind(HIDDEN) < err.rfind(SHOWN), "the cursor is there again"
    assert told in err
    assert "Traceback" not in err


def test_a_finished_run_stays_finished_when_a_rerun_is_interrupted(finished: Path, server: ChatServer) -> None:
    (run,) = finished.glob(".metaspo/runs/*")
    for entry in finished.glob(".metaspo/cache"):
        entry.rename(finished / "lost")
    server.hold_after(3)
    running = start("optimize", "run.toml", folder=finished)
    server.wait_for(asked=server.calls + 4)
    running.send_signal(signal.SIGINT)
    interrupted(end(running))
    shown = here("show", run.name, "--json").data
    assert shown["summary"]["finished"]
    assert "Not finished" not in here("show", run.name).out


def test_a_run_whose_optimizer_is_unreadable_says_so_while_it_runs_at_its_end_and_when_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with ChatServer(World(3, malformed=1.0).answer) as server:
        write_project(tmp_path, server.url)
        done = here("optimize", "run.toml")
    assert done.code == 0
    assert "warning: so far none of the 4 proposals could be used" in done.err
    (name,) = (run["name"] for run in here("runs", "--json").data)
    for text in (done.out, here("show", name).out, here("show", name, "--all").out):
        said = " ".join(text.split())
        assert "warning: none of the 7 proposals could be used" in said
        assert "try a stronger optimizer model or a larger [optimizer] max_tokens" in said
    assert "could be used (the last that could not: " in said


def test_a_run_whose_optimizer_can_mostly_be_read_warns_of_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with ChatServer(World(5, malformed=0.1).answer) as server:
        write_project(tmp_path, server.url)
        done = here("optimize", "run.toml")
    assert done.code == 0
    assert "warning" not in done.out + done.err


def test_help_of_every_command_exits_with_0() -> None:
    for command in ([], ["init"], ["plan"], ["optimize"], ["demo"], ["evaluate"], ["runs"], ["show"]):
        helped = here(*command, "--help")
        assert helped.code == 0
        assert "Usage:" in helped.out


def test_results_go_to_standard_output_and_everything_else_to_standard_error(project: Path) -> None:
    done = apart("optimize", "run.toml", folder=project)
    assert done.code == 0
    assert "iteration 1 of 1" in done.err
    assert "iteration 1 of 1" not in done.out
    assert "system prompt" in done.out
    quiet = here("optimize", "run.toml", "--quiet", "--json")
    assert quiet.err == ""
    assert len(quiet.data) == 1


def test_a_closed_pipe_is_no_traceback(project: Path) -> None:
    assert here("optimize", "run.toml").code == 0
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed:
        ended = subprocess.run(
            [sys.executable, "-m", "metaspo", "runs"],
            cwd=project,
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert "Traceback" not in ended.stderr


def test_a_task_may_have_limits_and_a_response_format_of_its_own(project: Path, server: ChatServer) -> None:
    text = Path("run.toml").read_text(encoding="utf-8")
    own = 'name = "b"\nmax_tokens = 7\nresponse_format = {type = "json_object"}'
    Path("run.toml").write_text(text.replace('name = "b"', own), encoding="utf-8")
    assert here("evaluate", "run.toml", "--quiet").code == 0
    bodies = [json.loads(body) for body in server.asked]
    asked = {
        (body["messages"][-1]["content"].split(":")[0], body["max_tokens"], str(body.get("response_format")))
        for body in bodies
    }
    assert asked == {
        ("About a", 64, "None"),
        ("About b", 7, "{'type': 'json_object'}"),
        ("About unseen", 64, "None"),
    }


def test_a_run_starts_where_a_finished_one_ended_and_asks_nothing_for_that_again(
    project: Path, server: ChatServer
) -> None:
    (first,) = here("optimize", "run.toml", "--json").data
    name, calls = Path(first["directory"]).name, server.calls
    going_on = ("optimize", "run.toml", "--json", "--set", f"start={name}", "--set", "iterations=0")
    (then,) = here(*going_on).data
    assert then["directory"] != first["directory"]
    found = first["result"]
    assert then["result"]["first_system_prompt"] == then["result"]["system_prompt"] == found["system_prompt"]
    assert then["result"]["user_prompts"] == found["user_prompts"]
    assert then["result"]["train_before"] == found["train_after"]
    assert server.calls == calls, "all of it was answered before"
    (again,) = here(*going_on).data
    assert again["directory"] == then["directory"]
