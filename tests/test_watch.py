"""The live page's server: to this machine alone, from the journal's byte on, of any number of runs in any state."""

import asyncio
import json
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from chat_server import ChatServer
from command_line import LIMIT, apart, end, here, run_into, start, write_project
from hypothesis import given
from hypothesis import strategies as st
from world import World

from metaspo.engine import ConfigError, RunDirectory, find_runs, read_journal
from metaspo.engine.journal.events import Finish, Select
from metaspo.engine.journal.journal import CHUNK, read_lines
from metaspo.engine.watch import serve_watch
from metaspo.engine.watch.follower import Follower, tail_offset
from metaspo.engine.watch.stop import process_of
from metaspo.engine.watch.stream import Stream

WORLD = World(3, malformed=0.1)
RUNS = Path(".metaspo/runs")


@pytest.fixture
def finished_run(finished: Path) -> RunDirectory:
    """A finished run in the current folder."""
    (run,) = find_runs(RUNS)
    return run


@asynccontextmanager
async def served(place: Path = RUNS) -> AsyncIterator[aiohttp.ClientSession]:
    """Whoever looks at a place's page."""
    async with serve_watch(place, port=0) as address, aiohttp.ClientSession(address) as session:
        yield session


async def told(
    session: aiohttp.ClientSession, run: str, *, kinds: set[str], since: int | None = None
) -> dict[str, Any]:
    """The first events of a run until each of these kinds has come, by kind; a log's with its `id`."""
    found: dict[str, Any] = {}
    headers = {} if since is None else {"Last-Event-ID": str(since)}
    async with session.get("/events", params={"run": run}, headers=headers) as answer:
        assert answer.content_type == "text/event-stream"
        event: dict[str, str] = {}
        while not kinds <= found.keys():
            line = (await asyncio.wait_for(answer.content.readline(), LIMIT)).decode().rstrip("\n")
            if line:
                key, _, value = line.partition(": ")
                event[key] = value
            elif event.get("event"):
                said = json.loads(event["data"])
                found.setdefault(event["event"], {**said, "id": int(event["id"])} if "id" in event else said)
                event = {}
    return found


async def test_a_request_by_another_name_is_refused(finished_run: RunDirectory) -> None:
    """A page of somebody else's whose name is made to point here sees nothing."""
    async with served() as session:
        for host in ("evil.example", "evil.example:8410", "127.0.0.1.evil.example", "localhost.evil.example:1", ""):
            for path in ("/", "/runs", f"/events?run={finished_run.name}"):
                async with session.get(path, headers={"Host": host}) as answer:
                    assert answer.status in (400, 403), host
        for host in ("localhost:9", "127.0.0.1", "[::1]:77"):
            async with session.get("/runs", headers={"Host": host}) as answer:
                assert answer.status == 200, "by any port, as it is forwarded"


async def test_it_listens_on_this_machine_alone_and_a_taken_port_is_a_mistake() -> None:
    async with serve_watch(RUNS, port=0) as address:
        assert address.startswith("http://127.0.0.1:")
        port = int(address.rpartition(":")[2].strip("/"))
        with pytest.raises(ConfigError, match=f"--port {port}"):
            async with serve_watch(RUNS, port=port):
                pass


