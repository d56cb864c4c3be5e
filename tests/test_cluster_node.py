"""What a node of a cluster does with a part, what goes there and what comes back."""

import _thread
import io
import os
import signal
import socket
import tarfile
import threading
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
from chat_server import ChatServer
from command_line import here
from sizes import rest_is_slow
from world import World

from metaspo.bench.processes import held_port
from metaspo.engine import ConfigError, RunDirectory, prepare
from metaspo.engine.cluster import Outcome, Part, check_parts, part_of, ray_cluster, seen_by_all, unpack
from metaspo.engine.cluster.node import run_part
from metaspo.engine.cluster.parts import copy_project
from metaspo.engine.cluster.ray_cluster import check_reached
from metaspo.engine.journal.journal import StoredJournal
from metaspo.engine.journal.view import RunView
from metaspo.scheduling import RunStopped

WORLD = World(3, malformed=0.1)


@pytest.fixture
def part(project: Path) -> Part:
    prepared = prepare(project / "run.toml")
    return part_of(prepared, ["optimize", "run.toml", "--quiet"], name="run")


@pytest.fixture
def back(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return RunDirectory(tmp_path_factory.mktemp("back") / "run-12345678")


def archive(name: str, content: bytes = b"") -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def test_a_part_is_run_the_folder_of_its_run_comes_back_and_sessions_of_before_stay_in_the_journal(
    part: Part, back: RunDirectory
) -> None:
    outcome = run_part(part)
    assert (outcome.status, outcome.said) == (0, "")
    unpack(outcome, back)
    assert here("show", str(back.path), "--json").data["result"]["system_prompt"]
    calls = RunView.of(StoredJournal(back.journal)).spent.calls
    (Path(part.runs) / part.run / "journal.jsonl").unlink()  # another node: its journal begins with its own session
    unpack(run_part(part), back)
    view = RunView.of(StoredJournal(back.journal))
    assert (view.sessions, view.spent.calls) == (2, calls)


@pytest.mark.slow
def test_sessions_that_the_node_had_too_are_not_told_twice(part: Part, back: RunDirectory) -> None:
    """As where `runs` is in the project's folder, or on a file system that all have."""
    outcome = run_part(part)
    unpack(outcome, back)
    journal = back.journal.read_bytes()
    unpack(outcome, back)
    assert back.journal.read_bytes() == journal


def test_an_archive_that_broke_off_leaves_what_was_there(back: RunDirectory) -> None:
    unpack(Outcome(node="n", status=0, folder=archive("journal.jsonl", b"one\n")), back)
    broken = archive("journal.jsonl", os.urandom(50_000))[:-10_000]
    with pytest.raises(RunStopped, match="cannot be unpacked"):
        unpack(Outcome(node="n", status=0, folder=broken), back)
    assert back.journal.read_bytes() == b"one\n"
    unpack(Outcome(node="n", status=0, folder=archive("summary.json")), back)
    assert back.journal.read_bytes() == b"one\n"


def test_the_words_of_one_that_stopped_come_back(part: Part) -> None:
    outcome = run_part(replace(part, arguments=("optimize", "none.toml", "--quiet")))
    assert outcome.status == 2
    assert "none.toml" in outcome.said


@pytest.mark.parametrize("change", [{"version": "0.0.0"}, {"seen": "/nowhere/.seen"}])
def test_a_node_that_is_not_like_the_others_asks_nothing(
    part: Part, server: ChatServer, change: dict[str, str]
) -> None:
    outcome = run_part(replace(part, **change))  # type: ignore[arg-type]
    assert outcome.status == 2
    assert (version("metaspo") in outcome.said) if "version" in change else ("/nowhere" in outcome.said)
    assert server.calls == 0


@pytest.mark.parametrize("ignored", rest_is_slow([False, True]), ids=["", "by a cluster that ignores SIGINT"])
def test_a_task_that_is_broken_off_stops_its_command_cleanly(part: Part, server: ChatServer, *, ignored: bool) -> None:
    """Also on a cluster that was started in the background of a script."""
    server.hold_after(10)

    def break_off() -> None:
        server.wait_for(asked=11, answered=10)
        _thread.interrupt_main()  # as Ray does

    before = signal.signal(signal.SIGINT, signal.SIG_IGN if ignored else signal.default_int_handler)
    breaker = threading.Thread(target=break_off)
    breaker.start()
    try:
        outcome = run_part(part)
    finally:
        signal.signal(signal.SIGINT, before)
    breaker.join()
    assert outcome.status == 130
    with tarfile.open(fileobj=io.BytesIO(outcome.folder)) as tar:
        assert "./journal.jsonl" in tar.getnames()


def test_no_key_goes_to_a_node(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    for name in (".env", ".env.local", ".envrc", ".netrc", "prod.env"):
        (project / name).write_text("OPENAI_API_KEY=sk-secret\n", encoding="utf-8")
    (project / ".metaspo").mkdir()
    (project / "data").mkdir()
    (project / "data/.gitignore").write_text("*.jsonl\n", encoding="utf-8")
    (project / "data/more.jsonl").write_text("{}\n", encoding="utf-8")
    copy = tmp_path_factory.mktemp("copy")
    copy_project(project, copy)
    names = {str(path.relative_to(copy)) for path in copy.rglob("*")}
    assert {"run.toml", "a.train.jsonl", "data/more.jsonl"} <= names
    assert not [name for name in names if Path(name).name.startswith(".") or name.endswith(".env")]


def test_no_link_takes_a_key_to_a_node_or_has_no_end(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    (project / ".env").write_text("OPENAI_API_KEY=sk-secret\n", encoding="utf-8")
    (project / "keys.txt").symlink_to(".env")
    (project / "data").mkdir()
    (project / "data/up").symlink_to("..")
    (project / "data/rows.jsonl").symlink_to(project / "a.train.jsonl")
    copy = tmp_path_factory.mktemp("copy")
    copy_project(project, copy)
    assert (copy / "data/rows.jsonl").read_bytes() == (project / "a.train.jsonl").read_bytes()
    assert not (copy / "keys.txt").exists()
    assert not (copy / "data/up").exists()


def test_a_pipe_in_the_project_stays_here(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    os.mkfifo(project / "pipe")
    copy = tmp_path_factory.mktemp("copy")
    copy_project(project, copy)
    assert (copy / "run.toml").exists()
    assert not (copy / "pipe").exists()


def test_what_cannot_be_copied_is_named_in_a_sentence(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    copy = tmp_path_factory.mktemp("copy")
    (project / "data").mkdir()
    (copy / "data").touch()
    with pytest.raises(ConfigError, match=r"/data cannot be copied for the nodes: .*File exists"):
        copy_project(project, copy)


def test_an_archive_writes_nowhere_else(back: RunDirectory) -> None:
    with pytest.raises(RunStopped, match="cannot be unpacked"):
        unpack(Outcome(node="n", status=0, folder=archive("../escaped")), back)
    assert not (back.path.parent / "escaped").exists()


@pytest.mark.parametrize("cache", [".metaspo/cache", "files://shared", ""])
def test_a_cache_of_one_machine_is_refused(project: Path, cache: str) -> None:
    prepared = prepare(project / "run.toml", overrides={"cache": cache})
    with pytest.raises(ConfigError, match="all nodes share one cache"):
        check_parts([prepared], files=[], option="--on")


@pytest.mark.parametrize(
    "address", ["", "ray", "ray://", "ray://host", "http://host:1", "host:", ":6379", "host:99999"]
)
def test_an_address_that_is_none_is_told_before_anything_is_tried(project: Path, address: str) -> None:
    ended = here("optimize", "run.toml", "--on", address, "--set", f"cache=files://{project}/cache")
    assert ended.code == 2
    (error,) = ended.errors
    assert "a cluster is ray://HOST:10001, HOST:6379, or auto" in error


@pytest.mark.parametrize("scheme", ["ray://", ""])
def test_a_cluster_where_nobody_listens_is_told_at_once(project: Path, scheme: str) -> None:
    """Ray itself would try for half a minute or two, in words of its own."""
    with held_port() as port:
        address = f"{scheme}127.0.0.1:{port}"
        ended = here("optimize", "run.toml", "--on", address, "--set", f"cache=files://{project}/cache")
    assert ended.code == 2
    (error,) = ended.errors
    assert error == f"--on {address}: the cluster cannot be reached: connection refused: is it running?"


@pytest.mark.parametrize("scheme", ["ray://", ""])
@pytest.mark.parametrize(("said", "who"), [(b"-ERR unknown command\r\n", "a Redis server"), (b"", "another program")])
def test_a_server_of_another_kind_is_told_at_once(project: Path, scheme: str, said: bytes, who: str) -> None:
    """Port 6379 is Redis' own, and Ray would speak to it for two minutes."""

    def answer(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(1_000)
            connection.sendall(said)

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=answer, args=(server,), daemon=True).start()
        address = f"{scheme}127.0.0.1:{server.getsockname()[1]}"
        ended = here("optimize", "run.toml", "--on", address, "--set", f"cache=files://{project}/cache")
    assert ended.code == 2
    (error,) = ended.errors
    assert error == f"--on {address}: {who} answers there, and no head of a Ray cluster: name that one's address"


@pytest.mark.parametrize("told", ["1", "true", "True"])
def test_a_head_that_encrypts_is_not_greeted(monkeypatch: pytest.MonkeyPatch, told: str) -> None:
    """It would hang up, and be taken for another program; told as Ray reads it."""
    monkeypatch.setenv("RAY_USE_TLS", told)
    with socket.create_server(("127.0.0.1", 0)) as server:
        check_reached(f"127.0.0.1:{server.getsockname()[1]}")
        connection, _ = server.accept()
        with connection:
            assert connection.recv(1_000) == b""


def test_the_mark_of_a_shared_folder_is_there_while_it_is_looked_for(tmp_path: Path) -> None:
    with seen_by_all(f"files://{tmp_path}/cache") as mark:
        assert Path(mark).parent == tmp_path / "cache"
        assert Path(mark).exists()
    assert not Path(mark).exists()
    with seen_by_all("redis://host:6379/0") as mark:
        assert mark == ""


def test_a_config_outside_the_project_is_refused(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    prepared = prepare(project / "run.toml", overrides={"cache": "redis://host:6379/0"})
    outside = tmp_path_factory.mktemp("outside") / "grid.toml"
    with pytest.raises(ConfigError, match="not in the project's folder"):
        check_parts([prepared], files=[outside], option="--on")


class Gone:
    """As Ray where its tasks have not begun, and the head was lost since."""

    def remote(self, *_args: object, **_settings: object) -> Callable[[object], "Gone"]:
        return lambda _task: self

    def wait(self, tasks: list[object], **_settings: object) -> tuple[list[object], list[object]]:
        return [], tasks

    def cluster_resources(self) -> dict[str, float]:
        raise ConnectionError("no answer")


def test_a_cluster_that_is_lost_while_it_is_asked_for_its_cores_is_said_to_be(part: Part) -> None:
    tasks = ray_cluster._Tasks(Gone(), [part], lambda _part, _outcome: None, lambda _text: None)
    with pytest.raises(RunStopped, match="the cluster is lost: no answer"):
        tasks.run(1)
