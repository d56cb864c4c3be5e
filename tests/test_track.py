"""A run in the tools that people watch: told once, going on after an interrupt, never in the run's way."""

import signal
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import indent
from threading import Event as ThreadEvent

import pytest
from chat_server import ChatServer
from command_line import LIMIT, apart, end, here, run_into, write_project
from tensorboardX.proto.event_pb2 import Event
from world import World

from metaspo.engine import ConfigError
from metaspo.engine.config import checks
from metaspo.engine.config.load import load_config
from metaspo.engine.journal.history import Point
from metaspo.engine.journal.journal import StoredJournal
from metaspo.engine.journal.view import RunView
from metaspo.engine.runs.directory import RunDirectory, find_runs
from metaspo.engine.runs.files import read_result
from metaspo.engine.runs.prepare import prepare
from metaspo.engine.track.follow import Following
from metaspo.engine.track.tensorboard import TensorBoard
from metaspo.engine.track.tracker import Ending, Result, TrackedRun, Version

WORLD = World(3)
DIGITS = 6  # that TensorBoard's floats have


def tracked_project(folder: Path, url: str, *, track: str) -> Path:
    path = write_project(folder, url)
    path.write_text(f"{path.read_text()}\n[track]\n{track}\n")
    return path


def written(folder: Path) -> Iterator[Event]:
    """What TensorBoard reads: records of a length, its checksum, the event, its checksum."""
    for file in sorted(folder.rglob("events.out.tfevents.*")):
        data = file.read_bytes()
        while data:
            (size,) = struct.unpack("<Q", data[:8])
            yield Event.FromString(data[12 : 12 + size])
            data = data[16 + size :]


def scalars(folder: Path, name: str) -> list[tuple[int, float]]:
    return [
        (event.step, round(value.simple_value, DIGITS))
        for event in written(folder)
        for value in event.summary.value
        if value.tag == name
    ]


def texts(folder: Path, name: str) -> list[str]:
    return [
        value.tensor.string_val[0].decode()
        for event in written(folder)
        for value in event.summary.value
        if value.tag.startswith(name)
    ]


def points_of(run: RunDirectory) -> list[tuple[int, float]]:
    view = RunView.of(StoredJournal(run.journal))
    return [(point.calls, round(point.score, DIGITS)) for point in view.history.points({})]


@pytest.mark.slow
def test_tensorboard_has_every_point_and_prompt_once_however_often_the_run_is_broken_off_and_repeated(
    tmp_path: Path,
) -> None:
    with ChatServer(WORLD.answer) as server:
        tracked_project(tmp_path, server.url, track='tensorboard = "tb"')
        running = run_into(tmp_path, server, calls=40)
        running.send_signal(signal.SIGINT)
        server.release()
        assert end(running).code == 130
        for _ in range(2):
            assert apart("optimize", "run.toml", folder=tmp_path).code == 0
    (run,) = find_runs(tmp_path / ".metaspo" / "runs")
    folder = tmp_path / "tb" / run.name
    assert scalars(folder, "train_score") == points_of(run)
    steps = [step for step, _ in scalars(folder, "train_score")]
    assert len(set(steps)) == len(steps), "each point stands where the run was then"
    prompts = texts(folder, "prompt/system")
    assert len(prompts) == len(set(prompts))
    assert prompts[-1] == indent(read_result(run)["system_prompt"], "    "), "Markdown's way to leave it as it stands"
    assert texts(folder, "config")[0].count("outer.candidates = 3") == 1
    ((_, after),) = scalars(folder, "test/a/after")
    assert 0 < after <= 1
    assert len(list(folder.glob("events.out.tfevents.*"))) == 2, "one of each session that had something to tell"


def test_sessions_that_begin_in_one_second_write_files_of_their_own(tmp_path: Path) -> None:
    run = TrackedRun(name="r", config={}, folder=tmp_path)
    for session in range(4):
        tracker = TensorBoard(tmp_path)
        tracker.begin(run, run_id="r" if session else "")
        tracker.end("finished", Result(scores={"test/a": session}), calls=session)
    assert [step for step, _ in scalars(tmp_path, "test/a")] == [0, 1, 2, 3]


@pytest.mark.slow
def test_a_tracker_that_cannot_write_is_said_once_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "tb").write_text("a file, and no folder")
    with ChatServer(WORLD.answer) as server:
        tracked_project(tmp_path, server.url, track='tensorboard = "tb"')
        ended = apart("optimize", "run.toml", folder=tmp_path)
    assert ended.code == 0
    assert ended.err.count("TensorBoard") == 1


def test_what_a_tracker_needs_is_said_before_anything_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with ChatServer(WORLD.answer) as server:
        tracked_project(tmp_path, server.url, track='tensorboard = "tb"')
        ended = here("optimize", "run.toml", "--set", 'runs=""')
        assert ended.code == 2
        assert "[track]" in ended.errors[0]
    assert not server.calls


