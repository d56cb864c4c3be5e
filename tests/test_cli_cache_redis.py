"""Runs of several machines share a Redis or Valkey server as their cache; `metaspo cache` looks after it."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from chat_server import ChatServer
from command_line import EXHAUSTIVE, apart, here, result_bytes, write_project
from real_redis import PASSWORD, RealRedis, real_redis
from sizes import rest_is_slow
from world import World

from metaspo.cache.redis import store

WORLD = World(3, malformed=0.1)


@pytest.fixture
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRedis]:
    """A server that wants a password."""
    with real_redis(tmp_path_factory.mktemp("redis"), password=PASSWORD) as running:
        yield running


def files_with(secret: str, folder: Path) -> list[Path]:
    """The files under a folder that hold a text."""
    return [path for path in folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


@pytest.mark.slow
def test_what_one_machine_paid_for_another_one_finds(
    tmp_path: Path, server: ChatServer, shared: RealRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second run makes no call and comes to the same result; no file and no output holds the password."""
    folders = [tmp_path / "one", tmp_path / "other"]
    said, calls = "", []
    for folder in folders:
        folder.mkdir()
        write_project(folder, server.url, head=f'{EXHAUSTIVE}\ncache = "{shared.url}"')
        done = apart("optimize", "run.toml", folder=folder, environment={"REDIS_PASSWORD": PASSWORD})
        assert done.code == 0, done.err
        said += done.out + done.err
        calls.append(server.calls)
    assert calls[0] == calls[1] > 0
    assert len({result_bytes(folder) for folder in folders}) == 1
    monkeypatch.setenv("REDIS_PASSWORD", PASSWORD)
    monkeypatch.chdir(tmp_path)
    told = here("cache", "info", "--cache", shared.url, "--json")
    assert (told.code, told.data["entries"]) == (0, calls[0])
    for command in (["verify"], ["export", "all.zst"], ["prune", "--bad"], ["import", "all.zst", "--trust"]):
        ended = here("cache", *command, "--cache", shared.url)
        assert ended.code == 0, ended.err
        said += ended.out + ended.err
    assert here("cache", "import", "all.zst", "--trust", "--cache", "copy").code == 0
    assert here("cache", "info", "--cache", "copy", "--json").data["entries"] == calls[0]
    assert PASSWORD not in said
    assert files_with(PASSWORD, tmp_path) == []


@pytest.mark.parametrize("command", rest_is_slow(["optimize run.toml --quiet", "cache info --cache {url}"]))
def test_a_server_that_is_not_there_stops_a_run_before_it_asks_anything(
    tmp_path: Path, server: ChatServer, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one sentence and exit status 3; `metaspo cache` says the same."""
    monkeypatch.setattr(store, "RedisStore", partial(store.RedisStore, patience=0.5))  # or it tries for ten seconds
    monkeypatch.chdir(tmp_path)
    url = f"unix://{tmp_path}/none.sock"
    write_project(tmp_path, server.url, head=f'{EXHAUSTIVE}\ncache = "{url}"')
    ended = here(*command.format(url=url).split())
    assert ended.code == 3
    assert len(ended.err.splitlines()) == 1
    assert "cannot be reached" in ended.err
    assert server.calls == 0


@pytest.mark.parametrize("url", [f"redis://:{PASSWORD}@host/0", f"rediss://user:{PASSWORD}@host"])
def test_a_password_in_a_config_is_refused_and_not_repeated(project: Path, url: str) -> None:
    """A config is copied into every run's folder."""
    config = project / "run.toml"
    config.write_text(f'cache = "{url}"\n' + config.read_text())
    refused = here("optimize", "run.toml")
    assert refused.code == 2
    assert "REDIS_PASSWORD" in refused.err
    assert PASSWORD not in refused.out + refused.err
    assert files_with(PASSWORD, project) == [config]
