"""What a program shows of a run that was told nothing else: one line of its terminal."""

import io
import sys

import pytest

from metaspo.engine import Observer
from metaspo.engine.runtime.progress_line import ProgressLine, shown_to


class Terminal(io.StringIO):
    """Standard error of somebody who looks."""

    def isatty(self) -> bool:
        return True


def test_a_run_is_one_line_that_is_drawn_anew_four_times_a_second_at_most() -> None:
    now, stream = [0.0], Terminal()
    line = ProgressLine(stream, clock=lambda: now[0])
    line.planned(base_calls=1000, optimizer_calls=0)
    line.stage("iteration 1 of 1: inner loop")
    line.new_best(score=0.75, address="init")
    for _ in range(100):
        now[0] += 0.1
        line.calls_done(base_calls=5)
    drawn = stream.getvalue().split("\r")[1:]
    assert 25 <= len(drawn) <= 41
    assert "metaspo 50%" in drawn[-1]
    assert "inner loop; best 75.0%" in drawn[-1]
    assert "\n" not in stream.getvalue()
    line.finished()
    line.end()
    assert "metaspo 100%  done" in stream.getvalue()
    assert stream.getvalue().endswith("\n")


def test_a_line_is_shown_on_a_terminal_alone_and_to_nobody_who_has_an_observer(monkeypatch: pytest.MonkeyPatch) -> None:
    given = Observer()
    with shown_to(None) as told:
        assert type(told) is Observer, "standard error is no terminal"
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "dumb")
    with shown_to(None) as told:
        assert type(told) is Observer, "nothing can be drawn anew there"
    monkeypatch.setenv("TERM", "xterm")
    with shown_to(None) as told:
        assert type(told) is ProgressLine
    with shown_to(given) as told:
        assert told is given
