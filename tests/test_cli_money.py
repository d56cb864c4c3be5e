"""What a run cost and what the cache saved, in dollars, add up."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from chat_server import TOO_LONG, ChatServer
from command_line import draw_nothing, here, write_project
from world import World

from metaspo.engine.studies import load_grid

WORLD = World(3, malformed=0.1)
PRICES = "prices = {input = 1.0, output = 2.0}"
CALL = (20 * 1.0 + 3 * 2.0) / 1e6  # dollars: the server counts 20 tokens of prompt and 3 of answer


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, ChatServer]]:
    """A config whose two models have prices, every candidate scored to the end, so that no call is given up."""
    monkeypatch.chdir(tmp_path)
    with ChatServer(WORLD.answer) as server:
        write_project(tmp_path, server.url, lane=PRICES)
        yield tmp_path, server


def test_a_first_run_tells_what_was_spent_and_its_rerun_what_was_saved(project: tuple[Path, ChatServer]) -> None:
    folder, server = project
    first = here("optimize", "run.toml", "--json").data[0]["summary"]["usage"]["total"]
    assert first["calls"] == server.calls
    assert first["dollars"] == pytest.approx(server.calls * CALL)
    assert first["dollars_saved"] == pytest.approx(first["hits"] * CALL)
    report = here("optimize", "run.toml", "--json").data[0]
    again = report["summary"]["usage"]["total"]
    assert (again["calls"], again["dollars"]) == (0, 0)
    # Every answer the first run got, by a call, from the cache, or together with another, now comes from the cache.
    assert again["hits"] + again["joined"] == first["calls"] + first["hits"] + first["joined"]
    assert again["dollars_saved"] == pytest.approx(again["hits"] * CALL)
    assert again["dollars_saved"] >= first["dollars"]
    shown = here("show", report["name"], "--json").data["summary"]
    assert shown["usage"]["total"] == again
    assert shown["all_sessions"]["dollars"] == pytest.approx(first["dollars"])
    (written,) = folder.glob(".metaspo/runs/*/summary.json")
    assert json.loads(written.read_bytes()) == shown


def test_a_plan_says_what_the_longest_answers_cost_unless_a_run_has_had_them(
    project: tuple[Path, ChatServer],
) -> None:
    told = "If answers are as long as max_tokens lets them"
    assert told not in here("plan", "run.toml").out, "of answers that are planned as long as they may be"
    longest = ("--set", "base.max_tokens=4000")
    assert told in here("plan", "run.toml", *longest).out
    assert here("optimize", "run.toml", *longest, "--quiet").code == 0
    assert told not in here("plan", "run.toml", *longest, "--like", "run").out


def test_lanes_add_up_to_the_total(project: tuple[Path, ChatServer]) -> None:
    usage = here("optimize", "run.toml", "--json").data[0]["summary"]["usage"]
    for name in ("calls", "hits", "dollars", "dollars_saved"):
        assert usage["total"][name] == pytest.approx(sum(lane[name] for lane in usage["lanes"].values()))
    assert all(lane["dollars"] > 0 for lane in usage["lanes"].values())


def test_people_are_told_the_same_as_programs(project: tuple[Path, ChatServer]) -> None:
    assert here("optimize", "run.toml").code == 0
    again = here("optimize", "run.toml")
    report = here("runs", "--json").data[0]
    shown = here("show", report["name"])
    usage = report["summary"]["usage"]
    for text in (again.out, shown.out):
        assert "saved by cache" in text
        assert f"${usage['total']['dollars_saved']:.4f}" in text
        assert f"${report['summary']['all_sessions']['dollars']:.4f}" in text
    whole = here("show", report["name"], "--all").out
    assert all(f"${lane['dollars_saved']:.4f}" in whole for lane in usage["lanes"].values())


def test_an_interrupted_run_does_not_pay_twice(project: tuple[Path, ChatServer]) -> None:
    """Capped, then finished: both sessions together cost what one would have."""
    folder, server = project
    assert here("optimize", "run.toml", "--set", "budget.calls=50").code == 3
    summary = here("optimize", "run.toml", "--json").data[0]["summary"]
    (written,) = folder.glob(".metaspo/runs/*/summary.json")
    together = json.loads(written.read_bytes())["all_sessions"]
    assert together["sessions"] == 2
    assert together["calls"] == server.calls
    assert together["dollars"] == pytest.approx(server.calls * CALL)
    assert summary["usage"]["total"]["dollars"] < together["dollars"]


def test_what_is_not_known_is_never_told_as_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls at no known price: in the report, the list of runs, after another session, and when prompts are scored."""
    monkeypatch.chdir(tmp_path)
    with ChatServer(WORLD.answer) as server:
        write_project(tmp_path, server.url)
        told = [here("evaluate", "run.toml"), here("optimize", "run.toml"), here("runs")]
        told.append(here("show", json.loads(here("runs", "--json").out)[0]["name"]))
        assert "0.0000" not in "".join(ended.out + ended.err for ended in told)
        assert all("unknown" in ended.out for ended in told)
        assert all("dollars unknown (no prices)" in ended.out for ended in told[:2]), "a sentence says of what"
        again = here("optimize", "run.toml")
        assert "unknown" in again.out, "what the cache saved"
        assert "$0.0000" in again.out, "this time nothing was spent, for sure"


