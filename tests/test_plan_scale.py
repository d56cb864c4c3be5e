"""Hours and costs by replicas and tiers: simulated runs take what was planned, and more servers never take longer."""

import asyncio
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer
from command_line import here, write_project
from hypothesis import given, settings
from hypothesis import strategies as st
from sizes import examples, rest_is_slow
from test_engine_plan import PAPER, Prolific, tasks_of
from world import World, make_config

from metaspo.backends import Simulated
from metaspo.backends.loops.virtual_time import run_virtual
from metaspo.bench.lower_bound import BoundFinder
from metaspo.bench.makespan import ours, planned
from metaspo.bench.servers.simulated_openai import GPT_4O_MINI
from metaspo.bench.servers.simulated_vllm import VLLMModel
from metaspo.bench.work import work_of
from metaspo.bench.workload import Size, answer, make_run
from metaspo.cache import MemoryStore
from metaspo.engine import Observer, Prepared, RunConfig, RunReport, count_calls
from metaspo.engine.api import optimize
from metaspo.engine.config.plan import AUTO_CONCURRENCY, OPTIMIZER_SECONDS, Pace
from metaspo.engine.studies.needs import Need
from metaspo.engine.studies.scale import AtScale, at_scales
from metaspo.engine.tasks import Task
from metaspo.scheduling import Gateway, Lane, LaneSettings

PLACES = 8  # of a replica, each with an answer of one token in a second
PACE = Pace(speed=PLACES, answer_tokens=1)
TASKS = tuple(tasks_of(2, 1, train=16, test=16))


def need_of(config: RunConfig, tasks: tuple[Task, ...] = TASKS) -> Need:
    return Need(name="run", config=config, tasks=tasks, calls=count_calls(config, tasks))


def scales_of(config: RunConfig, *, replicas: list[int], runs: int = 1, **more: Any) -> list[AtScale]:  # noqa: ANN401
    needs = [need_of(config)] * runs
    return at_scales(needs, **{"replicas": replicas, "tiers": [None], "pace": PACE, "parallel": runs, **more})


def hours_taken(config: RunConfig, *, replicas: int) -> float:
    """By a run on simulated servers, in virtual time."""
    world = Prolific(1)

    async def main() -> RunReport:
        base = [Simulated(world.answer, latency=1.0)]
        optimizer = [Simulated(world.answer, latency=OPTIMIZER_SECONDS)]
        lanes = [
            Lane("base", base, LaneSettings(concurrency=PLACES * replicas)),
            Lane("optimizer", optimizer, LaneSettings(concurrency=AUTO_CONCURRENCY)),
        ]
        async with Gateway(lanes, store=MemoryStore()) as gateway:
            prepared = Prepared(config=config, tasks=TASKS, folder=Path())
            return await optimize(prepared, gateway=gateway, observer=Observer())

    return run_virtual(main()).seconds / 3600


@pytest.mark.parametrize("replicas", rest_is_slow([4, 1, 16]))
def test_a_run_takes_what_was_planned(replicas: int) -> None:
    """No less than at least, no more than at most; and the two are not far from each other."""
    config = make_config(PAPER)
    (scale,) = scales_of(config, replicas=[replicas])
    taken = hours_taken(config, replicas=replicas)
    assert scale.least * 0.98 <= taken <= scale.most * 1.02
    assert scale.most <= 2.2 * scale.least


@pytest.mark.parametrize("told", rest_is_slow([True, False]))
@pytest.mark.parametrize("tokens_per_minute", rest_is_slow([200_000, 4_000_000]))
@pytest.mark.parametrize("declared", rest_is_slow([True, False]))
def test_a_run_that_waits_for_a_limit_takes_what_was_planned_however_tokens_are_counted(
    told: bool, tokens_per_minute: int, declared: bool
) -> None:
    size, server = Size(train=8, test=4), VLLMModel()
    provider = replace(GPT_4O_MINI[1], tokens_per_minute=tokens_per_minute, counts_max_tokens=declared)
    finder = BoundFinder(server=server, replicas=4, optimizer=provider, answer=answer)
    seconds, call = finder.mean_call(asyncio.run(work_of(make_run(size))))
    pace = Pace(speed=1e9, answer_tokens=1, optimizer_seconds=seconds)
    if told:
        tokens = {"optimizer_prompt_tokens": call.prompt_tokens, "optimizer_answer_tokens": call.completion_tokens}
        pace = replace(pace, **tokens)
    least, most = planned(size, pace, replicas=4, tier={200_000: 1, 4_000_000: 3}[tokens_per_minute])
    taken = ours(size, server=server, replicas=4, optimizer=provider, concurrency=256)
    assert least <= taken <= most * 1.02
    assert most <= 5 * least


