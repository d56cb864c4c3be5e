"""A store on a Redis or Valkey server keeps what every store must, also when the server is in trouble."""

import asyncio
import logging
import re
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import cast

import pytest
from real_redis import PASSWORD, RealRedis, real_redis
from redis import exceptions
from redis.asyncio.client import Pipeline
from store_script import names_in

from metaspo.cache import (
    DiskMaintenance,
    DiskStore,
    Entry,
    FallbackStore,
    PruneFilter,
    Store,
    StoreError,
    cache_info,
    export_cache,
    import_cache,
    open_maintenance,
    open_store,
    prune_cache,
    verify_cache,
)
from metaspo.cache.redis.address import read_address
from metaspo.cache.redis.maintenance import RedisMaintenance
from metaspo.cache.redis.server import RETRIES, RIGHTS, check_safe, explained
from metaspo.cache.redis.store import PREFIX, RedisStore
from metaspo.cache.sharing import Amounts, CapAsk, Drawn, RateAsk
from metaspo.cache.testing import StoreConformance, claims_of, make_entry, make_key

IMPATIENT = 1.0
DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RealRedis]:
    """A server that a test may harm."""
    with real_redis(tmp_path / "redis") as server:
        yield server


class TestRedisStore(StoreConformance):
    """The common laws."""

    @pytest.fixture(autouse=True)
    def _server(self, redis_server: RealRedis) -> None:
        self.url = redis_server.url

    def open(self, folder: Path) -> Store:
        """A store with a usual memory layer."""
        return RedisStore(self.url)


class TestRedisStoreWithoutMemory(TestRedisStore):
    """The common laws hold for what is read from the server alone."""

    def open(self, folder: Path) -> Store:
        """A store that remembers nothing."""
        return RedisStore(self.url, memory_bytes=0)


async def test_of_two_stores_the_first_answer_wins(redis_server: RealRedis) -> None:
    """Of different answers that come from two processes at once both get the same one of each key."""
    async with RedisStore(redis_server.url) as one, RedisStore(redis_server.url) as other:
        entries = [{make_key(n): make_entry(f"{who} {n}") for n in range(500)} for who in ("one", "other")]
        kept = await asyncio.gather(one.put_many(entries[0]), other.put_many(entries[1]))
        assert kept[0] == kept[1]
        assert one.statistics().written + other.statistics().written == 500


async def test_a_server_without_room_says_so_and_shows_nothing_of_a_record(own_server: RealRedis) -> None:
    async with RedisStore(own_server.url, patience=IMPATIENT) as store:
        with own_server.client() as client:
            client.config_set("maxmemory", 1)
            trouble = (await store.put_many({make_key(1): make_entry("a text")}))[make_key(1)]
            client.config_set("maxmemory", 0)
        assert isinstance(trouble, StoreError)
        assert re.search(
            r"has no room left: .* \(command not allowed when used memory > 'maxmemory'\.\)\.$", str(trouble)
        )
    async with RedisStore(own_server.url) as store:
        assert (await store.get_many([make_key(1)]))[make_key(1)] == make_entry("a text"), "written as it closed"


@pytest.mark.parametrize("said", ["OOM no room left (see 'maxmemory')", 'ERR "x"', "ERR it's (it)", "NOAUTH Please."])
def test_what_the_server_said_in_a_batch_is_told_letter_by_letter(said: str) -> None:
    """redis-py puts the command before it, with the record."""
    refusal = exceptions.ResponseError(said)
    Pipeline.annotate_exception(cast("Pipeline", None), refusal, 1, ("SET", "key", "a whole record"))
    assert str(refusal) != said
    with pytest.raises(StoreError) as told, explained(read_address("redis://127.0.0.1:1")):
        raise refusal
    assert str(told.value).endswith(f"({said}).")


