"""Benchmarks say what is true of any run: replays call nothing, bounds are never beaten, limits never exceeded."""

import asyncio
import gc
import json
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from math import inf
from pathlib import Path

import pytest
from chat_server import ChatServer
from command_line import here
from hypothesis import given
from hypothesis import strategies as st
from sizes import rest_is_slow

from metaspo.backends import Message, Request, Sampling
from metaspo.backends.chat.usage import estimate_usage
from metaspo.backends.loops.virtual_time import run_virtual
from metaspo.bench import (
    Report,
    SimulatedVLLM,
    VLLMModel,
    measure_flood,
    measure_hanging,
    measure_lag,
    measure_machines,
    measure_makespan,
    measure_overhead,
    measure_programs,
    measure_replay,
    measure_requests,
    measure_scale,
    measure_serve,
    measure_soak,
    measure_startup,
    measure_watching,
)
from metaspo.bench.browser import CHROMIUM
from metaspo.bench.clients import make_requests
from metaspo.bench.limits import CASES, LimitCase, limit_row, measure_limits
from metaspo.bench.live import recommended, shared_out
from metaspo.bench.lower_bound import BoundFinder
from metaspo.bench.makespan import ours, theirs
from metaspo.bench.measure import settled_heap
from metaspo.bench.replay import finish_run
from metaspo.bench.requests import ALONE, WAYS, Requests, Way, one_row
from metaspo.bench.scale import size_of_run
from metaspo.bench.schedules import one_by_one, with_barriers
from metaspo.bench.servers.limited_server import BURST, LimitedServer
from metaspo.bench.servers.simulated_openai import GPT_4O_MINI, OpenAIModel
from metaspo.bench.stored import fill, one_turn
from metaspo.bench.work import Unit, work_of
from metaspo.bench.workload import BASE, OPTIMIZER, PAPER, Size, answer, make_run
from metaspo.engine import ConfigError, count_calls
from metaspo.scheduling import Gateway
from metaspo.scheduling.gateway import BATCH_WINDOW

SMALL = Size(tasks=2, train=10, test=6, iterations=2, inner=2, keep=2, outer=2)
SERVER = VLLMModel(max_num_seqs=8, kv_blocks=2000)


def figures(report: Report) -> list[float]:
    return [value for row in report.rows for value in row.values() if isinstance(value, float)]


def test_the_papers_size_is_what_the_paper_asks() -> None:
    run = make_run(PAPER)
    calls = count_calls(run.config, run.tasks)
    assert (calls.base, calls.optimizer) == (24_200, 126)


def test_no_two_requests_of_the_workload_are_alike_and_all_planned_ones_are_made() -> None:
    run = make_run(SMALL)
    stages = asyncio.run(work_of(run))
    asked = [request for stage in stages for unit in stage for request in (*unit.optimizer, *unit.evaluations)]
    assert len(asked) == len(set(asked))
    made = Counter(request.model for request in asked)
    planned = count_calls(run.config, run.tasks)
    assert (made[BASE], made[OPTIMIZER]) == (planned.base, planned.optimizer)


def test_a_replay_makes_no_call_and_the_bare_loop_reads_every_record(tmp_path: Path) -> None:
    run = finish_run(SMALL, folder=tmp_path)
    run.replay()  # raises if it calls or selects anything else
    assert run.bare_loop() == sum(len(answer(request)) for request in run.requests)


def test_a_replay_that_has_to_call_is_found_out(tmp_path: Path) -> None:
    run = finish_run(SMALL, folder=tmp_path)
    with pytest.raises(AssertionError, match="made"):
        replace(run, store=tmp_path / "empty").replay()


def test_the_replay_report_is_relative_to_the_bare_loop() -> None:
    report = measure_replay(size=SMALL, turns=2)
    bare, replayed = report.rows
    assert bare["cpu ratio (median)"] == 1
    assert replayed["cpu ratio (median)"] > 1  # type: ignore[operator]


@pytest.mark.parametrize("replicas", rest_is_slow([3, 1]))
@pytest.mark.parametrize("tier", rest_is_slow([3, 1]))
def test_no_schedule_beats_the_lower_bound(replicas: int, tier: int) -> None:
    optimizer = GPT_4O_MINI[tier]
    stages = asyncio.run(work_of(make_run(SMALL)))
    finder = BoundFinder(server=SERVER, replicas=replicas, optimizer=optimizer, answer=answer)
    bound = finder.bound(stages).seconds
    for concurrency in (4, 64, 1000):
        found = ours(SMALL, server=SERVER, replicas=replicas, optimizer=optimizer, concurrency=concurrency)
        assert found >= bound
    for schedule in (one_by_one, with_barriers):
        found = theirs(schedule, stages, server=SERVER, replicas=replicas, optimizer=optimizer, at_once=1000)
        assert found >= bound


