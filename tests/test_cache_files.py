"""Plain files keep what every store must; each is a whole record from the moment that it is there."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from shutil import copytree

import pytest

from metaspo.cache import (
    DiskMaintenance,
    PruneFilter,
    Store,
    StoreError,
    cache_info,
    export_cache,
    import_cache,
    open_maintenance,
    prune_cache,
    verify_cache,
)
from metaspo.cache.files import ANSWERS, FileMaintenance, FileStore
from metaspo.cache.record import encode_entry
from metaspo.cache.testing import StoreConformance, make_entry, make_key

PUT = """
import asyncio, sys
from metaspo.cache import open_store
from metaspo.cache.testing import make_entry, make_key

async def main():
    async with open_store("files://" + sys.argv[1]) as store:
        kept = await asyncio.gather(*(store.put(make_key(n), make_entry(sys.argv[2])) for n in range(300)))
    print("".join(entry.completion.text for entry in kept))
asyncio.run(main())
"""


class TestFileStore(StoreConformance):
    """The common laws."""

    def open(self, folder: Path) -> Store:
        """A store with a usual memory layer."""
        return FileStore(folder)


class TestFileStoreWithoutMemory(StoreConformance):
    """The common laws hold for what is read from files alone."""

    def open(self, folder: Path) -> Store:
        """A store that remembers nothing."""
        return FileStore(folder, memory_bytes=0)


async def put(folder: Path, names: range, *, text: str = "yes") -> None:
    async with FileStore(folder) as store:
        await asyncio.gather(*(store.put(make_key(name), make_entry(text)) for name in names))


def test_of_two_processes_that_put_the_same_keys_at_once_the_first_one_wins_for_both(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", PUT, str(tmp_path / "cache"), text], stdout=subprocess.PIPE, text=True)
        for text in "ab"
    ]
    ours, theirs = [writer.communicate(timeout=60)[0].strip() for writer in writers]
    assert len(ours) == 300
    assert ours == theirs


async def test_two_folders_are_joined_by_copying_one_into_the_other(tmp_path: Path) -> None:
    await put(tmp_path / "a", range(3))
    await put(tmp_path / "b", range(2, 5))
    copytree(tmp_path / "a", tmp_path / "b", dirs_exist_ok=True)
    async with FileStore(tmp_path / "b") as store:
        assert len(await store.get_many([make_key(name) for name in range(9)])) == 5


async def test_a_folder_of_files_is_looked_after_as_any_cache_is(tmp_path: Path) -> None:
    """What is there, moved to a database and back, checked, cleared."""
    files = open_maintenance(f"files://{tmp_path / 'cache'}")
    assert isinstance(files, FileMaintenance)
    assert not files.exists()
    await put(tmp_path / "cache", range(3))
    assert files.exists()
    assert cache_info(files).entries == 3
    assert files.size() == 3 * len(encode_entry(make_key(0), make_entry()))
    export_cache(files, tmp_path / "snapshot")
    import_cache(database := DiskMaintenance(tmp_path / "disk"), tmp_path / "snapshot")
    assert {row.key for row in database.rows()} == {row.key for row in files.rows()}
    assert import_cache(files, tmp_path / "snapshot").added == 0
    database.close()
    assert prune_cache(files, PruneFilter(model="m"), delete=True).entries == 3
    assert import_cache(files, tmp_path / "snapshot").added == 3
    files.close()


async def test_a_damaged_file_is_refused_and_found_and_removed(tmp_path: Path) -> None:
    await put(tmp_path, range(2))
    path = tmp_path / ANSWERS / make_key(0)[:2] / make_key(0)
    path.write_bytes(path.read_bytes()[:-1])
    (draft := path.with_name("draft-0")).write_bytes(b"half")  # of a process that was killed
    os.utime(draft, (0, 0))
    async with FileStore(tmp_path) as store:
        with pytest.raises(StoreError, match="There is a bad entry"):
            await store.get(make_key(0))
        assert await store.get(make_key(1)) == make_entry()
    files = FileMaintenance(tmp_path)
    assert [row.key for row in verify_cache(files).bad] == [make_key(0), ""]
    assert prune_cache(files, PruneFilter(bad=True), delete=True).entries == 2
    assert verify_cache(files).sound


async def test_a_look_at_a_folder_does_not_mind_those_who_write_and_remove_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their drafts are no damage, and what goes between the listing and the look is not counted."""
    await put(tmp_path, range(2))
    files = FileMaintenance(tmp_path)
    size = files.size()
    path = tmp_path / ANSWERS / make_key(0)[:2] / make_key(0)
    path.with_name("draft-0").write_bytes(b"half")
    assert files.size() == size
    assert verify_cache(files).sound
    assert prune_cache(files, PruneFilter(bad=True), delete=True).entries == 0
    listed = files._paths()
    monkeypatch.setattr(files, "_paths", lambda: listed)
    path.unlink()
    assert 0 < files.size() < size
    assert len(list(files.rows())) == 1


async def test_a_folder_that_cannot_be_used_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"^The cache in .*file could not be used: .*\.$"):
        FileStore(tmp_path / "file")
