"""Streams, signals, files and limits as they really are: none of them is a traceback, and none loses a run."""

import codecs
import json
import os
import shlex
import signal
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from chat_server import ChatServer
from command_line import LIMIT, end, here, run_into, start, write_project
from sizes import rest_is_slow
from world import World

from metaspo.engine import environment, prepare
from metaspo.engine.environment import environment_with_dotenv
from metaspo.engine.errors import ConfigError
from metaspo.plain_signs import ERRORS

WORLD = World(3, malformed=0.1)
DEAD = "http://127.0.0.1:9/v1"
FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")


def shell(command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of shell in which `metaspo` is the command."""
    line = command.replace("metaspo", f'"{sys.executable}" -m metaspo')
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        check=False,
        timeout=LIMIT,
    )


INTERRUPTED = b"\nInterrupted.\n"


@pytest.mark.parametrize("number", rest_is_slow(["SIGTERM", "SIGINT", "SIGHUP"]))
def test_a_ctrl_c_before_the_command_is_there_is_no_fault(tmp_path: Path, number: str) -> None:
    """It comes while the libraries are imported: nobody would read of whose."""
    code = f"""
import os, signal, sys

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "typer":
            os.kill(os.getpid(), signal.{number})

sys.meta_path.insert(0, Finder)
from metaspo.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=False, timeout=LIMIT)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", INTERRUPTED)


@pytest.mark.parametrize(
    ("number", "when"),
    [("SIGINT", "typer.main.get_group"), ("SIGTERM", "metaspo.late_commands.LateCommands.get_command")],
)
def test_a_ctrl_c_while_the_command_line_is_read_is_no_fault(tmp_path: Path, number: str, when: str) -> None:
    """The whole of it is made and read by typer, before anybody who tells of an interrupt."""
    code = f"""
import os, signal, sys
from unittest.mock import patch
import typer.main
import metaspo.late_commands
from metaspo.__main__ import main
sys.argv = ["metaspo", "runs"]
with patch({when!r}, lambda *_: os.kill(os.getpid(), signal.{number})):
    main()
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=False, timeout=LIMIT)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", INTERRUPTED)


@pytest.mark.parametrize("number", rest_is_slow(["SIGTERM", "SIGHUP"]))
def test_what_a_system_ends_a_command_with_is_told_as_a_ctrl_c(tmp_path: Path, number: str) -> None:
    """Also where no event loop runs, which would hear it."""
    code = f"""
import os, signal, sys
from unittest.mock import patch
import metaspo.actions.cache
from metaspo.__main__ import main
sys.argv = ["metaspo", "cache", "info"]
with patch("metaspo.actions.cache.open_maintenance", lambda *_, **__: os.kill(os.getpid(), signal.{number})):
    main()
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=False, timeout=LIMIT)
    assert (done.returncode, done.stdout) == (130, b"")
    assert done.stderr.startswith(INTERRUPTED[:-2])


@pytest.mark.parametrize("command", rest_is_slow(["metaspo tasks", "metaspo tasks --json"]))
def test_a_reader_that_leaves_is_no_fault(tmp_path: Path, command: str) -> None:
    """As `head` does; what is printed is larger than a pipe holds."""
    done = shell(f"(for i in 1 2; do {command} 2>&3 || exit 9; done) 3>&2 | head -n 1", tmp_path)
    assert (done.returncode, b"Error" in done.stderr, b"Exception" in done.stderr) == (0, False, False)


@needs_full
@pytest.mark.parametrize("command", ["tasks", "tasks --json", "--help", "tasks --help"])
def test_an_output_that_cannot_be_written_is_told(tmp_path: Path, command: str) -> None:
    ended = end(start(*command.split(), folder=tmp_path, stdout=FULL))
    assert (ended.code, len(ended.errors)) == (3, 1)
    assert "standard output cannot be written: No space left on device" in ended.errors[0]


@needs_full
def test_a_result_that_cannot_be_written_is_told_and_kept(project: Path) -> None:
    ended = end(start("optimize", "run.toml", "--quiet", folder=project, stdout=FULL))
    assert (ended.code, len(ended.errors)) == (3, 1)
    assert "standard output cannot be written: No space left on device" in ended.errors[0]
    assert "Not finished" not in here("show").out
    assert [run["line"]["state"] for run in here("runs", "--json").data] == ["finished"]


@pytest.mark.parametrize("closed", rest_is_slow(["0<&- 1>&- 2>&-", "1>&-", "2>&-"]))
def test_a_stream_that_is_closed_ends_no_run(tmp_path: Path, server: ChatServer, closed: str) -> None:
    """A connection that has its number is none of the event loop's, and what is printed does not go there."""
    write_project(tmp_path, server.url)
    done = shell(f"metaspo evaluate run.toml {closed}", tmp_path)
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False)
    assert server.calls == sum(server.answered.values()) > 0


