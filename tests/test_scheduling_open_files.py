"""As many calls at once as the process may have files open."""

import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from metaspo.backends import Simulated
from metaspo.scheduling import Lane, LaneSettings
from metaspo.scheduling.file_limit import MAX_ASKED, limit, raise_limit
from metaspo.scheduling.open_files import OURS, fit_lanes, make_room

NO_LIMIT = -1  # as Linux has it


@given(
    st.lists(st.tuples(st.one_of(st.just("auto"), st.integers(1, 3_000)), st.integers(1, 5)), min_size=1, max_size=3),
    st.one_of(st.none(), st.integers(1, 5_000), st.integers(OURS, OURS + 20)),
    st.integers(1, 2),
)
@example([("auto", 1), (1, 1), (1, 1)], 1, 1)
def test_calls_fit_the_files_that_may_be_open(lanes: list[tuple[object, int]], files: int | None, each: int) -> None:
    """All lanes together, but for one call each; lanes that fit stay as they are, and it is said when they do not."""
    made = [
        Lane(str(n), [Simulated(lambda request: "")] * endpoints, LaneSettings(concurrency=concurrency))  # type: ignore[arg-type]
        for n, (concurrency, endpoints) in enumerate(lanes)
    ]

    def calls(lane: Lane) -> int:
        settings = lane.settings
        most = settings.max_concurrency * len(lane.backends)
        return most if settings.concurrency == "auto" else settings.concurrency

    wanted, told = sum(map(calls, made)), list[str]()
    before = [lane.settings for lane in made]
    fit_lanes(made, files, warn=told.append, files_a_call=each)
    least = sum(
        len(lane.backends) if concurrency == "auto" else 1 for lane, (concurrency, _) in zip(made, lanes, strict=True)
    )
    fits = files is None or wanted <= max((files - OURS) // each, least)
    assert fits == (not told)
    if fits:
        assert [lane.settings for lane in made] == before
    else:
        assert files is not None
        assert sum(map(calls, made)) <= max((files - OURS) // each, least)
        assert f"ulimit -n {wanted * each + OURS}" in told[0]


def test_the_limit_of_the_shell_is_raised_to_that_of_the_system() -> None:
    script = "from metaspo.scheduling.file_limit import limit, raise_limit; raise_limit(); print(limit())"
    done = subprocess.run(
        ["bash", "-c", f'ulimit -S -n 128; ulimit -H -n 700; "{sys.executable}" -c "{script}"'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "700\n"


@pytest.mark.parametrize("refusal", [ValueError("not allowed to raise maximum limit"), PermissionError(1, "no")])
def test_a_system_that_lets_nobody_raise_the_limit_is_lived_with(
    refusal: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource = pytest.importorskip("resource")

    def refuse(*_: object) -> None:
        raise refusal

    monkeypatch.setattr(resource, "getrlimit", lambda _: (128, 700))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    lane, told = Lane("m", [Simulated(lambda _: "")], LaneSettings(concurrency=100)), list[str]()
    make_room([lane], warn=told.append)
    assert lane.settings.concurrency == 128 - OURS
    assert len(told) == 1


def test_a_lane_that_finds_its_own_number_may_come_to_the_most_on_each_of_its_servers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (128, 128))
    servers, told = [Simulated(lambda _: ""), Simulated(lambda _: "")], list[str]()
    make_room([Lane("m", servers, LaneSettings(concurrency="auto", max_concurrency=100))], warn=told.append)
    assert "allows for 200:" in told[0]


@pytest.mark.parametrize(
    ("soft", "hard", "asked"),
    [
        (128, 700, 700),
        (700, 700, None),
        (128, MAX_ASKED + 1, MAX_ASKED),
        (MAX_ASKED + 1, MAX_ASKED + 2, None),
        (128, NO_LIMIT, MAX_ASKED),
        (NO_LIMIT, NO_LIMIT, None),
    ],
)
def test_the_limit_is_raised_as_far_as_the_system_lets_it_and_some_number_where_it_knows_none(
    soft: int, hard: int, asked: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And never lowered; the system's own limit stays as it is."""
    resource = pytest.importorskip("resource")
    given = [(soft, hard)]
    monkeypatch.setattr(resource, "RLIM_INFINITY", NO_LIMIT)
    monkeypatch.setattr(resource, "getrlimit", lambda _: given[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: given.append(limits))
    raise_limit()
    assert given[1:] == ([] if asked is None else [(asked, hard)])
    assert limit() == (None if given[-1][0] == NO_LIMIT else given[-1][0])


@pytest.mark.parametrize(
    ("files", "left"), [(None, None), (OURS + 30, 10), (OURS + 21, 1), (OURS + 20, 1), (OURS + 10, 1)]
)
def test_what_the_lanes_leave_is_for_who_asks_one_file_at_least(
    files: int | None, left: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "RLIM_INFINITY", NO_LIMIT)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (NO_LIMIT if files is None else files,) * 2)
    lanes = [Lane(name, [Simulated(lambda _: "")], LaneSettings(concurrency=10)) for name in ("a", "b")]
    assert make_room(lanes, warn=lambda _: None) == left