def test_the_bound_is_reached_where_one_server_is_all_there_is_to_wait_for() -> None:
    instant = OpenAIModel(first_seconds=0.0, token_seconds=0.0)
    server = VLLMModel(max_num_seqs=1, network_seconds=0.0, kv_blocks=100_000)
    stages = asyncio.run(work_of(make_run(SMALL)))
    bound = BoundFinder(server=server, replicas=1, optimizer=instant, answer=answer).bound(stages).seconds
    found = theirs(one_by_one, stages, server=server, replicas=1, optimizer=instant, at_once=1)
    assert found == pytest.approx(bound)


@pytest.mark.slow
def test_calls_that_hang_cost_little_time_and_few_calls() -> None:
    """Where one in a hundred does; not the time limit for each of them."""
    report = measure_hanging(size=Size(test=0, iterations=1), shares=(0.01,), replicas=(1,), draws=1, server=SERVER)
    [row] = [{name: float(value or 0) for name, value in row.items()} for row in report.rows]
    assert row["hung"] >= 10
    assert 1.0 <= row["time"] <= 1.15
    assert row["base calls"] <= 1.02


@pytest.mark.slow
def test_makespan_compares_with_the_bound_and_comes_out_the_same_every_time() -> None:
    reports = [measure_makespan(size=SMALL, replicas=(2,), tiers=(3,), domains=1, server=SERVER) for _ in range(2)]
    assert reports[0].rows == reports[1].rows
    (row,) = reports[0].rows
    assert "simulated" in reports[0].title
    assert row["one by one"] > row["ours fixed"] >= 1  # type: ignore[operator]
    assert row["planned least"] <= row["ours fixed"] <= row["planned most"]  # type: ignore[operator]


@pytest.mark.slow
def test_a_makespan_of_two_draws_is_their_mean_with_its_interval() -> None:
    """Of two draws, one is as far from the mean as the interval's half is wide, over Student's 12.7."""
    measure = partial(measure_makespan, size=SMALL, replicas=(2,), tiers=(3,), domains=1, server=SERVER)
    (one,), (two,) = measure().rows, measure(draws=2).rows
    assert (two["replicas"], two["tier"]) == (2, 3)
    (first, mean), half = (float(row["ours auto"] or 0) for row in (one, two)), float(two["± ours auto"] or 0)
    assert half == pytest.approx(12.706 * abs(mean - first), rel=1e-3)
    assert half > 0


def test_runs_together_share_the_servers_and_do_not_beat_their_bound() -> None:
    """Two domains at once take less than one after the other, and no less than the work of both."""
    optimizer = GPT_4O_MINI[3]
    works = {name: asyncio.run(work_of(make_run(SMALL, domain=name))) for name in ("", "other.")}
    finder = BoundFinder(server=SERVER, replicas=1, optimizer=optimizer, answer=answer)
    bound = finder.together(list(works.values()))
    run = partial(ours, SMALL, server=SERVER, replicas=1, optimizer=optimizer, concurrency=10)
    together = run(domains=tuple(works))
    apart = sum(run(domains=(name,)) for name in works)
    assert bound.server_seconds <= bound.seconds <= together < apart


def test_what_no_run_can_come_to_before_some_time_is_all_done_after_it() -> None:
    """Of two runs each has a candidate early and one late: the late ones of both wait for the same server."""
    early, late = (2, 20)  # optimizer calls before a candidate can be evaluated
    call = Request(model=OPTIMIZER, messages=(Message("user", "mend it"),), sampling=Sampling(max_tokens=1024))

    def unit(text: str, calls: int) -> Unit:
        texts = [f"{text} {row} {'x' * 64}" for row in range(400)]
        asked = [Request(model=BASE, messages=(Message("user", asking),)) for asking in texts]
        return Unit([call] * calls, asked)

    runs = [[[unit(f"{run} early", early), unit(f"{run} late", late)]] for run in ("a", "b")]
    optimizer = OpenAIModel()
    finder = BoundFinder(server=VLLMModel(max_num_seqs=1), replicas=1, optimizer=optimizer, answer=lambda _: "yes")
    bound = finder.together(runs)
    comes = late * optimizer.latency(call, estimate_usage(call, "yes").completion_tokens)
    assert bound.server_seconds / 2 < comes
    assert bound.seconds == pytest.approx(comes + bound.server_seconds / 2)