@pytest.mark.parametrize("said", ["{[]: 1}", "-" * 100_000 + "1"], ids=["unhashable", "deep"])
def test_what_looks_like_words_in_a_batch_and_is_none_is_told_as_it_is(said: str) -> None:
    """A server may say whatever it likes."""
    with pytest.raises(StoreError) as told, explained(read_address("redis://127.0.0.1:1")):
        raise exceptions.ResponseError(f"Command # 1 (SET key) of pipeline caused error: {said}")
    assert str(told.value).endswith(f"({said}).")


async def test_look_ups_of_one_moment_share_an_exchange(redis_server: RealRedis) -> None:
    """A thousand of them take a few commands, and each gets its own."""
    entries = {make_key(number): make_entry(str(number)) for number in range(1_000)}
    async with RedisStore(redis_server.url) as store:
        await store.put_many(entries)
    async with RedisStore(redis_server.url) as store:
        with redis_server.client() as client:
            client.config_resetstat()
            found = await asyncio.gather(*(store.get_many([key]) for key in entries))
            calls = client.info("commandstats")["cmdstat_mget"]["calls"]
    assert [entry for some in found for entry in some.values()] == list(entries.values())
    assert calls <= 3


async def test_a_look_up_under_way_as_the_store_closes_is_answered(redis_server: RealRedis) -> None:
    """Before it is closed: the connections are needed until then."""
    entries = {make_key(number): make_entry(str(number)) for number in range(100)}
    async with RedisStore(redis_server.url) as store:
        await store.put_many(entries)
    async with RedisStore(redis_server.url) as store:
        found = asyncio.create_task(store.get_many(list(entries)))
        await asyncio.sleep(0)
    assert found.done()
    assert found.result() == entries


async def test_what_was_kept_outlives_the_server(own_server: RealRedis) -> None:
    """A server that writes a log has every answer after it was killed."""
    async with RedisStore(own_server.url) as store:
        await store.put_many({make_key(n): make_entry(str(n)) for n in range(100)})
    own_server.kill()
    own_server.start()
    async with RedisStore(own_server.url) as store:
        assert len(await store.get_many([make_key(n) for n in range(100)])) == 100


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
async def test_a_server_that_throws_answers_away_is_refused(redis_server: RealRedis, policy: str) -> None:
    """Before anything is read or kept, with the setting to change."""
    with redis_server.client() as client:
        client.config_set("maxmemory-policy", policy)
        try:
            async with RedisStore(redis_server.url) as store:
                for work in (store.get_many([make_key(1)]), store.put(make_key(1), make_entry())):
                    with pytest.raises(StoreError, match=f"maxmemory-policy {policy}.*set maxmemory-policy noeviction"):
                        await work
                client.config_set("maxmemory-policy", "noeviction")
                assert await store.put(make_key(1), make_entry()) == make_entry()
                client.config_set("maxmemory-policy", policy)
                maintained = RedisMaintenance(redis_server.url)
                assert not verify_cache(maintained).sound
                with pytest.raises(StoreError, match=f"maxmemory-policy {policy}"):
                    maintained.add([(make_key(2), b"as of a snapshot")])
                assert client.dbsize() == 1
        finally:
            client.config_set("maxmemory-policy", "noeviction")


async def test_a_server_without_a_log_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with real_redis(tmp_path, appendonly="no") as server, caplog.at_level(logging.WARNING):
        async with RedisStore(server.url) as store:
            await store.put(make_key(1), make_entry())
    assert "appendonly no" in caplog.text


def assert_one_sentence(text: str, server: RealRedis) -> None:
    """A message names the place and fits in a line."""
    assert str(server.socket) in text
    assert "\n" not in text
    assert text.endswith(".")


def stop(server: RealRedis, trouble: str) -> None:
    """Bring about a trouble of the server."""
    with server.client() as client:
        if trouble == "killed":
            server.kill()
        elif trouble == "paused":
            server.pause()
        elif trouble == "full":
            client.config_set("maxmemory", "1")
        elif trouble == "failing over":
            client.replicaof("127.0.0.1", "1")
        else:
            client.config_set("min-replicas-to-write", "1")


