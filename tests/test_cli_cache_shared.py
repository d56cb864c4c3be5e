"""Several metaspo processes on one cache folder."""

import time
from pathlib import Path

import pytest
from chat_server import ChatServer
from command_line import EXHAUSTIVE, apart, end, result_bytes, start, write_project
from world import World

from metaspo.cache import DiskMaintenance, cache_info, verify_cache

WORLD = World(3, malformed=0.1)
IN_FLIGHT = 24  # answers of two lanes that a killed process may lose: four calls each, and eight not stored yet


def projects(home: Path, server: ChatServer, *, names: tuple[str, ...]) -> list[Path]:
    """A folder of each name with the same run, whose cache is `shared`; "alone" has one of its own."""
    shared = f'early_rejection = false\ncache = "{home / "shared"}"'
    folders = [home / name for name in names]
    for folder in folders:
        folder.mkdir()
        write_project(folder, server.url, head=EXHAUSTIVE if folder.name == "alone" else shared, iterations=2)
    return folders


@pytest.mark.slow
def test_two_processes_fill_one_cache_and_both_come_to_what_each_comes_to_alone(tmp_path: Path) -> None:
    """The runs are two, the folder they keep answers in is one; a third process then finds all of it."""
    with ChatServer(WORLD.answer) as server:
        folders = projects(tmp_path, server, names=("alone", "left", "right", "later"))
        assert apart("optimize", "run.toml", folder=folders[0]).code == 0
        alone = server.calls
        running = [start("optimize", "run.toml", folder=folder) for folder in folders[1:3]]
        assert [end(process).code for process in running] == [0, 0]
        calls = server.calls
        assert calls == 2 * alone, "what one of them asks the other one does not"
        assert apart("optimize", "run.toml", folder=folders[3]).code == 0
        assert server.calls == calls
    assert len({result_bytes(folder) for folder in folders}) == 1
    assert cache_info(DiskMaintenance(tmp_path / "shared")).entries == alone
    assert verify_cache(DiskMaintenance(tmp_path / "shared")).sound


def test_what_a_killed_process_was_asking_the_other_one_asks_once_more(tmp_path: Path) -> None:
    """Nothing else is asked twice, and the result is that of a run which had all of it to itself."""
    with ChatServer(WORLD.answer) as server:
        folders = projects(tmp_path, server, names=("alone", "killed", "left"))
        assert apart("optimize", "run.toml", folder=folders[0]).code == 0
        alone = server.calls
        killed, left = (start("optimize", "run.toml", folder=folder) for folder in folders[1:])
        while server.calls < alone + alone // 4:
            assert killed.poll() is None
            time.sleep(0.005)  # another process is asking: there is no event to wait for
        killed.kill()
        killed.communicate()
        assert end(left).code == 0
        assert server.calls - 2 * alone <= IN_FLIGHT
    assert result_bytes(folders[2]) == result_bytes(folders[0])
    assert cache_info(DiskMaintenance(tmp_path / "shared")).entries == alone
