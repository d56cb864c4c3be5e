"""How answers go out: at once, or held open with signs of life until they are there."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence

import orjson
from aiohttp import web

from metaspo.scheduling import Answer, CallFailed
from metaspo.serving.replies import EVENTS, JSON, error_body, event_of, headers_of


def whole(body: bytes, answers: Sequence[Answer], draws: Iterable[int]) -> web.Response:
    """Answers at once, and how they were come by."""
    return web.Response(body=body, content_type=JSON, headers=headers_of(answers, draws))


def as_json(body: object, *, status: int = 200) -> web.Response:
    """What is no answer of a model."""
    return web.Response(body=orjson.dumps(body), content_type=JSON, status=status)


async def held(
    http: web.Request,
    answering: Coroutine[object, object, Sequence[Answer]],
    draws: Sequence[int],
    written: Callable[[Sequence[Answer]], bytes],
    *,
    every: float,
    content_type: str,
    sign: bytes,
) -> web.StreamResponse:
    """A response with signs of life while its answer is not there. Until the first of them the status is open;
    a failure after it comes as the body."""
    work = asyncio.ensure_future(answering)
    response = web.StreamResponse(headers={"Content-Type": content_type, "Cache-Control": "no-store"})
    try:
        while not (await asyncio.wait([work], timeout=every))[0]:
            if not response.prepared:
                await response.prepare(http)
            await response.write(sign)
        answers = work.result()
    except CallFailed as failed:
        if not response.prepared:
            raise
        error = error_body(failed)
        await response.write_eof(event_of(error) if content_type == EVENTS else orjson.dumps(error))
        return response
    except ConnectionError:  # the client is gone, and is told nothing
        return response
    finally:
        work.cancel()
    if not response.prepared:
        response.headers.update(headers_of(answers, draws))
        await response.prepare(http)
    await response.write_eof(written(answers))
    return response
