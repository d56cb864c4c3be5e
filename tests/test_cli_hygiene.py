"""No API key and no credential of an endpoint is in anything a run writes or says."""

import base64
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard
from chat_server import ChatServer, Refusal
from command_line import Ended, apart, here, write_project
from world import World

from metaspo.backends import Request

WORLD = World(3, malformed=0.1)
KEY = "sk-planted-0815-never-to-be-seen"
USER, PASSWORD = "planted-user", "planted-password-0816"
BASIC = base64.b64encode(f"{USER}:{PASSWORD}".encode()).rstrip(b"=")
SECRETS = [KEY.encode(), USER.encode(), PASSWORD.encode(), BASIC]


def with_credentials(url: str) -> str:
    """The URL as somebody writes it who puts user and password into it."""
    return url.replace("http://", f"http://{USER}:{PASSWORD}@")


def quoting(_request: Request, before: int) -> Refusal | None:
    """Servers quote the key back, in errors that end a run and in those that do not."""
    if before == 7:
        return Refusal(503, "overloaded", f"No room for {KEY}")
    return Refusal(401, "invalid_api_key", f"Incorrect API key provided: {KEY}") if before >= 100 else None


def leaks(folder: Path, told: list[Ended]) -> list[str]:
    """Where a secret is: files that metaspo wrote, by name, and the outputs of commands, by number."""
    written = [path for path in folder.rglob("*") if path.is_file() and path.name not in (".env", "run.toml")]
    assert {"cache.db", "journal.jsonl", "summary.json", "config.json"} <= {path.name for path in written}
    texts = {str(path): path.read_bytes() for path in written}
    texts |= {f"{name} unpacked": _unpacked(Path(name)) for name in list(texts) if name.endswith(".zst")}
    texts |= {f"output {number}": (ended.out + ended.err).encode() for number, ended in enumerate(told)}
    return [name for name, text in texts.items() if any(secret in text for secret in SECRETS)]


def _unpacked(path: Path) -> bytes:
    with zstandard.open(path, "rb") as file:
        data: bytes = file.read()
    return data


@pytest.mark.parametrize("where", ["environment", ".env"])
def test_a_key_is_sent_and_is_nowhere_else(
    tmp_path: Path, server: ChatServer, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped by an error that quotes the key, finished, run again, shown, and its cache exported."""
    write_project(tmp_path, server.url, lane='api_key_env = "PLANTED"')
    environment = {"PLANTED": KEY} if where == "environment" else {}
    (tmp_path / ".env").write_text("" if environment else f'PLANTED="{KEY}"\n', encoding="utf-8")
    server.refuse = quoting
    told = [apart("optimize", "run.toml", folder=tmp_path, environment=environment)]
    server.refuse = lambda _request, _before: None
    commands = [
        ["optimize", "run.toml"],
        ["optimize", "run.toml", "--json"],
        ["runs", "--json"],
        ["cache", "info"],
        ["cache", "key", "run.toml"],
        ["cache", "export", "answers.jsonl.zst"],
    ]
    monkeypatch.chdir(tmp_path)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    told += [here(*command) for command in commands]
    assert [ended.code for ended in told] == [3, 0, 0, 0, 0, 0, 0]
    assert server.keys == {f"Bearer {KEY}"}
    assert leaks(tmp_path, told) == []


def test_credentials_in_an_endpoint_are_refused_without_being_repeated(
    tmp_path: Path, server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the endpoint comes from, and even where an earlier run has left files."""
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path, server.url)
    told = [here("optimize", "run.toml")]
    assert told[0].code == 0
    calls = server.asked.total()
    option = f'base.endpoints=["{with_credentials(server.url)}"]'
    told.append(here("optimize", "run.toml", "--set", option))
    write_project(tmp_path, with_credentials(server.url))
    told += [here(command, "run.toml") for command in ("optimize", "plan", "evaluate")]
    told.append(here("cache", "key", "run.toml"))
    assert [ended.code for ended in told[1:]] == [2] * 5
    assert all("user name or password" in ended.errors[0] for ended in told[1:])
    assert server.asked.total() == calls
    assert leaks(tmp_path, told) == []


TRAPS = (
    "json",
    "asyncio",
    "orjson",
    "pydantic",
    "tomllib",
    "pip",
    "sitecustomize",
    "usercustomize",
    "conftest",
    "metaspo",
)


@pytest.mark.slow
def test_no_code_of_the_current_folder_runs(tmp_path: Path, server: ChatServer) -> None:
    """Whatever it is called: neither in a command nor in a process that one starts. Metrics that a config names do."""
    write_project(tmp_path, server.url)
    trap = "import pathlib; pathlib.Path(__file__ + '.ran').touch(); raise SystemExit(9)\n"
    for name in TRAPS:
        (tmp_path / f"{name}.py").write_text(trap, encoding="utf-8")
    for package in ("engine", ".metaspo", "metaspo"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(trap, encoding="utf-8")
    for command in (["plan", "run.toml"], ["optimize", "run.toml", "--web", "--port", "0"], ["runs"]):
        script = [str(Path(sys.executable).with_name("metaspo")), *command]
        ended = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stderr.count("Traceback")) == (0, 0), ended.stderr
    assert not list(tmp_path.rglob("*.ran"))
