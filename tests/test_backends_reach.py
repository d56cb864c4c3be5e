"""Every server can be reached, a hostile one costs nothing, and what it says reaches the user harmlessly."""

import asyncio
import contextlib
import gzip
import json
import re
import shutil
import ssl
import subprocess
import tracemalloc
import zlib
from base64 import standard_b64encode, urlsafe_b64encode
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import aiohttp
import pytest
from aiohttp import web
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st
from misbehaving_server import Answer, chat, response, serving

from metaspo.backends import (
    AccessDenied,
    Backend,
    BackendError,
    ConnectionLost,
    CreditExhausted,
    FatalError,
    HalfAnswer,
    HttpEndpoint,
    Message,
    OpenAIAPI,
    OpenAICompatible,
    Overloaded,
    RateLimited,
    Request,
    RequestRejected,
    Sampling,
    ServerFault,
    UnknownModel,
    Unreachable,
    WrongForm,
)
from metaspo.backends.http.base_url import parse_base_url
from metaspo.backends.http.endpoint import proxy_for
from metaspo.backends.http.errors import Call, error_from_response, safe_words
from metaspo.backends.http.exchange import _reason
from metaspo.backends.printable import printable
from metaspo.backends.secrets import without_held

KEY = "abcdefgh12345678"
REQUEST = Request(model="m", messages=(Message("user", "Is it so?"),), sampling=Sampling(max_tokens=16))
MAKERS: list[Callable[[str | HttpEndpoint], Backend]] = [
    lambda url: OpenAICompatible(url, api_key=KEY),
    lambda url: OpenAIAPI(base_url=url, api_key=KEY),
]
both = pytest.mark.parametrize("make", MAKERS, ids=["compatible", "openai"])


async def text_from(backend: Backend) -> str:
    """One answer, and the connections closed."""
    try:
        return (await backend.complete(REQUEST, time_limit=30)).completion.text
    finally:
        await backend.aclose()


async def error_from(backend: Backend) -> BackendError:
    """The error in place of one."""
    with pytest.raises(BackendError) as caught:
        await text_from(backend)
    return caught.value


ADDRESSES = [
    ("", "/v1/chat/completions"),
    ("/v1", "/v1/chat/completions"),
    ("/v1/chat/completions", "/v1/chat/completions"),
    ("/v1/chat/completions/", "/v1/chat/completions"),
    ("/chat/completions", "/chat/completions"),
    ("/inference/chat/completions", "/inference/chat/completions"),
    ("/api/paas/v4", "/api/paas/v4/chat/completions"),
    ("/v1beta/openai/", "/v1beta/openai/chat/completions"),
    ("/v1?api-version=2024-10-21", "/v1/chat/completions?api-version=2024-10-21"),
    (
        "/openai/deployments/d?api-version=2024-10-21",
        "/openai/deployments/d/chat/completions?api-version=2024-10-21",
    ),
    (
        "/openai/deployments/d/chat/completions?api-version=2024-10-21",
        "/openai/deployments/d/chat/completions?api-version=2024-10-21",
    ),
]


@both
@pytest.mark.parametrize(("tail", "path"), ADDRESSES)
async def test_a_chat_call_goes_where_the_base_url_says(make: Callable[[str], Backend], tail: str, path: str) -> None:
    """With a version or without, with the whole path, with a query; in one request."""
    async with serving(response(200, chat("yes"))) as (url, seen):
        assert await text_from(make(url + tail)) == "yes"
    assert [head.split(" ")[1] for head in seen.heads] == [path]


@pytest.mark.parametrize("tail", ["/inference", "/serving-endpoints", "/api"])
async def test_a_path_without_a_version_is_tried_as_it_is_if_there_is_nothing_at_v1(tail: str) -> None:
    """GitHub's and Databricks' kind; once, and from then on only there."""

    def answer(line: str) -> Answer:
        return response(200, chat("yes")) if line.split()[1] == f"{tail}/chat/completions" else response(404, b"")

    async with serving(answer) as (url, seen):
        backend = OpenAICompatible(url + tail)
        for _ in range(3):
            assert (await backend.complete(REQUEST, time_limit=30)).completion.text == "yes"
        await backend.aclose()
    paths = [head.split(" ")[1] for head in seen.heads]
    assert paths == [f"{tail}/v1/chat/completions", *[f"{tail}/chat/completions"] * 3]


async def test_nothing_anywhere_is_told_with_the_first_address() -> None:
    """What the user wrote, with what belongs to it in most cases."""
    async with serving(response(404, b"")) as (url, seen):
        error = await error_from(OpenAICompatible(url + "/api"))
    assert isinstance(error, UnknownModel)
    assert f"{url}/api/v1/chat/completions" in str(error)
    assert len(seen.heads) == 2


