"""Promises that hold over a whole run: caps over all sessions, refusals, ties, evaluations without an optimizer."""

import sys
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from world import World, make_config, make_task

from metaspo import Gateway, Lane, LaneSettings, MemoryStore, Request, RunReport, evaluate, optimize, prepare
from metaspo.backends import BackendError, Completion, RequestRejected, ServerFault, Simulated, Usage
from metaspo.engine import Prepared, read_journal
from metaspo.engine.evaluation.scorecard import Status, grade_answer
from metaspo.engine.journal.events import Rejected
from metaspo.engine.runs.identity import fingerprint
from metaspo.engine.selection.objective import mean
from metaspo.engine.tasks import Integer, TaskError, TaskSpec, load_task
from metaspo.scheduling import BudgetExhausted, RunStopped

SCORES = st.lists(st.integers(0, 50).map(lambda right: right / 50), min_size=1, max_size=15)
NEEDLE = "You are careful"


class Server:
    """Both models of a world behind one gateway after the other, over one store."""

    def __init__(self, *, refuses: str = "", how: BackendError | None = None, questions: tuple[str, ...] = ()) -> None:
        self.store = MemoryStore()
        self.asked: list[Request] = []
        self.refuses = refuses
        self.how = how or RequestRejected("too long")
        self.questions = questions

    def gateway(self) -> Gateway:
        lanes = [
            Lane(name, [Simulated(self.answer, faults=self.fault)], LaneSettings(concurrency=3))
            for name in ("base", "optimizer")
        ]
        return Gateway(lanes, store=self.store)

    def answer(self, request: Request) -> str:
        self.asked.append(request)
        return World(3, malformed=0.0).answer(request)

    def fault(self, request: Request, _sent: int) -> BackendError | None:
        if request.model == "answerer" and any(asked in request.messages[-1].content for asked in self.questions):
            return self.how
        if self.refuses and request.model == "answerer" and self.refuses in request.messages[0].content:
            self.asked.append(request)
            return self.how
        return None


def prepared(folder: Path, changes: dict[str, Any]) -> Prepared:
    tasks = (make_task("a", train=20), make_task("b", train=20))
    return Prepared(config=make_config({"runs": "runs", **changes}), tasks=tasks, folder=folder)


async def run(server: Server, what: Prepared) -> RunReport:
    async with server.gateway() as gateway:
        return await optimize(what, gateway=gateway)


async def test_a_cap_on_calls_holds_over_all_sessions_of_a_run(tmp_path: Path) -> None:
    server, capped = Server(), prepared(tmp_path, {"budget": {"calls": 70}})
    for _ in range(3):
        with pytest.raises(BudgetExhausted):
            await run(server, capped)
        assert len(server.asked) <= 70
    await run(server, prepared(tmp_path, {"budget": {"calls": 100_000}}))
    assert len(server.asked) == len(set(server.asked)) > 70


@pytest.mark.virtual
@pytest.mark.parametrize("module", ["inner", "outer"])
async def test_a_run_under_which_the_package_changes_stops_with_a_sentence_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    server, what = Server(), prepared(tmp_path, {})
    with monkeypatch.context() as patch:
        name = f"metaspo.engine.optimize.{module}"
        for other in (None, ModuleType(name)):
            patch.setitem(sys.modules, name, other)
            with pytest.raises(RunStopped, match=r"installed anew while this run went on .* is kept"):
                await run(server, what)
    asked = len(server.asked)
    await run(server, what)
    assert len(server.asked) == len(set(server.asked)) > asked > 0


@pytest.mark.virtual
async def test_what_another_library_lacks_is_not_taken_for_a_change_of_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacks(_name: str) -> object:
        raise ImportError("no torch", name="torch")

    name = "metaspo.engine.optimize.inner"
    module = ModuleType(name)
    module.__getattr__ = lacks  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, name, module)
    with pytest.raises(ImportError, match="no torch"):
        await run(Server(), prepared(tmp_path, {}))