async def test_clients_beyond_the_room_wait_and_are_answered(
    finished_run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many tabs are open: the calls of a run that is watched need their files."""
    monkeypatch.setattr("metaspo.engine.watch.server.ROOM", 2)
    async with serve_watch(RUNS, port=0) as address:
        sessions = [aiohttp.ClientSession(address) for _ in range(6)]
        try:
            answers = await asyncio.gather(*(session.get("/runs") for session in sessions))
            assert [answer.status for answer in answers] == [200] * len(sessions)
        finally:
            await asyncio.gather(*(session.close() for session in sessions))


async def test_nothing_is_loaded_from_elsewhere_and_no_script_stands_in_the_page(finished_run: RunDirectory) -> None:
    async with served() as session:
        for path in ("/", "/watch.js", "/watch.css", "/runs"):
            async with session.get(path) as answer:
                policy = answer.headers["Content-Security-Policy"]
                assert "default-src 'none'" in policy
                assert "unsafe" not in policy
                text = (await answer.text()).replace("http://www.w3.org/2000/svg", "")
                assert "http://" not in text.replace(finished_run.config.read_text(encoding="utf-8"), "")
                assert "innerHTML" not in text
                assert "insertAdjacentHTML" not in text


async def test_only_runs_of_the_folder_are_shown(finished_run: RunDirectory, tmp_path: Path) -> None:
    async with served() as session:
        for name in ("", "nobody", "..", "../..", f"../runs/{finished_run.name}", str(finished_run.path.resolve())):
            for path in ("/events", "/answers", "/candidate"):
                async with session.get(path, params={"run": name}) as answer:
                    assert answer.status == 404


async def test_the_state_of_a_finished_run_is_that_of_its_files(finished_run: RunDirectory) -> None:
    result = json.loads(finished_run.result.read_bytes())
    summary = json.loads(finished_run.summary.read_bytes())
    async with served() as session:
        found = await told(session, finished_run.name, kinds={"state", "candidates", "log"})
    state = found["state"]
    assert (state["state"], state["system_prompt"]) == ("finished", result["system_prompt"])
    assert state["spent"]["calls"] == summary["all_sessions"]["calls"]
    assert state["points"][-1]["score"] == pytest.approx(result["train_after"])
    assert [gain["after"] for gain in state["gains"]] == [gain["after"] for gain in summary["gains"]]
    assert len(state["tasks"]["rows"]) == 3
    chosen = [
        event.system for event in read_journal(finished_run.journal) if isinstance(event, Select) and event.chosen
    ]
    kept = [one["text"] for one in found["candidates"] if one["level"] == "system" and one["outcome"] == "kept"]
    assert kept == [text[:200] for text in chosen if text]


async def test_the_log_goes_on_at_the_byte_where_it_was_left(finished_run: RunDirectory) -> None:
    """Every line comes once, whatever byte a browser comes back with."""
    whole = finished_run.journal.read_bytes().splitlines()
    lines = [len(b"".join(line + b"\n" for line in whole[:count])) for count in range(len(whole))]
    async with served() as session:
        for since in (0, lines[5], lines[-1]):
            log = (await told(session, finished_run.name, kinds={"log"}, since=since))["log"]
            sent = [json.loads(line) for line in whole[lines.index(since) :]]
            assert log["lines"] == sent[-len(log["lines"]) :]
            assert log["id"] == finished_run.journal.stat().st_size
        with finished_run.journal.open("ab") as journal:
            journal.write(b'{"event":"finish","address":"new"}\n{"event":"half')
        log = (await told(session, finished_run.name, kinds={"log"}, since=lines[-1] + len(whole[-1]) + 1))["log"]
        assert log["lines"] == [{"event": "finish", "address": "new"}], "and a line that is not whole yet waits"


async def test_a_candidate_is_told_with_what_changed_why_it_fell_and_what_the_optimizer_said(
    finished_run: RunDirectory,
) -> None:
    async with served() as session:
        found = (await told(session, finished_run.name, kinds={"candidates"}))["candidates"]
        for one in found:
            async with session.get(
                "/candidate", params={"run": finished_run.name, "address": one["address"]}
            ) as answer:
                whole = await answer.json()
            assert "".join(span["text"] for span in whole["spans"] if span["change"] != "removed") == whole["text"]
            if whole["text"]:
                assert [step for step, _ in whole["steps"]] == ["analyze"]
        texts = {one["address"]: one["text"] for one in found}
        for one in found:
            if one["parent"]:
                assert texts[one["parent"]]
    assert any(one["parent"] for one in found)


async def test_the_answers_of_a_page_are_those_of_the_command(finished_run: RunDirectory, server: ChatServer) -> None:
    calls = server.calls
    said = (await asyncio.to_thread(lambda: apart("answers", "--json", folder=Path()))).data
    async with served() as session, session.get("/answers", params={"run": finished_run.name}) as answer:
        found = await answer.json()
    assert [task["examples"] for task in found["tasks"]] == [task["examples"] for task in said["tasks"]]
    assert [row[0] for row in found["table"]["rows"]] == ["a", "b", "unseen"]
    assert server.calls == calls


def test_a_run_under_way_is_told_as_one_and_a_killed_one_too(project: Path, server: ChatServer) -> None:
    async def look() -> tuple[dict[str, Any], dict[str, Any]]:
        (run,) = find_runs(RUNS)
        async with served(run.path) as session:
            state = (await told(session, run.name, kinds={"state"}))["state"]
            async with session.get("/answers", params={"run": run.name}) as answer:
                return state, await answer.json()

    running = run_into(project, server, calls=80)
    state, answers = asyncio.run(look())
    assert state["state"] == "running"
    assert 0 < state["progress"]["settled"] < state["progress"]["planned"]
    assert state["progress"]["left"].endswith(("left", "unknown"))
    assert set(state["lanes"]) == {"base", "optimizer"}
    assert answers["after"] == "the best prompts so far"
    assert [gain["role"] for gain in answers["gains"]] == ["source"]
    running.kill()
    end(running)
    assert asyncio.run(look())[0]["state"] == "broken off"
    server.wait_until_clients_hung_up()
    server.release()


async def asked_to_stop(run: RunDirectory, **headers: str) -> tuple[int, str]:
    """What the server says to whoever asks it to stop a run."""
    async with served() as session, session.post("/stop", params={"run": run.name}, headers=headers) as answer:
        return answer.status, await answer.text()


def test_a_run_is_stopped_from_its_page_as_ctrl_c_does_and_goes_on_when_started_again(
    project: Path, server: ChatServer
) -> None:
    running = run_into(project, server, calls=60)
    (run,) = find_runs(RUNS)
    assert asyncio.run(asked_to_stop(run, **{"X-Metaspo": "watch"})) == (202, "")
    ended = end(running)
    assert (ended.code, "Everything paid for is kept" in ended.err) == (130, True)
    server.release()
    calls = server.calls
    assert apart("optimize", "run.toml", "--quiet", folder=project).code == 0
    assert max(count for body, count in server.answered.items() if "answerer" in body) == 1
    assert server.calls > calls


def test_nobody_but_the_page_itself_may_stop_a_run(project: Path, server: ChatServer) -> None:
    running = run_into(project, server, calls=60)
    (run,) = find_runs(RUNS)
    for headers in ({}, {"X-Metaspo": "watch", "Origin": "http://127.0.0.1:1"}, {"Origin": "http://evil.example"}):
        assert asyncio.run(asked_to_stop(run, **headers))[0] == 403
    assert running.poll() is None
    running.kill()
    end(running)
    status, why = asyncio.run(asked_to_stop(run, **{"X-Metaspo": "watch"}))
    assert (status, "does not go on on this machine" in why) == (409, True)
    server.release()


def test_a_process_that_an_earlier_session_or_another_machine_named_is_left_alone(
    project: Path, server: ChatServer
) -> None:
    running = run_into(project, server, calls=60)
    (run,) = find_runs(RUNS)
    live = json.loads(run.live.read_bytes())
    for change in ({"wall": 1.0}, {"host": "another"}, {"pid": 1}, {"stopped_by": "SIGKILL"}, {"pid": None}):
        run.live.write_text(json.dumps({**live, **change}), encoding="utf-8")
        follower = Follower(run)
        while follower.advance():
            pass
        assert process_of(follower) is None, change
    running.kill()
    end(running)
    server.release()


@pytest.mark.slow
async def test_many_runs_are_listed_with_how_far_they_are(finished_run: RunDirectory, project: Path) -> None:
    again = await asyncio.to_thread(lambda: apart("optimize", "run.toml", "--quiet", "--set", "seed=8", folder=project))
    assert again.code == 0
    async with served() as session, session.get("/runs") as answer:
        found = await answer.json()
    assert {run["state"] for run in found["runs"]} == {"finished"}
    assert all(run["share"] == 1 for run in found["runs"])
    assert "seed = 8" in json.dumps(found["runs"][0]["texts"])


def test_a_run_can_be_optimized_with_its_page_beside_it(project: Path, server: ChatServer) -> None:
    shown = here("optimize", "run.toml", "--web", "--port", "0")
    assert shown.code == 0
    assert "In the browser: http://127.0.0.1:" in shown.err
    assert here("optimize", "run.toml", "--web", "--set", 'runs=""').code == 2


def test_what_is_written_for_those_who_watch_changes_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with ChatServer(WORLD.answer) as server:
        write_project(tmp_path, server.url)
        assert here("optimize", "run.toml", "--quiet").code == 0
        (run,) = find_runs(RUNS)
        first = run.result.read_bytes()
        live = json.loads(run.live.read_bytes())
        assert live["settled"] == live["planned"]
        run.live.unlink()
        run.live.mkdir()  # it cannot be written: the run goes on all the same
        assert here("optimize", "run.toml", "--quiet").code == 0
        assert run.result.read_bytes() == first


@given(st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b"").replace(b"\r", b"")), max_size=30))
def test_lines_are_read_whole_and_once_however_they_are_cut(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal.jsonl"
    found, offset = [], 0
    for line in lines:
        for piece in (line[: len(line) // 2], line[len(line) // 2 :] + b"\n"):
            with path.open("ab") as file:
                file.write(piece)
            read, offset = read_lines(path, offset)
            found += read
    assert found == b"".join(line + b"\n" for line in lines).splitlines()
    assert offset == sum(len(line) + 1 for line in lines)


def test_a_line_longer_than_a_chunk_is_read_too_and_the_tail_begins_with_a_line(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b"x" * (2 * CHUNK) + b"\nshort\nlast\n")
    lines, offset = read_lines(path, 0)
    assert [len(line) for line in lines] == [2 * CHUNK]
    assert read_lines(path, offset)[0] == [b"short", b"last"]
    assert read_lines(path, tail_offset(path, 8))[0] == [b"last"]
    assert tail_offset(path, 10**9) == 0
    assert read_lines(tmp_path / "none", 7) == ([], 7)


def test_a_follower_folds_what_came_since_and_passes_over_what_it_does_not_know(tmp_path: Path) -> None:
    follower = Follower(RunDirectory(tmp_path))
    assert not follower.advance()
    path = RunDirectory(tmp_path).journal
    path.write_bytes(b'{"event":"start","address":"","seed":1}\nnot json\n{"event":"of a newer version"}\n')
    assert follower.advance()
    assert follower.view.sessions == 1
    with path.open("ab") as file:
        file.write(json.dumps({**Finish(score=0.5).line(), "t": 7.5}).encode() + b"\n")
    assert follower.advance()
    assert follower.view.seconds == 7.5
    assert not follower.advance()


class Written(web.StreamResponse):
    """Keeps what it is to send."""

    def __init__(self) -> None:
        super().__init__()
        self.text = b""

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        self.text += data


@pytest.mark.virtual
async def test_whoever_looks_is_told_some_times_a_second_however_often_the_journal_is_written_to(
    tmp_path: Path,
) -> None:
    run = RunDirectory(tmp_path)
    run.journal.touch()
    response = Written()
    watching = asyncio.create_task(Stream(response, Follower(run), "").run())
    for number in range(400):
        with run.journal.open("ab") as journal:
            journal.write(b'{"event":"lane","address":"","number":%d}\n' % number)
        await asyncio.sleep(0.01)
    await asyncio.sleep(1)
    watching.cancel()
    events = [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith(b'data: {"skipped"')]
    assert [line["number"] for event in events for line in event["lines"]] == list(range(400))
    assert 16 <= len(events) <= 17


@pytest.mark.virtual
async def test_a_page_of_a_long_journal_catches_up_at_once(tmp_path: Path) -> None:
    """A chunk holds whole lines only, and so is hardly ever full."""
    run = RunDirectory(tmp_path)
    line = b'{"event":"lane","address":"","number":0,"text":"%b"}\n' % (b"x" * 1000)
    run.journal.write_bytes(line * (20 * CHUNK // len(line)))
    follower = Follower(run)
    watching = asyncio.create_task(Stream(Written(), follower, "").run())
    await asyncio.sleep(1)
    watching.cancel()
    assert follower.offset == run.journal.stat().st_size


async def test_a_comparison_is_a_grid_that_fills_up(project: Path, server: ChatServer) -> None:
    grid = 'config = "run.toml"\nmethods = ["default", "metaspo", "outer-only"]\nseeds = [1, 2]\n'
    (project / "grid.toml").write_text(grid, encoding="utf-8")

    async def listed() -> dict[str, Any]:
        async with served() as session, session.get("/runs") as answer:
            (grid,) = (await answer.json())["grids"]
            told: dict[str, Any] = grid
            return told

    server.hold_after(60)
    running = start("compare", "grid.toml", "--quiet", folder=project)
    await asyncio.to_thread(server.wait_for, answered=60)
    told = await listed()
    assert [row["method"] for row in told["rows"]] == ["metaspo", "outer-only"]
    assert told["fixed"] == ["default"]
    assert told["columns"] == ["seed 1", "seed 2"]
    states = [cell["state"] for row in told["rows"] for cell in row["cells"]]
    assert (told["all"], told["done"]) == (4, 0)
    assert {"running"} <= set(states) <= {"running", "to come"}
    server.release()
    assert (await asyncio.to_thread(end, running)).code == 0
    told = await listed()
    assert (told["done"], told["all"]) == (4, 4)
    names = {run.name for run in find_runs(RUNS)}
    assert {cell["name"] for row in told["rows"] for cell in row["cells"]} == names
    assert all(cell["score"] for row in told["rows"] for cell in row["cells"])


async def test_what_is_no_grid_is_passed_over(project: Path) -> None:
    folder = project / RUNS / "grids"
    folder.mkdir(parents=True)
    cell = {"method": "metaspo", "domain": "", "seed": 1, "run": "r"}
    (folder / "good.json").write_text(json.dumps({"name": "good", "cells": [cell]}), encoding="utf-8")
    bad: list[object] = [
        {"name": "x", "cells": [each]} for each in (1, {"run": "r"}, {**cell, "run": []}, {**cell, "method": {}})
    ]
    for number, data in enumerate([*bad, {"cells": [cell]}, {"name": "x", "cells": {}}, [], None]):
        (folder / f"{number}.json").write_text(json.dumps(data), encoding="utf-8")
    (folder / "cut.json").write_text('{"name": "x", "cells": [', encoding="utf-8")
    (folder / "gone.json").symlink_to(folder / "replaced")
    async with served() as session, session.get("/runs") as answer:
        assert answer.status == 200
        assert [grid["name"] for grid in (await answer.json())["grids"]] == ["good"]


async def test_while_grids_are_read_others_are_answered(project: Path) -> None:
    folder = project / RUNS / "grids"
    folder.mkdir(parents=True)
    slow, reading, answered = folder / "slow.json", threading.Event(), threading.Event()
    os.mkfifo(slow)

    def write() -> bool:
        with slow.open("wb"):
            reading.set()
            return answered.wait(20)

    async with served() as session:
        meanwhile = asyncio.create_task(asyncio.to_thread(write))
        listing = asyncio.create_task(session.get("/runs"))
        await asyncio.to_thread(reading.wait, 20)
        async with session.get("/") as answer:
            assert answer.status == 200
        answered.set()
        assert await meanwhile
        assert (await listing).status == 200