def mend(server: RealRedis, trouble: str) -> None:
    """Undo it."""
    if trouble == "killed":
        server.start()
        return
    if trouble == "paused":
        server.go_on()
    with server.client() as client:
        client.config_set("maxmemory", "0")
        client.config_set("min-replicas-to-write", "0")
        client.replicaof("NO", "ONE")


TROUBLES = [
    ("killed", "cannot be reached"),
    ("paused", "did not answer in time"),
    ("full", "no room left: raise its maxmemory"),
    ("failing over", "is a read-only replica"),
    ("without replicas", "could not be used"),
]


@pytest.mark.parametrize(("trouble", "says"), TROUBLES, ids=[name for name, _ in TROUBLES])
async def test_trouble_is_told_and_what_was_answered_meanwhile_is_kept_afterwards(
    own_server: RealRedis, trouble: str, says: str
) -> None:
    """`put` says what is wrong; with the cause mended the next answer, or closing, brings the failed ones along."""
    async with RedisStore(own_server.url, patience=IMPATIENT) as store:
        await store.put(make_key(0), make_entry("0"))
        stop(own_server, trouble)
        with pytest.raises(StoreError, match=says) as told:
            await store.put(make_key(1), make_entry("1"))
        assert_one_sentence(str(told.value), own_server)
        assert await store.get_many([make_key(0)]) == {make_key(0): make_entry("0")}, "it is in memory"
        assert store.unwritten() == {make_key(1): make_entry("1")}
        mend(own_server, trouble)
    assert store.unwritten() == {}
    assert await stored(own_server, 2) == 2


@pytest.mark.parametrize(("trouble", "says"), TROUBLES[:2], ids=["killed", "paused"])
async def test_a_look_up_in_trouble_is_an_error_and_no_miss(own_server: RealRedis, trouble: str, says: str) -> None:
    """A question must not be paid for again because its answer cannot be looked up just now."""
    await filled(own_server, {make_key(1): make_entry()})
    async with RedisStore(own_server.url, patience=IMPATIENT) as store:
        stop(own_server, trouble)
        with pytest.raises(StoreError, match=says) as told:
            await store.get_many([make_key(1)])
        assert_one_sentence(str(told.value), own_server)
        mend(own_server, trouble)
        assert await store.get_many([make_key(1)]) == {make_key(1): make_entry()}


@contextmanager
def resetting_server() -> Iterator[int]:
    """The port of a server that resets each connection at its first word, as one before a dead server may."""

    def serve(listening: socket.socket) -> None:
        with suppress(OSError):  # closed
            while True:
                connection, _ = listening.accept()
                with connection:
                    connection.recv(1)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,))
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.mark.parametrize("fast", [False, True], ids=["asyncio", "uvloop"])
def test_connections_that_are_reset_are_an_error_of_every_look_up(*, fast: bool) -> None:
    """On either event loop; whoever waits is not cancelled."""

    async def look_up(port: int) -> None:
        async with RedisStore(f"redis://127.0.0.1:{port}/0", patience=IMPATIENT) as store:
            for number in range(3):
                with pytest.raises(StoreError, match="cannot be reached"):
                    await store.get_many([make_key(number)])

    loop = pytest.importorskip("uvloop").new_event_loop if fast else asyncio.new_event_loop
    with resetting_server() as port, asyncio.Runner(loop_factory=loop) as runner:
        runner.run(look_up(port))


async def test_a_slow_server_is_waited_for(own_server: RealRedis) -> None:
    """What takes its time is no trouble."""
    async with RedisStore(own_server.url, memory_bytes=0) as store:
        with own_server.client() as client:
            client.client_pause(200)
        assert await store.put(make_key(0), make_entry()) == make_entry()


async def test_a_restart_in_between_is_not_noticed(own_server: RealRedis) -> None:
    """Connections that broke are made anew."""
    async with RedisStore(own_server.url, memory_bytes=0) as store:
        await store.put(make_key(0), make_entry("0"))
        own_server.kill()
        own_server.start()
        assert await store.get_many([make_key(0)]) == {make_key(0): make_entry("0")}
        await store.put(make_key(1), make_entry("1"))


