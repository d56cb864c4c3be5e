"""`kill -9` at any moment: the same result, and a known bound on what is asked for again."""

import signal
import time
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from chat_server import ChatServer
from command_line import EXHAUSTIVE, LIMIT, apart, end, result_bytes, start, write_project
from warm import Process
from world import World

from metaspo.cache import DiskMaintenance, verify_cache
from metaspo.engine import read_journal, selections
from metaspo.engine.journal.ledger import BOOT_ID
from metaspo.engine.journal.view import RunView
from metaspo.scheduling.lanes.calls_out import UNSTORED

WORLD = World(3, malformed=0.1)
COMMAND = ("optimize", "run.toml", "--set", "iterations=5", "--set", "outer.candidates=9")  # some 500 calls
KILLS = 50
CONCURRENCY = 4  # of each lane, as `write_project` sets it
LANES = 2
MOST = 1000  # tokens that a call of these can take
REPEATED = (CONCURRENCY + max(CONCURRENCY, UNSTORED)) * LANES
"""Calls that a kill may repeat: those in flight, and the answers that are not on disk yet."""


def finished_selections(folder: Path) -> dict[str, dict[str, object]]:
    """What the journal of the only run in a folder says was selected; the same in every session, or this raises."""
    (path,) = folder.glob(".metaspo/runs/*/journal.jsonl")
    return selections(read_journal(path))


class Undisturbed:
    """A run that nothing happens to: its result, what it asked for, and how long it takes from its first words."""

    def __init__(self, folder: Path) -> None:
        with ChatServer(WORLD.answer) as server:
            write_project(folder, server.url, iterations=2)
            running = begin(folder)
            began = time.monotonic()
            assert end(running).code == 0
            self.seconds = time.monotonic() - began
            self.asked: Counter[str] = server.asked
        self.result = result_bytes(folder)
        self.selections = finished_selections(folder)


def begin(folder: Path) -> Process:
    """A run that has read its config and data, and now opens its cache."""
    running = start(*COMMAND, folder=folder)
    assert running.stderr.readline()
    return running


def killed(folder: Path, server: ChatServer, *, seconds: float, draw: Random) -> bool:
    """Run and kill: after some of so many seconds, or among its next calls. False if the run came to its end before."""
    by_calls, moment, calls = draw.random() < 0.5, draw.uniform(0, seconds), draw.randint(1, 60)
    calls += server.asked.total()
    running = begin(folder)
    deadline = time.monotonic() + (LIMIT if by_calls else moment)
    while running.poll() is None and time.monotonic() < deadline and not (by_calls and server.asked.total() >= calls):
        time.sleep(0.001)
    running.kill()
    return end(running).code == -signal.SIGKILL


def kill_until_finished(folder: Path, undisturbed: Undisturbed, *, draw: Random, kills: int) -> tuple[int, int]:
    """Kill a run up to so many times and let it finish; how often it was killed, and how many calls were repeated."""
    with ChatServer(WORLD.answer) as server:
        write_project(folder, server.url, iterations=2)
        done = 0
        while done < kills and killed(folder, server, seconds=undisturbed.seconds, draw=draw):
            done += 1
        assert apart(*COMMAND, folder=folder).code == 0
        assert set(server.asked) == set(undisturbed.asked)
        repeated = server.asked.total() - undisturbed.asked.total()
    assert result_bytes(folder) == undisturbed.result
    assert finished_selections(folder) == undisturbed.selections
    assert verify_cache(DiskMaintenance(folder / ".metaspo" / "cache")).sound
    return done, repeated


@pytest.mark.skipif(not BOOT_ID.exists(), reason="what a kill leaves is known to the call where a boot has an id")
def test_of_a_cap_a_kill_takes_what_was_used_and_the_calls_under_way(tmp_path: Path) -> None:
    """Whatever the cap: nothing that was set aside for calls still to come."""
    with ChatServer(WORLD.answer) as server:
        write_project(
            tmp_path, server.url, head=f"{EXHAUSTIVE}\nbudget = {{calls = 10_000, tokens = 10_000_000}}", iterations=2
        )
        for _ in range(3):
            asked, answered = server.asked.total() + 2 + CONCURRENCY, server.calls + 2
            server.hold_after(2)
            running = start("optimize", "run.toml", folder=tmp_path)
            server.wait_for(asked=asked, answered=answered)
            running.kill()
            assert end(running).code == -signal.SIGKILL
            server.wait_until_clients_hung_up()
        server.release()
        assert apart("optimize", "run.toml", folder=tmp_path).code == 0
    (path,) = tmp_path.glob(".metaspo/runs/*/journal.jsonl")
    spent = RunView.of(read_journal(path)).spent
    hung_up = server.asked.total() - server.calls
    assert (spent.of_budget.calls, spent.calls) == (server.asked.total(), server.calls)
    assert spent.prompt_tokens == 20 * server.calls
    assert 0 < spent.of_budget.tokens - 23 * server.calls < hung_up * MOST
    assert not list(path.parent.glob(".ledger")), "the last session said itself what it spent"


@pytest.mark.skipif(not BOOT_ID.exists(), reason="what a kill leaves is known to the call where a boot has an id")
@pytest.mark.slow
def test_after_a_kill_the_runs_of_a_comparison_say_together_what_its_own_book_says(tmp_path: Path) -> None:
    """To the call; nothing that the comparison had announced for all of them."""
    with ChatServer(WORLD.answer) as server:
        write_project(
            tmp_path, server.url, head=f"{EXHAUSTIVE}\nbudget = {{calls = 10_000, tokens = 10_000_000}}", iterations=2
        )
        grid = 'config = "run.toml"\nseeds = [1, 2]\nmethods = ["metaspo"]\n'
        (tmp_path / "grid.toml").write_text(grid, encoding="utf-8")
        server.hold_after(3)
        running = start("compare", "grid.toml", "--quiet", folder=tmp_path)
        server.wait_for(asked=3 + CONCURRENCY, answered=3)
        running.kill()
        assert end(running).code == -signal.SIGKILL
        server.wait_until_clients_hung_up()
        server.release()
        assert apart("compare", "grid.toml", "--quiet", folder=tmp_path).code == 0
    (book,) = (RunView.of(read_journal(path)).spent for path in tmp_path.glob(".metaspo/runs/spent/*/journal.jsonl"))
    runs = [RunView.of(read_journal(path)).spent for path in tmp_path.glob(".metaspo/runs/*-*/journal.jsonl")]
    assert len(runs) == 2
    assert sum(run.of_budget.calls for run in runs) == book.of_budget.calls == server.asked.total()
    assert sum(run.of_budget.tokens for run in runs) == book.of_budget.tokens
    assert sum(run.calls for run in runs) == book.calls == server.calls


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_at_random_moments_it_comes_to_the_same_and_repeats_little(tmp_path: Path) -> None:
    """Whatever the moment, between the opening of the cache and the end of the report."""
    draw = Random(50)
    (tmp_path / "undisturbed").mkdir()
    undisturbed = Undisturbed(tmp_path / "undisturbed")
    killed_so_far = repeated_at_most = 0
    for attempt in range(KILLS):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        done, repeated = kill_until_finished(folder, undisturbed, draw=draw, kills=KILLS - killed_so_far)
        killed_so_far += done
        assert repeated <= REPEATED * done, f"{repeated} calls repeated over {done} kills"
        repeated_at_most = max(repeated_at_most, repeated)
        if killed_so_far == KILLS:
            break
    assert killed_so_far == KILLS
    assert repeated_at_most > 0, "no kill ever hit a call in flight: the moments were not random"
