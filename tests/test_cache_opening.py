"""What a cache is called: a folder, a server's URL, or nothing; and what is shown of that."""

import os
import sys
from pathlib import Path

import pytest
from redis import exceptions

from metaspo.cache import DiskMaintenance, DiskStore, FallbackStore, MemoryStore, StoreError
from metaspo.cache.disk.database import open_cache
from metaspo.cache.files import FileStore
from metaspo.cache.location import OF_FOLDERS, holds_password, shown_location
from metaspo.cache.opening import FOLDERS, open_maintenance, open_store
from metaspo.cache.record import encode_entry
from metaspo.cache.redis.address import read_address
from metaspo.cache.redis.server import check_safe, eviction, explained
from metaspo.cache.testing import make_entry, make_key


@pytest.mark.parametrize(
    ("url", "where", "options"),
    [
        ("redis://", "localhost:6379/0", {"host": "localhost", "port": 6379, "db": 0}),
        ("redis://h", "h:6379/0", {"host": "h", "port": 6379, "db": 0}),
        ("redis://h:1/3", "h:1/3", {"host": "h", "port": 1, "db": 3}),
        ("redis://h/?db=4", "h:6379/4", {"db": 4}),
        ("rediss://h/2?ssl_ca_certs=/f", "h:6379/2", {"ssl": True, "ssl_ca_certs": "/f", "db": 2}),
        ("unix:///a%20b.sock?db=5", "/a b.sock", {"unix_socket_path": "/a b.sock", "db": 5}),
        ("unix:///a.sock", "/a.sock", {"unix_socket_path": "/a.sock", "db": 0}),
        ("redis://me:p%40ss@h", "h:6379/0", {"username": "me", "password": "p@ss"}),
        ("redis://me@h", "h:6379/0", {"username": "me", "password": "given"}),
    ],
)
def test_a_servers_address_is_read_and_shown_without_who_may_enter(
    url: str, where: str, options: dict[str, object]
) -> None:
    """A password that is given is for a URL that holds none."""
    address = read_address(url, password="given")
    assert address.where == f"the cache at {url.split(':')[0]}://{where}"
    assert {name: address.options[name] for name in options} == options
    assert address.options["protocol"] == 2
    assert ("ssl" in address.options) == url.startswith("rediss")
    assert ("host" in address.options) != url.startswith("unix")
    assert "p@ss" not in repr(address)
    assert read_address("redis://h").options["password"] is None


@pytest.mark.parametrize(
    "url",
    [
        "http://h",
        "redis://h/x",
        "redis://h:port",
        "redis://h?timeout=3",
        "redis://h?ssl_ca_certs=/f",
        "redis://h?db",
        "rediss://h?ssl_ca_certs=/f&x=1",
    ],
)
def test_what_is_no_address_of_a_server_is_refused_without_repeating_it(url: str) -> None:
    """It may hold a password."""
    with pytest.raises(StoreError, match="This is no URL of a Redis server") as refused:
        read_address(url)
    assert "://h" not in str(refused.value)


def test_a_server_says_of_itself_whether_it_keeps_answers(caplog: pytest.LogCaptureFixture) -> None:
    """Old ones and those that throw answers away are refused; one without a log is told of."""
    safe = {"redis_version": "7.2", "maxmemory_policy": "noeviction"}
    check_safe({**safe, "aof_enabled": 1}, where="the cache")
    assert caplog.messages == []
    check_safe(safe, where="the cache")
    assert [message.split(" keeps no log")[0] for message in caplog.messages] == ["The cache"]
    assert eviction(safe) is None
    for changed, said in ({"maxmemory_policy": "allkeys-lru"}, "throws"), ({"redis_version": "6.9"}, "on Redis 6.9"):
        with pytest.raises(StoreError, match=rf"^The cache .*{said}.*\.$"):
            check_safe({**safe, **changed}, where="the cache")
    with pytest.raises(StoreError, match="on Redis 0"):
        check_safe({}, where="the cache")


async def test_a_place_is_a_folder_from_where_it_is_said_or_memory(tmp_path: Path) -> None:
    """An absolute one is itself; where a run shall go on, it does, told once."""
    told: list[str] = []
    async with open_store("here", folder=tmp_path) as store:
        assert isinstance(store, DiskStore)
    assert (tmp_path / "here" / "cache.db").exists()
    async with open_store(str(tmp_path / "there"), folder=tmp_path / "x", on_failure=told.append) as store:
        assert isinstance(store, FallbackStore)
    assert (tmp_path / "there" / "cache.db").exists()
    async with open_store("files://plain", folder=tmp_path) as store:
        assert isinstance(store, FileStore)
    assert [path.name for path in (tmp_path / "plain").iterdir()] == ["answers-1"]
    assert isinstance(open_store("", folder=tmp_path), MemoryStore)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError):
        open_store("file", folder=tmp_path)
    assert told == []
    assert isinstance(open_store("file", folder=tmp_path, on_failure=told.append), MemoryStore)
    assert [text.split(":")[0] for text in told] == ["Going on without a cache"]


