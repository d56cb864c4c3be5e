"""What the first user stumbles over: where a key stands, and a shell that has closed a stream."""

import subprocess
import sys
from pathlib import Path

import pytest
from chat_server import ChatServer
from command_line import apart, write_project
from world import World

WORLD = World(3)
KEY = "sk-planted-first-use"


def test_a_dotenv_beside_the_config_is_read_wherever_the_command_starts_and_the_one_here_goes_before_it(
    tmp_path: Path, server: ChatServer
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    write_project(project, server.url, lane='api_key_env = "PLANTED"')
    (project / ".env").write_text(f"PLANTED={KEY}\n", encoding="utf-8")
    assert apart("optimize", "project/run.toml", folder=tmp_path).code == 0
    assert server.keys == {f"Bearer {KEY}"}
    (tmp_path / ".env").write_text(f"PLANTED={KEY}-here\n", encoding="utf-8")
    assert apart("optimize", "project/run.toml", "--set", "seed=99", folder=tmp_path).code == 0
    assert server.keys == {f"Bearer {KEY}", f"Bearer {KEY}-here"}


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_closed_stream_is_no_fault(tmp_path: Path, closed: str) -> None:
    """Python has no `sys.stdout` then."""
    command = f'"{sys.executable}" -m metaspo runs {closed}'
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
