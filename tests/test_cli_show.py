"""`metaspo show` and `metaspo runs` beside a run: under way, killed, stopped, finished, run again."""

import asyncio
import fcntl
import json
import re
import shlex
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer
from command_line import draw_nothing, end, here, run_into, start
from sizes import rest_is_slow
from world import World, make_config, make_task

from metaspo.backends import Simulated
from metaspo.cache import MemoryStore
from metaspo.engine import Observer, Prepared, RunDirectory, read_journal
from metaspo.engine.api import optimize
from metaspo.engine.journal.events import Spent, Start
from metaspo.engine.journal.journal import FileJournal, StoredJournal
from metaspo.engine.journal.view import RunView
from metaspo.engine.runs import status
from metaspo.engine.runs.listing import list_runs
from metaspo.engine.runs.status import Session
from metaspo.engine.watch.follower import Follower
from metaspo.engine.watch.state import state_of
from metaspo.scheduling import Gateway, Lane, LaneSettings

WORLD = World(3, malformed=0.1)
UNDER_WAY = "Under way since"
BROKEN_OFF = "ended without finishing"


def shown() -> str:
    """What `metaspo show` says of the only run."""
    (name,) = (run["name"] for run in here("runs", "--json").data)
    return here("show", name).out


def test_a_run_under_way_is_shown_as_one_with_what_it_has_spent(
    project: Path, server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = run_into(project, server, calls=80)
    text = shown()
    assert UNDER_WAY in text
    assert BROKEN_OFF not in text
    assert "Not finished" not in text
    assert "running" in here("runs").out
    (run,) = here("runs", "--json").data
    session = here("show", run["name"], "--json").data["session"]
    assert (run["running"], session["state"], session["number"]) == (True, "running", 1)
    (journal,) = project.glob(".metaspo/runs/*/journal.jsonl")
    said = [event for event in read_journal(journal) if isinstance(event, Spent)]
    assert 0 < session["calls"] == said[-1].calls <= 80
    assert f"{session['calls']} calls" in text
    assert session["stage"] in text
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: 0.0)
        assert "(-" not in shown(), "the machine's clock was set back"
    server.release()
    assert session["stage"] in end(running).err
    after = here("show", run["name"], "--json").data
    assert (after["running"], after["session"]["state"]) == (False, "ended")
    assert UNDER_WAY not in shown()


@pytest.mark.slow
def test_looking_at_a_run_neither_stops_it_nor_keeps_it_from_starting(project: Path, server: ChatServer) -> None:
    running = run_into(project, server, calls=20)
    assert UNDER_WAY in shown()
    server.release()
    assert end(running).code == 0
    assert UNDER_WAY not in shown()
    assert here("optimize", "run.toml").code == 0


def test_a_killed_run_is_told_from_one_under_way(project: Path, server: ChatServer) -> None:
    running = run_into(project, server, calls=80)
    running.kill()
    assert end(running).code == -signal.SIGKILL
    text = shown()
    assert BROKEN_OFF in text
    assert "start it again to go on" in text
    assert UNDER_WAY not in text
    assert "prompts ready to paste" not in text
    assert "unfinished" in here("runs").out
    server.wait_until_clients_hung_up()
    server.release()
    assert here("optimize", "run.toml").code == 0
    assert BROKEN_OFF not in shown()
    assert "Not finished" not in shown()


def test_an_interrupted_run_says_so_and_nothing_of_a_killed_one(project: Path, server: ChatServer) -> None:
    assert here("optimize", "run.toml", "--set", "budget.calls=10").code == 3
    running = run_into(project, server, "--set", "budget.calls=300", calls=30)
    running.send_signal(signal.SIGINT)
    assert end(running).code == 130
    text = shown()
    assert "Not finished: interrupted; start it again to go on" in text
    assert text.endswith("Go on with it: metaspo optimize run.toml --set budget.calls=300\n"), "under the same cap"
    assert BROKEN_OFF not in text
    assert UNDER_WAY not in text


def test_the_command_that_goes_on_with_a_run_is_told_with_what_was_set_and_the_cap_to_raise(
    project: Path, server: ChatServer
) -> None:
    sets = ("--set", 'base.revision="two words"', "--set", "iterations=1")
    caps = ("--set", "budget.calls=30", "--set", "budget.tokens=1_000_000")
    assert here("optimize", "run.toml", *sets, *caps).code == 3
    command = "metaspo optimize run.toml --set 'base.revision=\"two words\"' --set iterations=1"
    command += " --set budget.tokens=1000000 --set budget.calls=60"
    assert f"Go on with it: {command}" in shown()
    assert command in here("runs").out
    assert here("runs", "--json").data[0]["goes_on_with"] == command
    assert here(*shlex.split(command)[1:]).code == 3, "as it is pasted"
    assert "--set budget.calls=120" in here("runs", "--json").data[0]["goes_on_with"]
    assert here(*shlex.split(command.replace("calls=60", "calls=3_000"))[1:]).code == 0
    (run,) = here("runs", "--json").data
    assert run["line"]["state"] == "finished"
    assert run["line"]["goes_on_with"] == ""
    assert "Go on with it" not in shown()