@pytest.mark.parametrize("opened", [open_store, open_maintenance])
def test_a_server_needs_its_package(monkeypatch: pytest.MonkeyPatch, opened: type) -> None:
    """And it is said which."""
    for name in [name for name in sys.modules if name.startswith("metaspo.cache.redis")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(StoreError, match=r"pip install 'metaspo\[redis\]'"):
        opened("redis://h")


@pytest.mark.parametrize(
    ("place", "secret", "shown"),
    [
        ("cache", False, "cache"),
        ("files:///a/b", False, "files:///a/b"),
        ("a:b@c", False, "a:b@c"),
        ("redis://h/0", False, "redis://h/0"),
        ("redis://me@h", False, "redis://h"),
        ("redis://me:pw@h", True, "redis://h"),
        ("redis://:pw@h", True, "redis://h"),
    ],
)
def test_a_url_is_shown_without_who_may_enter(place: str, secret: bool, shown: str) -> None:
    """Folders may have any name."""
    assert (holds_password(place), shown_location(place)) == (secret, shown)


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (exceptions.OutOfMemoryError("oom"), "has no room left"),
        (exceptions.ReadOnlyError("replica"), "is a read-only replica"),
        (exceptions.BusyLoadingError("loading"), "is still loading"),
        (exceptions.NoPermissionError("no"), "does not let this user do that"),
        (exceptions.AuthenticationError("no"), "wants another password"),
        (exceptions.TimeoutError("slow"), "did not answer in time"),
        (TimeoutError("slow"), "did not answer in time"),
        (exceptions.ConnectionError("gone"), "cannot be reached"),
        (OSError("gone"), "cannot be reached"),
        (exceptions.ResponseError("what"), "could not be used: see the reason"),
    ],
    ids=repr,
)
def test_an_error_of_a_server_is_told_with_what_to_do_and_without_the_password(error: Exception, advice: str) -> None:
    """Whether it comes alone, or as the cause of what a client raises when it has tried often enough."""
    address = read_address("redis://h", password="hush")
    with (
        pytest.raises(StoreError, match=rf"^The cache at redis://h:6379/0 {advice}.*\({error}\)\.$"),
        explained(address),
    ):
        raise error
    if isinstance(error, exceptions.RedisError):
        with pytest.raises(StoreError, match=rf" {advice}.*\(tried … often enough\)"), explained(address):
            raise exceptions.ConnectionError("tried hush\noften enough") from error
    with pytest.raises(StoreError, match=r"\(ConnectionError\)\.$"), explained(read_address("redis://h")):
        raise exceptions.ConnectionError


def open_in(folder: Path) -> list[str]:
    """Files of a folder that this process has open."""
    return [name for link in Path("/proc/self/fd").iterdir() if str(folder) in (name := os.path.realpath(link))]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the system does not say which files are open")
async def test_a_folder_is_looked_after_whether_it_is_sound_or_not(tmp_path: Path) -> None:
    """What is there, how large it is, what is added; nothing is held open after that."""
    caring = DiskMaintenance(tmp_path / "cache")
    assert not caring.exists()
    caring.close()
    records = [(make_key(number), encode_entry(make_key(number), make_entry())) for number in range(3)]
    assert caring.add(records[:2]) == 2
    assert caring.add(records) == 1
    assert open_in(tmp_path / "cache")
    caring.close()
    assert not open_in(tmp_path / "cache")
    assert caring.exists()
    assert caring.size() >= 8_192
    assert [row.key for row in caring.rows()] == [key for key, _ in records]
    assert caring.damage() == ()


def test_what_a_folder_keeps_is_no_server_and_the_other_way_round() -> None:
    """Configs ask `location`, which knows no store."""
    assert set(FOLDERS) == set(OF_FOLDERS)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the system does not say which files are open")
def test_a_database_that_is_taken_away_as_it_is_opened_is_not_kept_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even as long as somebody holds the error."""

    def gone(folder: Path) -> None:
        raise FileNotFoundError(2, "No such file or directory", str(folder))

    monkeypatch.setattr("metaspo.cache.disk.database.identity", gone)
    with pytest.raises(StoreError, match="could not be opened") as caught:
        open_cache(tmp_path / "cache")
    assert caught.value
    assert open_in(tmp_path) == []


def test_a_fault_of_the_program_is_not_told_as_trouble_of_the_server() -> None:
    """Only what uvloop says of a closed connection is a `RuntimeError` of the server's."""
    address = read_address("redis://127.0.0.1:1/0", password="")
    with pytest.raises(RuntimeError, match=r"^our own$"), explained(address):
        raise RuntimeError("our own")
    with pytest.raises(StoreError, match="the handler is closed"), explained(address):
        raise RuntimeError("the handler is closed")
