"""A cap on time: nothing is asked once it is over, everything answered is kept, and the same command goes on."""

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest
from chat_server import ChatServer
from command_line import draw_nothing, here, write_project
from hypothesis import given, settings
from hypothesis import strategies as st
from sizes import examples
from world import World, make_config, make_task

from metaspo import Observer, RunReport, evaluate, optimize
from metaspo.backends import Request, Simulated
from metaspo.backends.loops.virtual_time import run_virtual
from metaspo.cache import MemoryStore
from metaspo.engine import ConfigError, Prepared
from metaspo.engine.runs.directory import RunDirectory
from metaspo.engine.studies import CellResult, compare
from metaspo.engine.studies.grid import load_grid
from metaspo.engine.watch.state import _progress
from metaspo.scheduling import BudgetExhausted, Gateway, Lane, LaneSettings
from metaspo.scheduling.settings import Billing
from metaspo.serving.config import load_serve_config

HOUR = 3600.0
MINUTES = 4.0  # that a call takes in the mean: runs of many hours
WORLD = World(3)
TASKS = (make_task("a"), make_task("b"), make_task("unseen", role="target"))


class Server:
    """Both models over one store; it notes when each request was sent, and which were answered."""

    def __init__(self, billing: Billing = "time", *, width: int = 3) -> None:
        self.store, self.billing, self.width = MemoryStore(), billing, width
        self.sent: list[float] = []
        self.answered: list[Request] = []

    def latency(self, _request: Request, rng: Random) -> float:
        self.sent.append(asyncio.get_running_loop().time())
        return rng.expovariate(1 / (60 * MINUTES))

    def answer(self, request: Request) -> str:
        self.answered.append(request)
        return WORLD.answer(request)

    def lane(self, name: str, *, seed: int = 0) -> Lane:
        settings = LaneSettings(concurrency=self.width, billing=self.billing, time_limit=10 * HOUR)
        return Lane(name, [Simulated(self.answer, latency=self.latency, seed=seed)], settings)

    def gateway(self, seed: int) -> Gateway:
        return Gateway([self.lane(name, seed=seed) for name in ("base", "optimizer")], store=self.store)


def prepared(folder: Path, hours: float | None) -> Prepared:
    small = {"iterations": 1, "inner": {"candidates": 1, "keep": 1}, "outer": {"candidates": 2}}
    config = make_config({"runs": "runs", "budget": {"hours": hours}, **small})
    return Prepared(config=config, tasks=TASKS, folder=folder)


def session(server: Server, what: Prepared, *, seed: int = 0) -> tuple[RunReport | BudgetExhausted, float]:
    """What one start of a run comes to, and how many virtual seconds it took."""

    async def start() -> tuple[RunReport | BudgetExhausted, float]:
        async with server.gateway(seed) as gateway:
            try:
                ended: RunReport | BudgetExhausted = await optimize(what, gateway=gateway)
            except BudgetExhausted as stop:
                ended = stop
        return ended, asyncio.get_running_loop().time()

    return run_virtual(start())


def until_done(server: Server, what: Callable[[int], Prepared], *, seed: int) -> int:
    """Start a run again until it has its result; how often it stopped."""
    for stops in range(200):
        if isinstance(session(server, what(stops), seed=seed + stops)[0], RunReport):
            return stops
    raise AssertionError("it never came to an end")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, float]:
    """The bytes of a run's result without a cap, and its hours."""
    what = prepared(tmp_path_factory.mktemp("undisturbed"), None)
    ended, seconds = session(Server(), what)
    assert isinstance(ended, RunReport)
    return directory(what).result.read_bytes(), seconds / HOUR


def directory(what: Prepared) -> RunDirectory:
    assert what.directory is not None
    return what.directory


@given(shares=st.lists(st.floats(0.15, 0.9), min_size=1, max_size=4), seed=st.integers(0, 99), tokens=st.booleans())
@settings(max_examples=examples(3, random=15), deadline=None)
def test_a_run_that_time_stops_comes_to_the_same_bytes(
    undisturbed: tuple[bytes, float], shares: list[float], seed: int, tokens: bool
) -> None:
    """Whatever hours each start has; in one directory, and nothing that was answered is asked again."""
    expected, hours = undisturbed
    server = Server("tokens" if tokens else "time")
    with TemporaryDirectory() as folder:
        starts = [prepared(Path(folder), share * hours) for share in shares]
        until_done(server, lambda number: starts[number % len(starts)], seed=seed)
        assert [path.name for path in (Path(folder) / "runs").iterdir()] == [directory(starts[0]).name]
        assert directory(starts[0]).result.read_bytes() == expected
    assert len(server.answered) == len(set(server.answered))


