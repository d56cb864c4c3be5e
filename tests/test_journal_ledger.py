"""A session's ledger, where file systems and files are not what they should be."""

import errno
import math
import mmap
import os
from pathlib import Path

import pytest

from metaspo.engine.journal import ledger
from metaspo.engine.journal.ledger import HEAD, RECORD, Ledger, left_by
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


@pytest.mark.parametrize("field", range(8))
@pytest.mark.parametrize("damage", [math.nan, math.inf])
def test_a_damaged_record_says_nothing(tmp_path: Path, field: int, damage: float) -> None:
    path = tmp_path / "ledger"
    session = Ledger(path, session=1)
    session.note(SPENT, Cost(1, 5, 0.5))
    assert left_by(path, session=1) is not None
    content = bytearray(path.read_bytes())
    numbers = [damage if position == field else 1.0 for position in range(8)]
    RECORD.pack_into(content, HEAD.size, *numbers)
    path.write_bytes(content)
    assert left_by(path, session=1) is None
    session.close()


def _fail(monkeypatch: pytest.MonkeyPatch, call: tuple[object, str], number: int) -> None:
    def refuse(*_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(*call, refuse)
