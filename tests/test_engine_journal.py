"""The journal: whole lines survive a kill, a resumed run repeats its selections, a contradiction is noticed."""

import asyncio
import resource
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from itertools import product
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import orjson
import pytest
from engine_sessions import Runs
from hypothesis import given
from hypothesis import strategies as st
from world import World, make_config, make_task

from metaspo.backends import Message
from metaspo.engine import RunResult
from metaspo.engine.journal.events import (
    KINDS,
    Barrier,
    Candidate,
    Event,
    Finish,
    Gap,
    Kept,
    LaneEvent,
    OptimizerAnswered,
    Proposal,
    Score,
    Select,
    Spent,
    Start,
    event_of,
)
from metaspo.engine.journal.fitting import fits
from metaspo.engine.journal.journal import FileJournal, MemoryJournal, StoredJournal, event_in, read_journal, selections
from metaspo.engine.journal.view import AllSessions, RunView, WatchedJournal
from metaspo.engine.journal.warn import log_warning
from metaspo.engine.optimize.bilevel import run
from metaspo.engine.runtime.context import RunContext
from metaspo.engine.strategies import OuterContext
from metaspo.engine.strategies.proposers import OneByOne, outer_context
from metaspo.scheduling import Cost, RunStopped

STORED = Path(__file__).parent / "two_sessions.jsonl"  # of a run, the second one killed
KEPT = {"kept": [{"user": "Q: {question}", "score": 0.5}]}


async def test_events_are_read_back_in_order_with_their_place(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path / "j", clock=asyncio.get_running_loop().time)
    written = [Start(seed=1), Score(address="init/task=ä", score=0.25)]
    for event in written:
        journal.write(event)
    journal.close()
    events = read_journal(tmp_path / "j")
    assert events == written
    assert all(event.t >= 0 for event in events)


class Inner(NamedTuple):
    name: str
    number: int | None


@dataclass
class Outer:
    inner: Inner | None
    share: float
    level: Literal["high", "low"]
    rows: tuple[Inner, ...] = ()


FITTING = Outer(inner=Inner("a", 1), share=0.5, level="low", rows=(Inner("b", None),))


def test_a_record_fits_whose_fields_are_what_it_says_however_deep() -> None:
    """A whole number is a number; what is no record has no fields."""
    assert all(map(fits, [FITTING, replace(FITTING, inner=None, share=1), FITTING.inner, 7, Outer, [Inner("a", 1)]]))


@pytest.mark.parametrize(
    "change",
    [
        {"share": "0.5"},
        {"share": None},
        {"level": 3},
        {"inner": 7},
        {"inner": Inner(7, 1)},  # type: ignore[arg-type]
        {"inner": Inner("a", 1.5)},  # type: ignore[arg-type]
        {"rows": None},
        {"rows": (Inner("a", 1), Inner("a", "1"))},  # type: ignore[arg-type]
    ],
)
def test_a_record_of_which_one_value_is_of_another_type_does_not_fit(change: dict[str, Any]) -> None:
    assert not fits(replace(FITTING, **change))


async def test_a_line_is_on_file_before_write_returns(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path / "j", clock=asyncio.get_running_loop().time)
    journal.write(Start())
    assert len(read_journal(tmp_path / "j")) == 1
    journal.close()
    journal.close()


async def test_a_half_line_is_passed_over_and_harms_no_other(tmp_path: Path) -> None:
    path = tmp_path / "j"
    for number in range(3):
        journal = FileJournal(path, clock=asyncio.get_running_loop().time)
        journal.write(Score(address=str(number), task="a longer line, to be cut", score=None))
        journal.close()
        whole = path.read_bytes()
        path.write_bytes(whole + whole.splitlines()[0][: 5 + 10 * number])
    assert [event.address for event in read_journal(path)] == ["0", "1", "2"]


