"""What the prompts that a run found cost, beside the first ones: in rows, tables and a sentence, wherever shown."""

from dataclasses import replace
from pathlib import Path

import pytest
from engine_sessions import Runs
from rich.console import Console
from test_engine_summary import finished
from test_programs import ONCE, tasks_with
from world import World, make_config, make_task

from metaspo.backends import Completion, Message, Usage
from metaspo.engine.evaluation.scorecard import Scorecard, grade_answer
from metaspo.engine.evaluation.task_rows import TaskRow, cost_sentence, task_rows
from metaspo.engine.evaluation.test_score import SCORE_COLUMNS, TestScore
from metaspo.engine.optimize.result import EvaluationReport
from metaspo.engine.prompts import PromptPair
from metaspo.engine.report.run_page import run_page
from metaspo.engine.runs.directory import RunDirectory
from metaspo.engine.runs.stored import shown_data
from metaspo.engine.tasks import Example
from metaspo.engine.tasks.programs import Call
from metaspo.scheduling import Prices
from metaspo.tables.runs import print_run
from metaspo.tables.scores import print_evaluation

PRICES = Prices(input=2.0, cached=0.5, output=10.0)
TASK = make_task("a", test=3)


def score_of(*usages: Usage, prices: Prices | None = PRICES) -> TestScore:
    answers = [Completion(text="yes", finish_reason="stop", usage=usage, latency=0.1, server="s") for usage in usages]
    outcomes = tuple(
        grade_answer(answer, example, answer_format=TASK.answer_format, metric=TASK.metric)
        for answer, example in zip(answers, TASK.test, strict=False)
    )
    card = Scorecard(task="a", pair=PromptPair("s", "{question}"), outcomes=outcomes, score=1.0, prices=prices)
    return TestScore.of(card, role="target", metric="accuracy", stage="after")


def test_a_score_says_the_tokens_of_a_prompt_and_what_a_thousand_calls_cost_whatever_was_cached() -> None:
    score = score_of(Usage(100, 10), Usage(300, 30, cached_tokens=300))
    assert (score.prompt_tokens, score.answer_tokens) == (200, 20)
    assert score.dollars_per_thousand == pytest.approx(1_000 * (200 * 2 + 20 * 10) / 1_000_000)
    assert SCORE_COLUMNS["prompt tokens"](score) == "200"
    assert SCORE_COLUMNS["$ per 1,000 calls"](score) == "$0.600"


def test_what_is_not_known_of_the_cost_is_not_told() -> None:
    unpriced, unanswered = score_of(Usage(100, 10), prices=None), score_of()
    assert (unpriced.prompt_tokens, unpriced.dollars_per_thousand) == (100, None)
    assert (unanswered.prompt_tokens, unanswered.dollars_per_thousand) == (None, None)
    assert cost_sentence(task_rows([replace(unanswered, stage="before"), unanswered])) == ""
    assert cost_sentence(task_rows([unpriced])) == "", "there is nothing to compare with"
    both = task_rows([replace(unpriced, stage="before"), unpriced])
    assert cost_sentence(both) == "A question with its prompts has 100 tokens, 100 before."


def test_a_row_has_the_cost_of_the_side_that_knows_it() -> None:
    (row,) = task_rows([replace(score_of(), stage="before"), score_of(Usage(100, 10), prices=None)])
    assert (row.prompt_tokens, row.answer_tokens, row.dollars_per_thousand) == ((100,), (10,), ())


def test_the_sentence_is_of_the_mean_over_tasks() -> None:
    rows = [
        TaskRow(task=name, role="source", metric="accuracy", prompt_tokens=tokens, dollars_per_thousand=dollars)
        for name, tokens, dollars in (("a", (10.0, 50.0), (0.1, 0.3)), ("b", (30.0, 90.0), (0.2, 0.4)))
    ]
    assert cost_sentence(rows) == (
        "A question with its prompts has 70 tokens, 20 before; a thousand calls cost $0.350, $0.150 before: 50,000 "
        "tokens more and $0.200 more a thousand calls."
    )
    shorter = [TaskRow(task="a", role="source", metric="accuracy", prompt_tokens=(90.0, 50.5))]
    assert cost_sentence(shorter) == (
        "A question with its prompts has 50 tokens, 90 before: 39,500 tokens less a thousand calls."
    )


@pytest.mark.parametrize(
    ("tokens", "said"),
    [((1.25, 1.0), "1 token, 1 before: 250 tokens more a"), ((2.0, 1.0), "2 tokens, 1 before: 1,000 tokens more a")],
)
def test_one_token_is_one(tokens: tuple[float, float], said: str) -> None:
    row = TaskRow(task="a", role="source", metric="accuracy", prompt_tokens=tokens[::-1])
    assert said in cost_sentence([row])


@pytest.mark.slow
async def test_a_runs_tables_page_and_json_say_it(tmp_path: Path) -> None:
    report = await finished(tmp_path)
    assert report.directory is not None
    run = RunDirectory(report.directory)
    rows = task_rows(report.result.tests)
    assert all(len(row.prompt_tokens) == 2 and row.prompt_tokens[1] != row.prompt_tokens[0] for row in rows)
    sentence = cost_sentence(rows)
    assert [row["prompt_tokens"] for row in shown_data(run)["tasks"]] == [row.prompt_tokens for row in rows]
    assert sentence in run_page(run)
    assert "prompt tokens" in run_page(run)
    for everything in (False, True):
        out = Console(record=True, width=200)
        print_run(out, run, everything=everything)
        assert sentence in out.export_text()


async def test_a_narrow_terminal_does_without_these_columns_before_any_other(tmp_path: Path) -> None:
    report = await finished(tmp_path)
    evaluation = EvaluationReport(scores=report.result.tests, usage=report.usage, seconds=1.0)
    for width, shown in ((200, True), (60, False)):
        out = Console(record=True, width=width)
        print_evaluation(out, evaluation)
        text = out.export_text()
        assert ("prompt tokens" in text) is shown
        assert "malformed" in text


def test_what_a_program_costs_is_what_all_its_calls_cost() -> None:
    async def twice(prompts: PromptPair, example: Example, call: Call) -> str:
        first = await call(prompts.messages(example.question))
        return (await call([*prompts.messages(example.question), Message("assistant", first.text)])).text

    plain = Runs(make_config(ONCE), (make_task("a"),), World(3), timing=1, width=4).session()
    asked = Runs(make_config(ONCE), tasks_with(twice)[:1], World(3), timing=1, width=4).session()
    assert plain is not None
    assert asked is not None
    one, two = plain.tests[0], asked.tests[0]
    assert one.prompt_tokens is not None
    assert two.prompt_tokens is not None
    assert two.prompt_tokens > 2 * one.prompt_tokens
