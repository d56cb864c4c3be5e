"""What servers send, drawn: the shapes of the gallery, with something in them that no server should send."""

import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from random import Random

import aiohttp
from fuzzing import JUNK, LATENCY, Json, Odd, Server
from gallery import GALLERY, Dialect
from hypothesis import strategies as st

# Draws: of a seed each, which finds more than draws of every detail, and faster

SEEDS = st.integers(0, 2**32).map(Random)


def mutated(value: Json, rng: Random) -> Json:
    """A JSON value with one thing in it changed: replaced by junk, left out, moved into a list, or named otherwise."""
    value = json.loads(json.dumps(value))
    spots = list(_spots(value))
    if not spots:
        return rng.choice(JUNK)
    holder, key = rng.choice(spots)
    how = rng.randrange(5)
    if how == 0:
        del holder[key]
    elif how == 1:
        holder[key] = [holder[key]]
    elif how == 2 and isinstance(holder, dict):
        holder[rng.choice(("x", "", "content", "error", "message", "text"))] = holder.pop(key)
    else:
        holder[key] = rng.choice(JUNK)
    return value


def _spots(value: Json) -> Iterator[tuple[Json, Json]]:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _spots(value[key])


STATUSES: tuple[int, ...] = (
    *(200,) * 6,
    201,
    204,
    206,
    299,
    301,
    302,
    304,
    400,
    401,
    402,
    403,
    404,
    405,
    408,
    409,
    413,
    418,
    422,
)
STATUSES += (*(429,) * 3, 500, 500, 501, 502, 503, 503, 504, 520, 529, 599, 999)
HEADERS: Mapping[str, tuple[str, ...]] = {
    "retry-after": ("0", "-1", "1", "7", "1e9", "nan", "soon", "Wed, 21 Oct 2015 07:28:00 GMT", "9" * 30, "²", ""),
    "retry-after-ms": ("0", "250", "-5", "inf", "x"),
    "x-ratelimit-limit-requests": ("0", "10", "-1", "x", "1e400", "99999999999999999999"),
    "x-ratelimit-remaining-requests": ("0", "9", "-3", ""),
    "x-ratelimit-limit-tokens": ("0", "5000", "1", "nan"),
    "x-ratelimit-remaining-tokens": ("0", "40000", "x"),
    "x-ratelimit-reset-requests": ("6ms", "1h", "-1s", "99d", "x"),
    "content-encoding": ("gzip", "deflate", "br", "identity", "GZIP", ""),
    "content-type": ("text/html", "text/event-stream", "application/json; charset=x"),
    "location": ("http://elsewhere.example/\x1b[2J", "", "file:///etc/passwd"),
}
BROKEN: tuple[Callable[[], Exception], ...] = (
    aiohttp.ServerDisconnectedError,
    aiohttp.ClientPayloadError,
    aiohttp.ClientOSError,
    ConnectionResetError,
    TimeoutError,
    lambda: aiohttp.ServerDisconnectedError("half a line"),
    lambda: aiohttp.InvalidURL("http://["),
    lambda: aiohttp.ConnectionTimeoutError("slow"),
)


def _shape(dialect: Dialect, rng: Random) -> tuple[int, Json, dict[str, str]]:
    """Status, body and headers as a real server sends them."""
    faults = [dialect.refusal, dialect.too_long, dialect.rate_limit, dialect.quota, dialect.overload]
    said = rng.choice([None, None, None, None, *faults])
    if said is None:
        return 200, (dialect.reasoning if rng.random() < 0.5 else dialect.success)(rng.choice(("yes", "no", ""))), {}
    return said.status, said.body, dict(said.headers)


def _encoded(body: Json, headers: dict[str, str], rng: Random) -> bytes:
    """A body as bytes, mostly whole."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    match rng.randrange(16):
        case 0:
            return content[: rng.randrange(len(content) + 1)]
        case 1:
            return content.decode().encode(rng.choice(("utf-8-sig", "utf-16", "utf-32")))
        case 2:
            lines = content.replace(b",", rng.choice((b",", b",\ndata: ")))
            return b"data: " + lines + rng.choice((b"", b"\n\ndata: [DONE]\n\n"))
        case 3:
            headers["content-encoding"] = "gzip"
            packed = gzip.compress(content, 1)
            return packed[: rng.choice((len(packed), 0, 5, len(packed) - 3))]
        case 4:
            return rng.choice((b"", b"[" * 100_000, b"<html><title>No</title>\x1b[2J", b"\xff\xfe", b"null", b"1e9"))
        case 5:
            spot = rng.randrange(len(content) + 1)
            return content[:spot] + rng.choice((b"\xff", b"\x00", b'"', b"}", b"\\ud800", b"\x1b")) + content[spot:]
    return content


@st.composite
def odd_replies(draw: st.DrawFn) -> Odd:
    """A reply in one of the gallery's dialects, mutated."""
    rng = draw(SEEDS)
    if rng.randrange(12) == 0:
        return Odd(breaks=rng.choice(BROKEN)) if rng.random() < 0.8 else Odd(hangs=True)
    status, body, headers = _shape(rng.choice(GALLERY), rng)
    if rng.random() < 0.3:
        status = rng.choice(STATUSES)
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        body = mutated(body, rng) if isinstance(body, dict | list) else rng.choice(JUNK)
    for name in rng.sample(sorted(HEADERS), rng.choice((0, 0, 1, 2))):
        headers[name] = rng.choice(HEADERS[name])
    content = _encoded(body, headers, rng)
    return Odd(status, headers, content, seconds=rng.choice((0.0, 0.1, LATENCY, 4.9, 5.1)))


@st.composite
def servers(draw: st.DrawFn) -> Server:
    """A server that answers oddly always, at first, now and then, or to one row alone."""
    odd = draw(odd_replies())
    when: Callable[[int, str], bool] = draw(
        st.sampled_from(
            (
                lambda number, body: True,
                lambda number, body: number < 2,
                lambda number, body: number % 3 == 1,
                lambda number, body: "number 1" in body,
                lambda number, body: '"writer"' in body,
            )
        )
    )
    return Server(odd, when)
