"""A run whose cache fails stops with one sentence, or goes on if the config says so. The failure is a real one."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from chat_server import ChatServer
from command_line import EXHAUSTIVE, Ended, apart, end, result_bytes, write_project
from world import World

from metaspo.cache import DiskMaintenance, cache_info, verify_cache

WORLD = World(4, malformed=0.1)
GO_ON = f'{EXHAUSTIVE}\ncache_failure = "continue"'
BLOCKS = 300  # of 1,024 bytes (bash) that a file may have: more than any other file of the run needs


def on_a_full_disk(folder: Path) -> Ended:
    """Run where no file may grow beyond a size that only the cache's gets to."""
    command = shlex.join([sys.executable, "-m", "metaspo", "optimize", "run.toml", "--quiet"])
    return end(
        subprocess.Popen(
            ["bash", "-c", f"ulimit -f {BLOCKS} && exec {command}"],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    )


def summary_of(folder: Path) -> dict[str, object]:
    (path,) = folder.glob(".metaspo/runs/*/summary.json")
    found: dict[str, object] = json.loads(path.read_bytes())
    return found


def test_a_run_whose_cache_is_full_stops_and_goes_on_when_there_is_room(tmp_path: Path, server: ChatServer) -> None:
    """Exit status 3, one sentence, also on record; what was kept is not asked for again."""
    write_project(tmp_path, server.url)
    stopped = on_a_full_disk(tmp_path)
    assert stopped.code == 3
    assert stopped.out == ""
    assert len(stopped.err.splitlines()) == 1
    assert "look for a full disk" in stopped.errors[0]
    assert "look for a full disk" in str(summary_of(tmp_path)["stopped"])
    assert verify_cache(DiskMaintenance(tmp_path / ".metaspo" / "cache")).sound
    kept, asked = cache_info(DiskMaintenance(tmp_path / ".metaspo" / "cache")).entries, server.asked.total()
    assert kept > 10
    assert apart("optimize", "run.toml", folder=tmp_path).code == 0
    assert cache_info(DiskMaintenance(tmp_path / ".metaspo" / "cache")).entries - kept == server.asked.total() - asked


@pytest.mark.slow
def test_a_run_goes_on_without_storing_if_it_was_told_to(tmp_path: Path, server: ChatServer) -> None:
    """It warns when that begins and at the end says how many answers are lost; its result is that of any other run."""
    write_project(tmp_path, server.url, head=GO_ON)
    done = on_a_full_disk(tmp_path)
    assert done.code == 0
    begun, lost = done.err.splitlines()
    assert begun.startswith("warning: Going on without storing")
    calls, kept = server.calls, cache_info(DiskMaintenance(tmp_path / ".metaspo" / "cache")).entries
    assert 0 < kept < calls
    assert lost.startswith(f"warning: {calls - kept} of the answers in memory could not be kept")
    result = result_bytes(tmp_path)
    assert apart("optimize", "run.toml", folder=tmp_path).code == 0
    assert result_bytes(tmp_path) == result
    assert server.calls == calls + calls - kept


@pytest.mark.parametrize("command", ["optimize", "evaluate"])
@pytest.mark.parametrize(("head", "code"), [(EXHAUSTIVE, 3), (GO_ON, 0)])
def test_a_cache_that_cannot_be_opened_is_told_in_one_sentence(
    tmp_path: Path, server: ChatServer, command: str, head: str, code: int
) -> None:
    """Nothing is asked then, or everything is and nothing kept; what stands in the cache's place is left alone."""
    write_project(tmp_path, server.url, head=head)
    place = tmp_path / ".metaspo" / "cache"
    place.mkdir(parents=True)
    (place / "cache.db").write_bytes(b"something else " * 1_000)
    ended = apart(command, "run.toml", "--quiet", folder=tmp_path)
    assert ended.code == code
    assert len(ended.err.splitlines()) == 1
    assert "not a database" in ended.err
    assert (server.calls > 0) == (code == 0)
    assert (place / "cache.db").read_bytes() == b"something else " * 1_000
