"""Shared rates and caps on a Redis or Valkey server: a hash `metaspo:rate:GROUP` or `metaspo:cap:GROUP` each, changed
by scripts that take the server's own time, so that clocks of machines do not matter."""

import itertools
import os
from math import isinf

from redis import asyncio as redis

from metaspo.cache.redis.server import Server
from metaspo.cache.sharing import Amounts, CapAsk, Granted, RateAsk, Set

LEASE = 10.0
"""Seconds without a word after which a process gives nothing back any more."""

RATE, CAP = "metaspo:rate:", "metaspo:cap:"
REMEMBERED = 60
"""Seconds for which the answer to an exchange is kept, for it may come again: longer than any exchange takes."""
# A level below 0 is taken ahead: whoever took it waits until the level is back at 0. ARGV: rate, burst, amount and sent
# of requests, then of tokens; seconds to hold; the exchange's number and for how long it is remembered, because one
# whose reply was lost comes again, and is not to be done twice: it waits for what is left until the time that it was
# told. Numbers are written with all digits, or microseconds would be lost.
_TAKE = """
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local did = redis.call('HMGET', KEYS[2], 'number', 'due', 'requests', 'tokens')
if did[1] == ARGV[10] then
  return {math.max(0, tonumber(did[2]) - now), tonumber(did[3]), tonumber(did[4])}
end
local kinds, wait, sent = {'requests', 'tokens'}, 0, {}
local hold = tonumber(ARGV[9])
for i, kind in ipairs(kinds) do
  local rate, burst = tonumber(ARGV[4 * i - 3]), tonumber(ARGV[4 * i - 2])
  local amount = tonumber(ARGV[4 * i - 1])
  if rate > 0 then
    local was = redis.call('HMGET', KEYS[1], kind, kind .. ':at')
    local level = tonumber(was[1]) or burst
    level = math.min(burst, level + rate * math.max(0, now - (tonumber(was[2]) or now)) / 1000000)
    if hold > 0 then level = math.min(level, -rate * hold) end
    level = math.min(burst, level - amount)
    if amount > 0 then wait = math.max(wait, -level / rate) end
    redis.call('HSET', KEYS[1], kind, string.format('%.17g', level), kind .. ':at', string.format('%.0f', now))
  end
  sent[i] = redis.call('HINCRBY', KEYS[1], kind .. ':sent', ARGV[4 * i])
end
redis.call('PEXPIRE', KEYS[1], 600000 + math.ceil(wait * 1000))
local waits = math.ceil(wait * 1000000)
local due = string.format('%.0f', now + waits)
redis.call('HSET', KEYS[2], 'number', ARGV[10], 'due', due, 'requests', sent[1], 'tokens', sent[2])
redis.call('PEXPIRE', KEYS[2], 1000 * ARGV[11])
return {waits, sent[1], sent[2]}
"""
# ARGV: token of the purse, whether it holds something, lease in ms; cap, least and most of calls, tokens, dollars;
# the exchange's number, as above.
_SET_ASIDE = """
local did = redis.call('GET', KEYS[3])
if did then
  local last = cjson.decode(did)
  if last[1] == ARGV[13] then return last[2] end
end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local names, fits, taken, aside = {'calls', 'tokens', 'dollars'}, true, {}, {}
for i, name in ipairs(names) do
  local cap, least, most = tonumber(ARGV[3 * i + 1]), tonumber(ARGV[3 * i + 2]), tonumber(ARGV[3 * i + 3])
  taken[i] = tonumber(redis.call('HGET', KEYS[1], name)) or 0
  if least > 0 and taken[i] + least > cap + 1e-9 then fits = false end
  aside[i] = math.min(most, math.max(least, cap - taken[i]))
end
local reply = {fits and 1 or 0}
for i, name in ipairs(names) do
  if fits then
    taken[i] = taken[i] + aside[i]
    redis.call('HSET', KEYS[1], name, string.format('%.17g', taken[i]))
  end
  reply[#reply + 1] = string.format('%.17g', aside[i])
  reply[#reply + 1] = string.format('%.17g', taken[i])
end
local holds = ARGV[2] == '1' or (fits and aside[1] + aside[2] + aside[3] > 0)
if holds then
  redis.call('ZADD', KEYS[2], now + ARGV[3], ARGV[1])
else
  redis.call('ZREM', KEYS[2], ARGV[1])
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
local others = redis.call('ZCARD', KEYS[2])
if holds then others = others - 1 end
reply[#reply + 1] = others
redis.call('SET', KEYS[3], cjson.encode({ARGV[13], reply}), 'PX', 10 * ARGV[3])
return reply
"""


class RedisSharing:
    """Of one process."""

    def __init__(self, server: Server, *, lease: float = LEASE) -> None:
        """`lease` in seconds."""
        self.lease = lease
        self._server = server
        self._token = os.urandom(16).hex()
        self._exchanges = itertools.count(1)

    async def take(self, ask: RateAsk) -> Granted:
        """Take out of rates. Raises `StoreError`."""
        rate, number = RATE + ask.group, str(next(self._exchanges))
        keys = [rate, f"{rate}:last:{self._token}"]
        numbers = [*ask.requests, *ask.tokens, ask.hold]

        async def call(client: "redis.Redis") -> list[int]:
            arguments = [*map(_text, numbers), number, str(REMEMBERED)]
            return await client.eval(_TAKE, len(keys), *keys, *arguments)  # type: ignore[no-any-return]

        wait, requests, tokens = await self._server.run(call)
        return Granted(wait / 1e6, requests, tokens)

    async def set_aside(self, ask: CapAsk) -> Set:
        """Set amounts aside, or give them back. Raises `StoreError`."""
        cap, lease, number = CAP + ask.group, str(round(self.lease * 1000)), str(next(self._exchanges))
        token = f"{self._token}:{ask.holder}"
        keys = [cap, f"{cap}:holders", f"{cap}:last:{token}"]
        numbers = [number for three in zip(ask.caps, ask.least, ask.most, strict=True) for number in three]

        async def call(client: "redis.Redis") -> list[bytes]:
            arguments = [token, str(int(ask.holds)), lease, *map(_text, numbers), number]
            return await client.eval(_SET_ASIDE, len(keys), *keys, *arguments)  # type: ignore[no-any-return]

        fits, *said, others = await self._server.run(call)
        values = [float(value) for value in said]
        return Set(Amounts(*values[::2]) if fits else None, Amounts(*values[1::2]), int(others) > 0)


def _text(number: float) -> str:
    return ("1e300" if number > 0 else "-1e300") if isinf(number) else repr(number)
