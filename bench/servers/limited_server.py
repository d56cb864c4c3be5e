"""A chat server that lets so many requests a second through and refuses the others with 429, as a process of its own.

Prints its port, and then `answered refused` for each line on its standard input; ends with that.
"""

import asyncio
import sys

from aiohttp import web

BURST = 0.1  # seconds that the server saves up


class LimitedServer:
    """Answers "yes" within its rate."""

    def __init__(self, per_second: float, *, burst: float = BURST) -> None:
        """`burst` in seconds."""
        self._per_second = per_second
        self._most = per_second * burst
        self._allowance, self._since = self._most, 0.0
        self.answered = self.refused = 0

    def lets_through(self, now: float) -> bool:
        """Whether a request that comes now is answered; told times that do not fall."""
        saved = self._allowance + (now - self._since) * self._per_second
        self._allowance, self._since = min(saved, self._most), now
        if self._allowance < 1:
            self.refused += 1
            return False
        self._allowance -= 1
        self.answered += 1
        return True

    async def chat(self, request: web.Request) -> web.Response:
        """A completion, or a refusal."""
        body = await request.json()
        if not self.lets_through(asyncio.get_running_loop().time()):
            error = {"message": "Too many requests.", "type": "requests", "code": "rate_limit_exceeded"}
            return web.json_response({"error": error}, status=429)
        message = {"role": "assistant", "content": "yes"}
        return web.json_response(
            {
                "id": "1",
                "object": "chat.completion",
                "created": 0,
                "model": body["model"],
                "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
                "usage": {"prompt_tokens": 20, "completion_tokens": 1, "total_tokens": 21},
            }
        )


async def serve(per_second: float, burst: float = BURST) -> None:
    """Serve until standard input ends."""
    server = LimitedServer(per_second, burst=burst)
    app = web.Application()
    app.router.add_post("/v1/chat/completions", server.chat)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    _say(str(runner.addresses[0][1]))
    while await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline):
        _say(f"{server.answered} {server.refused}")
    await runner.cleanup()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Serve as the arguments say (calls a second, seconds saved up)."""
    asyncio.run(serve(*map(float, sys.argv[1:])))


if __name__ == "__main__":
    main()
