"""What is printed beside a run and after it is said in words that need no manual."""

import io
import re
from typing import Any

import pytest
from rich.console import Console

from metaspo import console
from metaspo.engine.strategies import inner_strategy, outer_strategy
from metaspo.progress import ProgressDisplay
from metaspo.scheduling import (
    BudgetExhausted,
    EndpointDown,
    EndpointUp,
    Event,
    HeldBack,
    LaneAnswers,
    RunStopped,
    Waiting,
)
from metaspo.tables.runs import print_run_data

TIMES = ("queue", "limiter", "server", "retry", "store")
TROUBLE: list[tuple[Event, str]] = [
    (EndpointDown(lane="base", at=0, endpoint="http://here/v1", wait=1, reason="refused"), "http://here/v1"),
    (Waiting(lane="base", at=0, patience=900), "base model"),
    (HeldBack(lane="optimizer", at=0, wait=60, reason="the day's limit"), "optimizer model"),
]


def shown(seconds: float) -> str:
    """A run's report whose requests' time was `seconds` of each kind."""
    use: dict[str, Any] = {
        **dict.fromkeys(("calls", "hits", "joined", "prompt_tokens", "completion_tokens", "retries"), 1),
        **dict.fromkeys(("dollars", "dollars_saved"), 0.5),
        **{f"{name}_seconds": seconds for name in TIMES},
    }
    row = {"task": "a", "role": "source", "metric": "accuracy", "stage": "after", "prompt": 0, "score": 0.5}
    summary = {
        "finished": True,
        "seconds": 1.0,
        "usage": {"lanes": {"base": use}},
        "scores": [{**row, "malformed": 1, "failed": 0}],
    }
    told = io.StringIO()
    result = {"system_prompt": "Be brief.", "strategies": {}}
    print_run_data(
        Console(file=told, width=200), {"name": "run", "directory": "", "result": result, "summary": summary}
    )
    return told.getvalue()


def test_each_word_of_the_report_that_is_our_own_is_explained_in_it_once() -> None:
    text = shown(1.0)
    for word in ("malformed", "failed"):
        assert text.count(f"{word}: ") == 1
    assert "lane" not in text
    for name in TIMES:
        assert f"{name} 20%" in text
        assert text.count(f"({name})") == 1


def test_no_times_are_explained_where_none_are_shown() -> None:
    text = shown(0.0)
    assert not any(f"({name})" in text for name in TIMES)


@pytest.mark.parametrize("width", [30, 60, 80, 200])
@pytest.mark.parametrize("runs", [1, 2, 40])
def test_no_line_of_the_progress_is_longer_than_the_terminal_nor_are_there_more_than_it_has(
    width: int, runs: int
) -> None:
    told = io.StringIO()
    terminal = Console(file=told, width=width, height=24, force_terminal=True, color_system=None)
    now = iter(range(10_000))
    display = ProgressDisplay(terminal, clock=lambda: float(next(now)))
    for number in range(runs):
        observer = display.observer(f"a-run-with-a-rather-long-name-{number}")
        observer.planned(base_calls=1000, optimizer_calls=10)
        observer.stage("iteration 1 of 3: outer loop")
        observer.optimizer_asked()
        observer.calls_done(base_calls=300)
        observer.new_best(score=0.5, address="init")
    lines = [line.plain for line in display.lines(width=width, height=24)]
    assert 0 < len(lines) <= 24
    assert all(len(line) <= width for line in lines)
    assert lines != [line.plain for line in display.lines(width=width, height=24)], "something moves"
    assert ("all 40 runs" in lines[0][: len("all 40 runs")]) == (runs == 40)


@pytest.mark.parametrize("runs", [1, 3])
def test_a_narrow_terminal_shows_the_time_that_is_left_and_what_was_spent(runs: int) -> None:
    display = ProgressDisplay(Console(file=io.StringIO(), width=40, force_terminal=True), clock=lambda: 0.0)
    for number in range(runs):
        observer = display.observer(f"a-run-with-a-rather-long-name-{number}")
        observer.planned(base_calls=100, optimizer_calls=0)
        observer.stage("iteration 1 of 3: outer loop")
        observer.spent(dollars=1.25, unpriced=0, left=3.75)
    lines = [line.plain for line in display.lines(width=40, height=24)]
    assert sum("time left unknown" in line for line in lines) == runs + (runs > 1)
    assert sum("($3.75 left)" in line for line in lines) == runs
    assert sum("done  $3.75" in line for line in lines) == (runs > 1)


