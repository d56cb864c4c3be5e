"""A loopback HTTP server that answers exactly the bytes it is told to, and then may hang, or drop the connection."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What to send; after it the connection stays open, is closed, or stays silent with the request unanswered."""

    raw: bytes = b""
    close: bool = False
    hang: bool = False


@dataclass(slots=True)
class Seen:
    """What came in: request lines with their headers, bodies, connections, and callers that hung up on silence."""

    heads: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    connections: int = 0
    hung_up: int = 0


def response(status: int, body: object, headers: Mapping[str, str] | None = None) -> Answer:
    """A well-formed response; `body` is sent as it is if it is bytes, as JSON otherwise."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = {"content-type": "application/json", "content-length": str(len(content)), **(headers or {})}
    head = f"HTTP/1.1 {status} Status\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return Answer(raw=head.encode() + b"\r\n" + content)


def chat(
    text: str | list[dict[str, str]] | None = "hi", finish_reason: str | None = "stop", *, refusal: str | None = None
) -> dict[str, object]:
    """The body of a whole completion."""
    message = {"role": "assistant", "content": text, "refusal": refusal}
    return {
        "model": "m-1",
        "system_fingerprint": "fp",
        "choices": [{"index": 0, "finish_reason": finish_reason, "message": message}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}},
    }


@asynccontextmanager
async def serving(answer: Answer | Callable[[str], Answer]) -> AsyncIterator[tuple[str, Seen]]:
    """The server's base URL and what it has seen; a function is asked with the request's first line."""
    seen = Seen()
    tasks: set[asyncio.Task[None]] = set()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        seen.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                sizes = [line.split(":")[1] for line in head.lower().splitlines() if line.startswith("content-length")]
                seen.heads.append(head)
                seen.bodies.append(await reader.readexactly(int(sizes[0]) if sizes else 0))
                now = answer if isinstance(answer, Answer) else answer(head.splitlines()[0])
                writer.write(now.raw)
                await writer.drain()
                if now.hang:
                    await reader.read()
                    seen.hung_up += 1
                if now.close:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(converse, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", seen
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
