"""Neither a killed process nor two at once lose an answer that `put` returned, or make two answers of one."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from metaspo.cache import DiskMaintenance, DiskStore, verify_cache
from metaspo.cache.testing import make_entry, make_key

KILLS = 10
TESTS = str(Path(__file__).parent)
# Forks a writer for each line it reads, so that Python starts and imports only once.
WRITE_FOR_EVER = """
import itertools, os, sys
from pathlib import Path
import anyio
from metaspo.cache import DiskStore
from metaspo.cache.testing import make_entry, make_key

async def write(store, name):
    for number in itertools.count():
        await store.put(make_key((name, number)), make_entry(f"{name} {number}"))
        os.write(1, f"{name} {number}\\n".encode())

async def main(trial):
    async with DiskStore(Path(sys.argv[1])) as store, anyio.create_task_group() as group:
        for task in range(8):
            group.start_soon(write, store, f"{trial}.{task}")

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        anyio.run(main, line.strip())
    os.write(1, f"pid {child}\\n".encode())
    os.waitpid(child, 0)
    os.write(1, b"dead 0\\n")
"""
WRITE_SOME = """
import json, sys
from pathlib import Path
import anyio
from metaspo.cache import DiskStore
from metaspo.cache.testing import make_entry, make_key

async def main():
    who, kept = sys.argv[2], {}
    async with DiskStore(Path(sys.argv[1])) as store:
        print("ready", flush=True)
        sys.stdin.readline()

        async def write(number):
            kept[number] = (await store.put(make_key(number), make_entry(f"{who} {number}"))).completion.text

        for start in range(0, 600, 20):
            async with anyio.create_task_group() as group:
                for number in range(start, start + 20):
                    group.start_soon(write, number)
    print(json.dumps(kept))

anyio.run(main)
"""


def start(script: str, folder: Path, name: str) -> "subprocess.Popen[str]":
    """Run a script as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", script, str(folder), name],
        env={**os.environ, "PYTHONPATH": TESTS},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def acknowledged_before_kill(writers: "subprocess.Popen[str]", *, trial: int, count: int) -> list[str]:
    """The answers that a writer said were kept before it was killed, some time after its `count`-th."""
    assert writers.stdin is not None
    assert writers.stdout is not None
    writers.stdin.write(f"{trial}\n")
    writers.stdin.flush()
    told: list[str] = []
    pid = 0
    for line in writers.stdout:
        what, number = line.split()
        if what == "dead":
            break
        if what == "pid":
            pid = int(number)
        else:
            told.append(line.strip())
        if pid and len(told) >= count:
            os.kill(pid, signal.SIGKILL)
            pid = 0
    return told


async def assert_all_kept(folder: Path, acknowledged: list[str]) -> None:
    """Every answer is there, word for word."""
    keys = {make_key((name, int(number))): f"{name} {number}" for name, number in map(str.split, acknowledged)}
    async with DiskStore(folder) as store:
        found = await store.get_many(list(keys))
    assert {key: entry.completion.text for key, entry in found.items()} == keys


@pytest.mark.parametrize("kills", [KILLS, pytest.param(50, marks=pytest.mark.slow)])
async def test_killed_process_loses_nothing_it_acknowledged(tmp_path: Path, kills: int) -> None:
    """After `kill -9` at any moment every answer that `put` returned is there, and the database is sound."""
    draw = random.Random(4)
    acknowledged: list[str] = []
    with start(WRITE_FOR_EVER, tmp_path / "cache", "for ever") as writers:
        for trial in range(kills):
            acknowledged += acknowledged_before_kill(writers, trial=trial, count=draw.choice([1, 40, 300]))
            await assert_all_kept(tmp_path / "cache", acknowledged)
    assert len(acknowledged) > 10 * kills
    assert verify_cache(DiskMaintenance(tmp_path / "cache")).sound


async def test_two_processes_agree_on_every_answer(tmp_path: Path) -> None:
    """Two processes that make and fill one cache at the same time get the same answer for every key."""
    writers = [start(WRITE_SOME, tmp_path / "cache", name) for name in ("left", "right")]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    left, right = (json.loads(writer.communicate()[0]) for writer in writers)
    assert left == right
    assert len(left) == 600
    async with DiskStore(tmp_path / "cache") as store:
        found = await store.get_many([make_key(number) for number in range(600)])
    assert {str(number): found[make_key(number)].completion.text for number in range(600)} == left
    assert verify_cache(DiskMaintenance(tmp_path / "cache")).sound


async def test_two_stores_in_one_process_lose_nothing(tmp_path: Path) -> None:
    """Stores that are opened, filled and closed in turn on one folder keep each other's answers."""
    async with DiskStore(tmp_path / "cache") as outer:
        for number in range(5):
            async with DiskStore(tmp_path / "cache") as inner:
                await inner.put(make_key(number), make_entry(str(number)))
            await outer.put(make_key(number + 100), make_entry())
        assert len(await outer.get_many([make_key(n) for n in (*range(5), *range(100, 105))])) == 10