def test_a_sum_of_known_and_unknown_says_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The base model's price is known, the optimizer's is not."""
    monkeypatch.chdir(tmp_path)
    with ChatServer(WORLD.answer) as server:
        config = write_project(tmp_path, server.url)
        text = config.read_text(encoding="utf-8")
        config.write_text(text.replace("[base]\n", f"[base]\n{PRICES}\n"), encoding="utf-8")
        here("optimize", "run.toml")
        assert " + unknown" in here("runs").out


@pytest.mark.slow
def test_a_cap_is_over_all_cells_and_stages_of_a_comparison(project: tuple[Path, ChatServer]) -> None:
    """With the sessions before, until it is raised."""
    folder, server = project
    grid = 'config = "run.toml"\nseeds = [1, 2, 3]\nmethods = ["default", "metaspo", "outer-only"]\n'
    (folder / "grid.toml").write_text(grid + '[generalize]\nprompts = 2\ngiven = "given"\n', encoding="utf-8")
    (folder / "given").mkdir()
    (folder / "given" / "unseen.json").write_text('["First: {question}", "Second: {question}"]', encoding="utf-8")
    config = (folder / "run.toml").read_text(encoding="utf-8")
    (folder / "run.toml").write_text(config + "\n[budget]\ncalls = 60\n", encoding="utf-8")
    for _ in range(2):
        ended = here("compare", "grid.toml", "--quiet")
        assert ended.code == 3
        assert any("60 of 60 calls" in line for line in ended.errors)
        assert server.calls == 60
    (folder / "run.toml").write_text(config + "\n[budget]\ncalls = 100_000\n", encoding="utf-8")
    assert here("compare", "grid.toml", "--quiet").code == 0
    assert here("runs", "--json").data, "and its runs are found"


@pytest.mark.parametrize(
    "command",
    [
        ("ablate", "run.toml", "--over", "roles"),
        ("adapt", "run.toml", "--system", "mine.txt", "--rounds", "2"),
        ("generalize", "run.toml", "--system", "mine.txt", "--prompts", "4"),
        ("transfer", "run.toml", "--system", "mine.txt", "--to", "other.toml"),
    ],
    ids=lambda command: command[0],
)
def test_a_cap_is_over_all_that_a_study_does_in_all_its_sessions(
    project: tuple[Path, ChatServer], command: tuple[str, ...]
) -> None:
    """Each is stopped by it in the midst, twice; what stopped it is the config's own cap, whatever another one says."""
    folder, server = project
    config = (folder / "run.toml").read_text(encoding="utf-8")
    config = config.replace('test = "unseen.test.jsonl"', 'train = "unseen.train.jsonl"\ntest = "unseen.test.jsonl"')
    (folder / "mine.txt").write_text("Mind the numbers.", encoding="utf-8")
    (folder / "other.toml").write_text(config.replace('model = "answerer"', 'model = "other"'), encoding="utf-8")
    for cap in (7, 7, 12):
        (folder / "run.toml").write_text(f"{config}\n[budget]\ncalls = {cap}\n", encoding="utf-8")
        ended = here(*command, "--quiet")
        assert ended.code == 3
        assert any(f"{cap} of {cap} calls" in line for line in ended.errors), ended.err
        assert server.calls == cap


def test_a_cell_that_could_not_begin_leaves_the_others_of_a_capped_comparison_alone(
    project: tuple[Path, ChatServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it wrote into is closed, and they go on with the purse that it was to share."""
    folder, _ = project
    draw_nothing(monkeypatch)
    config = (folder / "run.toml").read_text(encoding="utf-8")
    (folder / "run.toml").write_text(f"{config}\n[budget]\ncalls = 5000\n", encoding="utf-8")
    grid = 'config = "run.toml"\nparallel = 1\nmethods = ["outer-only", "metaspo"]\n'
    (folder / "grid.toml").write_text(grid, encoding="utf-8")
    first, second = (cell.prepared.directory for cell in load_grid(folder / "grid.toml").cells)
    assert first is not None
    assert second is not None
    first.ledger.mkdir(parents=True)
    ended = here("compare", "grid.toml", "--quiet")
    assert (ended.code, [".ledger" in line for line in ended.errors]) == (3, [True])
    assert second.result.is_file()


def test_values_that_no_journal_holds_are_refused_at_the_door(project: tuple[Path, ChatServer]) -> None:
    for key, value in (("budget.dollars", "inf"), ("budget.tokens", str(2**63)), ("seed", str(2**64))):
        ended = here("optimize", "run.toml", "--set", f"{key}={value}")
        assert ended.code == 2
        assert key in ended.errors[0]
    assert project[1].calls == 0


def test_an_evaluation_that_scored_nothing_says_why_and_is_no_success(project: tuple[Path, ChatServer]) -> None:
    project[1].refuse = lambda request, before: TOO_LONG
    ended = here("evaluate", "run.toml", "--json")
    assert ended.code == 3
    assert all(row["failed"] == row["examples"] and row["unanswered"] for row in ended.data["scores"])
    assert "nothing could be scored" in ended.errors[0]


def test_a_cap_in_dollars_without_prices_is_refused_before_anything_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would never be reached."""
    monkeypatch.chdir(tmp_path)
    with ChatServer(WORLD.answer) as server:
        write_project(tmp_path, server.url)
        for command in ("optimize", "plan", "evaluate"):
            ended = here(command, "run.toml", "--set", "budget.dollars=0.01")
            assert ended.code == 2
            assert "base.prices" in ended.errors[0]
        assert server.calls == 0
