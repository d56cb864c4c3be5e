"""The log: JSON lines or lines for people, about a run and a lane, and never with a key in it."""

import asyncio
import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from chat_server import ChatServer
from command_line import LIMIT, apart, write_project
from hypothesis import given
from hypothesis import strategies as st
from scheduling_world import Server, ask
from test_cli_serve import running
from world import World

from metaspo.backends import HttpEndpoint, Request, ServerFault, secrets
from metaspo.backends.secrets import SHORTEST, hold_secret, hold_secrets_of, without_secrets
from metaspo.cache import MemoryStore
from metaspo.console import HarmlessConsole
from metaspo.log import Log, LogForm
from metaspo.scheduling import Event, Gateway, Lane
from metaspo.scheduling.log_context import about, logging_about

KEY = "planted-0817-never-to-be-seen"


@pytest.fixture(autouse=True)
def _let_go() -> Iterator[None]:
    """What a test holds is held for the process: keys that were drawn must not be blotted out of what others read."""
    before = set(secrets._HELD)
    yield
    secrets._HELD.clear()
    secrets._HELD.update(before)


@contextmanager
def logged(form: LogForm) -> Iterator[tuple[logging.Logger, io.StringIO]]:
    """A logger that this log alone hears, and what it has written."""
    told = io.StringIO()
    logger = logging.getLogger("metaspo.a-test-of-the-log")
    log = Log(form, to=HarmlessConsole(file=told, width=1_000, soft_wrap=True))
    logger.addHandler(log)
    logger.propagate = False
    try:
        yield logger, told
    finally:
        logger.removeHandler(log)


def test_a_record_says_what_it_is_about_and_a_traceback_is_in_it() -> None:
    with logged(LogForm.JSON) as (logger, told):
        with logging_about(run="r-1"), logging_about(lane="base"):
            logger.warning("It is %s", "so")
        try:
            raise RuntimeError("\x1b[2Jbad")
        except RuntimeError:
            logger.exception("It failed")
    first, second = map(json.loads, told.getvalue().splitlines())
    assert {key: first[key] for key in ("level", "event", "run", "lane")} == {
        "level": "warning",
        "event": "It is so",
        "run": "r-1",
        "lane": "base",
    }
    assert first["timestamp"].endswith("Z")
    assert "run" not in second
    assert "RuntimeError" in second["exception"]
    assert "\x1b" not in told.getvalue()


def test_people_read_the_same_in_a_line() -> None:
    with logged(LogForm.CONSOLE) as (logger, told), logging_about(run="r-1"):
        logger.warning("It is so")
    assert told.getvalue() == "warning: It is so (run=r-1)\n"


@pytest.mark.parametrize("form", LogForm)
def test_no_key_that_the_process_holds_is_logged_wherever_it_stands(form: LogForm) -> None:
    HttpEndpoint(url="http://127.0.0.1:9/v1", api_key=KEY)
    with logged(form) as (logger, told):
        logger.warning("the key is '%s'", KEY)
        with logging_about(run=KEY):
            logger.warning("here, too")
        try:
            raise RuntimeError(f"({KEY})")
        except RuntimeError:
            logger.exception("and here")
    assert told.getvalue().count("(key)") >= 3
    assert KEY not in told.getvalue()


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer {}",
        "{{'Authorization': 'Bearer {}'}}",
        "authorization: Basic {}",
        '{{"api-key": "{}"}}',
        "GET /v1?api_key={}&x=1",
        "x-goog-api-key={}",
        "Set-Cookie: {}",
        "http://user:{}@host/v1",
        "redis://:{}@host/0",
        "redis://user:p@{}@host/0",
        "redis://:pa/{}@host/0",
        "https://{}@host",
        "Authorization: Token {}",
        "{{'Authorization': 'Whatever {}', 'x': 1}}",
        'Authorization: Digest username="me", response="{}"',
        "GET /v1?key={}&x=1",
        "GET /v1?x=1&sig={}",
        "passwd={}",
        "pwd: {}",
        "private_key='a \"{}'",
        "tool --api-key {}",
        "Bearer%20{}",
    ],
)
def test_what_stands_where_a_key_does_is_blotted_out_though_nobody_holds_it(text: str) -> None:
    secret = "dXNlcjpub2JvZHktaG9sZHMtdGhpcw"
    assert secret in text.format(secret)
    assert secret not in without_secrets(text.format(secret))


@pytest.mark.parametrize(
    "text", ["max_tokens: 1024, 512", "token limit: 5", "the cache at redis://host:6379/0", "http://h:80/v1/a@b"]
)
def test_what_is_no_key_stays(text: str) -> None:
    assert without_secrets(text) == text