def test_a_prompt_that_another_run_has_had_computed_is_no_work_of_a_run() -> None:
    """One run waits for its optimizer while the other has the prompt computed that both begin with."""
    server, optimizer = VLLMModel(prompt_seconds=0.01), OpenAIModel()
    call = Request(model=OPTIMIZER, messages=(Message("user", "mend it"),))
    waits = optimizer.latency(call, estimate_usage(call, "yes").completion_tokens)
    asked = [Request(model=BASE, messages=(Message("user", "x" * 4_000 + run),)) for run in ("a", "b")]
    runs = [[[Unit([call] * calls, [asked[calls]])]] for calls in (0, 1)]

    async def main() -> float:
        vllm = SimulatedVLLM(lambda _: "yes", server)

        async def ask(request: Request, after: float) -> None:
            await asyncio.sleep(after)
            await vllm.complete(request, time_limit=inf)

        await asyncio.gather(ask(asked[0], 0.0), ask(asked[1], waits))
        return asyncio.get_running_loop().time()

    finder = BoundFinder(server=server, replicas=1, optimizer=optimizer, answer=lambda _: "yes")
    assert finder.together(runs).seconds <= run_virtual(main())


@pytest.mark.slow
def test_start_up_takes_more_than_an_empty_python_and_is_measured_to_the_first_request() -> None:
    """Of a command that ends, of one's help, and of one that asks; one that fails is no measurement."""
    report = measure_startup(helps=("cache",), turns=1, only=("runs", "cache --help", "check"))
    names = [str(row["command"]) for row in report.rows]
    assert names[2:] == ["metaspo runs", "metaspo cache --help", "metaspo check metaspo.toml, to its first request"]
    empty, *others = [float(row["cpu s (least)"] or 0) for row in report.rows]
    assert all(other > empty > 0 for other in others)
    with pytest.raises(subprocess.CalledProcessError):
        measure_startup(helps=("runs none",), turns=1, only=("runs none",))
    with pytest.raises(ConfigError, match="'nope': no command"):
        measure_startup(turns=1, only=("runs", "nope"))


@pytest.mark.parametrize("case", CASES[:4], ids=lambda case: case.name)
def test_no_lane_is_granted_more_than_the_limit(case: LimitCase) -> None:
    row = limit_row(case, minutes=2)
    assert 0.5 < row["share"] <= 1.001  # type: ignore[operator]


@pytest.mark.slow
def test_limits_reports_every_case() -> None:
    report = measure_limits(
        cases=CASES[:1],
        refused=(0.5,),
        refused_beside_limits=(0.25,),
        minutes=2,
        requests=600,
        fixed=(64, 256),
        change_at=3.0,
    )
    units = [row["unit"] for row in report.rows]
    assert units[:4] == ["requests/min", "answers/s", "requests/min", "requests/min"]
    assert report.rows[1]["share"] > 0.5  # type: ignore[operator]
    assert len(units) > 1
    assert all(figure >= 0 for figure in figures(report))


@pytest.mark.slow
def test_overhead_measures_every_client_on_the_fast_server() -> None:
    report = measure_overhead(calls=100, turns=1)
    names = [row["client"] for row in report.rows]
    ours = [
        *("bare aiohttp + orjson", "metaspo", "metaspo, cached", "openai SDK"),
        *("bare aiohttp + orjson, on uvloop", "metaspo, on uvloop", "metaspo, cached, on uvloop"),
    ]
    assert names == ours
    assert all(figure > 0 for figure in figures(report))


@pytest.mark.slow
def test_programs_are_measured_beside_as_many_plain_calls_fresh_and_again() -> None:
    report = measure_programs(examples=10, turns=1)
    assert [str(row["asked"]).rpartition(", ")[2] for row in report.rows] == ["fresh", "fresh", "again", "again"]
    assert [row["ratio (median)"] for row in report.rows][::2] == [1, 1]
    assert all(figure > 0 for figure in figures(report))


def test_requests_of_clients_are_all_different() -> None:
    requests = [*make_requests(50), *make_requests(50, start=50)]
    assert len(set(requests)) == len(requests)


def test_scale_plans_the_evaluations_asked_for() -> None:
    for wanted in (1, 2_500, 30_000):
        run = make_run(size_of_run(wanted))
        assert wanted <= count_calls(run.config, run.tasks).base <= wanted + 10_000


@pytest.mark.slow
def test_scale_measures_each_size_in_a_process_of_its_own() -> None:
    (row,) = measure_scale((500,)).rows
    assert row["evaluations"] > 500  # type: ignore[operator]
    assert row["peak MiB"] > row["MiB over start"] > 0  # type: ignore[operator]