@given(
    replicas=st.lists(st.integers(1, 1000), min_size=2, max_size=4, unique=True).map(sorted),
    runs=st.integers(1, 4),
    gpu=st.floats(0, 10),
)
def test_more_replicas_take_no_longer_and_no_fewer_gpu_hours(replicas: list[int], runs: int, gpu: float) -> None:
    config = make_config(PAPER)
    scales = scales_of(config, replicas=replicas, runs=runs, gpu_dollars=gpu)
    for fewer, more in pairwise(scales):
        assert more.least <= fewer.least
        assert more.most <= fewer.most
        assert more.least * more.gpus >= fewer.least * fewer.gpus * (1 - 1e-9)
    assert all(scale.least <= scale.most for scale in scales)
    costs = [scale.cost for scale in scales if scale.cost]
    assert all(low <= high for low, high in costs)


def test_runs_at_a_time_share_the_servers() -> None:
    """Four take four times what one does at least, where servers are the limit."""
    config = make_config(PAPER)
    (one,), (four,) = scales_of(config, replicas=[1]), scales_of(config, replicas=[1], runs=4)
    assert four.least == pytest.approx(4 * one.least)
    assert four.most < 4 * one.most


def test_beside_runs_that_end_soon_a_long_one_takes_no_less_than_its_rounds() -> None:
    """At most is no less than at least, however unequal the runs are that go on together."""
    long, short = make_config(PAPER), make_config({**PAPER, "iterations": 0})
    needs = [need_of(long), *[need_of(short)] * 5]
    (alone,) = scales_of(long, replicas=[1000])
    (scale,) = at_scales(needs, replicas=[1000], tiers=[None], pace=PACE, parallel=6)
    assert alone.least <= scale.least <= scale.most
    assert scale.most >= alone.most


def test_replicas_are_of_the_base_model_and_others_have_the_servers_that_they_have() -> None:
    """An optimizer model on a server of its own takes as long beside many replicas as beside one."""
    slow = Pace(speed=1e9, answer_tokens=1, optimizer_seconds=1000)
    own = {"backend": "openai-compatible", "model": "writer", "endpoints": ["http://127.0.0.1:9/v1"]}
    one, many = scales_of(make_config({**PAPER, "optimizer": own}), replicas=[1, 64], pace=slow)
    assert many.most == pytest.approx(one.most)
    base = make_config(PAPER).base
    same = {**own, "model": base.model}
    one, many = scales_of(make_config({**PAPER, "optimizer": same}), replicas=[1, 64], pace=slow)
    assert many.most < one.most


def test_a_higher_tier_takes_no_longer() -> None:
    base = {"model": "answerer", "backend": "vllm", "max_tokens": 8}
    config = make_config({**PAPER, "base": base, "optimizer": {"backend": "openai", "model": "gpt-4o-mini"}})
    low, high = scales_of(config, replicas=[64], tiers=[1, 3])
    assert high.most < low.most
    assert low.dollars == high.dollars
    assert (low.dollars or 0) > 0


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path, "http://127.0.0.1:9/v1", lane="prices = {input = 0, output = 0}")
    (tmp_path / "grid.toml").write_text('config = "run.toml"\nmethods = ["default", "metaspo"]\nseeds = [1, 2]\n')
    return tmp_path


def test_the_table_has_a_row_for_each_number_and_the_picture_is_drawn(project: Path) -> None:
    """Of a config as of a grid; without options a grid has one row."""
    pytest.importorskip("matplotlib")
    options = ("--replicas", "4,1", "--tier", "1,3", "--gpu-dollars", "2", "--speed", "100")
    ended = here("plan", "run.toml", *options, "--picture", "plan.svg")
    assert ended.code == 0
    assert "100 answer tokens a second (given)" in ended.out
    assert (project / "plan.svg").read_bytes().startswith(b"<?xml")
    data = here("plan", "grid.toml", *options, "--json").data
    assert [(row["replicas"], row["tier"]) for row in data["at"]] == [(1, 1), (4, 1), (1, 3), (4, 3)]
    one, four = data["at"][:2]
    assert four["hours"][0] < one["hours"][0]
    assert one["cost"] == [pytest.approx(2 * hours) for hours in one["hours"]]
    assert len(here("plan", "grid.toml", "--json").data["at"]) == 1
    assert len(here("plan", "run.toml", "--gpu-dollars", "2", "--json").data["at"]) == 1


