"""`metaspo cache` from the command line: what it tells, what it changes, and its exit status."""

import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import anyio
import pytest
from command_line import Ended, here, write_project

from metaspo.backends import Message, Request, Sampling
from metaspo.cache import DiskStore, Entry, request_key
from metaspo.cache.testing import make_entry, make_key

CACHE = Path(".metaspo/cache")
DAY = 86_400.0
NOW = time.time()
ENTRIES: dict[str, Entry] = {
    make_key("a"): make_entry("one", model="gpt-4o-mini", run="first", created=NOW - 40 * DAY),
    make_key("b"): make_entry("two", model="gpt-4o-mini", run="second", created=NOW - 20 * DAY),
    make_key("c"): make_entry("three", model="free", run="second", created=NOW),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a cache in its usual place that holds `ENTRIES`."""

    async def keep() -> None:
        async with DiskStore(tmp_path / CACHE) as store:
            for key, entry in ENTRIES.items():
                await store.put(key, entry)

    monkeypatch.chdir(tmp_path)
    anyio.run(keep)
    return tmp_path


def kept(folder: Path) -> set[str]:
    """The texts in a cache, of those in `ENTRIES`."""

    async def read() -> set[str]:
        async with DiskStore(folder) as store:
            return {entry.completion.text for entry in (await store.get_many(list(ENTRIES))).values()}

    return anyio.run(read)


def spoil(key: str) -> None:
    """Change a byte of an entry."""
    with closing(sqlite3.connect(CACHE / "cache.db", isolation_level=None)) as connection:
        connection.execute("UPDATE Cache SET value = CAST(value || x'20' AS BLOB) WHERE key = ?", [key])


def refused(ended: Ended, *, code: int, saying: str) -> None:
    """One sentence, on standard error only."""
    assert ended.code == code
    assert ended.out == ""
    assert len(ended.errors) == 1
    assert saying in ended.errors[0]


def test_info_counts_entries_tokens_and_what_they_are_worth(folder: Path) -> None:
    told = here("cache", "info", "--json")
    assert told.code == 0
    assert (told.data["entries"], told.data["bad"]) == (3, 0)
    groups = {(group["model"], group["run"]): group for group in told.data["groups"]}
    assert groups.keys() == {("gpt-4o-mini", "first"), ("gpt-4o-mini", "second"), ("free", "second")}
    # 120 prompt tokens of which 64 were cached, 7 of the answer, at gpt-4o-mini's prices.
    worth = (56 * 0.15 + 64 * 0.075 + 7 * 0.60) / 1e6
    assert groups["gpt-4o-mini", "first"]["dollars"] == pytest.approx(worth)
    assert groups["free", "second"]["dollars"] is None
    shown = here("cache", "info")
    assert shown.code == 0
    assert "3 entries" in shown.out
    assert shown.err == ""


def test_a_sound_cache_passes_and_a_damaged_one_does_not(folder: Path) -> None:
    sound = here("cache", "verify")
    assert (sound.code, sound.err) == (0, "")
    assert "3 entries are sound" in sound.out
    spoil(make_key("b"))
    damaged = here("cache", "verify")
    assert damaged.code == 1
    assert "2 entries are sound" in damaged.out
    (finding,) = damaged.errors
    assert make_key("b")[:16] in finding
    assert "checksum" in finding
    assert here("cache", "info", "--json").data["bad"] == 1


def test_verify_tells_programs_what_is_wrong(folder: Path) -> None:
    assert here("cache", "verify", "--json").data == {"entries": 3, "bad": [], "damage": [], "sound": True}
    spoil(make_key("b"))
    damaged = here("cache", "verify", "--json")
    assert damaged.code == 1
    (bad,) = damaged.data["bad"]
    assert (bad["key"], damaged.data["entries"], damaged.data["sound"]) == (make_key("b"), 2, False)


def test_bad_rows_are_removed_and_nothing_else(folder: Path) -> None:
    spoil(make_key("b"))
    assert "Removed 1 entry" in here("cache", "prune", "--bad", "--yes").out
    assert kept(CACHE) == {"one", "three"}
    assert here("cache", "verify").code == 0


@pytest.mark.parametrize(
    ("options", "left"),
    [
        (["--model", "gpt-4o-mini"], {"three"}),
        (["--run", "second"], {"one"}),
        (["--older-than", "30d"], {"two", "three"}),
        (["--older-than", "12h"], {"three"}),
        (["--model", "gpt-4o-mini", "--older-than", "P30D"], {"two", "three"}),
        (["--run", "none such"], {"one", "two", "three"}),
    ],
)
def test_prune_only_counts_until_it_is_told_yes(folder: Path, options: list[str], left: set[str]) -> None:
    count = "1 entry," if len(left) == 2 else f"{3 - len(left)} entries,"
    dry = here("cache", "prune", *options)
    assert dry.code == 0
    assert f"Would remove {count}" in dry.out
    assert ("--yes" in dry.out) == (len(left) < 3)
    assert kept(CACHE) == {"one", "two", "three"}
    wet = here("cache", "prune", *options, "--yes")
    assert wet.code == 0
    assert f"Removed {count}" in wet.out
    assert kept(CACHE) == left


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--run", "secnd"], ["No entry has the run 'secnd' (did you mean 'second'?)"]),
        (["--model", "[gpt]", "--run", "first"], ["No entry has the model '[gpt]'"]),
        (["--model", "x", "--run", "first", "--yes"], ["No entry has the model 'x'"]),
        (["--model", "x", "--run", "y"], ["No entry has the model 'x'", "No entry has the run 'y'"]),
        (["--model", "free", "--run", "first"], []),  # both are there, but in no entry together
        (["--run", "second"], []),
    ],
)
def test_prune_says_which_name_no_entry_has(folder: Path, options: list[str], says: list[str]) -> None:
    pruned = here("cache", "prune", *options)
    assert pruned.code == 0
    lines = pruned.err.splitlines()
    assert len(lines) == len(says)
    assert all(line.startswith(start) for line, start in zip(lines, says, strict=True))


@pytest.mark.parametrize("options", [[], ["--bad", "--model", "free"], ["--older-than", "soon"], ["--yes"]])
def test_prune_must_be_told_what(folder: Path, options: list[str]) -> None:
    refused(here("cache", "prune", *options), code=2, saying="--")
    assert kept(CACHE) == {"one", "two", "three"}


def test_a_snapshot_moves_a_cache(folder: Path) -> None:
    exported = here("cache", "export", "answers.jsonl.zst")
    assert exported.code == 0
    assert "Wrote 3 entries" in exported.out
    imported = here("cache", "import", "answers.jsonl.zst", "--trust", "--cache", "there")
    assert imported.code == 0
    assert "Added 3 entries to there" in imported.out
    assert kept(folder / "there") == {"one", "two", "three"}
    again = here("cache", "import", "answers.jsonl.zst", "--trust", "--cache", "there")
    assert "Added 0 entries to there; 3 were there already" in again.out
    assert here("cache", "verify", "--cache", "there").code == 0


def test_a_moved_folder_is_a_moved_cache(folder: Path) -> None:
    shutil.move(CACHE, "elsewhere")
    assert here("cache", "info", "--json", "--cache", "elsewhere").data["entries"] == 3


def test_what_cannot_be_exported_or_imported_is_told_in_one_sentence(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    refused(here("cache", "export", "notes.txt"), code=2, saying="exists already")
    refused(here("cache", "import", "notes.txt", "--trust", "--cache", "there"), code=3, saying="is no snapshot")
    refused(here("cache", "import", "notes.txt", "--cache", "there"), code=2, saying="--trust")
    refused(here("cache", "import", "none.zst", "--cache", "there"), code=2, saying="there is no snapshot none.zst")
    assert here("cache", "export", "whole.zst").code == 0
    (folder / "cut.zst").write_bytes((folder / "whole.zst").read_bytes()[:-20])
    refused(here("cache", "import", "cut.zst", "--trust", "--cache", "there"), code=3, saying="only the start")
    assert (folder / "notes.txt").read_text(encoding="utf-8") == "mine"
    assert not (folder / "there").exists()


@pytest.mark.parametrize("command", [["info"], ["verify"], ["export", "new.zst"], ["prune", "--bad"]])
def test_without_a_cache_there_is_one_sentence_and_none_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(here("cache", *command), code=2, saying="There is no cache in")
    assert list(tmp_path.iterdir()) == []


def test_key_shows_everything_that_goes_into_it(folder: Path) -> None:
    write_project(folder, "http://127.0.0.1:1/v1")
    shown = here("cache", "key", "run.toml", "--task", "b", "--example", "2")
    assert shown.code == 0
    messages = tuple(Message(role, text) for role, text in shown.data["messages"])
    assert [message.role for message in messages] == ["system", "user"]
    assert messages[1].content.startswith("About b: is b train number ")
    request = Request(model="answerer", messages=messages, sampling=Sampling(max_tokens=64, temperature=0.0))
    assert shown.data["key"] == request_key(request)
    refused(here("cache", "key", "run.toml", "--task", "none"), code=2, saying="there is no task 'none'")
    refused(here("cache", "key", "run.toml", "--example", "7"), code=2, saying="examples 1 to 6")


def test_help_of_every_cache_command_exits_with_0() -> None:
    for command in ([], ["info"], ["verify"], ["export"], ["import"], ["prune"], ["key"]):
        helped = here("cache", *command, "--help")
        assert helped.code == 0
        assert "Usage:" in helped.out