def test_requests_are_made_when_asked_for_and_are_all_different() -> None:
    requests = Requests(300)
    assert requests[40:300:90] == [requests[number] for number in (40, 130, 220)]
    assert len(set(requests)) == len(requests) == 300


@pytest.mark.slow
def test_requests_of_one_batch_are_all_kept_while_no_more_than_its_window_is_queued() -> None:
    count = BATCH_WINDOW + 2_000
    row = one_row("one batch", count)
    assert row["stored"] == count
    assert 0 < row["most queued"] <= BATCH_WINDOW  # type: ignore[operator]


def test_requests_without_an_answer_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def forget_one(gateway: Gateway, requests: Sequence[Request]) -> int:
        return len(await gateway.complete_many(requests[1:], lane="model"))

    monkeypatch.setitem(WAYS, "stream", Way(forget_one))
    with pytest.raises(AssertionError, match="299 of 300"):
        one_row("stream", 300)


@pytest.mark.slow
def test_requests_measures_every_way_beside_the_answers_alone() -> None:
    rows = {str(row["through"]): row for row in measure_requests((300,)).rows}
    assert list(rows) == [ALONE, *WAYS]
    assert [row["stored"] for row in rows.values()] == [None, None, 300, 300]
    batch, alone = rows["one batch"], rows[ALONE]
    assert batch["own MiB"] == batch["MiB over start"] - alone["MiB over start"]  # type: ignore[operator]


def test_a_cache_is_filled_with_what_the_first_requests_would_be_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metaspo.bench.stored.WARM", 100)
    monkeypatch.setattr("metaspo.bench.stored.COUNTED", 400)
    fill(tmp_path / "cache", 700, share=50)
    row = one_turn(tmp_path / "cache", 700, share=50)
    assert row["cpu"] > row["writing"] > 0  # type: ignore[operator]
    with pytest.raises(AssertionError, match="300 requests were new"):
        one_turn(tmp_path / "cache", 1_000, share=50)


@given(calls=st.integers(1, 2000), levels=st.lists(st.integers(1, 256), min_size=1, max_size=8))
def test_live_never_plans_more_calls_than_allowed(calls: int, levels: list[int]) -> None:
    shares = shared_out(calls, levels)
    assert 1 <= sum(shares.values()) <= calls
    assert set(shares) <= set(levels)


def test_live_recommends_the_smallest_concurrency_that_serves_nearly_the_most() -> None:
    assert recommended([(1, 10.0), (4, 38.5), (16, 40.0), (64, 39.0)]) == 4


def test_live_asks_no_more_than_it_may_and_says_what_it_found(tmp_path: Path) -> None:
    def yes(_: Request) -> str:
        return "yes"

    with ChatServer(yes) as server:
        options = ["--model", "m", "--calls", "40", "--concurrency", "1", "--concurrency", "8", "--json"]
        ended = here("bench", "live", server.url, *options, "--input-price", "1", "--output-price", "2")
        assert server.calls == sum(row["calls"] for row in ended.data["rows"]) <= 40
    assert [row["concurrency"] for row in ended.data["rows"]] == [1, 8]
    rows = ended.data["rows"]
    assert all(row["$/1000"] > 0 and row["p95 s"] >= row["p50 s"] >= 0 for row in rows)  # uvloop's clock has whole ms
    assert any("Recommended: concurrency" in note for note in ended.data["notes"])


@pytest.mark.parametrize(
    ("options", "told"),
    [(["--full", "--stored", "9"], "give one of both"), (["--turns", "2"], "--turns needs --stored")],
)
def test_requests_says_what_does_not_go_together(options: list[str], told: str) -> None:
    ended = here("bench", "requests", *options)
    assert (ended.code, told in ended.err) == (2, True)


def test_live_says_plainly_that_there_is_no_server() -> None:
    ended = here("bench", "live", "http://127.0.0.1:9/v1", "--model", "m")
    assert ended.code == 3
    assert len(ended.errors) == 1


def test_every_scenario_says_what_it_measures() -> None:
    for scenario in (
        "replay",
        "makespan",
        "savings",
        "order",
        "overhead",
        "programs",
        "limits",
        "scale",
        "requests",
        "live",
    ):
        ended = here("bench", scenario, "--help")
        assert ended.code == 0
        assert len(ended.out.splitlines()) > 5


