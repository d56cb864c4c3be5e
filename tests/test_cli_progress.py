"""What is printed beside a run and after it is said in words that need no manual."""

import io
import re
from typing import Any

import pytest
from rich.console import Console
from rich.progress import Progress

from metaspo import console
from metaspo.engine.strategies import inner_strategy, outer_strategy
from metaspo.progress import ProgressDisplay, Remaining
from metaspo.scheduling import BudgetExhausted, EndpointDown, EndpointUp, Event, HeldBack, RunStopped, Waiting
from metaspo.tables import print_run_data

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
    for word in ("malformed", "failed", "lane"):
        assert text.count(f"{word}: ") == 1
    for name in TIMES:
        assert f"{name} 20%" in text
        assert text.count(f"({name})") == 1


def test_no_times_are_explained_where_none_are_shown() -> None:
    text = shown(0.0)
    assert "lane: " in text
    assert not any(f"({name})" in text for name in TIMES)


def test_the_time_left_is_labelled_as_the_most_it_can_be() -> None:
    """The plan is an upper bound, and so is what is reckoned from it."""
    bars = Progress(Remaining(), get_time=iter(range(1000)).__next__)
    task = bars.add_task("run", total=100)
    assert Remaining().render(bars.tasks[0]).plain == "at most –:–– left"
    for _ in range(4):
        bars.advance(task, 10)
    assert re.fullmatch(r"at most \d+:\d\d left", Remaining().render(bars.tasks[0]).plain)


@pytest.mark.parametrize(("event", "says"), TROUBLE)
def test_trouble_is_told_without_words_of_our_own(event: Event, says: str) -> None:
    told = io.StringIO()
    with ProgressDisplay(Console(file=told, width=200)) as display:
        display.observer("run").lane(event)
    assert says in told.getvalue()
    assert "lane" not in told.getvalue()


def test_a_server_that_is_back_is_told_once_it_was_missed() -> None:
    told = io.StringIO()
    with ProgressDisplay(Console(file=told, width=200)) as display:
        observer = display.observer("run")
        observer.lane(TROUBLE[0][0])
        observer.lane(EndpointUp(lane="base", at=1, endpoint="http://here/v1"))
    assert told.getvalue().splitlines()[-1] == "run: http://here/v1 answers again"


KEPT = "the lane gave up; everything answered is kept, so start the run again."
CAP = BudgetExhausted("the cap is reached; everything answered is kept.", cap="calls", limit=1, spent=1)


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