def test_many_runs_have_a_total_with_the_time_left_and_the_cheapest_stand_first() -> None:
    now = [0.0]
    display = ProgressDisplay(Console(file=io.StringIO(), width=120, force_terminal=True), clock=lambda: now[0])
    runs = {calls: display.observer(f"run-{calls}") for calls in (4000, 1000, 2000)}
    for calls, observer in runs.items():
        observer.planned(base_calls=calls, optimizer_calls=0)
    now[0] = 60.0
    for observer in runs.values():
        observer.calls_done(base_calls=100)
    total, *rest = [line.plain for line in display.lines(width=120, height=24)]
    assert [line.split()[0] for line in rest[::2]] == ["run-1000", "run-2000", "run-4000"]
    low, high = (float(number) for number in re.findall(r"[\d.]+", total.split("done")[1]))
    assert low <= (7000 - 300) / 300 <= high, "minutes, at 300 calls a minute"
    runs[1000].finished()
    total, *rest = [line.plain for line in display.lines(width=120, height=24)]
    assert "1 done" in total
    assert not any("run-1000" in line for line in rest)


def test_the_optimizer_that_is_waited_for_is_named_for_as_long_as_it_is() -> None:
    terminal = Console(file=io.StringIO(), width=120, force_terminal=True)
    display = ProgressDisplay(terminal, clock=lambda: 0.0)
    observer = display.observer("run")
    observer.planned(base_calls=10, optimizer_calls=2)
    said = []
    for change in (observer.optimizer_asked, observer.optimizer_asked, observer.optimizer_answered):
        change()
        said.append(" ".join(line.plain for line in display.lines(width=120, height=24)))
    assert ["2 prompts" in text for text in said] == [False, True, False]
    assert "1 prompt " in said[2]
    observer.optimizer_answered()
    assert "being written" not in " ".join(line.plain for line in display.lines(width=120, height=24))


def test_the_best_score_that_is_shown_never_falls() -> None:
    display = ProgressDisplay(Console(file=io.StringIO(), width=120, force_terminal=True), clock=lambda: 0.0)
    observer = display.observer("run")
    for score in (0.5, 0.75, 0.625):
        observer.new_best(score=score, address="")
    assert "best 75.0%" in " ".join(line.plain for line in display.lines(width=120, height=24))


def test_a_score_that_falls_below_the_best_is_said_to_have_fallen() -> None:
    """As where a system prompt is chosen under the first user prompts, and the best of them do worse under it."""
    told, scores = io.StringIO(), (0.5, 0.75, 0.625, 0.625, 0.75, 0.8)
    with ProgressDisplay(Console(file=told, width=120)) as lines:
        observer = lines.observer("run")
        for score in scores:
            observer.new_best(score=score, address="a")
    said = [line.rpartition(" splits ")[2] for line in told.getvalue().splitlines()]
    assert said == ["50.0% (a)", "75.0% (a)", "now 62.5% (a)", "80.0% (a)"]
    display = ProgressDisplay(Console(file=io.StringIO(), width=120, force_terminal=True), clock=lambda: 0.0)
    observer = display.observer("run")
    for score in scores[:3]:
        observer.new_best(score=score, address="a")
    assert "best 75.0%, now 62.5%, at first 50.0%" in display.lines(width=120, height=24)[-1].plain


def test_what_a_run_has_spent_and_may_still_spend_and_where_it_began_stand_beside_its_best() -> None:
    display = ProgressDisplay(Console(file=io.StringIO(), width=120, force_terminal=True), clock=lambda: 0.0)
    runs = [display.observer(name) for name in ("a", "b")]
    runs[0].new_best(score=0.25, address="init")
    runs[0].new_best(score=0.75, address="iter=1/inner")
    runs[0].spent(dollars=0.5, unpriced=0, left=1.5)
    runs[1].spent(dollars=0.25, unpriced=3, left=None)
    total, first, best, second, *_ = (line.plain for line in display.lines(width=120, height=24))
    assert "best 75.0%, at first 25.0%" in best
    assert first.endswith("  $0.5000 ($1.50 left)")
    assert (total.endswith("  $0.7500 + unknown"), second.endswith("  $0.2500 + unknown")) == (True, True)


def test_a_narrow_terminal_has_a_shorter_bar_before_it_has_no_time_left() -> None:
    now = [0.0]
    display = ProgressDisplay(Console(file=io.StringIO(), force_terminal=True), clock=lambda: now[0])
    observer = display.observer("support-desk")
    observer.planned(base_calls=1000, optimizer_calls=0)
    now[0] = 60.0
    observer.calls_done(base_calls=500)
    for width, cells in ((40, 5), (50, 15), (120, 20)):
        first = display.lines(width=width, height=24)[0].plain
        assert ("left" in first, sum(map(first.count, "━─"))) == (True, cells), first