def test_what_is_blotted_out_once_is_not_touched_again() -> None:
    for text in ("GET /x?api_key=(key)", "token=(key)&page=2", "(secret: (key))"):
        assert without_secrets(text) == text


@given(st.text(min_size=SHORTEST), st.text(min_size=SHORTEST), st.text(), st.text())
def test_of_held_keys_no_text_shows_any(one: str, two: str, before: str, after: str) -> None:
    hold_secret(one, two)
    shown = without_secrets(f"{before}{one}{after}{two}")
    assert one not in shown
    assert two not in shown


@given(st.text(min_size=SHORTEST))
def test_nor_as_it_is_written_in_a_literal_a_json_text_or_a_url(secret: str) -> None:
    hold_secret(secret)
    for written in (repr(secret), json.dumps(secret), quote(secret, safe="")):
        assert written.strip("\"'") not in without_secrets(f"it is {written}")


def test_what_the_environment_holds_for_other_tools_is_held_too() -> None:
    names = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "WANDB_API_KEY", "ANY_SECRET")
    environment = {name: f"{KEY}-{name}" for name in names} | {"PWD": "/some/folder"}
    environment["OTEL_EXPORTER_OTLP_TRACES_HEADERS"] = "x-one=first-of-two,x-two=second%20of%20two"
    hold_secrets_of(environment)
    for secret in (*(environment[name] for name in names), "first-of-two", "second of two"):
        assert without_secrets(f"<{secret}>") == "<(key)>"
    assert without_secrets("in /some/folder") == "in /some/folder"


@pytest.mark.parametrize("form", LogForm)
def test_what_nobody_has_caught_and_every_warning_is_logged_without_a_key(form: LogForm) -> None:
    code = f"""
import sys, threading, warnings
from metaspo.backends.secrets import hold_secret
from metaspo.console import err, say_error, say_warning
from metaspo.log import LogForm, show_log
from metaspo.progress import ProgressDisplay

class Falls:
    def __del__(self): raise OSError(sys.argv[1])

def fall(): raise KeyError(sys.argv[1])

hold_secret(sys.argv[1])
show_log(LogForm("{form}"))
thread = threading.Thread(target=fall)
thread.start()
thread.join()
Falls()
warnings.warn(sys.argv[1])
say_warning(sys.argv[1])
say_error(sys.argv[1])
ProgressDisplay(err).warn(sys.argv[1])
raise RuntimeError(sys.argv[1])
"""
    ended = subprocess.run(
        [sys.executable, "-c", code, KEY], capture_output=True, text=True, timeout=LIMIT, check=False
    )
    assert KEY not in ended.stderr
    assert ended.stderr.count("(key)") >= 7
    for mistake in ("KeyError", "OSError", "RuntimeError"):
        assert f"A mistake in metaspo: {mistake}" in ended.stderr
    assert form is LogForm.CONSOLE or len(lines_of(ended.stderr)) == 7