def test_what_a_program_has_left_alone_stays_so_when_a_turn_has_been_timed() -> None:
    """Else all that these tests hold would be looked through whenever garbage is collected from then on."""
    before = gc.get_freeze_count()
    with settled_heap():
        pass
    assert gc.get_freeze_count() >= before > 0


def test_a_report_is_plain_data_with_its_machine() -> None:
    report = Report(scenario="s", title="t", rows=[{"a": 1}], parameters={"p": asdict(SERVER)})
    data = json.loads(json.dumps(report.as_data()))
    assert data["rows"] == [{"a": 1}]
    assert data["machine"]["cores"] >= 1


def test_lag_is_measured_with_every_answer_kept() -> None:
    rows = {row["what"]: row for row in measure_lag(rate=100, seconds=0.5).rows}
    assert [row["answers/s"] for row in rows.values()] == [0, 100, 100]


@pytest.mark.slow
def test_a_run_is_measured_with_and_without_somebody_who_looks() -> None:
    nobody, page = measure_watching(turns=5, small=True).rows
    assert (nobody["looked at by"], page["looked at by"]) == ("nobody", "its page (--web)")
    assert (nobody["cpu ratio (median)"], nobody["from"], nobody["to"]) == (1, 1, 1)
    assert page["pairs"] == 5
    low, middle, high = (float(str(page[column])) for column in ("from", "cpu ratio (median)", "to"))
    assert 0 < low <= middle <= high


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
def test_the_page_is_measured_while_events_come_in() -> None:
    rows = measure_flood(rate=200, seconds=1).rows
    assert [row["page shows"] for row in rows] == ["candidates", "candidates", "log"]
    assert [row["events/s"] for row in rows] == [0, 200, 200]
    assert all(type(row["age p50 ms"]) is int for row in rows[1:]), "it has got lines"
    assert all(type(row["work p99 ms"]) is float for row in rows)


@pytest.mark.slow
def test_the_server_is_measured_fresh_and_cached_beside_a_bare_one() -> None:
    rows = {str(row["server"]): row for row in measure_serve(calls=70, turns=1).rows}
    assert list(rows) == ["bare aiohttp.web", "metaspo serve, fresh", "metaspo serve, cached"]
    assert all(type(row["cpu us (least)"]) is float for row in rows.values())


@pytest.mark.slow
async def test_nothing_is_paid_for_twice_beyond_what_was_under_way_when_the_models_server_is_killed() -> None:
    report = await measure_soak(clients=20, seconds=12, between=2)
    assert all(row["not answered"] == 0 for row in report.rows)
    answered = [row["answered"] for row in report.rows]
    assert answered == sorted(answered, key=lambda count: float(count or 0))
    assert answered[-1]
    assert report.parameters["kills of the model's server"]
    again, under_way = report.parameters["paid for again"], report.parameters["under way at kills, at most"]
    assert isinstance(again, int)
    assert isinstance(under_way, int)
    assert again <= under_way


@pytest.mark.slow
async def test_processes_under_one_limit_and_one_cap_pass_neither_though_some_are_killed() -> None:
    report = await measure_machines(processes=3, per_minute=3_000, seconds=25, between=4)
    assert sum(int(row["refused (429)"] or 0) for row in report.rows) == 0
    answered, cap = report.parameters["answered in all"], report.parameters["cap on calls"]
    assert isinstance(answered, int)
    assert isinstance(cap, int)
    assert 0 < answered <= cap
    assert report.parameters["kills"]


@pytest.mark.slow
async def test_nothing_is_paid_for_twice_beyond_what_was_under_way_when_the_server_itself_is_killed() -> None:
    report = await measure_soak(clients=20, seconds=20, between=5, victim="server")
    again, under_way = report.parameters["paid for again"], report.parameters["under way at kills, at most"]
    assert isinstance(again, int)
    assert isinstance(under_way, int)
    assert again <= under_way
    assert report.rows[-1]["answered"]


@given(st.lists(st.floats(0, 2), min_size=1, max_size=200), st.floats(10, 100))
def test_the_limited_server_never_lets_more_through_than_its_rate_and_what_it_saves_up(
    gaps: list[float], rate: float
) -> None:
    server, now = LimitedServer(rate), 0.0
    for gap in gaps:
        now += gap / rate
        server.lets_through(now)
    assert server.answered + server.refused == len(gaps)
    assert 1 <= server.answered <= rate * (now + BURST) + 1e-6


def test_packages_that_are_not_there_are_named(tmp_path: Path) -> None:
    ended = here("bench", "embed", "--python", str(tmp_path / "python"))
    assert (ended.code, len(ended.errors)) == (2, 1)
    assert "make adapters" in ended.errors[0]
