"""A run says how many of its proposals could not be used, and warns if these were a good part."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from world import World, make_config, make_task

from metaspo import Gateway, Lane, LaneSettings, MemoryStore, Observer, Request, RunReport, optimize
from metaspo.backends import RequestRejected, Simulated
from metaspo.engine import Prepared, read_journal, report_data
from metaspo.engine.journal.events import OptimizerAnswered, Proposal, Start
from metaspo.engine.journal.proposals import Proposals
from metaspo.engine.journal.view import RunView

GOOD = Proposal(user="Is {question} even?")
LOST = Proposal(none="no tags", unusable=True)
IDLE = Proposal(none="no failures to learn from, every train answer is right already", unusable=False)
START = Start()
NOTHING: Mapping[str, Any] = MappingProxyType({})
OF_A_ROUND = 2 * 2  # proposals of the inner loops of an iteration: two for each source task
OF_A_RUN = 2 * (OF_A_ROUND + 3)


class Warned(Observer):
    def __init__(self) -> None:
        self.stages: list[str] = []
        self.warnings: list[tuple[str, str]] = []

    def stage(self, name: str) -> None:
        self.stages.append(name)

    def warn(self, text: str) -> None:
        self.warnings.append((self.stages[-1], text))


class Provider:
    """Both models over one store; `right` makes the base model answer everything right, `refuses` the other nothing."""

    def __init__(self, *, malformed: float = 0.0, right: bool = False, refuses: bool = False) -> None:
        self.store = MemoryStore()
        self.calls = 0
        self._world = World(3, malformed=malformed)
        self._right = right
        self._refuses = refuses

    async def run(self, folder: Path, changes: Mapping[str, Any] = NOTHING) -> tuple[RunReport, Warned]:
        lanes = [Lane(name, [Simulated(self._answer)], LaneSettings(concurrency=4)) for name in ("base", "optimizer")]
        tasks = (make_task("a"), make_task("b"), make_task("unseen", role="target"))
        observer = Warned()
        async with Gateway(lanes, store=self.store) as gateway:
            prepared = Prepared(config=make_config({"runs": "runs", **changes}), tasks=tasks, folder=folder)
            return await optimize(prepared, gateway=gateway, observer=observer), observer

    def _answer(self, request: Request) -> str:
        self.calls += 1
        if self._right and request.model == "answerer":
            return "yes" if int(request.messages[-1].content.split("number ")[1].split()[0]) % 2 == 0 else "no"
        if self._refuses and request.model == "writer":
            raise RequestRejected("max_tokens is too large")
        return self._world.answer(request)


async def test_a_run_of_unreadable_answers_warns_once_as_its_first_loop_ends_and_a_replay_counts_the_same(
    tmp_path: Path,
) -> None:
    provider = Provider(malformed=1.0)
    first, observer = await provider.run(tmp_path)
    calls = provider.calls
    again, repeated = await provider.run(tmp_path)
    assert provider.calls == calls
    ((stage, text),) = observer.warnings
    assert stage == "iteration 1 of 2: inner loop"
    assert f"so far none of the {OF_A_ROUND} proposals" in text
    assert repeated.warnings == observer.warnings
    counts = [report_data(report)["summary"]["proposals"] for report in (first, again)]
    assert counts[0] == counts[1]
    assert (counts[0]["made"], counts[0]["unusable"]) == (OF_A_RUN, OF_A_RUN)
    assert counts[0]["last_reason"] in counts[0]["warning"]
    assert first.result.system_prompt == first.result.first_system_prompt
    assert "No prompt was changed" in counts[0]["warning"]


async def test_the_count_is_of_what_the_journal_says_candidate_by_candidate(tmp_path: Path) -> None:
    report, _ = await Provider(malformed=0.6).run(tmp_path)
    assert report.directory
    events = [event for event in read_journal(report.directory / "journal.jsonl") if isinstance(event, Proposal)]
    lost = [event.none for event in events if "malformed" in (event.none or "")]
    count = report_data(report)["summary"]["proposals"]
    assert 0 < len(lost) < len(events)
    assert (count["made"], count["unusable"], count["last_reason"]) == (len(events), len(lost), lost[-1])


async def test_a_run_with_nothing_to_learn_from_has_lost_no_proposals(tmp_path: Path) -> None:
    report, observer = await Provider(malformed=1.0, right=True).run(tmp_path)
    count = report_data(report)["summary"]["proposals"]
    assert report.result.train_before == 1.0
    assert (count["made"], count["unusable"], count["warning"], observer.warnings) == (0, 0, "", [])


@pytest.mark.parametrize(
    ("good", "lost", "warns"),
    [(0, 0, False), (0, 2, False), (0, 3, True), (3, 3, True), (4, 3, False), (36, 0, False), (1, 35, True)],
)
def test_half_of_the_proposals_and_at_least_three_must_be_lost_for_a_warning(good: int, lost: int, warns: bool) -> None:
    count = RunView.of([START, *[IDLE] * 50, *[LOST] * lost, *[GOOD] * good]).proposals
    assert (count.made, count.unusable) == (good + lost, lost)
    assert bool(count.warning) == warns
    assert ("No prompt was changed" in count.warning) == (warns and good == 0)


def test_where_no_model_wrote_the_prompts_none_is_to_be_stronger() -> None:
    by_rule = RunView.of([START, *[LOST] * 3]).proposals
    for warning in (by_rule.warning, by_rule.short_warning):
        assert "ask less of a prompt's wording in [outer]" in warning
    answer = OptimizerAnswered(step="rewrite", attempts=1)
    assert "a stronger optimizer model" in RunView.of([START, answer, *[LOST] * 3]).proposals.warning


@pytest.mark.parametrize("strategy", ["metaspo", "opro", "textgrad"])
async def test_where_the_optimizers_server_refuses_it_is_the_config_that_is_to_be_seen_to(
    tmp_path: Path, strategy: str
) -> None:
    """A search, which goes on without an answer that is lost, says so, too, where it had none."""
    loop = {"strategy": strategy, "candidates": 1}
    report, observer = await Provider(refuses=True).run(tmp_path, {"inner": loop, "outer": loop, "iterations": 1})
    ((_, warning),) = observer.warnings
    summary = report_data(report)["summary"]
    for said in (warning, summary["proposals"]["warning"]):
        assert "see to what [optimizer] says of the model" in said
        assert "stronger" not in said
    assert "max_tokens is too large" in warning
    assert "max_tokens is too large" in summary["system_search"]["sentence"]


def test_only_the_last_session_of_a_journal_counts() -> None:
    assert RunView.of([START, LOST, LOST, LOST, START, GOOD]).proposals == Proposals(made=1, asked=False)