@pytest.mark.parametrize("host", ["https://api.perplexity.ai", "https://models.inference.ai.azure.com/"])
def test_hosts_that_are_known_to_have_no_version_get_none(host: str) -> None:
    """Nothing in their address tells."""
    assert parse_base_url(host).chat == f"{host.rstrip('/')}/chat/completions"


def small_letters(key: str) -> str:
    """As some programs write a URL."""
    return re.sub("%..", lambda escape: escape[0].lower(), quote_plus(key))


@pytest.mark.parametrize(
    "written",
    [str, repr, json.dumps, quote, partial(quote, safe=""), quote_plus, small_letters, str.lower, str.upper],
)
def test_a_key_that_a_server_says_again_as_a_url_or_a_text_has_it_is_blotted_out_whole(
    written: Callable[[str], str],
) -> None:
    """Also one that looks like a key only up to a character that is written otherwise there."""
    key = 'sk-proj-AbC/d+123=xyz"Q'
    call = Call("here", "m", secrets=(key,))
    said = safe_words(f"no such key: {written(key)}", call=call)
    assert said.removeprefix("no such key: ").strip("'\"") == "(key)"


@pytest.mark.parametrize("before", ["", "u", "u:", "Bearer "])
@pytest.mark.parametrize("encode", [standard_b64encode, urlsafe_b64encode])
def test_of_a_key_in_base64_no_more_is_left_than_a_letter_beside_it_holds(
    before: str, encode: Callable[[bytes], bytes]
) -> None:
    """Wherever it stands in what was encoded."""
    key = "quite?another~key>of/27+letters"
    said = safe_words(f"got {encode(f'{before}{key};'.encode()).decode()}", call=Call("here", "m", secrets=(key,)))
    start, end = said.removeprefix("got ").split("(key)")
    assert len(start) <= len(encode(before.encode()).decode().rstrip("="))
    assert len(end) <= 4


def test_a_word_for_no_key_is_a_word_in_any_letters() -> None:
    said = "Empty: none of the models is there; bm9uZQ"
    assert safe_words(said, call=Call("here", "m", secrets=("none", "EMPTY"))) == said.replace("none", "(key)")


@pytest.mark.parametrize("name", ["key", "api_key", "token", "access_token", "sig", "secret", "subscription-key"])
def test_a_base_url_with_a_secret_in_its_query_is_refused_without_repeating_it(name: str) -> None:
    """Addresses are shown, logged and written to files."""
    with pytest.raises(ValueError, match="apart") as caught:
        parse_base_url(f"https://h/v1?a=b&{name}=hushhush")
    assert "hushhush" not in str(caught.value)


@both
async def test_headers_go_with_every_request_and_are_never_shown(
    make: Callable[[HttpEndpoint], Backend],
) -> None:
    """Azure's key, OpenRouter's title, a gateway's token; each is blotted out of what the server says."""
    headers = {"api-key": "hush-0123456789", "X-Title": "metaspo", "x-gate-token": "gate-secret-77"}
    refused = response(401, {"error": {"message": f"Bad {KEY}, hush-0123456789 and gate-secret-77."}})
    async with serving(refused) as (url, seen):
        endpoint = HttpEndpoint(url=url, api_key=KEY, headers=headers)
        error = await error_from(make(endpoint))
    head = seen.heads[0].lower()
    assert all(f"{name}: {value}".lower() in head for name, value in headers.items())
    assert f"authorization: bearer {KEY}" in head
    assert isinstance(error, AccessDenied)
    assert "Bad (key), (key) and (key)" in str(error)
    for shown in (repr(endpoint), repr(make(endpoint))):
        assert not any(secret in shown for secret in (KEY, "hush", "gate-secret"))


async def test_a_header_of_its_own_takes_the_place_of_the_bearer_token() -> None:
    """Some gateways want another scheme."""
    async with serving(response(200, chat())) as (url, seen):
        endpoint = HttpEndpoint(url=url, api_key=KEY, headers={"authorization": "Basic dTpw"})
        await text_from(OpenAICompatible(endpoint))
    assert "authorization: basic dtpw" in seen.heads[0].lower()
    assert KEY not in seen.heads[0]