@pytest.mark.parametrize(
    ("trouble", "error"), [("full", "OOM"), ("failing over", "READONLY"), ("without replicas", "NOREPLICAS")]
)
async def test_trouble_that_passes_is_not_noticed(own_server: RealRedis, trouble: str, error: str) -> None:
    """A server that refuses for a moment is asked again on a new connection."""
    async with RedisStore(own_server.url) as store:
        await store.put(make_key(0), make_entry("0"))
        stop(own_server, trouble)
        putting = asyncio.create_task(store.put(make_key(1), make_entry("1")))
        with own_server.client() as client:
            while f"errorstat_{error}" not in client.info("errorstats"):  # noqa: ASYNC110 - another process refuses
                await asyncio.sleep(0.01)
        mend(own_server, trouble)
        assert await putting == make_entry("1")


@pytest.mark.parametrize("trouble", [name for name, _ in TROUBLES])
async def test_a_run_that_shall_go_on_does_and_its_answers_are_kept_at_the_end(
    own_server: RealRedis, trouble: str
) -> None:
    """It is warned once, has all its answers, does not wait for the server at every look-up, and keeps all at last."""
    warnings: list[str] = []
    async with FallbackStore(RedisStore(own_server.url, patience=IMPATIENT), warn=warnings.append) as store:
        await store.put(make_key(0), make_entry("0"))
        stop(own_server, trouble)
        for number in range(1, 20):
            assert await store.get_many([make_key(number)]) == {}
            await store.put(make_key(number), make_entry(str(number)))
        assert len(await store.get_many([make_key(number) for number in range(1, 20)])) == 19
        assert len(warnings) == 1
        mend(own_server, trouble)
    assert len(warnings) == 1
    assert_one_sentence(warnings[0], own_server)
    assert await stored(own_server, 20) == 20


async def test_trouble_that_is_known_is_waited_for_once(own_server: RealRedis) -> None:
    """Who claims, who keeps and who closes do not wait for it one after the other."""
    store = RedisStore(own_server.url, patience=IMPATIENT)
    claims = store.claims
    await store.put(make_key(0), make_entry())
    with own_server.client() as client:

        def refused() -> int:
            told = client.info("errorstats").get("errorstat_OOM", {"count": 0})
            return int(told["count"])

        stop(own_server, "full")
        with pytest.raises(StoreError, match="no room left"):
            await claims.claim_many([make_key(1)])
        assert refused() == RETRIES + 1
        with pytest.raises(StoreError, match="no room left"):
            await store.put(make_key(1), make_entry())
        with pytest.raises(StoreError, match="1 answer is not kept"):
            await store.aclose()
        assert refused() == RETRIES + 1 + 2 + 2


async def test_what_is_lost_in_the_end_is_told(own_server: RealRedis) -> None:
    """If the trouble lasts, closing says how many answers are not kept."""
    store = RedisStore(own_server.url, patience=IMPATIENT)
    await store.put(make_key(0), make_entry())
    own_server.kill()
    with pytest.raises(StoreError):
        await store.put(make_key(1), make_entry())
    with pytest.raises(StoreError, match="1 answer is not kept"):
        await store.aclose()
    await store.aclose()


async def stored(server: RealRedis, count: int) -> int:
    """How many of the first `count` entries are on a server."""
    async with RedisStore(server.url) as store:
        return len(await store.get_many([make_key(number) for number in range(count)]))


async def filled(server: RealRedis, entries: dict[str, Entry]) -> None:
    """Keep entries on a server."""
    async with RedisStore(server.url) as store:
        assert await store.put_many(entries) == entries