@given(cut=st.integers(0, 400))
def test_a_journal_cut_anywhere_reads_as_its_whole_lines(cut: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    lines = [b'{"event":"select","address":"a%d","kept":[]}\n' % n for n in range(8)]
    path = tmp_path_factory.mktemp("cut") / "j"
    content = b"".join(lines)[:cut]
    path.write_bytes(content)
    whole = content.count(b"\n") + (content != b"" and content.endswith(b"}"))
    assert len(read_journal(path)) == whole


SPENT = Spent(calls=3, of_budget=Cost(4, 5, 0.5))
LINE = orjson.dumps({**SPENT.line(), "text": 'ä "\n{}', "t": 1.5}, default=Cost._asdict)


def test_a_line_cut_off_anywhere_is_no_damage(tmp_path: Path) -> None:
    """Whether another session's line came after it or not."""
    path = tmp_path / "j"
    for cut, after in product(range(len(LINE)), (b"", b"\n" + LINE + b"\n", b"\n")):
        path.write_bytes(LINE + b"\n" + LINE[:cut] + after)
        assert list(StoredJournal(path)) == [SPENT] * (1 + (len(after) > 1)), LINE[:cut]


@pytest.mark.parametrize(
    "line",
    [
        b"\0" * 40,  # as after a power failure
        b"x" + LINE,
        LINE[:30] + LINE,  # without the line's end
        LINE + LINE,
        LINE[30:],
        LINE[:20] + bytes(8) + LINE[28:],
        LINE[:20] + b"\xff\xfe" + LINE[22:],
        LINE.replace(b"3", b'"3"'),
        b'{"event":"start","seed":"x"}',
        b"17",
    ],
)
def test_a_line_that_no_kill_leaves_so_is_damaged(line: bytes, tmp_path: Path) -> None:
    path = tmp_path / "j"
    path.write_bytes(LINE + b"\n" + line + b"\n" + LINE + b"\n")
    assert list(StoredJournal(path)) == [SPENT, Gap(), SPENT]


@pytest.mark.parametrize("event", [SPENT, Start(seed=1, name="run"), Gap()])
def test_no_flipped_bit_changes_what_was_spent_without_a_word(event: Event, tmp_path: Path) -> None:
    """Nor how many sessions there were; lines of earlier versions, without a checksum, are read."""
    journal = FileJournal(tmp_path / "j", clock=lambda: 0.0)
    journal.write(event)
    journal.close()
    line = (tmp_path / "j").read_bytes()
    assert event_in(line) == event_in(line[: line.rfind(b',"crc32":')] + b"}\n") == event
    for bit in range(8 * (len(line) - 1)):
        damaged = bytearray(line)
        damaged[bit // 8] ^= 1 << bit % 8
        (tmp_path / "j").write_bytes(damaged)
        read = read_journal(tmp_path / "j")
        assert read == [event] or Gap() in read, damaged


async def test_a_line_that_the_disk_had_room_for_a_part_of_stops_the_run_and_harms_no_other(tmp_path: Path) -> None:
    path = tmp_path / "j"
    journal = FileJournal(path, clock=asyncio.get_running_loop().time)
    journal.write(Finish(score=1.0))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, hard))
    try:
        with pytest.raises(RunStopped, match="cannot be written"):
            journal.write(Finish(score=2.0))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    journal.write(Finish(score=3.0))
    journal.close()
    assert read_journal(path) == [Finish(score=1.0), Finish(score=3.0)]


async def test_a_journal_can_be_written_from_a_callback_of_the_event_loop(tmp_path: Path) -> None:
    """Lanes tell what they do in callbacks, where there is no task."""
    import asyncio

    journal = FileJournal(tmp_path / "j", clock=asyncio.get_running_loop().time)
    asyncio.get_running_loop().call_soon(journal.write, LaneEvent(what="EndpointUp", details={}))
    await asyncio.sleep(0.01)
    journal.close()
    assert [event.event for event in read_journal(tmp_path / "j")] == ["lane"]


def test_a_prompt_is_told_at_its_own_level() -> None:
    """And the other level's is left open."""
    assert Proposal.of("Say {question}", level="user", address="a") == Proposal(address="a", user="Say {question}")
    assert Proposal.of("Be brief.", level="system", address="a") == Proposal(address="a", system="Be brief.")


def test_selections_are_the_select_lines_without_their_times() -> None:
    journal = MemoryJournal()
    journal.write(Start(seed=1))
    for t in (3.2, 9.9):
        journal.write(Select(address="iter=1/inner/task=a", kept=[Kept("Q: {question}", 0.5)], t=t))
    assert selections(journal.events) == {"iter=1/inner/task=a": {"address": "iter=1/inner/task=a", **KEPT}}


def test_two_different_selections_at_one_address_are_an_error() -> None:
    journal = MemoryJournal()
    journal.write(Select(address="iter=1/outer", chosen=1))
    journal.write(Select(address="iter=1/outer", chosen=2))
    with pytest.raises(ValueError, match="iter=1/outer"):
        selections(journal.events)


def test_lost_proposals_are_warned_of_once_as_a_loop_ends() -> None:
    """Not before there is a barrier, and not again at the next one."""
    warned: list[str] = []
    journal = WatchedJournal(MemoryJournal(), warned.append)
    for number in range(1, 5):
        journal.write(Proposal(address=f"iter=1/outer/cand={number}", none="no tags", unusable=True))
    assert warned == []
    for iteration in (1, 2):
        journal.write(Barrier(address=f"iter={iteration}/outer"))
    assert len(warned) == 1
    assert warned[0].startswith("so far none of the 4 proposals could be used")