@pytest.mark.parametrize(
    "command", rest_is_slow(["ablate run.toml --over tasks --method metaspo --seed 3", "compare grid.toml"])
)
def test_a_run_of_a_comparison_goes_on_with_the_comparison(
    project: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """What it is optimized on the config alone does not say: by that another run would begin."""
    draw_nothing(monkeypatch)
    grid = 'config = "run.toml"\n[[method]]\nname = "less"\nlike = "metaspo"\nwithout = "a"\n'
    (project / "grid.toml").write_text(grid)
    config = (project / "run.toml").read_text()
    (project / "run.toml").write_text(f"{config}\n[budget]\ncalls = 7\n")
    assert here(*command.split(), "--equal-calls", "90").code == 3
    begun = {run["name"]: run["goes_on_with"] for run in here("runs", "--json").data}
    (offered,) = set(begun.values())
    name, file, *options = command.split()
    assert offered == " ".join(("metaspo", name, str(project / file), *options, "--equal-calls", "90"))
    (project / "run.toml").write_text(config)
    assert here(*shlex.split(offered)[1:]).code == 0
    assert {run["name"] for run in here("runs", "--json").data if run["result"]} == begun.keys()


def test_a_run_that_cannot_go_on_says_why_wherever_a_command_would_be_offered(
    project: Path, server: ChatServer
) -> None:
    """What is offered works; of a damaged journal and of a config that is gone there is nothing to offer."""
    assert here("optimize", "run.toml", "--set", "budget.calls=30").code == 3
    (run,) = here("runs", "--json").data
    journal = Path(run["directory"]) / "journal.jsonl"
    whole, config = journal.read_bytes(), (project / "run.toml").read_text()

    def told() -> list[str]:
        watched = state_of(Follower(RunDirectory(journal.parent)), running=False)
        page = " ".join((watched["goes_on_with"], *watched["warnings"]))
        return [here("runs").out, here("show").out, here("show", "--all").out, here("report").err, page]

    journal.write_bytes(whole.replace(b'"event":"start"', b'"event":"sta\xff', 1))
    (refusal,) = here("optimize", "run.toml", "--set", "budget.calls=60").errors
    (project / "run.toml").unlink()
    gone = told()
    (project / "run.toml").write_text(config)
    for texts, why in ((told(), refusal.removeprefix("run: ")), (gone, "there is no such file any more")):
        missing = [text for text in texts if why not in " ".join(text.split())]
        assert not missing, (why, missing)
        assert not any("metaspo optimize" in text or "start it again" in text for text in texts)
    journal.write_bytes(whole)
    assert all("metaspo optimize run.toml --set budget.calls=60" in text for text in told())


def test_a_run_that_begins_anew_says_which_one_it_does_not_go_on_with(project: Path, server: ChatServer) -> None:
    """The same command after the config has changed: it goes on with nothing that was begun before, until that is what
    the config says again."""
    assert here("optimize", "run.toml", "--set", "budget.calls=30").code == 3
    (old,) = (run["name"] for run in here("runs", "--json").data)
    config = (project / "run.toml").read_text()
    (project / "run.toml").write_text(re.sub(r"(?m)^seed = .*$", "seed = 977", config))
    anew = here("optimize", "run.toml", "--set", "budget.calls=40")
    assert (anew.code, f"does not go on with {old}" in anew.err) == (3, True)
    commands = {run["name"]: run["goes_on_with"] for run in here("runs", "--json").data}
    (new,) = commands.keys() - {old}
    assert commands == {old: "", new: "metaspo optimize run.toml --set budget.calls=80"}
    again = here("optimize", "run.toml", "--set", "budget.calls=50")
    assert "does not go on" not in again.err
    (project / "run.toml").write_text(config)
    assert "does not go on" not in here("optimize", "run.toml", "--set", "budget.calls=40").err
    assert {run["name"]: run["goes_on_with"] for run in here("runs", "--json").data} == {
        old: "metaspo optimize run.toml --set budget.calls=80",
        new: "",
    }


@pytest.mark.slow
def test_after_a_stop_a_killed_session_is_told_before_what_the_one_before_it_said(
    project: Path, server: ChatServer
) -> None:
    assert here("optimize", "run.toml", "--set", "budget.calls=30").code == 3
    running = run_into(project, server, calls=40)
    running.kill()
    assert end(running).code == -signal.SIGKILL
    lines = shown().splitlines()
    (killed,) = (number for number, line in enumerate(lines) if BROKEN_OFF in line)
    assert lines[killed + 1] == "What follows is of the session before."
    assert "budget" in lines[killed + 2]


@pytest.mark.slow
def test_a_stopped_run_that_goes_on_is_not_told_to_be_started_again(project: Path, server: ChatServer) -> None:
    assert here("optimize", "run.toml", "--set", "budget.calls=30").code == 3
    assert "Not finished" in shown()
    running = run_into(project, server, calls=30)
    for text in (shown(), here("show", "--all").out):
        assert UNDER_WAY in text
        assert "Not finished" not in text
        assert "start it again" not in text
    server.release()
    assert end(running).code == 0


async def test_a_run_under_way_has_taken_the_minutes_until_now(tmp_path: Path) -> None:
    """Not those until its last line, which a long stage leaves behind."""
    run = RunDirectory(tmp_path / "run")
    with run.held():
        run.config.write_text("{}", encoding="utf-8")
        journal = FileJournal(run.journal, clock=asyncio.get_running_loop().time)
        journal.write(Start(name="run", seed=1, wall=time.time() - 600))
        journal.close()
        (line,) = list_runs([run])
        assert line.state == "running"
        assert line.seconds >= 600
    (line,) = list_runs([run])
    assert line.seconds < 600


@pytest.mark.slow
def test_a_finished_run_that_is_run_again_shows_both(project: Path, server: ChatServer) -> None:
    assert here("optimize", "run.toml").code == 0
    (project / ".metaspo" / "cache").rename(project / "lost")
    server.hold_after(3)
    running = start("optimize", "run.toml", folder=project)
    server.wait_for(asked=server.calls + 4)
    text = shown()
    assert text.index(UNDER_WAY) < text.index("What follows is of the session before.") < text.index("system prompt")
    server.release()
    assert end(running).code == 0


def test_a_directory_without_a_journal_is_not_taken_for_a_run_under_way(tmp_path: Path) -> None:
    """A kill between the config and the first line of the journal, or a directory that somebody copied in part."""
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "config.json").write_text("{}", encoding="utf-8")
    assert status.session_of(RunDirectory(folder), RunView(), running=False, config={}, summary={}) is None
    ended = here("show", str(folder))
    assert ended.code == 0
    assert "Not finished: interrupted" in ended.out