async def test_a_key_meant_for_a_gateway_does_not_go_to_openai(monkeypatch: pytest.MonkeyPatch) -> None:
    """OPENAI_BASE_URL is heard where no endpoint is given, and only there."""
    async with serving(response(200, chat("yes"))) as (url, seen), serving(response(200, chat("no"))) as (other, _):
        monkeypatch.setenv("OPENAI_BASE_URL", f"{url}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        assert await text_from(OpenAIAPI()) == "yes"
        assert await text_from(OpenAIAPI(base_url=other)) == "no"
    assert KEY in seen.heads[0]


async def test_a_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole address goes to it; names need not be resolved here."""
    async with serving(response(200, chat("yes"))) as (proxy, seen):
        for name in ("HTTP_PROXY", "http_proxy"):
            monkeypatch.setenv(name, proxy)
        monkeypatch.setenv("NO_PROXY", "other.invalid")
        assert await text_from(OpenAICompatible("http://models.invalid/v1")) == "yes"
    assert seen.heads[0].startswith("POST http://models.invalid/v1/chat/completions ")


async def test_a_proxy_s_password_goes_with_every_request_and_only_to_the_proxy() -> None:
    async with serving(response(200, chat("yes"))) as (proxy, seen):
        endpoint = HttpEndpoint(url="http://models.invalid/v1", proxy=proxy.replace("//", "//user:word@"))
        backend = OpenAICompatible(endpoint)
        for _ in range(2):
            await backend.complete(REQUEST, time_limit=30)
        await backend.aclose()
    assert [head.lower().count("\r\nproxy-authorization: basic dxnlcjp3b3jk") for head in seen.heads] == [1, 1]
    assert "\r\nauthorization" not in seen.heads[0].lower()


async def test_an_answer_that_is_announced_is_waited_for() -> None:
    """Hints come before it, and are none."""
    hints = Answer(raw=b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + response(200, chat("yes")).raw)
    async with serving(hints) as (url, _):
        assert await text_from(OpenAICompatible(url)) == "yes"


@pytest.mark.parametrize("value", ["a\r\nhost: b", "a\nb", "a\0", "a\udcff"])
def test_no_key_and_no_header_brings_another_one(value: str) -> None:
    """A value that ends its line would be read as more headers, or as another request."""
    url = "http://models.example/v1"
    for said in ({"api_key": value}, {"headers": {"x-title": value}}, {"headers": {value: "x"}}):
        with pytest.raises(ValueError, match="no header can have") as raised:
            HttpEndpoint(url=url, **said)
        assert value not in str(raised.value)


async def test_a_connection_over_which_not_all_was_sent_is_for_nobody_else() -> None:
    """A server may refuse a body before it has read it: what is left of it would be taken for the next request."""
    long = Request(model="m", messages=(Message("user", "x" * 40_000_000),))

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response(413, b"").raw)
        await writer.drain()
        await left.wait()
        writer.close()

    left = asyncio.Event()
    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    backend = OpenAICompatible(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
    for _ in range(2):  # the second one would wait for ever on the connection of the first
        with pytest.raises(RequestRejected):
            await backend.complete(long, time_limit=30)
    left.set()
    await backend.aclose()
    server.close()


async def test_what_comes_over_an_idle_connection_is_no_answer() -> None:
    """A server may send more than it was asked for; whoever asks next must not be given it."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response(200, chat("asked for")).raw)
        await asyncio.sleep(0.05)
        writer.write(response(200, chat("not asked for")).raw)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    backend = OpenAICompatible(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
    for _ in range(2):
        reply = await backend.complete(REQUEST, time_limit=30)
        assert reply.completion.text == "asked for"
        await asyncio.sleep(0.2)
    await backend.aclose()
    server.close()


async def test_a_server_on_this_machine_is_not_looked_for_behind_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded model, and vLLM beside it."""
    async with serving(response(200, chat("yes"))) as (url, _), serving(response(502, b"")) as (proxy, seen):
        monkeypatch.setenv("HTTP_PROXY", proxy)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert await text_from(OpenAICompatible(url)) == "yes"
    assert not seen.heads


@pytest.mark.parametrize(
    ("url", "environment", "proxy"),
    [
        ("https://h/v1", {"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ("https://h/v1", {"https_proxy": "p:1"}, "http://p:1"),
        ("https://h/v1", {"HTTP_PROXY": "http://p:1"}, ""),
        ("https://h/v1", {"ALL_PROXY": "http://p:1"}, "http://p:1"),
        ("https://h/v1", {"HTTPS_PROXY": "http://a:1", "https_proxy": "http://b:1"}, "http://b:1"),
        ("https://h/v1", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, ""),
        ("https://h/v1", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "x, h"}, ""),
        ("https://a.b.c/v1", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": ".b.c"}, ""),
        ("https://a.b.c/v1", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "b.c"}, ""),
        ("https://a.b.c/v1", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*.b.c"}, ""),
        ("https://ab.c/v1", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "b.c"}, "http://p:1"),
        ("https://h:8443/v1", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "h:8443"}, ""),
        ("https://h:8443/v1", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "h:80"}, "http://p:1"),
        ("https://10.1.2.3/v1", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, ""),
        ("https://[fd00::1]/v1", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "fd00::/8"}, ""),
        ("http://127.0.0.5/v1", {"HTTP_PROXY": "http://p:1"}, ""),
        ("http://localhost:1/v1", {"HTTP_PROXY": "http://p:1"}, ""),
        ("http://[::1]/v1", {"HTTP_PROXY": "http://p:1"}, ""),
        ("http://h/v1", {}, ""),
    ],
)
def test_the_proxy_for_an_address_is_the_one_other_programs_take(
    url: str, environment: dict[str, str], proxy: str
) -> None:
    """As curl and requests read these variables."""
    assert proxy_for(url, environment) == proxy


NAMED = ["h", "h:8443", "*", ".b.c", "b.c:8443", "10.0.0.0/8", "[fd00::1]:8443"]
NOT_NAMED = ["x", "h:80", "*.x:8443", "b.c:1", "a.b.c:80", "10.1.2.3:80", "11.0.0.0/8", "fd00::/8:80", "-"]


@given(
    st.lists(st.sampled_from(NOT_NAMED), max_size=4),
    st.sampled_from(["h", "a.b.c", "10.1.2.3", "[fd00::1]"]),
    st.sampled_from(NAMED),
    st.integers(0, 4),
)
def test_in_which_order_no_proxy_names_hosts_does_not_matter(
    beside: list[str], host: str, named: str, position: int
) -> None:
    """What is named alone is named among others, too."""
    url, proxy = f"https://{host}:8443/v1", {"HTTPS_PROXY": "http://p:1"}
    alone = proxy_for(url, {**proxy, "NO_PROXY": named})
    among = ",".join([*beside[:position], named, *beside[position:]])
    assert proxy_for(url, {**proxy, "NO_PROXY": among}) == alone
    assert proxy_for(url, {**proxy, "NO_PROXY": ",".join(beside)}) == "http://p:1"


async def test_a_proxy_that_cannot_be_used_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """And its password is not."""
    monkeypatch.setenv("ALL_PROXY", "socks5://me:hushhush@p:1")
    error = await error_from(OpenAICompatible("http://models.invalid/v1"))
    assert isinstance(error, FatalError)
    assert "HTTPS_PROXY" in str(error)
    assert "hushhush" not in str(error)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for this machine that nobody has signed, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    made = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run([*made, *names, *files], check=True, capture_output=True)
    return folder / "cert.pem", folder / "key.pem"


async def test_where_nothing_has_come_from_an_address_its_scheme_may_be_the_wrong_one(
    certificate: tuple[Path, Path],
) -> None:
    """A server that speaks TLS closes what it cannot read; one that has answered and is gone is no such."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET"):
            writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    for tls, says in ((context, True), (None, False)):
        server = await asyncio.start_server(answer_once, "127.0.0.1", 0, ssl=tls)
        backend = OpenAICompatible(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
        if not tls:
            await backend.load()
        with pytest.raises(ConnectionLost) as caught:
            await backend.complete(REQUEST, time_limit=30)
        assert ("is it https:// there?" in str(caught.value)) is says
        assert caught.value.before_answer
        await backend.aclose()
        server.close()


async def test_a_certificate_of_ones_own_is_trusted_where_it_is_named(certificate: tuple[Path, Path]) -> None:
    """And nowhere else; the sentence says what to name where."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    app = web.Application()
    app.router.add_post("/v1/chat/completions", _yes)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    url = f"https://127.0.0.1:{runner.addresses[0][1]}/v1"
    trusting = HttpEndpoint(url=url, ca_file=str(certificate[0]))
    assert await text_from(OpenAICompatible(trusting)) == "hi"
    error = await error_from(OpenAICompatible(url))
    assert isinstance(error, Unreachable)
    assert "SSL_CERT_FILE" in str(error)
    await runner.cleanup()


async def _yes(_: web.Request) -> web.Response:
    return web.json_response(chat())


async def test_a_proxy_sees_nothing_of_what_goes_through_it_to_https(certificate: tuple[Path, Path]) -> None:
    """It is asked for a tunnel, with its own password; the server is told nothing of that."""
    asked: list[str] = []
    heads: list[str] = []

    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
        there, back = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(_pass_on(reader, back), _pass_on(there, writer))

    async def answer(request: web.Request) -> web.Response:
        heads.append("\n".join(request.headers))
        return web.json_response(chat())

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    server = TestServer(app)
    await server.start_server(ssl=context)
    port = server.port
    proxy = await asyncio.start_server(tunnel, "127.0.0.1", 0)
    address = f"http://user:word@127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
    endpoint = HttpEndpoint(url=f"https://localhost:{port}/v1", proxy=address, ca_file=str(certificate[0]))
    backend = OpenAICompatible(endpoint)
    for _ in range(2):
        assert (await backend.complete(REQUEST, time_limit=30)).completion.text == "hi"
    await backend.aclose()
    proxy.close()
    await server.close()
    (head,) = asked
    assert head.startswith(f"CONNECT localhost:{port} ")
    assert "\r\nproxy-authorization: basic dxnlcjp3b3jk" in head.lower()
    assert len(heads) == 2
    assert not any("authorization" in names.lower() for names in heads)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while part := await reader.read(1 << 16):
            writer.write(part)
            await writer.drain()
    writer.close()


CONTENT = json.dumps(chat("yes")).encode()
LENGTH = b"content-length: %d\r\n\r\n%b" % (len(CONTENT), CONTENT)
CHUNKED = b"transfer-encoding: chunked\r\ntrailer: x\r\n\r\n%x\r\n%b\r\n0\r\nx: y\r\n\r\n" % (len(CONTENT), CONTENT)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(raw=b"HTTP/1.1 200 OK\r\n" + CHUNKED),
        Answer(raw=b"HTTP/1.1 200 OK\r\nconnection: close\r\n" + LENGTH),
        Answer(raw=b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + CONTENT, close=True),
        Answer(raw=b"HTTP/1.0 200 OK\r\n" + LENGTH),
        Answer(raw=b"HTTP/1.0 200 OK\r\n\r\n" + CONTENT, close=True),
    ],
    ids=["chunked", "closing", "to the end", "old", "old, to the end"],
)
async def test_an_answer_ends_where_http_says_so(answer: Answer) -> None:
    """And the next one is not looked for where none can come."""
    async with serving(answer) as (url, _):
        backend = OpenAICompatible(url)
        for _ in range(3):
            assert (await backend.complete(REQUEST, time_limit=30)).completion.text == "yes"
        await backend.aclose()


@pytest.mark.parametrize("content", [None, b"no certificate"])
async def test_a_file_that_holds_no_certificate_is_named(tmp_path: Path, content: bytes | None) -> None:
    """Missing, or something else."""
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    error = await error_from(OpenAICompatible(HttpEndpoint(url="https://h.invalid/v1", ca_file=str(file))))
    assert isinstance(error, FatalError)
    assert str(file) in str(error)


@both
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_never_followed(make: Callable[[str], Backend], status: int) -> None:
    """The key and the prompts were not meant for there; the sentence says where it points."""
    async with serving(response(200, chat())) as (elsewhere, there):
        headers = {"location": f"{elsewhere}/v1/chat/completions?token=x"}
        async with serving(response(status, b"", headers)) as (url, here):
            error = await error_from(make(url))
        assert (len(here.heads), len(there.heads)) == (1, 0)
    assert isinstance(error, FatalError)
    assert f"{elsewhere}/v1/chat/completions" in str(error)
    assert "token" not in str(error)


def packed(body: bytes, *, encoding: str = "gzip", status: int = 200) -> Answer:
    """A response whose body is packed already."""
    return response(status, body, {"content-encoding": encoding})


@cache
def bursting() -> bytes:
    """Some kilobytes that are two hundred megabytes."""
    pack = zlib.compressobj(9, wbits=31)
    return b"".join(pack.compress(b"\0" * (1 << 20)) for _ in range(200)) + pack.flush()


@both
@pytest.mark.parametrize("status", [200, 500])
async def test_an_answer_that_bursts_is_not_unpacked(make: Callable[[str], Backend], status: int) -> None:
    """As an answer or as an error: never in memory, not for a moment."""
    bomb = bursting()
    tracemalloc.start()
    try:
        async with serving(packed(bomb, status=status)) as (url, _):
            error = await error_from(make(url))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    if status == 200:
        assert isinstance(error, HalfAnswer)
        assert "MiB" in str(error)
    else:
        assert isinstance(error, ServerFault), "what it says is lost, that it refuses is not"
    assert peak < 30 << 20


@pytest.mark.parametrize("body", [b"", b"no", b"\x1f\x8b\x08"])
async def test_a_refusal_is_one_though_its_words_cannot_be_unpacked(body: bytes) -> None:
    """The status says enough: a bad key is not asked with again and again."""
    async with serving(packed(body, status=401)) as (url, seen):
        assert type(await error_from(OpenAICompatible(url))) is AccessDenied
        assert len(seen.heads) == 1


@both
async def test_an_answer_without_end_is_not_read_to_it(make: Callable[[str], Backend]) -> None:
    """The connection is closed when more has come than was asked for."""
    piece = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    endless = Answer(raw=b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + piece * 8, hang=True)
    async with serving(endless) as (url, seen):
        error = await error_from(make(url))
        assert isinstance(error, HalfAnswer)
        assert "MiB" in str(error)
        assert len(seen.heads) == 1


async def test_an_answer_as_long_as_was_asked_for_is_read() -> None:
    """With log-probabilities a token is some kilobytes."""
    long = Request(model="m", messages=(), sampling=Sampling(max_tokens=1000))
    body = {**chat("yes"), "logprobs": ["x" * 2000] * 1000}
    async with serving(response(200, body)) as (url, _):
        backend = OpenAICompatible(url)
        assert (await backend.complete(long, time_limit=30)).completion.text == "yes"
        await backend.aclose()


PLAIN = json.dumps(chat("yes")).encode()


@pytest.mark.parametrize(
    ("content", "encoding"),
    [(gzip.compress(PLAIN), "gzip"), (zlib.compress(PLAIN), "deflate"), (PLAIN, "identity")],
)
async def test_a_packed_answer_is_read(content: bytes, encoding: str) -> None:
    """In what we said that we take."""
    async with serving(packed(content, encoding=encoding)) as (url, _):
        assert await text_from(OpenAICompatible(url)) == "yes"


@pytest.mark.parametrize(
    ("content", "encoding", "words"),
    [
        (gzip.compress(PLAIN)[:-12], "gzip", "packed and not whole"),
        (gzip.compress(PLAIN)[:-2], "gzip", "packed and not whole"),
        (PLAIN, "gzip", "cannot be unpacked"),
        (PLAIN, "br", "was not asked for"),
        (gzip.compress(PLAIN), "br", "was not asked for"),
        (b"", "zstd", "was not asked for"),
    ],
)
async def test_what_cannot_be_unpacked_is_half_an_answer(content: bytes, encoding: str, words: str) -> None:
    """Cut off, not packed at all, or in a way that nobody asked for."""
    async with serving(packed(content, encoding=encoding)) as (url, _):
        error = await error_from(OpenAICompatible(url))
    assert isinstance(error, HalfAnswer)
    assert words in str(error)


LISTS = [
    response(404, b"Not Found"),
    response(403, {"error": {"message": "no"}}),
    response(405, b""),
    response(429, {"error": {"code": "rate_limit_exceeded"}}),
    response(400, {"error": "not here"}),
    response(500, b"Internal Server Error"),
    response(501, b""),
    response(200, b"<html>welcome</html>"),
    response(200, {"models": []}),
]


@both
@pytest.mark.parametrize("answer", LISTS)
async def test_no_list_of_models_decides_whether_chat_works(make: Callable[[str], Backend], answer: Answer) -> None:
    """Missing, forbidden, limited or a page: nothing is known of the server, and that is all."""
    async with serving(answer) as (url, _):
        backend = make(url)
        assert await backend.probe() == await backend.probe()
        assert (await backend.probe()).models == ()
        await backend.aclose()


WORDS: list[tuple[int, object, type[BackendError], tuple[str, ...]]] = [
    (400, [{"error": {"code": 400, "message": "Bad field.", "status": "INVALID_ARGUMENT"}}], RequestRejected,
     ("Bad field",)),
    (422, {"detail": [{"type": "missing", "loc": ["body", "messages"], "msg": "Field required", "input": {}}]},
     RequestRejected, ("body.messages: Field required",)),
    (422, {"object": "error", "message": {"detail": [{"loc": ["body", "top_p"], "msg": "Too large"}]}},
     RequestRejected, ("body.top_p: Too large",)),
    (400, {"detail": "Not so."}, RequestRejected, ("Not so",)),
    (400, {"errors": [{"message": "Not so."}]}, RequestRejected, ("Not so",)),
    (400, {"error": {"message": "Provider returned error", "metadata": {"raw": '{"error": {"message": "Not so."}}'}}},
     RequestRejected, ("Provider returned error", "Not so")),
    (400, "Not so.", RequestRejected, ("Not so",)),
    (502, b"<html><head><title>502 Bad Gateway</title></head><body><h1>Bad&nbsp;Gateway</h1><script>x</script></body>",
     ServerFault, ("502 Bad Gateway", "Bad Gateway")),
    (404, b"<html><body>Nothing <i>here</i></body></html>", UnknownModel, ("Nothing here", "base URL", "/v1/chat")),
    (402, {"error": {"message": "This request requires more credits, or fewer max_tokens. You can only afford 20."}},
     CreditExhausted, ("fewer max_tokens", "lower max_tokens")),
    (400, {"error": {"type": "invalid_request_error", "message": "Your credit balance is too low."}}, CreditExhausted,
     ("credit balance",)),
    (403, {"error": "Your team has used up its credits or reached its spending limit."}, CreditExhausted,
     ("spending limit",)),
    (402, {"error": {"message": "Insufficient Balance"}}, CreditExhausted, ("Insufficient Balance",)),
    (400, {"error": {"code": 400, "message": "API key not valid. Please pass a valid API key.",
     "status": "INVALID_ARGUMENT", "details": [{"reason": "API_KEY_INVALID"}]}}, AccessDenied, ("API key",)),
    (400, {"error": {"code": 400, "message": "Not so.", "details": [{"locale": "en"}, {"reason": "API_KEY_INVALID"}]}},
     AccessDenied, ("Not so",)),
    (400, {"error": "Incorrect API key provided: x."}, AccessDenied, ("check the API key",)),
    (401, {"error": {"message": "No auth credentials found"}}, AccessDenied, ("No auth credentials found",)),
    (400, {"object": "error", "message": "System role not supported", "code": 400}, WrongForm,
     ('roles = "merged"', "System role not supported")),
    (500, {"error": {"code": 500, "message": "raise_exception('System role not supported')"}}, WrongForm,
     ('roles = "merged"',)),
    (400, {"error": {"code": "unsupported_value", "message":
     "Unsupported value: 'messages[0].role' does not support 'system' with this model."}}, WrongForm,
     ('roles = "merged"',)),
    (400, {"error": {"message": "Conversation roles must alternate user/assistant/user/assistant/..."}}, WrongForm,
     ('roles = "merged"',)),
    (400, {"error": {"code": "unsupported_parameter", "message": "Unsupported parameter: 'max_tokens' is not supported "
     "with this model. Use 'max_completion_tokens' instead."}}, WrongForm,
     ('token_limit_parameter = "max_completion_tokens"',)),
    (422, {"detail": [{"loc": ["body", "max_completion_tokens"], "msg": "Extra inputs are not permitted"}]},
     WrongForm, ('token_limit_parameter = "max_tokens"',)),
    (400, {"error": {"code": "unsupported_value", "message": "Unsupported value: 'temperature' does not support 0.0 "
     "with this model. Only the default (1) value is supported."}}, WrongForm, ('temperature = "none"',)),
    (400, {"error": {"message": "`temperature` is deprecated for this model."}}, WrongForm, ('temperature = "none"',)),
    (422, {"detail": [{"loc": ["body", "temperature"], "msg": "extra fields not permitted"}]}, WrongForm,
     ('temperature = "none"',)),
    (400, {"error": {"message": "Unrecognized request argument supplied: temperature"}}, WrongForm,
     ('temperature = "none"',)),
    (400, {"error": {"message": "Invalid JSON payload received. Unknown name \"temperature\": Cannot find field."}},
     WrongForm, ('temperature = "none"',)),
    (422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "top_k"], "msg": "Extra inputs are not permitted"}]},
     WrongForm, ("body.top_k", "parameters given for the model")),
    (400, {"error": {"message": "Unrecognized request argument supplied: top_k"}}, WrongForm, ("top_k", "parameters")),
    (400, {"error": {"code": "unknown_parameter", "message": "No 'effort' here."}}, WrongForm, ("'effort'",)),
    (400, {"error": {"message": "Invalid JSON payload received. Unknown name \"top_k\": Cannot find field.",
     "status": "INVALID_ARGUMENT"}}, WrongForm, ("top_k", "parameters")),
    (400, {"error": {"message": "property 'seed' is unsupported"}}, WrongForm, ("'seed'", "parameters")),
    (429, {"error": {"code": 429, "message": "You exceeded your current quota.", "status": "RESOURCE_EXHAUSTED"}},
     RateLimited, ("quota",)),
    (429, {"error": "Model is overloaded", "error_type": "overloaded"}, Overloaded, ("Model is overloaded",)),
    (503, {"detail": {"msg": "Server is busy; please try again later.", "type": "service_unavailable"}}, Overloaded,
     ("Server is busy",)),
    (400, {"error": {"message": "This model's maximum context length is 8 tokens"}}, RequestRejected,
     ("maximum context length",)),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "kind", "words"), WORDS)
def test_the_servers_own_words_reach_the_user_with_advice_that_fits(
    status: int, body: object, kind: type[BackendError], words: tuple[str, ...]
) -> None:
    """In whatever form they come; the cause is told by them where the status tells another."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    error = error_from_response(status, {}, content, call=Call("here:1", "m", "http://here:1/v1/chat/completions"))
    assert type(error) is kind
    assert all(word in str(error) for word in words), str(error)


QUOTED = (
    "Why: TypeError: f() got an unexpected keyword argument 'x'?",
    "Which is it: extra  inputs are\nnot permitted, or an invalid API key?",
    "Does the model 'mine' exist? It says: model not found. The temperature is not supported.",
)


@pytest.mark.parametrize("prompt", QUOTED)
@pytest.mark.parametrize("status", [400, 422])
def test_words_of_a_prompt_that_a_server_repeats_tell_nothing_of_it(status: int, prompt: str) -> None:
    """One example would end the run, again and again; what the server says beside them still counts."""
    call = Call("here:1", "m", prompts=(Message("system", "Answer."), Message("user", prompt)))

    def kind(said: str) -> type[BackendError]:
        return type(error_from_response(status, {}, json.dumps({"detail": said}).encode(), call=call))

    assert kind(f"No answer to this can be had: {prompt}") is RequestRejected
    assert kind(f"No answer to this can be had: {prompt} Unknown parameter: top_k") is WrongForm


HOSTILE = "\x1b[2J\x1b]0;owned\x07 \u202e\u2066 \x9b1m [bold]x[/bold] \r\n\x00 \x7f"


@given(st.text() | st.just(HOSTILE))
def test_nothing_that_a_terminal_would_obey_is_left_in_a_servers_words(words: str) -> None:
    """Escape sequences, bells, marks that turn the text around; the letters stay."""
    shown = safe_words(words, call=Call("here:1", "m"))
    assert printable(shown) == shown
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in shown)
    assert "\n" not in shown


@given(st.text())
def test_plain_text_is_shown_as_it_is(text: str) -> None:
    """Of every other text nothing is changed, not even its length."""
    assert len(printable(text)) == len(text)
    assert printable(printable(text)) == printable(text)
    assert printable("Grüße 你好 [x]\t\n") == "Grüße 你好 [x]\t\n"


async def test_a_request_with_half_a_character_can_be_sent() -> None:
    """It came out of a data file that nobody looked at."""
    broken = Request(model="m", messages=(Message("user", "a\ud800"),))
    async with serving(response(200, chat("yes"))) as (url, seen):
        backend = OpenAICompatible(url)
        assert (await backend.complete(broken, time_limit=30)).completion.text == "yes"
        await backend.aclose()
    sent: dict[str, Any] = json.loads(seen.bodies[0])
    assert sent["messages"][0]["content"] == "a\ud800"


CONNECTION = ConnectionKey("here", 443, True, True, None, None, None)
REFUSED = OSError("refused")
REFUSED.__cause__ = ConnectionRefusedError()


@pytest.mark.parametrize(
    ("error", "why", "advice"),
    [
        (aiohttp.ClientProxyConnectionError(CONNECTION, OSError()), "no connection to the proxy", "NO_PROXY"),
        (aiohttp.ClientConnectorDNSError(CONNECTION, OSError()), "its name cannot be resolved", "base URL"),
        (aiohttp.ClientConnectorCertificateError(CONNECTION, ssl.CertificateError()), "is not trusted", "ca_file"),
        (aiohttp.ClientConnectorSSLError(CONNECTION, ssl.SSLError()), "TLS failed", "is it https://"),
        (aiohttp.ConnectionTimeoutError(), "no answer to the connection", "running?"),
        (REFUSED, "refused", "running?"),
        (aiohttp.ClientConnectorError(CONNECTION, OSError()), "no connection", "running?"),
        (TimeoutError(), "no connection", "running?"),
    ],
)
def test_why_there_is_no_connection_is_told_by_its_kind(error: Exception, why: str, advice: str) -> None:
    """With what to do about that kind, and no other."""
    told, what_to_do = _reason(error)
    assert told.endswith(why)
    assert advice in what_to_do


def test_what_an_endpoint_holds_of_secrets_is_in_no_text_whatever_the_headers_name() -> None:
    """A short value of a header that says nothing of a secret is a word."""
    headers = {"X-Team": "red", "X-Api-Key": "k7", "X-Tenant": "tenant-of-eight", "Cookie": "session=12"}
    endpoint = HttpEndpoint(url="http://h.invalid/v1", api_key="sesame-open-thou", headers=headers)
    assert endpoint.secrets == ("sesame-open-thou", "tenant-of-eight", "session=12", "k7")
    assert without_held("sesame-open-thou, tenant-of-eight, red") == "(key), (key), red"
    bare = HttpEndpoint(url="http://h.invalid/v1", headers={"X-Team": "red"})
    assert (bare.secrets, bare.has_key, endpoint.has_key) == ((), False, True)
    assert HttpEndpoint(url="http://h.invalid/v1", headers={"Authorization": "Basic x"}).has_key
