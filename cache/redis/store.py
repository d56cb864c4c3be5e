"""The store on a Redis or Valkey server, for processes on several machines that share their answers.

An entry is a string `metaspo:1:KEY` that holds its record, the same bytes as in a folder. The first one wins because
`SET … NX GET` writes only where nothing is and tells what was there, in one command.
"""

import asyncio
from collections.abc import Sequence

from redis import asyncio as redis

from metaspo.cache.base import StoreError
from metaspo.cache.batched import MEMORY_BYTES, BatchedStore
from metaspo.cache.claims import Claims
from metaspo.cache.disk.database import batched
from metaspo.cache.record import FORMAT, BadRecord
from metaspo.cache.redis.address import read_address
from metaspo.cache.redis.claims import LEASE, RedisClaims
from metaspo.cache.redis.server import PATIENCE, Server
from metaspo.cache.redis.sharing import RedisSharing
from metaspo.cache.sharing import Sharing
from metaspo.cache.writer import Before, Items

PREFIX = f"metaspo:{FORMAT}:"
KEYS_PER_COMMAND = 500

Records = list[tuple[str, bytes | BadRecord]]


class RedisStore(BatchedStore):
    """Keeps entries on a server; any number of processes may use it at the same time.

    The server is asked first when something is looked up or kept; one that would throw answers away is refused then.
    What could not be written for trouble with the server is kept in memory and written with the next answer, or at the
    end.
    """

    def __init__(
        self,
        url: str,
        *,
        password: str = "",
        memory_bytes: int = MEMORY_BYTES,
        patience: float = PATIENCE,
        lease: float = LEASE,
    ) -> None:
        """`password` for a URL without one; `patience`: seconds for one exchange; `lease`: seconds that a claim lasts
        after its process was killed. Raises `StoreError` for a bad URL."""
        self._server = Server(read_address(url, password=password), patience=patience)
        self._claims = RedisClaims(self._server, lease=lease)
        self._sharing = RedisSharing(self._server)
        super().__init__(self._server.address.where, memory_bytes=memory_bytes)
        self._lookups: list[tuple[Sequence[str], asyncio.Future[Records]]] = []
        self._task: asyncio.Task[None] | None = None

    @property
    def claims(self) -> Claims:
        """By which processes agree who asks for what is not there."""
        return self._claims

    @property
    def sharing(self) -> Sharing:
        """By which processes share rates and caps."""
        return self._sharing

    async def _fetch(self, keys: Sequence[str]) -> Records:
        """Look-ups that come while another one is under way share the next exchange."""
        done: asyncio.Future[Records] = asyncio.get_running_loop().create_future()
        self._lookups.append((keys, done))
        if self._task is None:
            self._task = asyncio.create_task(self._look_up(), name=f"look-ups in {self._where}")
        return await done

    async def _commit(self, items: Items) -> Sequence[Before]:
        async def write(client: "redis.Redis") -> list[Before]:
            async with client.pipeline(transaction=False) as pipeline:
                for key, record in items:
                    pipeline.set(PREFIX + key, record, nx=True, get=True)
                return await pipeline.execute()

        return await self._server.run(write)

    async def _disconnect(self) -> None:
        if self._task is not None:
            await asyncio.wait([self._task])
        await self._claims.aclose()
        await self._server.aclose()

    async def _look_up(self) -> None:
        try:
            while self._lookups:
                lookups, self._lookups = self._lookups, []
                await self._answer(lookups)
        finally:
            self._task = None

    async def _answer(self, lookups: list[tuple[Sequence[str], "asyncio.Future[Records]"]]) -> None:
        keys = list(dict.fromkeys(key for some, _ in lookups for key in some))
        try:
            records = await self._server.run(lambda client: _read(client, keys))
            for some, done in lookups:
                if not done.done():
                    done.set_result([(key, records[key]) for key in some if key in records])
        except Exception as error:  # noqa: BLE001 - handed on; cancelled, whoever waits would have failed without a word
            for _, done in lookups:
                if not done.done():
                    done.set_exception(StoreError(str(error)) if isinstance(error, StoreError) else error)
        finally:
            for _, done in lookups:
                done.cancel()  # who is told already does not notice


async def _read(client: "redis.Redis", keys: Sequence[str]) -> dict[str, bytes]:
    records: dict[str, bytes] = {}
    for some in batched(keys, KEYS_PER_COMMAND):
        values = await client.mget([PREFIX + key for key in some])
        records.update((key, value) for key, value in zip(some, values, strict=True) if isinstance(value, bytes))
    return records