def test_what_outlives_the_program_is_not_heard() -> None:
    """As tasks that a user's code left behind, which asyncio would tell of: nothing can be imported by then."""
    code = """
import logging
from metaspo.log import show_log

class Late:
    def __del__(self): logging.getLogger("asyncio").error("late")

show_log()
late = Late()
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=LIMIT, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


class Shy:
    """Has nothing to say of itself."""

    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize("form", LogForm)
@pytest.mark.parametrize(
    ("event", "values", "mistake"),
    [("%d files", ("x",), "TypeError"), ("%s of %s", ("x",), "TypeError"), (Shy(), (), "RuntimeError")],
)
def test_a_record_that_cannot_be_written_is_told_of_and_raises_nothing(
    form: LogForm, event: object, values: tuple[str, ...], mistake: str
) -> None:
    with logged(form) as (logger, told):
        (log,) = [handler for handler in logger.handlers if isinstance(handler, Log)]  # pytest's own would raise
        log.handle(logger.makeRecord(logger.name, logging.WARNING, "", 0, event, values, None))
    assert f"a record of {logger.name} could not be written: {mistake}" in told.getvalue()
    assert told.getvalue().count("\n") == 1


def test_half_a_character_is_still_json_for_whoever_is_strict() -> None:
    with logged(LogForm.JSON) as (logger, told), logging_about(run="\udcff"):
        logger.warning("half \ud800 of %s", {"\udc00": ["\udfff"]})
    record = orjson.loads(told.getvalue())
    assert (record["run"], record["event"][:6]) == ("\ufffd", "half \ufffd")


@pytest.mark.parametrize("command", [["optimze"], ["optimize"], ["--log-level", "loud", "runs"]])
def test_a_mistake_in_a_command_is_records_too(command: list[str], tmp_path: Path) -> None:
    ended = apart("--log", "json", *command, folder=tmp_path)
    assert ended.code == 2
    assert lines_of(ended.err)[-1]["level"] == "error"


class Noting(Server):
    """Notes what a record would be about that is logged during a call."""

    def __init__(self) -> None:
        super().__init__()
        self.about: list[Mapping[str, str]] = []

    async def work(self, request: Request) -> None:
        self.about.append(about())
        if len(self.about) == 1:
            raise ServerFault("not now")


@pytest.mark.virtual
async def test_a_call_is_about_its_lane_and_about_no_run_for_it_may_be_several_runs() -> None:
    server, heard = Noting(), []

    def listen(_event: Event) -> None:
        heard.append(about())

    async with Gateway([Lane("base", [server])], store=MemoryStore(), on_event=listen) as gateway:

        async def asked(run: str, number: int) -> None:
            with logging_about(run=run):
                await gateway.complete(ask(number), lane="base")
                assert about() == {"run": run}

        await asyncio.gather(asked("one", 1), asked("two", 2), asked("two", 1))
    assert len(server.about) == 3
    assert heard
    assert all(names == {"lane": "base"} for names in [*server.about, *heard])
    assert about() == {}


def lines_of(text: str) -> list[dict[str, Any]]:
    """Standard error, every line of which has to be a record."""
    return [json.loads(line) for line in text.splitlines()]


def test_with_json_all_that_a_run_says_on_standard_error_is_records(tmp_path: Path) -> None:
    with ChatServer(World(3).answer) as server:
        write_project(tmp_path, server.url)
        ended = apart("--log", "json", "optimize", "run.toml", "--json", folder=tmp_path)
    assert ended.code == 0
    assert ended.data[0]["result"]["system_prompt"]
    told = lines_of(ended.err)
    assert {"timestamp", "level", "logger", "event"} <= told[0].keys()
    assert {each["level"] for each in told} <= {"info", "warning"}
    assert any("best score" in each["event"] for each in told)


def test_a_mistake_is_a_record_of_its_level(tmp_path: Path) -> None:
    ended = apart("optimize", "none.toml", folder=tmp_path, environment={"METASPO_LOG": "json"})
    assert ended.code == 2
    (told,) = lines_of(ended.err)
    assert told["level"] == "error"
    assert "none.toml" in told["event"]


def test_a_server_logs_what_its_lanes_do_each_about_its_lane(tmp_path: Path) -> None:
    (tmp_path / "serve.toml").write_text(
        '[[models]]\nmodel = "m"\nendpoints = ["http://127.0.0.1:9/v1"]\nfirst_patience = 0.1\nattempts = 1\n'
    )
    with running(tmp_path, "serve.toml", before=("--log", "json")) as (process, address):
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "a"}]})
        command = ["curl", "-s", "-H", "Content-Type: application/json", "-d", body, f"{address}/chat/completions"]
        subprocess.run(command, check=True, capture_output=True, timeout=LIMIT)
        process.terminate()
        _, said = process.communicate(timeout=LIMIT)
    down = [each for each in lines_of(said.decode()) if "127.0.0.1:9" in each["event"]]
    assert down[0]["level"] == "warning"
    assert down[0]["lane"] == "m"
    assert down[0]["logger"] == "metaspo.serving.lane_log"


def test_the_library_configures_no_logging_and_does_not_import_structlog() -> None:
    code = (
        "import logging, sys; before = logging.getLogger().handlers[:]; import metaspo, metaspo.serving; "
        "assert logging.getLogger().handlers == before; assert not logging.getLogger('metaspo').handlers; "
        "assert logging.getLogger('metaspo').level == 0; assert 'structlog' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=LIMIT)


@pytest.mark.parametrize("word", ["none", "EMPTY", "1000"])
def test_a_key_that_is_a_word_as_servers_without_keys_are_given_blots_nothing_out(word: str) -> None:
    hold_secret(word)
    assert without_secrets(f"what {word} says") == f"what {word} says"


def test_of_two_keys_of_which_one_is_the_beginning_of_the_other_nothing_is_left() -> None:
    hold_secret("orange-juice")
    hold_secret("orange-juice-with-ice")
    assert without_secrets("sent orange-juice-with-ice, then orange-juice") == "sent (key), then (key)"