@pytest.mark.parametrize("encoding", rest_is_slow(["ascii", "latin-1", "cp437"]))
def test_every_encoding_of_standard_output_will_do(
    tmp_path: Path, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it does not have becomes a question mark for people, and an escape in JSON."""
    config = write_project(tmp_path, DEAD)
    text = config.read_text(encoding="utf-8").replace('model = "answerer"', 'model = "Прив\\u00e9t 🙂"')
    config.write_text(text, encoding="utf-8")
    plain = shell("metaspo plan run.toml", tmp_path, PYTHONIOENCODING=encoding)
    data = shell("metaspo plan run.toml --json", tmp_path, PYTHONIOENCODING=encoding)
    assert (plain.returncode, data.returncode) == (0, 0), plain.stderr + data.stderr
    assert b"?" in plain.stdout
    monkeypatch.chdir(tmp_path)
    assert json.loads(data.stdout.decode(encoding)) == here("plan", "run.toml", "--json").data


@pytest.mark.parametrize(
    ("encoding", "written"),
    [
        ("ascii", "46.7% -> 43.3%, 2 <= 3 ? ..."),
        ("latin-1", "46.7% -> 43.3%, 2 <= 3 ? ..."),
        ("cp1252", "46.7% -> 43.3%, 2 <= 3 ? …"),
        ("utf-8", "46.7% → 43.3%, 2 ≤ 3 Я …"),
    ],
)
def test_our_own_signs_are_written_otherwise_where_an_encoding_has_none(encoding: str, written: str) -> None:
    """A question mark between two scores would say that nobody knows."""
    assert "46.7% → 43.3%, 2 ≤ 3 Я …".encode(encoding, errors=ERRORS).decode(encoding) == written


def test_columns_is_heard_through_a_pipe(tmp_path: Path) -> None:
    """Tables wrap there, between words."""
    config = write_project(tmp_path, DEAD)
    narrow = shell(f"metaspo plan {config.name}", tmp_path, COLUMNS="60")
    assert len(narrow.stdout.splitlines()) > len(here("plan", str(config)).out.splitlines())


@pytest.mark.parametrize("width", rest_is_slow(["0", "²", "1", "-5", "99999999999999999999", "wide"], but=2))
def test_a_width_that_no_terminal_has_hides_nothing(tmp_path: Path, width: str) -> None:
    config = write_project(tmp_path, DEAD)
    done = shell(f"metaspo plan {config.name}", tmp_path, COLUMNS=width, LINES=width)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"answerer" in done.stdout.replace(b"\n", b"")


def test_a_second_interrupt_ends_at_once_and_says_what_that_costs(tmp_path: Path, server: ChatServer) -> None:
    """The first one lets calls come in that are paid for anyway."""
    write_project(tmp_path, server.url, lane="prices = {input = 1, output = 1}")
    running = run_into(tmp_path, server, calls=20)
    running.send_signal(signal.SIGINT)
    assert running.stderr is not None
    said = next(line for line in running.stderr if "Ctrl-C again" in line)  # what it waits for, before that is over
    assert "may have to be paid for anyway" in said
    while running.poll() is None:
        running.send_signal(signal.SIGINT)
        try:
            running.wait(0.3)
        except subprocess.TimeoutExpired:
            continue
    _, err = running.communicate()
    assert running.returncode == 130
    assert err.count("Interrupted at once. Answers that were still on their way are lost") == 1
    assert "Everything paid for is kept" not in err
    assert "Traceback" not in err
    server.release()


@needs_full
def test_a_full_disk_under_the_run_directory_stops_the_run_with_a_sentence(project: Path) -> None:
    directory = prepare("run.toml").directory
    assert directory is not None
    directory.path.mkdir(parents=True)
    directory.journal.symlink_to(FULL)
    ended = here("optimize", "run.toml", "--quiet")
    assert ended.code == 3
    assert ended.errors == [
        f"run: {directory.journal} cannot be written: No space left on device. See to its disk, or set `runs`."
    ]


def test_a_run_directory_is_its_owners(project: Path) -> None:
    """It holds prompts and examples, as the cache does."""
    assert here("optimize", "run.toml", "--quiet").code == 0
    (run,) = (path for path in (project / ".metaspo" / "runs").iterdir() if path.is_dir())
    assert stat.S_IMODE(run.stat().st_mode) == 0o700


def test_init_writes_over_nothing_that_somebody_has_edited(tmp_path: Path) -> None:
    """Nothing at all is written then; what is as it was is no hindrance."""
    assert here("init", str(tmp_path)).code == 0
    (tmp_path / "metaspo.toml").unlink()
    assert here("init", str(tmp_path)).code == 0
    (tmp_path / "metaspo.toml").unlink()
    edited = tmp_path / "tasks" / "meal.test.jsonl"
    edited.write_text("mine", encoding="utf-8")
    ended = here("init", str(tmp_path))
    assert ended.code == 2
    assert "meal.test.jsonl: is there already" in ended.errors[0]
    assert edited.read_text(encoding="utf-8") == "mine"
    assert not (tmp_path / "metaspo.toml").exists()
    (said,) = here("init", str(edited)).errors
    assert said == f"{edited}: is a file; name a folder, which is made if there is none"


def test_what_init_says_to_do_next_is_right_for_a_folder_with_spaces_and_begins_with_what_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metaspo.actions.init.find_spec", lambda name: None)
    folder = tmp_path / "my rag"
    first, *steps = here("init", str(folder), "--template", "rag").out.splitlines()[1:]
    assert first.strip() == "pip install 'metaspo[local,mipro]'"
    assert [shlex.split(step)[2] for step in steps] == [str(folder / "metaspo.toml")] * 3


def test_init_where_nothing_can_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = here("init", str(tmp_path / "file" / "deeper"))
    assert (ended.code, len(ended.errors)) == (2, 1)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_dotenv_is_read_in_the_encodings_that_editors_and_shells_write(tmp_path: Path, encoding: str) -> None:
    (tmp_path / ".env").write_bytes("A_KEY=grün\nOTHER='x'\n".encode(encoding))
    assert environment_with_dotenv(tmp_path)["A_KEY"] == "grün"
    (tmp_path / ".env").write_bytes(codecs.BOM_UTF16_LE + b"x")
    with pytest.raises(ConfigError, match="save the file as UTF-8"):
        environment_with_dotenv(tmp_path)


def test_a_dotenv_may_be_a_pipe_and_is_not_waited_for_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Password managers write into one as soon as it is read."""
    os.mkfifo(tmp_path / ".env")
    with ThreadPoolExecutor() as manager:
        manager.submit((tmp_path / ".env").write_text, "A_KEY=of a pipe\n")
        assert environment_with_dotenv(tmp_path, tmp_path / ".")["A_KEY"] == "of a pipe", (
            "read once, for it is empty then"
        )
    monkeypatch.setattr(environment, "PIPE_WAIT", 0.0)
    with pytest.raises(ConfigError, match=r"\.env: a pipe into which nothing was written for 0 seconds"):
        environment_with_dotenv(tmp_path)
    (tmp_path / ".env").unlink()
    (tmp_path / ".env").symlink_to("/dev/zero")
    with pytest.raises(ConfigError, match=r"\.env: has no end"):
        environment_with_dotenv(tmp_path)
    (tmp_path / ".env").unlink()
    (tmp_path / ".env").symlink_to("/dev/null")
    environment_with_dotenv(tmp_path)


def test_a_value_of_a_dotenv_that_has_no_end_is_told_with_its_line(tmp_path: Path) -> None:
    """It was left out, and the key said to be missing."""
    (tmp_path / ".env").write_text("export OTHER='x'\nA_KEY=\"sk-1\nNEXT=2\n")
    with pytest.raises(ConfigError, match=r"\.env:2: the value of A_KEY begins with a quote"):
        environment_with_dotenv(tmp_path)


def test_a_config_may_begin_with_a_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As editors on Windows write it."""
    config = write_project(tmp_path, DEAD)
    config.write_text(config.read_text(encoding="utf-8"), encoding="utf-8-sig")
    monkeypatch.chdir(tmp_path)
    assert here("plan", "run.toml").code == 0
    (tmp_path / "grid.toml").write_text(
        'config = "run.toml"\nmethods = ["default"]\nseeds = [1]\n', encoding="utf-8-sig"
    )
    assert here("compare", "grid.toml", "--plan").code == 0


def test_bad_answers_that_come_from_the_cache_are_told_how_to_be_asked_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the base model and of the optimizer; not while any is new."""
    monkeypatch.chdir(tmp_path)
    mumbling = World(3, malformed=1.0)
    with ChatServer(lambda request: mumbling.answer(request) if request.model == "writer" else "Hm.") as server:
        write_project(tmp_path, server.url)
        told = [
            here(command, "run.toml", "--quiet").out for command in ("evaluate", "evaluate", "optimize", "optimize")
        ]
    again = ["answers came from the cache; another `revision` in" in " ".join(text.split()) for text in told]
    assert again == [False, True, False, True]


@pytest.mark.parametrize(("hard", "calls"), [("700", 400), ("164", 100)])
def test_a_clients_calls_fit_the_files_too(hard: str, calls: int) -> None:
    """The limit is raised first, and what does not fit even so is lowered."""
    script = (
        "from metaspo import Client, Lane, LaneSettings; from metaspo.backends import Simulated;"
        "lane = Lane('m', [Simulated(lambda request: '')], LaneSettings(concurrency=400));"
        "Client([lane]).close(); print(lane.settings.concurrency)"
    )
    done = subprocess.run(
        ["bash", "-c", f'ulimit -S -n 128; ulimit -H -n {hard}; "{sys.executable}" -c "{script}"'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{calls}\n"
    assert ("at most 100 calls go out together" in done.stderr) == (calls < 400)