async def test_a_candidate_that_met_a_refusal_is_not_scored_to_the_end(tmp_path: Path) -> None:
    """It cannot be selected any more, so its other examples are not paid for."""
    server = Server(refuses=NEEDLE)
    report = await run(server, prepared(tmp_path, {"outer": {"candidates": 12}}))
    assert report.directory is not None
    events = read_journal(report.directory / "journal.jsonl")
    refused = [event for event in events if isinstance(event, Rejected) and "too long" in (event.invalid or "")]
    assert refused
    assert all(event.unasked > 0 for event in refused)
    assert not report.result.system_prompt.startswith(NEEDLE)


@pytest.mark.virtual
async def test_a_prompt_that_the_server_never_answers_does_not_end_the_run_nor_the_next_start(tmp_path: Path) -> None:
    """It gets a 500 every time, while others are answered; in the next session all others are in the cache."""
    server = Server(refuses=NEEDLE, how=ServerFault("500"))
    what = prepared(tmp_path, {"outer": {"candidates": 6}})
    reports = [await run(server, what) for _ in range(2)]
    assert reports[0].result == reports[1].result
    assert reports[0].directory is not None
    events = read_journal(reports[0].directory / "journal.jsonl")
    invalid = [event.invalid for event in events if isinstance(event, Rejected) and event.invalid]
    assert invalid
    assert all(".train:" in why and "no answer in 8 tries" in why and "500" in why for why in invalid)
    assert all(report.usage.total.failed > 0 for report in reports)


@pytest.mark.parametrize("how", [RequestRejected("too long"), ServerFault("500")])
@pytest.mark.virtual
async def test_all_rows_that_first_prompts_get_no_answer_to_are_named_at_once(
    tmp_path: Path, how: BackendError
) -> None:
    what = prepared(tmp_path, {})
    numbers = (2, 5, 7)
    refused = [what.tasks[0].train[number] for number in numbers]
    server = Server(how=how, questions=tuple(example.question for example in refused))
    with pytest.raises(TaskError) as stop:
        await run(server, what)
    assert all(example.where in str(stop.value) for example in refused)
    assert what.tasks[0].train[3].where not in str(stop.value)


def test_an_answer_that_a_content_filter_withheld_is_a_failure_not_a_zero() -> None:
    task = make_task("a")
    withheld = Completion(text="", finish_reason="content_filter", usage=Usage(5, 0), latency=0.1)
    outcome = grade_answer(withheld, task.train[0], answer_format=task.answer_format, metric=task.metric)
    assert (outcome.status, outcome.grade) == (Status.FAILED, None)


@given(SCORES, st.randoms(use_true_random=False))
def test_equal_means_are_ties_whatever_the_order_and_the_parts(scores: list[float], rng: Random) -> None:
    shuffled = list(scores)
    rng.shuffle(shuffled)
    assert mean(shuffled) == mean(scores)
    if len(scores) > 1 and scores[0] <= 0.96 and scores[1] >= 0.04:
        moved = [scores[0] + 0.02, scores[1] - 0.02, *scores[2:]]  # one right answer of 50 more here, one fewer there
        assert mean(moved) == mean(scores)


@given(SCORES, st.data())
def test_a_mean_never_falls_when_a_score_rises(scores: list[float], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(scores) - 1))
    higher = data.draw(st.floats(scores[place], 1))
    assert mean([*scores[:place], higher, *scores[place + 1 :]]) >= mean(scores)


async def test_prompts_are_evaluated_without_sources_and_without_an_optimizer(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"question": "number 2", "answer": "yes"}\n', encoding="utf-8")
    config = make_config().model_dump(exclude_unset=True, exclude={"optimizer"})
    labels = {"kind": "label", "labels": ["yes", "no"]}
    config["tasks"] = [{"name": "t", "role": "target", "test": "t.jsonl", "answer": labels}]
    async with Server().gateway() as gateway:
        report = await evaluate(prepare(config, data_folder=tmp_path), gateway=gateway)
    assert [row.task for row in report.scores] == ["t"]


def test_number_words_make_another_run(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"question": "1 + 1", "answer": 2}\n', encoding="utf-8")
    names = set()
    for number_words in (False, True):
        spec = TaskSpec.model_validate(
            {"name": "t", "train": "t.jsonl", "answer": {"kind": "integer", "number_words": number_words}}
        )
        task = load_task(spec, base_dir=tmp_path, seed=1)
        assert task.answer_format == Integer(number_words=number_words)
        names.add(fingerprint(make_config(), [task]))
    assert len(names) == 2