def test_only_who_holds_a_directory_makes_it_one_in_use(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    seen = [run.in_use]
    for _ in range(2):
        with run.held():
            seen += [run.in_use, run.in_use]
        seen.append(run.in_use)
    assert seen == [False, True, True, False, True, True, False]


def test_two_that_look_at_a_directory_do_not_take_each_other_for_a_run(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    with run.held():
        pass
    with (tmp_path / ".lock").open("rb") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        assert not run.in_use


def session_of(run: RunDirectory, *events: dict[str, Any], summary: dict[str, Any]) -> Session:
    """The last session of a journal, as read by somebody who saw nobody run it at first."""
    run.config.write_text("{}", encoding="utf-8")
    journal = "".join(json.dumps({"address": "", "t": 1.5, **event}) + "\n" for event in events)
    run.journal.write_text(journal, encoding="utf-8")
    config = {"iterations": 3, "tasks": [{"role": "source"}]}
    session = status.session_of(
        run, RunView.of(StoredJournal(run.journal)), running=False, config=config, summary=summary
    )
    assert session is not None
    return session


START = {"event": "start"}
SPENT = {"event": "spent", "calls": 7, "dollars": 0.5}
SELECTED = {"event": "select", "address": "iter=1/outer"}


@pytest.mark.parametrize(
    ("sessions", "summary", "state"),
    [
        (1, {}, "broken off"),
        (1, {"all_sessions": {"sessions": 1}}, "ended"),
        (2, {"all_sessions": {"sessions": 1}}, "broken off"),
        (2, {"all_sessions": {"sessions": 2}}, "ended"),
    ],
)
def test_a_session_is_broken_off_if_no_summary_counts_it(
    tmp_path: Path, sessions: int, summary: dict[str, Any], state: str
) -> None:
    assert session_of(RunDirectory(tmp_path), *[START] * sessions, summary=summary).state == state


def test_what_a_run_without_a_result_has_found_is_shown_with_the_scores_it_was_chosen_by(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    found = {"event": "select", "address": "iter=1/outer", "system": "Be exact.", "chosen": 1, "score": 0.75}
    of_first = {"event": "score", "address": "init/task=a", "task": "a", "score": 0.25}
    of_found = {"event": "score", "address": "iter=1/outer/cand=1/score/task=a/prompt=0", "task": "a", "score": 0.75}
    session_of(run, START, of_first, summary={})
    run.config.write_text(json.dumps({"tasks": [{"name": "a", "role": "source"}]}), encoding="utf-8")
    assert here("show", str(run.path), "--json").data["so_far"] is None
    journal = "".join(json.dumps({"t": 1.5, **event}) + "\n" for event in (of_found, found))
    run.journal.write_text(run.journal.read_text(encoding="utf-8") + journal, encoding="utf-8")
    for options in ((), ("--all",)):
        text = here("show", str(run.path), *options).out
        assert "not tested yet: 25.0% → 75.0%" in text
        assert "Be exact." in text
    told = here("show", str(run.path), "--json").data["so_far"]
    assert told == {"first": 0.25, "score": 0.75, "system_prompt": "Be exact.", "user_prompts": {}}


def test_what_an_earlier_session_did_is_not_the_last_ones(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    first = session_of(run, START, SPENT, SELECTED, summary={})
    assert (first.number, first.calls, first.dollars, first.seconds) == (1, 7, 0.5, 1.5)
    assert first.stage == "iteration 2 of 3: inner loop"
    second = session_of(run, START, SPENT, SELECTED, START, summary={})
    assert (second.number, second.calls, second.dollars, second.stage) == (2, 0, 0.0, "first prompts")


def test_a_session_that_begins_while_one_looks_is_not_taken_for_a_killed_one(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert session_of(run, START, summary={}).state == "broken off"
    with run.held():
        assert session_of(run, START, summary={}).state == "running"


def test_a_line_that_a_kill_cut_off_is_passed_over(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    session_of(run, START, SPENT, summary={})
    with run.journal.open("ab") as journal:
        journal.write(b'{"event":"spent","addr')
    session = status.session_of(run, RunView.of(StoredJournal(run.journal)), running=False, config={}, summary={})
    assert session is not None
    assert (session.state, session.calls) == ("broken off", 7)


class Stages(Observer):
    """Notes each stage and how long the journal was when it began."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.begun: list[tuple[int, str]] = []

    def stage(self, name: str) -> None:
        (journal,) = self._folder.glob("runs/*/journal.jsonl")
        self.begun.append((len(journal.read_bytes().splitlines()), name))


async def run_with(stages: Stages, prepared: Prepared) -> None:
    lanes = [Lane(name, [Simulated(WORLD.answer)], LaneSettings(concurrency=3)) for name in ("base", "optimizer")]
    async with Gateway(lanes, store=MemoryStore()) as gateway:
        await optimize(prepared, gateway=gateway, observer=stages)


@pytest.mark.parametrize(("sizes", "induced"), [((2, 3), 0), ((0, 3), 0), ((2, 0), 0), ((2, 3), 2)])
def test_the_stage_is_the_one_that_the_run_was_at_when_the_journal_ended_there(
    tmp_path: Path, sizes: tuple[int, int], induced: int
) -> None:
    """Never behind what the observer was told, and ahead only when nothing of its stage was still to come."""
    inner, outer = sizes
    under = {"under": "induced", "induced": induced} if induced else {}
    tables = {"inner": {"candidates": inner, "keep": 2}, "outer": {"candidates": outer, **under}}
    config = make_config({"runs": "runs", **tables})
    tasks = (make_task("a"), make_task("b"), make_task("unseen", role="target"))
    stages = Stages(tmp_path)
    asyncio.run(run_with(stages, Prepared(config=config, tasks=tasks, folder=tmp_path)))
    (path,) = tmp_path.glob("runs/*/journal.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    said = {"iterations": 2, "tasks": [{"role": task.role} for task in tasks], "outer": under}
    cut = RunDirectory(tmp_path / "cut")
    cut.path.mkdir()
    cut.config.write_text("{}", encoding="utf-8")
    assert len(stages.begun) == 1 + 2 * 2 + 1
    for number, (begin, stage) in enumerate(stages.begun):
        following = [*stages.begun[number + 1 :], (len(lines), stage)][0]
        for length in range(max(begin, 1), following[0] + 1):
            cut.journal.write_bytes(b"".join(lines[:length]))
            session = status.session_of(
                cut, RunView.of(StoredJournal(cut.journal)), running=True, config=said, summary={}
            )
            assert session is not None
            beside = all(b'"spent"' in line or b"test/before" in line for line in lines[length : following[0]])
            assert session.stage in ({stage, following[1]} if beside and length > begin else {stage}), length