@pytest.mark.parametrize("runs", [1, 2])
def test_a_run_that_time_will_stop_is_said_to_stop(runs: int) -> None:
    """Beside each, and beside all together once none goes on for longer."""
    now, told = [0.0], io.StringIO()
    display = ProgressDisplay(Console(file=io.StringIO(), width=120, force_terminal=True), clock=lambda: now[0])
    plain = ProgressDisplay(Console(file=told, width=120), clock=lambda: now[0])
    shown = [display.observer(f"run-{number}") for number in range(runs)]
    for observer in (*shown, plain.observer("run")):
        observer.stops_in(600.0)
        observer.planned(base_calls=1000, optimizer_calls=0)
        now[0] += 60.0
        observer.calls_done(base_calls=20)
        now[0] -= 60.0
    now[0] = 60.0
    assert "of the plan settled, " in told.getvalue()
    assert told.getvalue().count(", stops in 9 min at about ") == 1
    lines = [line.plain for line in display.lines(width=120, height=24)]
    assert sum(", stops in 9 min at about " in line for line in lines) == runs + (runs > 1)
    display.observer("endless").planned(base_calls=10, optimizer_calls=0)
    lines = [line.plain for line in display.lines(width=120, height=24)]
    assert ", stops in" not in lines[0]


def test_a_dumb_terminal_on_which_nothing_can_be_drawn_anew_is_told_lines_as_they_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    told = io.StringIO()
    with ProgressDisplay(Console(file=told, width=80, force_terminal=True)) as display:
        display.observer("run").stage("iteration 1 of 3: inner loop")
    assert told.getvalue() == "run: iteration 1 of 3: inner loop\n"


@pytest.mark.parametrize(("event", "says"), TROUBLE)
def test_trouble_is_told_without_words_of_our_own(event: Event, says: str) -> None:
    told = io.StringIO()
    with ProgressDisplay(Console(file=told, width=200)) as display:
        display.observer("run").lane(event)
    assert says in told.getvalue()
    assert "lane" not in told.getvalue()


def test_a_rate_limit_that_is_met_again_and_again_is_told_once() -> None:
    told = io.StringIO()
    with ProgressDisplay(Console(file=told, width=200)) as display:
        observer = display.observer("run")
        for lane in ["base", *["optimizer"] * 100]:
            observer.lane(HeldBack(lane=lane, at=0, wait=1, reason="the rate of requests is limited"))
    (line,) = told.getvalue().splitlines()
    assert line.startswith("run: calls to the optimizer model were held back 20 times")
    assert line.endswith("the rate of requests is limited")


def test_a_server_that_is_back_is_told_once_it_was_missed() -> None:
    told = io.StringIO()
    with ProgressDisplay(Console(file=told, width=200)) as display:
        observer = display.observer("run")
        observer.lane(TROUBLE[0][0])
        observer.lane(EndpointUp(lane="base", at=1, endpoint="http://here/v1"))
    assert told.getvalue().splitlines()[-1] == "run: http://here/v1 answers again"


def test_a_model_that_is_waited_for_again_after_an_answer_is_told_again() -> None:
    told = io.StringIO()
    waiting = Waiting(lane="base", at=0, patience=900, reason="a page instead of an answer")
    with ProgressDisplay(Console(file=told, width=200)) as display:
        observer = display.observer("run")
        for event in (waiting, waiting, LaneAnswers(lane="base", at=1), waiting):
            observer.lane(event)
    first, over, again = told.getvalue().splitlines()
    assert first == again
    assert over == "run: the base model answers again"


KEPT = "the lane gave up; everything answered is kept."
CAP = BudgetExhausted("the cap is reached", cap="calls", limit=1, spent=1)


@pytest.mark.parametrize(
    ("reasons", "kept", "capped"),
    [
        ([], 1, False),
        ([RunStopped("a bad key")], 1, False),
        ([RunStopped(KEPT)], 0, False),
        ([RunStopped("a bad key"), RunStopped(KEPT)], 0, False),
        ([KEPT], 0, False),
        ([CAP], 0, True),
        ([CAP, RunStopped(KEPT)], 0, False),
    ],
)
def test_that_everything_is_kept_is_said_by_the_reason_or_after_it(
    capsys: pytest.CaptureFixture[str], reasons: list[Exception | str], kept: int, capped: bool
) -> None:
    """And how to go on, always; a cap is named where nothing else was in the way."""
    console.say_how_to_go_on(*reasons)
    text = capsys.readouterr().err
    assert text.count("is kept") == kept
    assert text.count("run the same command again") == 1
    assert ("[budget]" in text) == capped


def test_no_two_strategies_describe_themselves_alike() -> None:
    """A reader of the run's first lines can tell the loops apart, and the model's prompts from those made by rule."""
    made = {
        name: (inner_strategy(name).describe(), outer_strategy(name).describe()) for name in ("metaspo", "embedded")
    }
    for inner, outer in made.values():
        assert "task" in inner
        assert "all tasks" not in inner
        assert "all tasks" in outer
    for name in ("metaspo", "embedded"):
        assert all(("no language model" in text) == (name == "embedded") for text in made[name])
        assert all(text.lower().endswith(f"({name})") for text in made[name])
    openings = {text.split()[0] + text.split()[3] for pair in made.values() for text in pair}
    assert len(openings) == 4
