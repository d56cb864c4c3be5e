"""A session's ledger, where file systems and files are not what they should be."""

import errno
import math
import mmap
import os
from pathlib import Path

import pytest

from metaspo.engine.journal import ledger
from metaspo.engine.journal.events import Spent
from metaspo.engine.journal.ledger import HEAD, OLD_SIZE, RECORD, SIZE, SUM, Ledger, left_by
from metaspo.scheduling import Cost, RunStopped

SPENT = (1, 2, 3, 0.5, 0)
UNSUPPORTED = [errno.ENODEV, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS]


@pytest.fixture(autouse=True)
def _boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boot = tmp_path / "boot_id"
    boot.write_text("0" * 36)
    monkeypatch.setattr(ledger, "BOOT_ID", boot)


@pytest.mark.parametrize("call", [(mmap, "mmap"), (os, "posix_fallocate")])
@pytest.mark.parametrize("number", UNSUPPORTED)
def test_a_session_goes_on_without_a_ledger_where_the_file_system_has_no_shared_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: tuple[object, str], number: int
) -> None:
    _fail(monkeypatch, call, number)
    path = tmp_path / "ledger"
    session = Ledger(path, session=1)
    session.note(SPENT, Cost(1, 5, 0.5))
    assert not path.exists()
    session.close()


def test_a_full_disk_still_stops_the_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _fail(monkeypatch, (os, "posix_fallocate"), errno.ENOSPC)
    with pytest.raises(RunStopped, match="cannot be written"):
        Ledger(tmp_path / "ledger", session=1)


def left(path: Path) -> tuple[int, Spent] | None:
    """What is known by a ledger that nothing is wrong with."""
    return left_by(path, warn=pytest.fail)


def as_of_old(whole: bytes) -> bytes:
    """A ledger as versions left it that knew no checksums."""
    first, second = HEAD.size, HEAD.size + RECORD.size + SUM.size
    return whole[:first] + whole[first : first + RECORD.size] + whole[second : second + RECORD.size]


@pytest.mark.parametrize("field", range(8))
@pytest.mark.parametrize("damage", [math.nan, math.inf, -1.0, 1e19])
def test_a_damaged_record_of_old_says_nothing(tmp_path: Path, field: int, damage: float) -> None:
    path = tmp_path / "ledger"
    session = Ledger(path, session=1)
    session.note(SPENT, Cost(1, 5, 0.5))
    path.write_bytes(content := bytearray(as_of_old(path.read_bytes())))
    assert len(content) == OLD_SIZE
    assert left(path) == (1, Spent.of(SPENT, Cost(1, 5, 0.5)))
    numbers = [damage if position == field else 1.0 for position in range(8)]
    RECORD.pack_into(content, HEAD.size, *numbers)
    path.write_bytes(content)
    warned: list[str] = []
    assert left_by(path, warn=warned.append) is None
    assert len(warned) == 1
    session.close()


def test_no_flipped_bit_changes_what_a_session_has_spent(tmp_path: Path) -> None:
    """It is told in one line, or was in what does not count: the spare bytes of the other record."""
    path = tmp_path / "ledger"
    session = Ledger(path, session=7)
    session.note(SPENT, Cost(1, 5, 0.5))
    whole, told = path.read_bytes(), left(path)
    session.close()
    for bit in range(8 * len(whole)):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        warned: list[str] = []
        found = left_by(path, warn=warned.append)
        assert (found, len(warned)) in ((None, 1), (told, 0))
        assert (found == told) == (not bit or bit // 8 >= HEAD.size + RECORD.size + SUM.size)  # 0: as before it counts
        assert all(str(path) in text and "\n" not in text and "raise its caps" in text for text in warned)


def test_a_kill_in_the_middle_of_a_record_leaves_the_one_before(tmp_path: Path) -> None:
    """They are written in turns, and the last that is whole counts."""
    path = tmp_path / "ledger"
    session = Ledger(path, session=7)
    assert left(path) is None, "nothing was spent yet"
    for calls in range(1, 6):
        before = path.read_bytes()
        session.note((calls, 2 * calls, 3, 0.5, 1), Cost(calls, 5, 0.25))
        if calls > 1:
            size = RECORD.size + SUM.size
            counted = slice(HEAD.size + (before[0] - 1) * size, HEAD.size + before[0] * size)
            assert path.read_bytes()[counted] == before[counted]
        number, told = left(path) or pytest.fail("it says nothing")
        assert number == 7
        assert (told.calls, told.prompt_tokens, told.completion_tokens) == (calls, 2 * calls, 3)
        assert (told.dollars, told.unpriced, told.of_budget) == (0.5, 1, Cost(calls, 5, 0.25))
    session.close()


def test_a_ledger_is_of_one_session_on_one_boot_and_of_one_size(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    session = Ledger(path, session=7)
    session.note(SPENT, Cost(1, 5, 0.5))
    whole = path.read_bytes()
    assert left(path) == (7, Spent.of(SPENT, Cost(1, 5, 0.5)))
    for damaged in (whole[:-1], whole + b"x", b"\3" + whole[1:], b"\0" + whole[1:-1] + b"x"):
        path.write_bytes(damaged)
        warned: list[str] = []
        assert left_by(path, warn=warned.append) is None
        assert len(warned) == 1
    for not_begun in (whole[: HEAD.size] + bytes(SIZE - HEAD.size), b""):
        path.write_bytes(not_begun)
        assert left(path) is None
    path.write_bytes(b"\0" + whole[1:])
    assert left(path) == (7, Spent.of(SPENT, Cost(1, 5, 0.5))), "killed between its first record and what counts"
    path.write_bytes(whole)
    assert left(path) is not None
    (tmp_path / "boot_id").write_text("0" * 40)
    assert left(path) is not None, "what it is known by is 36 characters"
    (tmp_path / "boot_id").write_text("1" * 36)
    assert left(path) is None
    assert left(tmp_path / "none") is None


def test_a_session_that_ends_takes_its_ledger_away_and_may_end_twice(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    path.write_bytes(b"of another session")
    session = Ledger(path, session=7)
    assert len(path.read_bytes()) == SIZE
    for _ in range(2):
        session.close()
        session.note(SPENT, Cost(1, 5, 0.5))
        assert not path.exists()


def test_where_no_boot_is_known_there_is_no_ledger_nor_an_old_one(tmp_path: Path) -> None:
    (tmp_path / "boot_id").unlink()
    path = tmp_path / "ledger"
    path.write_bytes(b"of another session")
    session = Ledger(path, session=7)
    session.note(SPENT, Cost(1, 5, 0.5))
    assert not path.exists()
    session.close()


def _fail(monkeypatch: pytest.MonkeyPatch, call: tuple[object, str], number: int) -> None:
    def refuse(*_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(*call, refuse)
