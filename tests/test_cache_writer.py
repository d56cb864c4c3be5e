"""Batched writing: what is committed when, what becomes of failures, and what everybody who waits is told."""

import asyncio
from collections.abc import Sequence

import pytest

from metaspo.cache import Entry, StoreError
from metaspo.cache.lru import RecentEntries
from metaspo.cache.record import BadRecord, encode_entry
from metaspo.cache.testing import make_entry, make_key
from metaspo.cache.writer import BATCH, GATHER, BatchWriter, Before, Items


class Table:
    """What a writer commits to.

    Attributes:
        commits: when each was, and of how much.
        trouble: raised by the commits that come.
    """

    def __init__(self) -> None:
        self.rows: dict[str, bytes | BadRecord] = {}
        self.commits: list[tuple[float, int]] = []
        self.trouble: BaseException | None = None
        self.takes = 0.0
        self.recent = RecentEntries(1 << 20)
        self.writer = BatchWriter("the table", self._commit, self.recent)

    async def _commit(self, items: Items) -> Sequence[Before]:
        self.commits.append((asyncio.get_running_loop().time(), len(items)))
        await asyncio.sleep(self.takes)
        if self.trouble is not None:
            raise self.trouble
        before = [self.rows.get(key) for key, _ in items]
        for key, data in items:
            self.rows.setdefault(key, data)
        return before


def entries(*numbers: int) -> dict[str, Entry]:
    return {make_key(number): make_entry(str(number)) for number in numbers}


@pytest.mark.virtual
async def test_a_lone_answer_is_written_at_once_and_those_that_come_fast_share_commits() -> None:
    """Some time apart, unless a whole batch is waiting; a hundred at most, in the order in which they came."""
    table = Table()
    clock = asyncio.get_running_loop().time
    start = clock()
    assert await table.writer.put_many(entries(1)) == entries(1)
    assert table.commits == [(start, 1)]
    await asyncio.gather(table.writer.put_many(entries(2)), table.writer.put_many(entries(3)))
    [(gathered, size)] = table.commits[1:]
    assert gathered == pytest.approx(start + GATHER)
    assert size == 2
    many = entries(*range(10, 11 + 2 * BATCH))
    assert await table.writer.put_many(many) == many
    assert [size for _, size in table.commits[2:]] == [BATCH, BATCH, 1]
    times = [at - start for at, _ in table.commits[1:]]
    assert times == pytest.approx([GATHER, GATHER, GATHER, 2 * GATHER])
    assert list(table.rows) == [*entries(1, 2, 3), *many]
    assert table.writer.written == len(table.rows) == 3 + len(many)
    assert (table.writer.waiting, table.writer.unwritten()) == (0, {})
    assert len(table.recent) == len(table.rows)
    await table.writer.aclose()


@pytest.mark.virtual
async def test_who_comes_second_gets_the_first_answer_and_a_damaged_one_is_told() -> None:
    """Whether it is stored, or on its way; only what is new is counted as written."""
    table = Table()
    key = make_key(1)
    table.rows = {key: encode_entry(key, make_entry("theirs")), make_key(2): BadRecord("it is damaged")}
    kept = await table.writer.put_many(entries(1, 2, 3))
    assert kept[key] == make_entry("theirs")
    assert kept[make_key(3)] == make_entry("3")
    assert isinstance(kept[make_key(2)], StoreError)
    assert "it is damaged" in str(kept[make_key(2)])
    assert table.writer.written == 1
    assert table.recent.get(key) == make_entry("theirs")
    assert table.recent.get(make_key(2)) is None
    table.takes = 1.0
    mine, yours = await asyncio.gather(
        table.writer.put_many({make_key(4): make_entry("mine")}),
        table.writer.put_many({make_key(4): make_entry("yours"), make_key(5): make_entry("5")}),
    )
    assert mine[make_key(4)] == yours[make_key(4)] == make_entry("mine")
    assert yours[make_key(5)] == make_entry("5")
    await table.writer.aclose()


@pytest.mark.virtual
async def test_what_failed_is_told_kept_here_and_written_with_the_next() -> None:
    """Or when the writer is closed; what is cancelled is written all the same."""
    table = Table()
    table.trouble = StoreError("It is full.")
    failed = await table.writer.put_many(entries(1, 2))
    assert [str(result) for result in failed.values()] == ["It is full.", "It is full."]
    assert (table.writer.waiting, table.writer.unwritten()) == (2, entries(1, 2))
    table.trouble = None
    assert await table.writer.put_many(entries(3)) == entries(3)
    assert table.writer.unwritten() == {}
    table.trouble = StoreError("It is full.")
    await table.writer.put_many(entries(4))
    with pytest.raises(StoreError, match=r"^1 answer is not kept\. It is full\.$"):
        await table.writer.aclose()
    table.trouble = None
    await table.writer.aclose()
    assert list(table.rows) == [make_key(number) for number in (1, 2, 3, 4)]
    table.takes = 1.0
    leaving = asyncio.ensure_future(table.writer.put_many(entries(5)))
    await asyncio.sleep(0.5)
    leaving.cancel()
    await table.writer.aclose()
    assert make_key(5) in table.rows
    commits = len(table.commits)
    await table.writer.aclose()
    assert len(table.commits) == commits


@pytest.mark.virtual
async def test_what_fails_while_the_writer_is_closed_is_tried_once_more() -> None:
    """Closing waits for the commit that is under way, and then for one of its own."""
    table = Table()
    table.takes, table.trouble = 1.0, StoreError("It is full.")
    putting = asyncio.ensure_future(table.writer.put_many(entries(1)))
    await asyncio.sleep(0.5)
    closing = asyncio.ensure_future(table.writer.aclose())
    await putting
    table.trouble = None
    await closing
    assert len(table.commits) == 2
    assert list(table.rows) == [make_key(1)]


@pytest.mark.virtual
async def test_a_commit_that_is_broken_off_leaves_nobody_waiting() -> None:
    """Of every kind of trouble there is a word for those who wait; the next put tries again."""
    table = Table()
    table.takes = 10.0
    waiting = asyncio.ensure_future(table.writer.put_many(entries(1)))
    await asyncio.sleep(1.0)
    (task,) = [task for task in asyncio.all_tasks() if task.get_name() == "cache writer of the table"]
    task.cancel()
    told = await asyncio.wait_for(waiting, 1.0)
    assert [str(result) for result in told.values()] == ["Writing to the table was broken off."]
    assert task.cancelled()
    assert await table.writer.put_many(entries(2)) == entries(2)
    assert list(table.rows) == [make_key(1), make_key(2)]
