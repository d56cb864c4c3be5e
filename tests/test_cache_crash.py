"""Neither a killed process nor two at once lose an answer that `put` returned, or make two answers of one."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from store_conformance import make_entry, make_key

from metaspo.cache import DiskStore, verify_cache

KILLS = 10
TESTS = str(Path(__file__).parent)
WRITE_FOR_EVER = """
import itertools, os, sys
from pathlib import Path
import anyio
from metaspo.cache import DiskStore
from store_conformance import make_entry, make_key

async def write(store, name):
    for number in itertools.count():
        await store.put(make_key((name, number)), make_entry(f"{name} {number}"))
        os.write(1, f"{name} {number}\\n".encode())

async def main():
    async with DiskStore(Path(sys.argv[1])) as store, anyio.create_task_group() as group:
        for task in range(8):
            group.start_soon(write, store, f"{sys.argv[2]}.{task}")

anyio.run(main)
"""
WRITE_SOME = """
import json, sys
from pathlib import Path
import anyio
from metaspo.cache import DiskStore
from store_conformance import make_entry, make_key

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


def acknowledged_before_kill(folder: Path, *, trial: int, lines: int) -> list[str]:
    """The answers that a process said were kept before it was killed, some time after its `lines`-th."""
    with start(WRITE_FOR_EVER, folder, str(trial)) as process:
        assert process.stdout is not None
        seen = [process.stdout.readline() for _ in range(lines)]
        process.kill()
        seen += process.stdout.readlines()
    return [line.strip() for line in seen if line.endswith("\n")]


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
    for trial in range(kills):
        acknowledged += acknowledged_before_kill(tmp_path / "cache", trial=trial, lines=draw.choice([1, 40, 300]))
        await assert_all_kept(tmp_path / "cache", acknowledged)
    assert verify_cache(tmp_path / "cache").sound


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
    assert verify_cache(tmp_path / "cache").sound


async def test_two_stores_in_one_process_lose_nothing(tmp_path: Path) -> None:
    """Stores that are opened, filled and closed in turn on one folder keep each other's answers."""
    async with DiskStore(tmp_path / "cache") as outer:
        for number in range(5):
            async with DiskStore(tmp_path / "cache") as inner:
                await inner.put(make_key(number), make_entry(str(number)))
            await outer.put(make_key(number + 100), make_entry())
        assert len(await outer.get_many([make_key(n) for n in (*range(5), *range(100, 105))])) == 10
