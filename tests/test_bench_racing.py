"""The racing benchmark races as the engine does, and its figures keep what racing promises."""

import io

import pytest
from rich.console import Console

from metaspo.bench import measure_racing
from metaspo.bench.racing import RATES, WORLDS
from metaspo.tables.runs import print_run_data


@pytest.mark.slow
def test_no_selection_changes_more_often_than_stated_and_rows_are_saved_where_candidates_differ() -> None:
    """Three standard deviations are allowed."""
    rounds = 40
    report = measure_racing(rounds=rounds, sizes=(120,))
    assert [(row["candidates"], row["stated rate"]) for row in report.rows] == [(w, r) for w in WORLDS for r in RATES]
    for row in report.rows:
        rate, changed = row["stated rate"], row["selection changed"]
        assert isinstance(rate, float)
        assert isinstance(changed, float)
        assert changed <= rate + 3 * (rate * (1 - rate) / rounds) ** 0.5
        exact, raced = row["asked, exact"], row["asked, exact + racing"]
        assert isinstance(exact, float)
        assert isinstance(raced, float)
        if row["candidates"] == "large differences":
            assert raced < exact


def test_a_finished_run_says_in_one_line_whom_statistics_alone_dropped() -> None:
    told = io.StringIO()
    result = {
        "system_prompt": "Be right.",
        "strategies": {},
        "raced_out": ["iter=1/outer/cand=2", "iter=2/outer/cand=1"],
    }
    data = {"name": "run", "directory": "", "summary": {"finished": True, "usage": {"lanes": {}}, "seconds": 1.0}}
    print_run_data(Console(file=told, width=200), {**data, "result": result})
    (line,) = [line for line in told.getvalue().splitlines() if "Raced out" in line]
    assert line.endswith("iter=1/outer/cand=2, iter=2/outer/cand=1")
    told.truncate(0)
    print_run_data(Console(file=told, width=200), {**data, "result": {**result, "raced_out": []}})
    assert "Raced out" not in told.getvalue()
