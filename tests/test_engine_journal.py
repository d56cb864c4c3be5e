"""The journal: whole lines survive a kill, a resumed run repeats its selections, a contradiction is noticed."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaspo.engine.journal.events import Kept, LaneEvent, Score, Select, Start
from metaspo.engine.journal.journal import FileJournal, MemoryJournal, StoredJournal, read_journal, selections

KEPT = {"kept": [{"user": "Q: {question}", "score": 0.5}]}


async def test_events_are_read_back_in_order_with_their_place(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path / "j")
    written = [Start(seed=1), Score(address="init/task=ä", score=0.25)]
    for event in written:
        journal.write(event)
    journal.close()
    events = read_journal(tmp_path / "j")
    assert events == written
    assert all(event.t >= 0 for event in events)


async def test_a_line_is_on_file_before_write_returns(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path / "j")
    journal.write(Start())
    assert len(read_journal(tmp_path / "j")) == 1
    journal.close()
    journal.close()


async def test_a_half_line_is_passed_over_and_harms_no_other(tmp_path: Path) -> None:
    path = tmp_path / "j"
    for number in range(3):
        journal = FileJournal(path)
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


async def test_a_journal_can_be_written_from_a_callback_of_the_event_loop(tmp_path: Path) -> None:
    """Lanes tell what they do in callbacks, where there is no task."""
    import asyncio

    journal = FileJournal(tmp_path / "j")
    asyncio.get_running_loop().call_soon(journal.write, LaneEvent(what="EndpointUp", details={}))
    await asyncio.sleep(0.01)
    journal.close()
    assert [event.event for event in read_journal(tmp_path / "j")] == ["lane"]


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


def test_a_stored_journal_can_be_gone_through_again_and_passes_over_a_line_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"event":"start","address":""}\n{"event":"sp\n{"event":"finish","address":""}\n{"event":')
    events = StoredJournal(path)
    assert [event.event for event in events] == ["start", "finish"]
    assert list(events) == list(events) == read_journal(path)