@pytest.mark.parametrize("billing", ["time", "tokens"])
def test_nothing_is_asked_once_the_time_is_over(tmp_path: Path, billing: Billing) -> None:
    """What is out then ends as at an interrupt: it is broken off or, where it is paid for, may come in for a while."""
    server = Server(billing)
    ended, seconds = session(server, prepared(tmp_path, 0.75))
    assert isinstance(ended, BudgetExhausted)
    assert (ended.cap, ended.limit) == ("hours", 0.75)
    assert max(server.sent) < 0.75 * HOUR <= seconds <= 0.75 * HOUR + (0 if billing == "time" else 60)
    assert str(ended).startswith(
        "The budget is used up: the 0.75 hours of this start are over; everything answered is kept"
    )
    summary = json.loads(directory(prepared(tmp_path, None)).summary.read_bytes())
    assert (summary["cap"], summary["stopped"], summary["finished"]) == ("hours", str(ended), False)
    live = json.loads(directory(prepared(tmp_path, None)).live.read_bytes())
    assert live["stops_in"] <= 0, "by which the page says where it will stop"


def test_a_run_that_is_over_in_time_is_not_touched(tmp_path: Path, undisturbed: tuple[bytes, float]) -> None:
    expected, hours = undisturbed
    what = prepared(tmp_path, hours + 1e-6)
    assert isinstance(session(Server(), what)[0], RunReport)
    assert directory(what).result.read_bytes() == expected


def test_of_several_runs_each_has_its_own_time(tmp_path: Path) -> None:
    """One that stops leaves the other to come to its end, by what is set on no clock but the loop's."""
    short, long = prepared(tmp_path, 0.5), prepared(tmp_path / "other", None)
    server = Server()

    async def both() -> tuple[BaseException | RunReport, ...]:
        async with server.gateway(1) as gateway:
            started = (optimize(each, gateway=gateway) for each in (short, long))
            return tuple(await asyncio.gather(*started, return_exceptions=True))

    stopped, finished = run_virtual(both())
    assert isinstance(stopped, BudgetExhausted)
    assert isinstance(finished, RunReport)


def test_an_evaluation_stops_in_time_and_goes_on(tmp_path: Path) -> None:
    server = Server()

    async def start(hours: float) -> list[float | None]:
        async with server.gateway(0) as gateway:
            report = await evaluate(prepared(tmp_path, hours), split="train", gateway=gateway)
            return [row.score for row in report.scores]

    with pytest.raises(BudgetExhausted, match=r"the 0\.15 hours"):
        run_virtual(start(0.15))
    assert max(server.sent) < 0.15 * HOUR
    assert 0 < len(server.answered) < 18
    assert all(score is not None for score in run_virtual(start(1000.0)))
    assert len(server.answered) == len(set(server.answered)) == 18


GRID = 'config = "run.toml"\nseeds = [1]\nmethods = ["default", "outer-only", "metaspo"]\nparallel = 1\n'


class Compared(NamedTuple):
    """What a comparison came to, the hour in which the last request was sent, and how many were."""

    results: list[CellResult]
    last: float
    calls: int


Compare = Callable[..., Compared]


@pytest.fixture
def compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compare:
    """A comparison whose models take minutes to answer, on virtual time, started with so many hours."""
    server = Server()
    monkeypatch.chdir(tmp_path)
    config = write_project(tmp_path, "http://127.0.0.1:1", head="")
    grid = tmp_path / "grid.toml"
    text = config.read_text(encoding="utf-8")

    monkeypatch.setattr("metaspo.engine.runtime.gateway.make_lane", lambda name, _table, **_more: server.lane(name))

    def start(hours: float, *, grid_text: str = GRID, caps: str = "") -> Compared:
        grid.write_text(grid_text, encoding="utf-8")
        config.write_text(f"{text}\n[budget]\nhours = {hours}\n{caps}", encoding="utf-8")
        server.sent.clear()
        results = run_virtual(compare(load_grid(grid), observer=lambda _: Observer()))
        return Compared(results, max(server.sent, default=0.0) / HOUR, len(server.sent))

    return start


def results_in(folder: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in folder.glob(".metaspo/runs/*/result.json")}


def test_a_comparison_has_its_hours_for_all_of_its_cells(compared: Compare, tmp_path: Path) -> None:
    """Those that have not begun by then do not begin."""
    results, last, _ = compared(2.0)
    assert last < 2.0
    assert ["the 2 hours of this start are over" in result.stopped for result in results] == [False, True, True]
    begun = [path.parent.name.split(".")[1] for path in tmp_path.glob(".metaspo/runs/*/journal.jsonl")]
    assert begun == ["outer-only"]


@pytest.mark.slow
def test_a_comparison_that_time_stops_comes_to_the_same_bytes(compared: Compare, tmp_path: Path) -> None:
    for _ in range(30):
        results, last, _ = compared(4.0)
        assert last < 4.0
        if not any(result.stopped for result in results):
            break
    in_parts = results_in(tmp_path)
    shutil.rmtree(tmp_path / ".metaspo")
    undisturbed = compared(1000.0).results
    assert [result.tests for result in results] == [result.tests for result in undisturbed]
    assert len(in_parts) == 2
    assert in_parts == results_in(tmp_path)


