"""A question is one process's to ask: claims are exclusive, and end with whoever has them."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from real_redis import RealRedis, real_redis

from metaspo.cache import DiskStore, FallbackStore, Store, open_store
from metaspo.cache.disk.claims import DiskClaims
from metaspo.cache.files import FileStore
from metaspo.cache.redis.claims import LEASE as CLAIM_LEASE
from metaspo.cache.redis.claims import PREFIX
from metaspo.cache.redis.server import PATIENCE
from metaspo.cache.redis.store import RedisStore
from metaspo.cache.testing import ClaimsConformance, claims_of, make_key
from metaspo.scheduling.store.claiming import RENEWALS

CLAIM_AND_WAIT = """
import asyncio, sys
from metaspo.cache import open_store
from metaspo.cache.testing import claims_of, make_key

async def main():
    store = open_store(sys.argv[1])
    assert await claims_of(store).claim_many([make_key(1)]) == {make_key(1)}
    print("claimed", flush=True)
    await asyncio.sleep(1_000)
asyncio.run(main())
"""
LEASE = 3.0  # which a busy machine takes a while to reach, and one of the laws waits for


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RealRedis]:
    """A server for this test alone."""
    with real_redis(tmp_path / "redis") as running:
        yield running


class TestDiskClaims(ClaimsConformance):
    """The common laws, in a folder."""

    def open(self, folder: Path) -> Store:
        """A store on disk."""
        return DiskStore(folder)


class TestFileClaims(ClaimsConformance):
    """The common laws, beside plain files."""

    def open(self, folder: Path) -> Store:
        """A store of plain files."""
        return FileStore(folder)


class TestFallbackClaims(ClaimsConformance):
    """The common laws, through a store that would go on without the other one."""

    def open(self, folder: Path) -> Store:
        """A store on disk, behind another one."""
        return FallbackStore(DiskStore(folder), warn=lambda _: None)


class TestRedisClaims(ClaimsConformance):
    """The common laws, on a server."""

    @pytest.fixture(autouse=True)
    def _server(self, server: RealRedis) -> None:
        self.url = server.url

    def open(self, folder: Path) -> Store:
        """A store on the server."""
        return RedisStore(self.url, lease=LEASE)


async def test_a_killed_process_has_no_claims_left(tmp_path: Path) -> None:
    """The system drops them at once, so that nobody waits for an answer that does not come."""
    async with DiskStore(tmp_path / "cache") as store:
        command = [sys.executable, "-c", CLAIM_AND_WAIT, str(tmp_path / "cache")]
        other = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        assert other.stdout is not None
        assert await other.stdout.readline() == b"claimed\n"
        assert await claims_of(store).claim_many([make_key(1), make_key(2)]) == {make_key(2)}
        other.kill()
        await other.wait()
        assert await claims_of(store).claim_many([make_key(1)]) == {make_key(1)}


async def test_a_claim_on_a_server_lasts_as_long_as_it_is_renewed(redis_server: RealRedis) -> None:
    """While its owner lives nobody else gets it; afterwards one does, when the lease is over."""
    place = PREFIX + make_key(1)
    with redis_server.client() as client:
        async with RedisStore(redis_server.url) as one, RedisStore(redis_server.url) as other:
            assert await claims_of(one).claim_many([make_key(1)]) == {make_key(1)}
            for _ in range(2):
                client.pexpire(place, 5_000)  # most of its time is over
                await claims_of(one).renew([make_key(1)])
                assert 1_000 * CLAIM_LEASE - 5_000 < int(str(client.pttl(place))) <= 1_000 * CLAIM_LEASE
                assert await claims_of(other).claim_many([make_key(1)]) == set()
            client.pexpire(place, 0)  # all of it
            assert await claims_of(other).claim_many([make_key(1)]) == {make_key(1)}
            client.pexpire(place, 5_000)
            await claims_of(one).renew([make_key(1)])
            assert int(str(client.pttl(place))) <= 5_000
            claims_of(one).release([make_key(1)])
        assert client.get(place) is not None, "what was taken over is the other one's alone"


async def test_an_idle_store_has_no_claims_file(tmp_path: Path) -> None:
    """Who claims nothing leaves a folder as it was."""
    async with DiskStore(tmp_path / "cache") as store:
        await store.get_many([make_key(1)])
    assert not await anyio.Path(tmp_path / "cache" / "cache.db-claims").exists()


async def test_who_is_alone_is_told_so(tmp_path: Path) -> None:
    """It need not look again for what it claims; it must as soon as somebody else has come."""
    folder = tmp_path / "cache"
    for _ in range(2):
        async with DiskStore(folder) as store:
            await claims_of(store).claim_many([make_key(1)])
            assert not claims_of(store).contested
    async with DiskStore(folder) as store:
        await claims_of(store).claim_many([make_key(1)])
        async with DiskStore(folder) as other:
            await claims_of(other).claim_many([make_key(2)])
            assert claims_of(other).contested
        await claims_of(store).claim_many([make_key(3)])
        assert claims_of(store).contested


@pytest.mark.slow
async def test_where_claims_cannot_be_made_everything_is_ours(server: RealRedis, tmp_path: Path) -> None:
    """A run that shall go on when the store fails does not wait for its claims either."""
    warned: list[str] = []
    store = open_store(server.url, on_failure=warned.append)
    server.kill()
    async with store:
        assert await claims_of(store).claim_many([make_key(1)]) == {make_key(1)}
        await claims_of(store).renew([make_key(1)])
        claims_of(store).release([make_key(1)])


async def test_it_is_known_whether_anybody_else_is_here_or_was(tmp_path: Path) -> None:
    """Somebody who has come and gone since a store was opened may have stored answers, too."""
    async with DiskStore(tmp_path / "cache") as alone:
        assert await claims_of(alone).claim_many([make_key(1)]) == {make_key(1)}
        assert not claims_of(alone).contested
    async with DiskStore(tmp_path / "cache") as first:
        async with DiskStore(tmp_path / "cache") as second:
            assert await claims_of(second).claim_many([make_key(2)]) == {make_key(2)}
        assert await claims_of(first).claim_many([make_key(2)]) == {make_key(2)}
        assert claims_of(first).contested
    async with DiskStore(tmp_path / "cache") as first, DiskStore(tmp_path / "cache") as second:
        await claims_of(first).claim_many([make_key(3)])
        assert await claims_of(second).claim_many([make_key(3)]) == set()
        assert claims_of(second).contested


async def test_in_a_folder_where_nothing_may_be_written_everything_is_ours(tmp_path: Path) -> None:
    claims = DiskClaims(tmp_path / "not there")
    assert await claims.claim_many([make_key(1), make_key(2)]) == {make_key(1), make_key(2)}
    claims.release([make_key(1)])
    claims.close()


async def test_what_is_being_given_back_as_a_store_closes_is_free_once_it_is_closed(redis_server: RealRedis) -> None:
    """Nobody waits for a lease that a process which ended in order has left."""
    keys = [make_key(number) for number in range(1200)]
    async with RedisStore(redis_server.url) as one:
        assert await claims_of(one).claim_many(keys) == {*keys}
        claims_of(one).release(keys)
    with redis_server.client() as client:
        assert client.keys("metaspo:claim:*") == []


def test_a_claim_outlasts_what_a_server_may_be_away_for_while_its_process_waits() -> None:
    """The server may go when the next renewal is due: that one has to come in time all the same."""
    assert CLAIM_LEASE * (1 - 1 / RENEWALS) >= PATIENCE
