"""Files that commands write: whole or not at all, and named where they cannot be."""

import errno
import os
from pathlib import Path

import pytest

from metaspo.backends.paths import write_whole

FULL = Path("/dev/full")


def test_a_file_is_replaced_whole_or_stays_as_it_was_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "page.html"
    write_whole(path, b"old")

    def full(_old: Path, _new: Path) -> None:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(OSError, match=r"page\.html") as caught:
            write_whole(path, b"new")
    assert (path.read_bytes(), caught.value.filename) == (b"old", str(path))
    write_whole(path, b"new")
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {"page.html": b"new"}


def test_who_is_interrupted_leaves_nothing_beside_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_old: Path, _new: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "page.html", b"new")
    assert not list(tmp_path.iterdir())


def test_two_who_write_the_same_file_at_once_both_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, replace = tmp_path / "page.html", os.replace

    def after_another(old: Path, new: Path) -> None:
        monkeypatch.setattr(os, "replace", replace)
        write_whole(path, b"another's")
        replace(old, new)

    monkeypatch.setattr(os, "replace", after_another)
    write_whole(path, b"new")
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {"page.html": b"new"}


@pytest.mark.skipif(not FULL.exists(), reason="of Linux")
def test_what_is_no_plain_file_is_written_to_and_named_when_it_is_full(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(FULL)
    for path in (FULL, link):
        with pytest.raises(OSError, match="No space left") as caught:
            write_whole(path, b"x")
        assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(path))
    assert link.is_symlink()


def test_a_file_that_is_replaced_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_bytes(b"old")
    path.chmod(0o640)
    write_whole(path, b"new")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", 0o640)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EBUSY])
def test_a_file_that_cannot_be_replaced_is_written_to_where_that_can_be_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """One in a folder of others, or mounted by itself; one that is not there is named."""

    def refuse(_old: Path, new: Path) -> None:
        raise OSError(code, "refused", str(new))

    monkeypatch.setattr(os, "replace", refuse)
    path = tmp_path / "page.html"
    with pytest.raises(OSError, match=r"page\.html"):
        write_whole(path, b"new")
    path.write_bytes(b"old and longer")
    write_whole(path, b"new")
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {"page.html": b"new"}


def test_a_link_stays_one_and_what_it_names_is_written(tmp_path: Path) -> None:
    path, link = tmp_path / "page.html", tmp_path / "latest.html"
    path.write_bytes(b"old")
    link.symlink_to(path)
    write_whole(link, b"new")
    assert (link.is_symlink(), path.read_bytes()) == (True, b"new")