def test_a_cell_with_hours_of_its_own_has_no_more_than_the_comparison(compared: Compare) -> None:
    own = 'config = "run.toml"\nmethods = ["default"]\n'
    own += '[[method]]\nname = "own"\nlike = "{}"\nset = {{ "budget.hours" = {} }}\n'
    for like, hours, said in (("cot", 0.1, "0.1 hours"), ("metaspo", 0.5, "0.5 hours"), ("metaspo", 99.0, "2 hours")):
        results, last, _ = compared(2.0, grid_text=own.format(like, hours))
        assert last < 2.0
        assert said in results[-1].stopped


def test_a_cell_with_hours_of_its_own_shares_the_other_caps(compared: Compare) -> None:
    grid = 'config = "run.toml"\nmethods = ["default"]\n'
    grid += '[[method]]\nname = "own"\nlike = "cot"\nset = { "budget.hours" = 50.0 }\n'
    results, _, calls = compared(100.0, grid_text=grid, caps="calls = 15\n")
    assert calls == 15
    assert any("15 of 15 calls" in result.stopped for result in results)


def test_what_follows_a_cells_run_is_within_the_hours_too(compared: Compare) -> None:
    grid = 'config = "run.toml"\nmethods = ["cot"]\n[[transfer]]\nmodel = "other"\nendpoints = ["http://127.0.0.1:1"]\n'
    (alone,), needed, _ = compared(1000.0, grid_text=grid.partition("[[")[0])
    assert alone.tests
    (stopped,), last, _ = compared(needed / 2, grid_text=grid)
    assert last < needed / 2
    assert "hours of this start are over" in stopped.stopped
    assert compared(1000.0, grid_text=grid).results[0].tests == alone.tests


@pytest.fixture
def project(tmp_path: Path, server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_project(tmp_path, server.url)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_run_that_time_stops_ends_as_at_any_cap_and_says_the_same_command(project: Path, server: ChatServer) -> None:
    """With the hours that it had: every start has them anew."""
    server.hold_after(20)
    ended = here("optimize", "run.toml", "--set", "budget.hours=1e-4")
    assert ended.code == 3
    assert "To go on from here, run the same command again.\n" in ended.err
    assert ended.err.count("is kept") == 1
    told = here("show").out
    assert "Not finished: The budget is used up: the 0.0001 hours of this start are over" in told
    command = here("runs", "--json").data[0]["goes_on_with"]
    assert command == "metaspo optimize run.toml --set budget.hours=0.0001"
    server.hold_after(10**9)
    assert here("optimize", "run.toml", "--set", "budget.hours=100").code == 0
    assert len(list(project.glob(".metaspo/runs/*/result.json"))) == 1


@pytest.mark.parametrize("command", [("evaluate", "run.toml"), ("compare", "grid.toml")])
def test_every_command_that_asks_ends_in_time(
    project: Path, server: ChatServer, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    draw_nothing(monkeypatch)
    (project / "grid.toml").write_text(GRID, encoding="utf-8")
    config = (project / "run.toml").read_text(encoding="utf-8")
    (project / "run.toml").write_text(f"{config}\n[budget]\nhours = 1e-5\n", encoding="utf-8")
    server.hold_after(0)
    ended = here(*command)
    assert ended.code == 3
    assert any("hours of this start are over" in line for line in ended.errors)
    assert "run the same command again.\n" in ended.err


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("hours", ["0", "-1", "nan", "inf", "six", "true", "'6.5'", "[6.5]"])
def test_what_is_no_number_of_hours_is_told_in_a_line(hours: str) -> None:
    ended = here("optimize", "run.toml", "--set", f"budget.hours={hours}")
    assert ended.code == 2
    (error,) = ended.errors
    assert "run.toml: budget.hours: must be " in error


def test_hours_are_of_commands_and_a_key_of_a_server_has_none(tmp_path: Path) -> None:
    text = '[[models]]\nmodel = "m"\nendpoints = ["http://h/v1"]\n'
    text += '[[keys]]\nname = "n"\nkey_env = "N"\nbudget = {hours = 2}\n'
    (tmp_path / "serve.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"keys\.0\.budget\.hours: unknown key"):
        load_serve_config(tmp_path / "serve.toml", overrides={})


def test_the_live_page_says_where_the_time_is_over() -> None:
    live = {"planned": 1000, "settled": 100, "seconds_left": [50_000.0, 65_200.0], "stops_in": 28_800.0}
    told = _progress(live, running=True)
    assert told is not None
    assert told["left"] == "13.9 to 18.1 h left, stops in 8.0 h at about 55%"
    endless = _progress({**live, "stops_in": None}, running=True)
    assert endless is not None
    assert endless["left"] == "13.9 to 18.1 h left"


@pytest.mark.usefixtures("project")
def test_a_plan_says_where_the_time_may_be_over() -> None:
    (plan,) = here("plan", "run.toml", "--json").data
    hours = plan["minutes"] / 60
    assert here("plan", "run.toml", "--json", "--set", f"budget.hours={hours * 1.01}").data[0]["caps"] == []
    (said,) = here("plan", "run.toml", "--json", "--set", f"budget.hours={hours / 2}").data[0]["caps"]
    assert said.startswith("[budget] hours = ")
    assert said.endswith(" hours that it may take: it may stop before its end, at about 50%.")