async def test_a_password_opens_the_server_and_is_never_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither in messages, also those of a wrong one, nor in representations."""
    texts: list[str] = []
    with real_redis(tmp_path, password=PASSWORD) as server, caplog.at_level(logging.DEBUG):
        quoted = "s3cret-and%3Aodd%40"
        for url, password in ((server.url, PASSWORD), (server.url.replace("://", f"://default:{quoted}@"), "")):
            async with RedisStore(url, password=password) as store:
                assert await store.put(make_key(1), make_entry()) == make_entry()
                texts.append(repr(store))
            assert verify_cache(RedisMaintenance(url, password=password)).entries == 1
        for url, password in ((server.url, ""), (server.url.replace("://", f"://:{quoted}x@"), "")):
            async with RedisStore(url, password=password, patience=IMPATIENT) as store:
                with pytest.raises(StoreError, match="set REDIS_PASSWORD") as told:
                    await store.get_many([make_key(1)])
            texts += [str(told.value), repr(told.value.__cause__), repr(told.value.__context__)]
    for url in (f"http://u:{PASSWORD}@host", f"redis://u:{PASSWORD}@host:port", f"redis://h?password={PASSWORD}"):
        with pytest.raises(StoreError, match="no URL of a Redis server") as told:
            RedisStore(url)
        texts.append(str(told.value))
    assert not [text for text in [*texts, caplog.text] if "s3cret" in text]


def as_user(server: RealRedis, *rights: str) -> str:
    """The URL for a user who is allowed these commands on metaspo's keys alone; what was refused is forgotten."""
    with server.client() as client:
        allowed = [f"+{right.lower()}" for right in rights]
        client.acl_setuser("u", enabled=True, passwords=["+pw"], keys=["metaspo:*"], commands=allowed, reset=True)
        client.acl_log_reset()
    return server.url.replace("://", "://u:pw@")


def refused(server: RealRedis) -> list[object]:
    """What users were not allowed."""
    with server.client() as client:
        return list(client.acl_log())


async def use(url: str) -> None:
    """All that a run does with its cache."""
    async with RedisStore(url, memory_bytes=0) as store:
        key = make_key(1)
        assert await claims_of(store).claim_many([key]) == {key}
        await store.put(key, make_entry())
        await store.get_many([key])
        claims_of(store).release([key])


async def test_a_user_needs_the_rights_that_are_told(own_server: RealRedis) -> None:
    """In messages and in the documents, no right more; one who lacks one is told at the first call that needs it."""
    told = re.search(r"\(ACL\) needs (.*) on keys", (DOCS / "cache.md").read_text())
    assert told is not None
    assert sorted(re.findall("`(.+?)`", told[1])) == sorted(RIGHTS)
    await use(as_user(own_server, *RIGHTS))
    assert refused(own_server) == []
    for right in RIGHTS[:-1]:
        with pytest.raises(StoreError, match=f"does not let this user do that: allow it .*{right}"):
            await use(as_user(own_server, *{*RIGHTS} - {right}))
        with own_server.client() as client:
            client.flushall()


async def test_a_user_who_shares_limits_and_caps_needs_the_rights_that_are_told(own_server: RealRedis) -> None:
    told = (DOCS / "machines.md").read_text().split("## What it needs")[1].split("; keys")[0]
    rights = re.findall("`([A-Z]+)`", told)
    async with RedisStore(as_user(own_server, *RIGHTS, *rights)) as store:
        some = Drawn(1.0, 1.0, 1.0, 1)
        await store.sharing.take(RateAsk("g", some, some, 1.0))
        for least in (Amounts(1, 1, 1), Amounts(0, 0, 0)):
            await store.sharing.set_aside(CapAsk("g", "", Amounts(2, 2, 2), least, least, least.calls > 0))
    assert refused(own_server) == []


