"""Whatever a client of `metaspo serve` sends, it gets an answer or a sentence, and the server's log no traceback."""

import json
import logging
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import pytest
from chat_server import ChatServer
from fuzzing_replies import mutated

from metaspo.log import Log
from metaspo.serving import ServeConfig, open_server

IMAGE = {"type": "image_url", "image_url": {"url": "data:"}}
CALLED = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CHAT: Any = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Is it so?"}, IMAGE], "name": "x"},
        {"role": "assistant", "content": None, "tool_calls": [CALLED]},
        {"role": "tool", "content": "so", "tool_call_id": "1"},
    ],
    "temperature": 0.5,
    "top_p": 1,
    "n": 2,
    "max_tokens": 5,
    "seed": 3,
    "stop": ["a"],
    "user": "u",
    "stream": False,
    "stream_options": {"include_usage": True},
    "response_format": {"type": "json_object"},
    "tools": [{"type": "function", "function": {"name": "f"}}],
    "logit_bias": {"1": 2},
    "metadata": {"a": "b"},
}
RAW: Any = {"model": "m", "prompt": "x", "input": ["a"], "max_tokens": 3, "n": 1}
PATHS = (*("chat/completions",) * 5, "completions", "embeddings", "responses", "models", "models/x", "%1b%00", "../x")
HEADERS = {
    "x-metaspo-draw": ("1", "-1", "x", "9" * 400, "", "1.5"),
    "x-metaspo-run": ("r", "", "x" * 5_000),
    "x-metaspo-priority": ("1", "-9", "nan", "9" * 400),
    "x-metaspo-keep-alive": ("1", "nan", "inf", "-1", "1e400"),
    "authorization": ("Bearer x", "Basic", ""),
    "content-type": ("text/plain", "application/json; charset=utf-16", "x"),
    "content-encoding": ("gzip", "deflate", "x"),
    "host": ("elsewhere.example", "[::1]:80", ":::", "[" * 90),
    "expect": ("100-continue", "x"),
}


def drawn(rng: Random) -> tuple[str, str, bytes, dict[str, str]]:
    """A request: its method, path, body and headers."""
    path = rng.choice(PATHS)
    body = CHAT if path.startswith("chat") else RAW
    for _ in range(rng.choice((1, 1, 2, 4))):
        body = mutated(body, rng)
    if isinstance(body, dict) and rng.random() < 0.3:
        body["stream"] = True
    content = json.dumps(body).encode()
    match rng.randrange(12):
        case 0:
            content = content[: rng.randrange(len(content) + 1)]
        case 1:
            content = b"[" * 100_000
        case 2:
            content = b"\xff\xfe" + content
    headers = {"content-type": "application/json"}
    if rng.random() < 0.4:
        name = rng.choice(sorted(HEADERS))
        headers[name] = rng.choice(HEADERS[name])
    return rng.choice(("POST", "POST", "POST", "POST", "GET", "PUT")), path, content, headers


@pytest.mark.parametrize("cases", [150, pytest.param(2_000, marks=(pytest.mark.slow, pytest.mark.timeout(600)))])
async def test_whatever_a_client_sends_it_gets_an_answer_or_a_sentence(
    cases: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A status that is no fault of ours, and a body that is JSON, events or aiohttp's own line."""
    log = Log()
    logging.getLogger().addHandler(log)
    try:
        with ChatServer(lambda request: "so") as upstream:
            models = [{"model": "m", "endpoints": [upstream.url], "attempts": 1, "patience": 1, "first_patience": 1}]
            config = ServeConfig.model_validate({"models": models, "port": 0, "cache": ""})
            async with (
                open_server(config, environment={}, folder=tmp_path) as (_, address),
                aiohttp.ClientSession() as session,
            ):
                for seed in range(cases):
                    method, path, content, headers = drawn(Random(seed))
                    try:
                        async with session.request(
                            method, f"{address}/{path}", data=content, headers=headers
                        ) as answer:
                            said = await answer.read()
                    except aiohttp.ClientError:
                        continue  # what is no HTTP is refused so that aiohttp's own client minds
                    assert answer.status < 500 or b"mistake in metaspo" not in said, (seed, content, said)
                    assert b"Traceback" not in said
    finally:
        logging.getLogger().removeHandler(log)
    told = capsys.readouterr().err
    assert "Traceback" not in told
    assert all(char >= " " or char == "\n" for char in told)


def test_what_is_logged_is_harmless_said_once_and_a_traceback_only_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    log = Log()
    others, ours = logging.getLogger("aiohttp.server"), logging.getLogger("metaspo.serving")
    for logger in (others, ours):
        logger.addHandler(log)
    try:
        for logger in (others, others, ours):
            try:
                raise RuntimeError("\x1b[2Jbad\nline")
            except RuntimeError:
                logger.exception("It failed")
    finally:
        for logger in (others, ours):
            logger.removeHandler(log)
    said = capsys.readouterr().err
    assert said.splitlines()[0] == "error: It failed: \ufffd[2Jbad line"
    assert said.count("It failed") == 2
    assert said.count("Traceback") == 1
    assert "\x1b" not in said
