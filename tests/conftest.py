"""What tests of the command line stand on: a chat server, and a project that asks it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from chat_server import ChatServer
from command_line import write_project


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[ChatServer]:
    """A server that answers as the module's `WORLD` does."""
    with ChatServer(request.module.WORLD.answer) as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a config `run.toml`; commands run there."""
    write_project(tmp_path, server.url)
    monkeypatch.chdir(tmp_path)
    return tmp_path