async def test_a_damaged_or_foreign_row_is_found_and_removed(redis_server: RealRedis, tmp_path: Path) -> None:
    """It is never an answer; the others can be read, saved and counted."""
    await filled(redis_server, {make_key(n): make_entry(str(n)) for n in range(10)})
    with redis_server.client() as client:
        client.set(f"{PREFIX}{make_key(3)}", b"1damaged")
        client.set(b"%s\x1b[31m\xff" % PREFIX.encode(), b"foreign")
        client.hset(f"{PREFIX}{make_key('hash')}", "a", "b")
        client.set("another program's", "x")
    maintained = RedisMaintenance(redis_server.url)
    async with RedisStore(redis_server.url) as store:
        with pytest.raises(StoreError, match="bad entry"):
            await store.get_many([make_key(3)])
        with pytest.raises(StoreError, match="bad entry"):
            await store.put(make_key(3), make_entry())
    check = verify_cache(maintained)
    assert (check.entries, {row.key for row in check.bad}) == (9, {make_key(3), "", make_key("hash")})
    assert export_cache(maintained, tmp_path / "snapshot").entries == 9
    assert prune_cache(maintained, PruneFilter(bad=True), delete=True).entries == 3
    assert verify_cache(maintained).sound
    with redis_server.client() as client:
        assert client.get("another program's") == b"x"


async def test_info_and_prune_go_by_model_and_run(redis_server: RealRedis) -> None:
    entries = {make_key(n): make_entry(str(n), model="ab"[n % 2], run="r") for n in range(1_100)}
    await filled(redis_server, entries)
    maintained = RedisMaintenance(redis_server.url)
    info = cache_info(maintained)
    assert [(group.model, group.entries) for group in info.groups] == [("a", 550), ("b", 550)]
    assert info.size > sum(group.size for group in info.groups)
    assert prune_cache(maintained, PruneFilter(model="a")).entries == 550
    assert prune_cache(maintained, PruneFilter(model="a"), delete=True).entries == 550
    assert [group.model for group in cache_info(maintained).groups] == ["b"]


def open_sockets() -> set[str]:
    """Of this process."""
    files = Path("/proc/self/fd").iterdir()
    return {target for file in files if file.is_symlink() and (target := str(file.readlink())).startswith("socket:")}


def test_who_has_looked_after_a_server_lets_go_of_it(redis_server: RealRedis) -> None:
    """Its connection is closed, not left to whoever collects what is not used any more."""
    before, maintenance = open_sockets(), RedisMaintenance(redis_server.url)
    assert maintenance.exists()
    assert len(open_sockets() - before) == 1
    maintenance.close()
    assert open_sockets() <= before


async def test_answers_move_between_a_folder_and_a_server(redis_server: RealRedis, tmp_path: Path) -> None:
    """By a snapshot, both ways, word for word; what is there stays."""
    entries = {make_key(n): make_entry(str(n), created=float(n)) for n in range(500)}
    async with DiskStore(tmp_path / "here") as store:
        await store.put_many(entries)
    export_cache(DiskMaintenance(tmp_path / "here"), tmp_path / "from folder")
    await filled(redis_server, {make_key(7): make_entry("first")})
    brought = import_cache(RedisMaintenance(redis_server.url), tmp_path / "from folder")
    assert (brought.added, brought.kept) == (499, 1)
    export_cache(RedisMaintenance(redis_server.url), tmp_path / "from server")
    export_cache(RedisMaintenance(redis_server.url), tmp_path / "again")
    assert (tmp_path / "from server").read_bytes() == (tmp_path / "again").read_bytes()
    assert import_cache(DiskMaintenance(tmp_path / "there"), tmp_path / "from server").added == 500
    async with DiskStore(tmp_path / "there") as store:
        assert await store.get_many(list(entries)) == entries | {make_key(7): make_entry("first")}


async def test_a_place_with_a_scheme_is_a_server(redis_server: RealRedis, tmp_path: Path) -> None:
    """For stores as for their maintenance."""
    async with open_store(redis_server.url, folder=tmp_path) as store:
        await store.put(make_key(1), make_entry())
    assert cache_info(open_maintenance(redis_server.url)).entries == 1
    assert names_in(tmp_path) == set()


@pytest.mark.parametrize(("version", "safe"), [("6.2.14", False), ("7.0.0", True), ("8.0", True), ("10.1.0", True)])
def test_a_server_older_than_redis_7_is_refused(version: str, safe: bool) -> None:
    info = {"redis_version": version, "maxmemory_policy": "noeviction"}
    with nullcontext() if safe else pytest.raises(StoreError, match=f"Redis {version}"):
        check_safe(info, where="the server")