def at(tier: int | None, least: float, most: float) -> AtScale:
    return AtScale(replicas=1, tier=tier, least=least, most=most, dollars=0, gpus=1)


@settings(max_examples=examples(10, random=100))
@given(least=st.floats(1e-6, 1e6), times=st.floats(1, 1e6))
def test_hours_are_drawn_between_round_numbers_that_are_told(least: float, times: float) -> None:
    """Two at least: bands between 0.06 and 0.07 hours had an axis without any."""
    figures = pytest.importorskip("metaspo.engine.report.scale_figure")
    (axes,) = figures.scale_figure([at(None, least, least * times)]).axes
    low, high = axes.get_ylim()
    assert low <= least <= least * times <= high
    assert 2 <= len([tick for tick in axes.get_yticks() if low <= tick <= high]) <= 14


def test_tiers_that_come_to_the_same_are_drawn_as_one() -> None:
    """Else the last would hide the others."""
    figures = pytest.importorskip("metaspo.engine.report.scale_figure")
    figure = figures.scale_figure([at(1, 2, 3), at(2, 1, 2), at(3, 1, 2), at(5, 1, 2)])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["tier 1", "tiers 2, 3, 5"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("run.toml", "--replicas", "1,x"), "--replicas 1,x: give numbers from 1 to 100,000"),
        (("run.toml", "--replicas", "0"), "--replicas 0: give numbers from 1"),
        (("run.toml", "--speed", "5", "--like", "run"), "--like and --speed both say"),
        (("run.toml", "--speed", "inf"), "'--speed'"),
        (("run.toml", "--gpu-dollars", "inf"), "'--gpu-dollars'"),
        (("run.toml", "--like", "nothing"), "no run 'nothing'"),
        (("run.toml", "--picture", "plan.gif"), "ends in .svg or .png"),
        (("run.toml", "grid.toml"), "a grid is planned alone"),
        (("grid.toml", "--set", "seed=1"), "a grid is planned alone"),
    ],
)
def test_a_mistake_is_one_sentence(project: Path, arguments: tuple[str, ...], sentence: str) -> None:
    ended = here("plan", *arguments)
    assert (ended.code, len(ended.errors)) == (2, 1)
    assert sentence in ended.errors[0]


def test_a_speed_is_that_of_a_run_which_asked(project: Path) -> None:
    """Its tokens a second while it was busy, of each replica that is no standby, and its tokens a call; one whose
    answers came from the cache has none."""
    with ChatServer(World(3).answer) as server:
        config = write_project(project, server.url, lane="prices = {input = 0, output = 0}")
        standby = '{url = "http://127.0.0.1:9/v1", standby = true}'
        config.write_text(config.read_text().replace(f'["{server.url}"]', f'["{server.url}", {standby}]'))
        assert here("optimize", "run.toml", "--quiet").code == 0
        (summary_file,) = project.glob(".metaspo/runs/run-*/summary.json")
        summary = json.loads(summary_file.read_text())
        base = summary["usage"]["lanes"]["base"]
        planned = here("plan", "run.toml", "--like", "run", "--replicas", "1", "--json").data
        live = json.loads(summary_file.with_name("live.json").read_text())
        busy = summary["seconds"] - live["lanes"]["base"]["idle_seconds"]
        assert planned["speed"] == pytest.approx(base["completion_tokens"] / busy)
        assert planned["speed_is"] == f"measured in {summary_file.parent.name}"
        (plain,) = here("plan", "run.toml", "--like", "run", "--json").data
        lane = plain["lanes"]["base"]
        tokens = base["completion_tokens"] / base["calls"]
        assert lane["completion_tokens"] == pytest.approx(lane["calls"] * tokens, abs=1)
        assert here("optimize", "run.toml", "--quiet").code == 0
    again = here("plan", "run.toml", "--like", "run")
    assert again.code == 2
    assert "its last session had 0 answers of its base model" in again.errors[0]
    del summary["seconds"]
    for damaged in (summary, {**summary, "seconds": "long"}):
        summary_file.write_text(json.dumps(damaged))
        assert len(here("plan", "run.toml", "--like", "run").errors) == 1, "a damaged summary is told in a sentence"
