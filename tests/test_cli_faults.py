"""Runs over real sockets through every fault of a server, its death, and the engine's own."""

import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest
from command_line import LIMIT, apart, end, result_bytes, start, write_project
from faulty_server import MOST
from warm import Process

from metaspo.bench.processes import held_port
from metaspo.cache import DiskMaintenance, verify_cache
from metaspo.scheduling.lanes.calls_out import UNSTORED

CONCURRENCY, LANES = 4, 2
REPEATED = (
    CONCURRENCY + max(CONCURRENCY, UNSTORED)
) * LANES  # calls that a kill may repeat: in flight, or not on disk yet
ENGINE_KILLS, SERVER_KILLS = 20, 6
FAILURES = MOST * (SERVER_KILLS + 1) + SERVER_KILLS  # that one request may meet: a new process forgets what came before
LANE = (  # of each model; a silence costs as long, and whole answers come well within it on a busy machine, too
    f"time_limit = 2.0\nattempts = {FAILURES + 1}\npatience = 300\nfirst_patience = 30"
)


class Server:
    """A faulty server that can be killed and started again on the same port, and what it answered in all its lives."""

    def __init__(self, folder: Path, *, faults: float, port: int) -> None:
        self._port = port
        self.url = f"http://127.0.0.1:{port}/v1"
        self._log = folder / "answered.txt"
        self._log.touch()
        self._faults = faults
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def answered(self) -> Counter[str]:
        """How often each body was answered."""
        return Counter(self._log.read_text(encoding="utf-8").split())

    def start(self) -> None:
        """Start, and wait until it listens."""
        script = Path(__file__).with_name("faulty_server.py")
        options = ["--port", str(self._port), "--log", str(self._log), "--faults", str(self._faults)]
        self._process = subprocess.Popen([sys.executable, str(script), *options])
        deadline = time.monotonic() + LIMIT
        while True:
            assert time.monotonic() < deadline
            try:
                socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.02)

    def kill(self) -> None:
        """`kill -9`."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(LIMIT)

    def wait_for(self, answers: int, *, running: Process) -> bool:
        """Wait until it has answered so many in all; False if the run came to its end before."""
        deadline = time.monotonic() + LIMIT
        while self.answered.total() < answers:
            assert time.monotonic() < deadline
            if running.poll() is not None:
                return False
            time.sleep(0.005)
        return True


@contextmanager
def serving(folder: Path, *, faults: float) -> Iterator[Server]:
    """A server, and a project in the folder that uses it."""
    folder.mkdir()
    with held_port() as port:
        server = Server(folder, faults=faults, port=port)
        server.start()
        write_project(folder, server.url, lane=LANE, iterations=2)
        try:
            yield server
        finally:
            server.kill()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Counter[str]]:
    """The result of a run against a server without faults, and what it had answered."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    with serving(folder, faults=0) as server:
        assert apart("optimize", "run.toml", folder=folder).code == 0
        return result_bytes(folder), server.answered


@pytest.mark.slow
def test_through_every_fault_a_run_comes_to_the_same_and_has_nothing_answered_twice(
    tmp_path: Path, undisturbed: tuple[bytes, Counter[str]]
) -> None:
    folder = tmp_path / "run"
    with serving(folder, faults=0.35) as server:
        ended = apart("optimize", "run.toml", folder=folder)
        assert ended.code == 0, ended.err
        assert (result_bytes(folder), server.answered) == undisturbed


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_server_killed_again_and_again_costs_no_result(
    tmp_path: Path, undisturbed: tuple[bytes, Counter[str]]
) -> None:
    folder, draw, kills = tmp_path / "run", Random(6), 0
    result, answered = undisturbed
    with serving(folder, faults=0.1) as server:
        running = start("optimize", "run.toml", folder=folder)
        for _ in range(SERVER_KILLS):
            goal = server.answered.total() + draw.randint(5, answered.total() // (SERVER_KILLS + 1))
            if not server.wait_for(goal, running=running):
                break
            server.kill()
            kills += 1
            server.start()
        ended = end(running)
        assert ended.code == 0, ended.err
        assert result_bytes(folder) == result
        assert kills >= SERVER_KILLS // 2, "the run was over before it could be disturbed"
        assert set(server.answered) == set(answered)
        # What was written to a socket whose process died next may not have arrived.
        assert server.answered.total() - answered.total() <= kills * CONCURRENCY * LANES


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_engine_killed_twenty_times_among_faults_comes_to_the_same(
    tmp_path: Path, undisturbed: tuple[bytes, Counter[str]]
) -> None:
    draw, done, attempt = Random(20), 0, 0
    result, answered = undisturbed
    while done < ENGINE_KILLS:
        folder, attempt, before = tmp_path / str(attempt), attempt + 1, done
        with serving(folder, faults=0.3) as server:
            while done < ENGINE_KILLS:
                running = start("optimize", "run.toml", folder=folder)
                if server.wait_for(server.answered.total() + draw.randint(1, 60), running=running):
                    time.sleep(draw.uniform(0, 0.05))
                running.kill()
                if end(running).code != -signal.SIGKILL:
                    break
                done += 1
            assert apart("optimize", "run.toml", folder=folder).code == 0
            assert result_bytes(folder) == result
            assert set(server.answered) == set(answered)
            assert server.answered.total() - answered.total() <= REPEATED * (done - before)
        assert verify_cache(DiskMaintenance(folder / ".metaspo" / "cache")).sound