@pytest.mark.parametrize(
    "place", ["//me:secret-word@host", "//secret-word@host", "//me:a/secret-word@h", "//h?key=secret-word"]
)
def test_a_password_stays_out_of_the_config(tmp_path: Path, place: str) -> None:
    path = tracked_project(tmp_path, "http://127.0.0.1:9/v1", track=f'mlflow = "https:{place}"')
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_PASSWORD") as told:
        load_config(path)
    assert "secret-word" not in str(told.value)


def test_where_a_run_is_shown_is_no_part_of_what_it_is(tmp_path: Path) -> None:
    path = write_project(tmp_path, "http://127.0.0.1:9/v1")
    alone = prepare(path).directory
    shown = prepare(path, overrides={"track.mlflow": "http://127.0.0.1:5000", "telemetry.otel": True}).directory
    assert alone is not None
    assert shown is not None
    assert alone.path.name == shown.path.name


@pytest.mark.parametrize(
    ("key", "value"), [("track.mlflow", "sqlite:///m.db"), ("track.tensorboard", "tb"), ("telemetry.otel", True)]
)
def test_a_package_that_is_missing_is_said_before_the_run_with_the_extra_that_brings_it(
    key: str, value: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "find_spec", lambda _: None)
    path = write_project(tmp_path, "http://127.0.0.1:9/v1")
    setting = f"{key}={str(value).lower()}" if value is True else f'{key}="{value}"'
    for command in ("check", "plan"):
        ended = here(command, str(path), "--set", setting)
        assert ended.code == 2
        assert any(f"{key}: needs the package" in error and "pip install" in error for error in ended.errors)


class Moody:
    """Fails as often as it is told to, and keeps what it takes."""

    name = "Moody"
    place = "here"

    def __init__(self, failures: Sequence[str]) -> None:
        self._failures = list(failures)
        self.run_ids: list[str] = []
        self.points: list[Point] = []
        self.versions: list[Version] = []
        self.ends: list[tuple[Ending, Result]] = []

    def begin(self, run: TrackedRun, *, run_id: str) -> str:
        self._fail("begin")
        self.run_ids.append(run_id)
        return "the-run"

    def add(self, points: Sequence[Point], versions: Sequence[Version]) -> None:
        self._fail("add")
        self.points += points
        self.versions += versions

    def end(self, how: Ending, result: Result, *, calls: int) -> None:
        self._fail("end")
        self.ends.append((how, result))

    def _fail(self, step: str) -> None:
        if step in self._failures:
            self._failures.remove(step)
            raise OSError(f"no {step}")


def follow(run: RunDirectory, tracker: Moody, *, how: Ending) -> list[str]:
    """One session of a tracker over a journal that is there; returns what was said."""
    said: list[str] = []
    done = ThreadEvent()
    about = TrackedRun(name=run.name, config={}, folder=run.path)
    following = Following(tracker, run, about, weights={}, say=said.append, done=done.set)
    following.end(how)
    following.start()
    assert done.wait(LIMIT)
    return said


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    folder = tmp_path_factory.mktemp("finished")
    with ChatServer(WORLD.answer) as server:
        write_project(folder, server.url)
        assert apart("optimize", "run.toml", folder=folder).code == 0
    (run,) = find_runs(folder / ".metaspo" / "runs")
    return run


def forget(run: RunDirectory) -> None:
    for file in run.path.glob("track/*"):
        file.unlink()


@pytest.mark.parametrize("step", ["begin", "add", "end"])
def test_what_a_tracker_did_not_take_it_is_told_by_the_next_session_and_nothing_twice(
    step: str, finished: RunDirectory
) -> None:
    forget(finished)
    tracker = Moody([step])
    assert len(follow(finished, tracker, how="finished")) == 1
    assert not tracker.ends
    assert follow(finished, tracker, how="finished") == []
    assert follow(finished, tracker, how="finished") == []
    assert [(point.calls, round(point.score, DIGITS)) for point in tracker.points] == points_of(finished)
    assert len(tracker.versions) == len({(version.task, version.number) for version in tracker.versions})
    best = {version.task: version.text for version in tracker.versions}
    result = read_result(finished)
    assert best[""] == result["system_prompt"]
    assert {task: prompts[0] for task, prompts in result["user_prompts"].items()} == {
        task: text for task, text in best.items() if task
    }
    ((how, result_told),) = tracker.ends
    assert how == "finished"
    assert {name for name in result_told.scores if name.startswith("test/a/")} == {"test/a/before", "test/a/after"}
    assert len(result_told.prompts) == 3
    assert tracker.run_ids == ([""] if step == "begin" else ["", "the-run"]), "what has nothing to tell begins nothing"


def test_a_run_that_did_not_finish_ends_as_what_it_was(finished: RunDirectory) -> None:
    forget(finished)
    tracker = Moody([])
    follow(finished, tracker, how="stopped")
    assert tracker.ends == [("stopped", Result())]
    follow(finished, tracker, how="finished")
    assert [how for how, _ in tracker.ends] == ["stopped", "finished"]
    follow(finished, tracker, how="stopped")
    assert len(tracker.ends) == 2, "a finished run stays finished, whatever becomes of a rerun"
