"""What one browser gets of one run: its state, its candidates as they change, and its journal's lines as they come.

The id of an event is the byte of the journal that has been sent: a browser that comes back goes on there.
"""

import asyncio

import orjson
from aiohttp import web

from metaspo.engine.journal.journal import CHUNK, read_lines
from metaspo.engine.watch.follower import Follower, tail_offset
from metaspo.engine.watch.state import Data, candidates_of, state_of

EVERY = 0.25  # seconds between two looks at a directory: what comes meanwhile is told at once
CATCHING_UP = 0.02  # where more was there than is read at once
MUCH = CHUNK // 2  # bytes that came, after which there may be more: of a chunk its whole lines are read
BEAT = 15.0  # seconds after which a silent connection is told that it is alive
LOG_TAIL = 1 << 16  # bytes of the log that a new page begins with
MAX_LINES = 300  # of the log at once: what comes faster is counted


class Stream:
    """One browser that watches one run."""

    def __init__(self, response: web.StreamResponse, follower: Follower, last_id: str) -> None:
        """`last_id` is that of the last event it has got; "" for a new page."""
        self._response = response
        self._follower = follower
        self._offset = int(last_id) if last_id.isdecimal() else tail_offset(follower.run.journal, LOG_TAIL)
        self._sent: dict[str, Data] = {}
        self._seen: tuple[object, ...] = ()
        self._quiet = 0.0
        self._told = False
        self._listed = -1

    async def run(self) -> None:
        """Until the browser has gone."""
        while True:
            folded, told = self._follower.offset, self._offset
            self._follower.advance()
            await self._tell_state()
            await self._tell_log()
            await self._tell_candidates()
            came = max(self._follower.offset - folded, self._offset - told)
            await asyncio.sleep(EVERY if came < MUCH else CATCHING_UP)
            self._quiet += EVERY
            if self._quiet >= BEAT:
                await self._write(b": alive\n\n")

    async def _tell_state(self) -> None:
        follower = self._follower
        parts = [follower.part(name) for name in ("config", "live", "result", "summary")]
        seen = (follower.offset, follower.run.in_use, *map(id, parts))
        if seen != self._seen:
            self._seen = seen
            await self._send("state", orjson.dumps(state_of(follower, running=follower.run.in_use)))

    async def _tell_candidates(self) -> None:
        if self._follower.offset == self._listed:
            return
        self._listed = self._follower.offset
        changed = [
            candidate
            for candidate in candidates_of(self._follower)
            if self._sent.get(candidate["address"]) != candidate
        ]
        if changed:
            self._sent |= {candidate["address"]: candidate for candidate in changed}
            await self._send("candidates", orjson.dumps(changed))

    async def _tell_log(self) -> None:
        lines, self._offset = read_lines(self._follower.run.journal, self._offset)
        if not lines:
            return
        shown = [line for line in lines[-MAX_LINES:] if _is_json(line)]
        skipped = max(0, len(lines) - MAX_LINES) if self._told else 0  # what was there before is not news
        self._told = True
        data = b'{"skipped":%d,"lines":[%b]}' % (skipped, b",".join(shown))
        await self._send("log", data, number=self._offset)

    async def _send(self, kind: str, data: bytes, *, number: int | None = None) -> None:
        identity = b"" if number is None else b"id: %d\n" % number
        await self._write(b"event: %b\n%bdata: %b\n\n" % (kind.encode(), identity, data))

    async def _write(self, text: bytes) -> None:
        self._quiet = 0.0
        await self._response.write(text)


def _is_json(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True