def test_where_no_journal_was_written_there_are_no_events(tmp_path: Path) -> None:
    """A directory whose run never began is looked at like any other."""
    assert list(StoredJournal(tmp_path / "journal.jsonl")) == []


def test_a_stored_journal_can_be_gone_through_again_and_passes_over_a_line_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"event":"start","address":""}\n{"event":"sp\n{"event":"finish","address":""}\n{"event":')
    events = StoredJournal(path)
    assert [event.event for event in events] == ["start", "finish"]
    assert list(events) == list(events) == read_journal(path)


FLOATS = st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(max_size=5)
FIELDS = {
    str: TEXTS,
    int: st.integers(-(2**53), 2**53),
    float: FLOATS,
    bool: st.booleans(),
    Cost: st.builds(Cost, calls=st.integers(0, 9), tokens=st.integers(0, 9), dollars=FLOATS),
    Kept: st.builds(Kept, user=TEXTS, score=st.none() | FLOATS),
}


def values(kind: object) -> st.SearchStrategy[Any]:
    """Of a field of this type."""
    if isinstance(kind, type) and kind in FIELDS:
        return FIELDS[kind]
    if get_origin(kind) is UnionType:
        return st.one_of(*(st.none() if one is NoneType else values(one) for one in get_args(kind)))
    if get_origin(kind) is Mapping:
        return st.dictionaries(st.sampled_from(["lane", "wait", "reason"]), TEXTS | FLOATS)
    return st.lists(values(get_args(kind)[0]), max_size=3)


def events_of(kind: type[Event]) -> st.SearchStrategy[Event]:
    hints = get_type_hints(kind)
    return st.builds(kind, **{field.name: values(hints[field.name]) for field in fields(kind)})


@given(st.sampled_from(sorted(KINDS)).flatmap(lambda name: events_of(KINDS[name])))
def test_every_event_is_read_back_as_it_was_written(event: Event) -> None:
    line = orjson.loads(orjson.dumps({**event.line(), "t": event.t}, default=Cost._asdict))
    assert event_of(line) == event
    assert event_of({**line, "added": "in a later version"}) == event or isinstance(event, LaneEvent)


@pytest.mark.parametrize("line", [7, None, [], {}, {"event": 3}, {"event": "score"}, {"event": "select", "kept": [1]}])
def test_a_line_that_tells_no_event_is_passed_over(line: object) -> None:
    assert event_of(line) is None


def test_what_only_a_newer_version_knows_of_a_cost_is_passed_over() -> None:
    line = {"event": "spent", "calls": 3, "of_budget": {"calls": 4, "joules": 5.0}}
    assert event_of(line) == Spent(calls=3, of_budget=Cost(calls=4))
    assert event_of({**line, "of_budget": []}) is None, "damaged, not nothing spent"


def test_a_line_of_a_kind_that_only_a_newer_version_knows_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "j"
    path.write_bytes(b'{"event":"start","address":"","version":9}\n{"event":"dreamt","address":"iter=1/outer"}\n')
    assert [event.event for event in read_journal(path)] == ["start"]


def test_a_stored_journal_tells_what_it_always_told() -> None:
    view = RunView.of(StoredJournal(STORED), texts=True)
    assert view.stage(iterations=1, sources=1) == "iteration 1 of 1: inner loop"
    assert view.all_sessions == AllSessions(
        sessions=2, calls=29, prompt_tokens=3204, completion_tokens=127, dollars=0.0, seconds=0.533
    )
    assert view.spent.of_budget == Cost(calls=29, tokens=3331, dollars=0.0)
    assert (view.proposals.made, view.seconds, view.start.wall) == (1, 0.002, 1764000060.0)
    assert "about 22.7 points are the luck" in view.optimism
    assert [(p.address, p.score, p.calls, p.seconds) for p in view.history.points({})] == [
        ("init", 1 / 3, 0, 0.003),
        ("iter=1/inner", 2 / 3, 14, 0.045),
        ("iter=1/outer", 1.0, 25, 0.069),
    ]
    assert [(p.address, p.parent, p.score, p.outcome) for p in view.history.proposals({"": "S", "a": "U"})] == [
        ("iter=1/inner/task=a/cand=2", "U", None, "generate: malformed 4 times"),
        ("iter=1/inner/task=a/cand=1", "U", 2 / 3, "kept"),
        ("iter=1/outer/cand=2", "S", None, "dropped"),
        ("iter=1/outer/cand=1", "S", 1.0, "kept"),
    ]
    assert [*selections(StoredJournal(STORED))] == ["iter=1/inner/task=a", "iter=1/outer"]
    steps = [event.step for event in StoredJournal(STORED) if isinstance(event, OptimizerAnswered)]
    assert steps[:2] == ["analyze", "generate"]


class Names:
    """A strategy whose steps are called as the journal's events are."""

    name = "names"
    calls_optimizer = len(KINDS)

    def describe(self) -> str:
        return "names"

    async def propose(self, context: OuterContext, /) -> str:
        for step in KINDS:
            await context.ask(step, [Message("user", f"{context.address}: {step}")], lambda text: text)
        return f"Be {context.candidate}."


def test_a_strategy_may_name_its_steps_as_the_events_are_named(tmp_path: Path) -> None:
    runs = Runs(make_config(), [make_task("a"), make_task("b")], World(3), timing=1, width=4)

    async def with_names(context: RunContext) -> RunResult:
        return await run(replace(context, outer=OneByOne(Names(), outer_context)))

    assert runs.do(with_names) is not None
    steps = [event for event in runs.journal.events if isinstance(event, OptimizerAnswered)]
    assert {event.step for event in steps} >= set(KINDS)
    others = [event for event in runs.journal.events if event not in steps]
    view, without = RunView.of(runs.journal.events, texts=True), RunView.of(others, texts=True)
    assert view.sessions == 1
    assert view.session == without.session
    assert view.session.calls > 0
    assert selections(runs.journal.events) == selections(others)
    told = [replace(proposed, steps=()) for proposed in view.history.proposals({})]
    assert told == list(without.history.proposals({}))


def test_a_line_whose_kind_is_no_word_is_passed_over() -> None:
    assert event_of({"event": ["start"], "address": ""}) is None


async def test_half_a_character_in_somebodys_words_is_no_fault_of_the_journal(tmp_path: Path) -> None:
    """As a strategy or a metric of a user's own may return it."""
    journal = FileJournal(tmp_path / "journal.jsonl", clock=asyncio.get_running_loop().time)
    journal.write(Proposal(address="iter=1/outer/cand=1", system="half \ud83d of it"))
    journal.close()
    (event,) = read_journal(tmp_path / "journal.jsonl")
    assert isinstance(event, Proposal)
    assert event.system == "half \ufffd of it"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
async def test_a_journal_that_cannot_be_written_stops_the_run(tmp_path: Path) -> None:
    full = tmp_path / "journal.jsonl"
    full.symlink_to("/dev/full")
    journal = FileJournal(full, clock=asyncio.get_running_loop().time)
    with pytest.raises(RunStopped, match=r"journal\.jsonl cannot be written: No space left"):
        journal.write(Start(name="run", seed=1))
    journal.close()
    with pytest.raises(RunStopped, match="Is a directory"):
        FileJournal(tmp_path, clock=asyncio.get_running_loop().time)


def test_sessions_that_graded_otherwise_are_no_part_of_the_history() -> None:
    """A metric was mended between two sessions: what the last one selected stands alone, and what all spent is kept."""

    def session(first: float, score: float, prompt: str) -> list[Event]:
        return [
            Start(name="run", seed=1),
            Score(address="init/task=a", task="a", score=first),
            Spent(calls=5),
            Proposal(address="iter=1/outer/cand=1", system=prompt),
            Candidate(address="iter=1/outer/cand=1", score=score),
            Select(address="iter=1/outer", system=prompt, chosen=1, score=score),
        ]

    before, after = session(0.5, 0.9, "old"), session(0.25, 0.75, "new")
    alone, both = RunView.of(after, texts=True), RunView.of([*before, *after], texts=True)
    assert [point.score for point in both.history.points({})] == [point.score for point in alone.history.points({})]
    assert both.history.proposals({}) == alone.history.proposals({})
    assert both.history.best_prompts == {"": "new"}
    assert both.spent.calls == 10
    again = RunView.of([*before, *before], texts=True)
    assert again.history.points({}) == RunView.of(before).history.points({})


def test_a_session_says_when_it_began_to_the_millisecond(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1_800_000_000.12345)
    assert Start.now(name="run", seed=7).wall == 1_800_000_000.123


def test_a_warning_that_nobody_takes_is_one_of_the_logger_metaspo(caplog: pytest.LogCaptureFixture) -> None:
    log_warning("so it is")
    assert [(each.name, each.levelname, each.getMessage()) for each in caplog.records] == [
        ("metaspo", "WARNING", "so it is")
    ]


def test_a_journal_that_was_closed_has_let_go_of_its_file(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path / "journal.jsonl", clock=lambda: 0.0)
    journal.close()
    journal.close()
    with pytest.raises(ValueError, match="closed"):
        journal.write(Finish(address=""))
