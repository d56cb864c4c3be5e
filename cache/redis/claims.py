"""Claims on a Redis or Valkey server: a key `metaspo:claim:KEY` each, which expires unless its owner renews it."""

import asyncio
import os
from collections.abc import Collection, Sequence

from redis import asyncio as redis

from metaspo.cache.base import StoreError
from metaspo.cache.disk.database import batched
from metaspo.cache.redis.server import Server

LEASE = 30.0
"""Seconds; who is killed while it asks keeps others from asking for as long. A server may be away for all of `PATIENCE`
after the last renewal: no claim of one that lives may end meanwhile, or its question would be asked twice."""

PREFIX = "metaspo:claim:"
_AT_ONCE = 500
# Only who owns a claim may renew or delete it, and it may have expired and be another one's since it was looked at.
_RENEW = "for _, k in ipairs(KEYS) do if redis.call('GET', k) == ARGV[1] then redis.call('PEXPIRE', k, ARGV[2]) end end"
_RELEASE = "for _, k in ipairs(KEYS) do if redis.call('GET', k) == ARGV[1] then redis.call('UNLINK', k) end end"


class RedisClaims:
    """The claims of one store."""

    contested = True

    def __init__(self, server: Server, *, lease: float = LEASE) -> None:
        """`lease` in seconds."""
        self.lease = lease
        self._milliseconds = max(1, round(lease * 1000))
        self._server = server
        self._token = os.urandom(16).hex().encode()
        self._released: set[str] = set()
        self._giving_back: set[str] = set()
        self._task: asyncio.Task[None] | None = None
        self._may_renew = False

    async def claim_many(self, keys: Collection[str]) -> set[str]:
        """Claim keys, in one exchange; returns those that are ours. Raises `StoreError`."""
        if self._task is not None and not self._giving_back.isdisjoint(keys):
            await asyncio.wait([self._task])  # or what was given back a moment ago would end the new claim

        async def claim(client: "redis.Redis") -> list[bytes | None]:
            async with client.pipeline(transaction=False) as pipeline:
                for key in keys:
                    pipeline.set(PREFIX + key, self._token, nx=True, px=self._milliseconds, get=True)
                return await pipeline.execute()

        owners = await self._server.run(claim)
        if not self._may_renew:  # who lacks the right is told now: a renewal's failure nobody hears of
            await self.renew(keys)
            self._may_renew = True
        return {key for key, owner in zip(keys, owners, strict=True) if owner in (None, self._token)}

    async def renew(self, keys: Collection[str]) -> None:
        """Let our claims last for another lease. Raises `StoreError`."""
        await self._call(_RENEW, list(keys), self._token, str(self._milliseconds).encode())

    def release(self, keys: Collection[str]) -> None:
        """Give claims back, those of one moment in one exchange."""
        self._released.update(keys)
        self._giving_back.update(keys)
        if self._released and self._task is None:
            self._task = asyncio.create_task(self._give_back(), name=f"claims at {self._server.address.where}")

    async def aclose(self) -> None:
        """Wait for what is being given back; idempotent."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _give_back(self) -> None:
        try:
            while self._released:
                keys, self._released = self._released, set()
                await self._call(_RELEASE, list(keys), self._token)
        except StoreError:
            pass  # they expire; whoever reads or writes is told of the trouble
        finally:
            self._task = None
            self._released.clear()
            self._giving_back.clear()

    async def _call(self, script: str, keys: Sequence[str], *arguments: bytes) -> None:
        async def call(client: "redis.Redis") -> None:
            for some in batched(keys, _AT_ONCE):
                await client.eval(script, len(some), *(PREFIX + key for key in some), *arguments)

        await self._server.run(call)
