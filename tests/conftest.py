"""How tests are run: on which event loop, with which draws, which of them are quick; and fixtures that many share."""

import asyncio
import gc
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import plain_environment  # noqa: F401 - first
import pytest
from hypothesis import settings

from metaspo.backends.loops.virtual_time import VirtualTimeLoop

if TYPE_CHECKING:
    from chat_server import ChatServer
    from real_redis import RealRedis

# Files that run whole sessions of the engine, processes or simulations, or read all data or long texts: `make check`
# leaves them out.
WHOLE = (
    "test_attention",
    "test_backends_local_server",
    "test_backends_vllm",
    "test_bench_*",
    "test_cache_claims",
    "test_cache_crash",
    "test_cache_errors",
    "test_cache_redis",
    "test_cache_sharing",
    "test_cache_testing",
    "test_calibration",
    "test_cli_*",
    "test_cluster_node",
    "test_demonstrations",
    "test_domains",
    "test_engine_api",
    "test_engine_betting",
    "test_engine_early_stop",
    "test_engine_guards",
    "test_engine_luck",
    "test_engine_oracle",
    "test_engine_promises",
    "test_engine_race",
    "test_engine_racing",
    "test_engine_search",
    "test_engine_selection",
    "test_engine_starts",
    "test_engine_train_calls",
    "test_engine_weights",
    "test_exchange_export",
    "test_fuzzing",
    "test_gallery",
    "test_graders",
    "test_judges",
    "test_known_truth",
    "test_named_prompts",
    "test_own_domains",
    "test_plan_scale",
    "test_presets",
    "test_programs",
    "test_prompt_cost",
    "test_protocols_adapt",
    "test_readme",
    "test_report",
    "test_safety",
    "test_scheduling_concurrency",
    "test_scheduling_provider",
    "test_serving",
    "test_simulation",
    "test_start_up",
    "test_statistics_*",
    "test_strategies_embedded",
    "test_tasks_code",
    "test_tasks_data",
    "test_tasks_degenerate",
    "test_telemetry",
    "test_time_cap",
    "test_track",
    "test_track_mlflow",
    "test_watch",
    "test_watch_page",
    "test_wording",
)

# Files that measure, or that end processes by the clock: what of them is slow runs with nothing beside it.
ALONE = (
    "test_bench_scenarios",
    "test_cli_faults",
    "test_cli_kill",
    "test_cli_server",
    "test_cli_vllm",
    "test_tasks_degenerate",
)

gc.disable()  # until all tests are collected: nothing of that is garbage

# The default tests try the same each time, so that what fails fails everywhere; `make test-slow` looks for more.
settings.register_profile("fixed", derandomize=True, deadline=None, max_examples=30)
settings.register_profile("random", deadline=None, max_examples=100)
settings.load_profile("fixed")


@cache
def _is_whole(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in WHOLE)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """The files above are not even imported where all their tests would be left out."""
    return True if "not whole" in config.option.markexpr and _is_whole(collection_path.stem) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests of the files above as `whole` and `alone`, and give slow ones the time of a busy machine."""
    for item in items:
        if _is_whole(item.path.stem):
            item.add_marker(pytest.mark.whole)
        if item.path.stem in ALONE:
            item.add_marker(pytest.mark.alone)
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(900))


def pytest_collection_finish() -> None:
    """What is there now stays: no collection of garbage need look through it again, nor through the rest so often."""
    gc.freeze()
    gc.set_threshold(50_000)
    gc.enable()


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Tests marked `virtual` run on a loop whose clock jumps; the others on a real one."""
    return {"loop": VirtualTimeLoop if item.get_closest_marker("virtual") else asyncio.new_event_loop}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What was said in half characters is told so that it can be sent from one process to another."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.fixture
def server(request: pytest.FixtureRequest) -> "Iterator[ChatServer]":
    """A server that answers as the module's `WORLD` does."""
    from chat_server import ChatServer  # which takes as long to import as all else here

    with ChatServer(request.module.WORLD.answer) as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, server: "ChatServer", monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a config `run.toml`; commands run there."""
    from command_line import write_project

    write_project(tmp_path, server.url)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def finished_once(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A project with a finished run in the module's `WORLD`, and where its server was."""
    from chat_server import ChatServer
    from command_line import here, write_project

    folder = tmp_path_factory.mktemp("finished")
    with ChatServer(request.module.WORLD.answer) as server, pytest.MonkeyPatch.context() as patch:
        write_project(folder, server.url, iterations=2)
        patch.chdir(folder)
        assert here("optimize", "run.toml", "--quiet").code == 0
    return folder, server.url


@pytest.fixture
def finished(finished_once: tuple[Path, str], project: Path, server: "ChatServer") -> Path:
    """A project with a finished run, which was made once: here it has a server and a folder of the test's own."""
    made, url = finished_once
    shutil.copytree(made, project, dirs_exist_ok=True)
    for path in [*project.rglob("*.json"), *project.rglob("*.jsonl"), *project.rglob("*.toml")]:
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(url, server.url).replace(str(made), str(project)), encoding="utf-8")
    return project


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty pictures, for tests that do not look at them."""
    from command_line import draw_nothing

    draw_nothing(monkeypatch)


@pytest.fixture(scope="module")
def redis_process(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[RealRedis]":
    """A Redis or Valkey server for all of a module's tests."""
    from real_redis import real_redis  # whose client is an extra

    with real_redis(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def redis_server(redis_process: "RealRedis") -> "RealRedis":
    """That server, with nothing in it, for tests that do not harm it."""
    with redis_process.client() as client:
        client.flushall()
    return redis_process
