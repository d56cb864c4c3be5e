"""A gate: a candidate that is no better than what it starts from on a few rows is asked no others."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from statistics import fmean
from typing import cast

import pytest
from test_engine_racing import Column, outcome_of
from world import make_task

from metaspo.engine.addresses import rng_at
from metaspo.engine.evaluation.evaluation import Evaluation
from metaspo.engine.evaluation.scorecard import Scorecard
from metaspo.engine.journal.events import Rejected
from metaspo.engine.prompts import PromptPair
from metaspo.engine.runtime.priorities import inner, node_by_node
from metaspo.engine.selection.gate import Gate
from metaspo.engine.selection.objective import KeepBest, Objective, ScoredPrompt
from metaspo.engine.selection.pruning import AtGate, Stage
from metaspo.engine.tasks import Task

ROWS = 8
START = [0.0, 1.0] * 4
BETTER, SAME = [1.0] * ROWS, START
FLOOR = 0.75


@dataclass
class Node(Column):
    """A candidate on one task, as an evaluation shows itself to a round."""

    task: Task
    refusal: str = ""

    def __init__(self, name: str, grades: Sequence[float | None]) -> None:
        super().__init__(grades)
        self.task = make_task(name, train=ROWS, test=1)

    @property
    def bound(self) -> float:
        """Where what is missing would all be right."""
        return fmean((self.grades[row] or 0.0) if row in self.revealed else 1.0 for row in range(ROWS))


def card_of(name: str, grades: Sequence[float]) -> Scorecard:
    outcomes = tuple(map(outcome_of, grades))
    return Scorecard(task=name, pair=PromptPair("s", "u"), outcomes=outcomes, score=fmean(grades))


def gate_with(nodes: list[Node], *, rows: int = 3, exact: bool = True, doubles: bool = False) -> Gate:
    """Candidate 1 with these nodes in a round whose start is half right, and on a guard wholly."""
    floors = {node.task.name: FLOOR for node in nodes if node.task.name == "guard"}
    cards = tuple(card_of(node.task.name, BETTER if node.task.name in floors else START) for node in nodes)
    start = ScoredPrompt(position=0, prompt="start", value=0.5, cards=cards)
    best, objective = KeepBest(1, [start]), Objective(floors=floors)
    gate = Gate(
        best, objective=objective, exact=exact, starts=[start], rows=rows, doubles=doubles, seed=7, address="here"
    )
    gate.enter(1, "longer than the start", cast("list[Evaluation]", nodes))
    return gate


def stages_of(gate: Gate, number: int = 1) -> list[Stage]:
    """Of a candidate on one task."""
    return gate.stages(number, [card_of("a", START)], [inner(1, task=0, candidate=number)])


def test_a_gate_is_some_rows_of_each_task_and_then_the_others_the_hard_ones_first() -> None:
    node = Node("a", SAME)
    gate = gate_with([node])
    first, rest = stages_of(gate)
    ((_, few),), ((_, hard), (_, easy)) = first[0], rest[0]
    assert len(few) == 3
    asked = inner(1, task=0, candidate=1)
    assert [priority for priority, _ in first[0] + rest[0]] == [node_by_node(asked, part=part) for part in range(3)]
    assert stages_of(gate_with([node], rows=ROWS + 1))[0][0][0][1] == list(range(ROWS)), "of few rows all"
    assert sorted([*few, *hard, *easy]) == list(range(ROWS))
    assert (set(hard), set(easy)) == (set(range(0, ROWS, 2)) - set(few), set(range(1, ROWS, 2)) - set(few))
    assert few != stages_of(gate, 2)[0][0][0][1], "each has its own"


@pytest.mark.parametrize(("grades", "lost"), [(SAME, True), (BETTER, False)])
def test_who_is_no_better_there_has_lost_once_all_its_rows_are_answered(grades: list[float], lost: bool) -> None:
    """As good is not better."""
    nodes = [Node("a", grades)]
    gate = gate_with(nodes)
    assert (gate.has_lost(1), gate.at_gate(1), gate.rows_asked(1)) == (False, None, None)
    rows = list(stages_of(gate)[0][0][0][1])
    nodes[0].revealed = set(rows)
    reached = round(fmean(grades[row] for row in rows), 12)
    assert gate.has_lost(1) is lost
    assert gate.at_gate(1) == (AtGate(score=reached, parent=reached, unread=0, answers=3) if lost else None)
    assert gate.rows_asked(1) == ([rows] if lost else None)
    if lost:
        assert gate.rejection(1) == Rejected(gate=reached, parent=reached)
    nodes[0].revealed = set()
    assert gate.has_lost(1) is lost, "it stays so"


def test_bounds_and_guards_count_once_the_gate_is_answered_and_a_refusal_at_any_time() -> None:
    """So that who passes is the same whatever the timing."""
    nodes = [Node("a", [0.0] * ROWS), Node("guard", [0.0] * ROWS)]
    gate = gate_with(nodes, rows=ROWS)
    nodes[1].revealed = set(range(ROWS))
    nodes[0].revealed = set(range(ROWS - 1))
    assert nodes[0].bound < 0.5, "it cannot win any more"
    assert (gate.cannot_win(1), gate.violation(1)) == (False, "")
    nodes[1].refusal = "row 3: too long"
    assert gate.violation(1) == "row 3: too long"
    nodes[1].refusal = ""
    nodes[0].revealed = set(range(ROWS))
    assert gate.cannot_win(1)
    assert gate.violation(1).startswith("guard 'guard': 0.0% at most")
    assert gate.rejection(1) == Rejected(bound=0.0, guard="guard", reach=0.0, floor=FLOOR)


def test_what_is_refused_within_a_gate_leaves_it_open() -> None:
    nodes = [Node("a", [None, *BETTER[1:]])]
    gate = gate_with(nodes, rows=ROWS)
    nodes[0].revealed = set(range(ROWS))
    assert (gate.has_lost(1), gate.cannot_win(1)) == (False, False)


def test_without_exact_bounds_only_the_gate_drops_anybody() -> None:
    nodes = [Node("a", [1.0 if row % 2 else 0.0 for row in range(ROWS)])]
    gate = gate_with(nodes, rows=ROWS, exact=False)
    nodes[0].revealed = set(range(ROWS))
    assert (gate.has_lost(1), gate.cannot_win(1)) == (True, False)


def test_the_rows_of_a_gate_are_drawn_once_however_often_it_is_asked_who_has_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With every answer it is; of a start that is nearly always right they take many draws."""
    drawn: list[str] = []

    def noted(seed: int, address: str) -> Random:
        drawn.append(address)
        return rng_at(seed, address)

    monkeypatch.setattr("metaspo.engine.selection.gate.rng_at", noted)
    nodes = [Node("a", BETTER)]
    gate = gate_with(nodes)
    rows = stages_of(gate)
    for row in range(ROWS):
        nodes[0].revealed.add(row)
        gate.has_lost(1)
    assert stages_of(gate) == rows
    stages_of(gate, 2)
    assert drawn == ["here/cand=1/gate", "here/cand=2/gate"]


def doubling(node: Node) -> tuple[Gate, list[list[int]]]:
    """A gate of one row that doubles, and the rows that each stage of a candidate on one task adds."""
    gate = gate_with([node], rows=1, doubles=True)
    return gate, [[row for _, rows in stage[0] for row in rows] for stage in stages_of(gate)]


def test_gates_double_up_to_half_of_the_rows_and_each_has_those_of_the_one_before() -> None:
    node = Node("a", SAME)
    _, added = doubling(node)
    assert [len(rows) for rows in added] == [1, 1, 2, ROWS - 4]
    assert sorted(row for rows in added for row in rows) == list(range(ROWS))
    assert START[added[0][0]] == 0.0, "the first holds one that its start has wrong"
    assert len(stages_of(gate_with([node], rows=1))) == 2, "no other gate follows where they do not double"


def test_who_is_as_good_passes_gates_that_double() -> None:
    node = Node("a", SAME)
    gate, _ = doubling(node)
    node.revealed = set(range(ROWS))
    assert (gate.has_lost(1), gate.rows_asked(1)) == (False, None)


def test_who_is_below_its_start_at_a_gate_that_doubles_is_out_and_was_asked_no_more() -> None:
    """At the one before it was as good."""
    node = Node("a", SAME)
    gate, (*before, last, _) = doubling(node)
    there = [row for rows in (*before, last) for row in rows]
    new = [row for row in last if START[row] == 1.0]
    assert new, "the test needs a row there that the start has right"
    node.grades = [0.0 if row in new else grade for row, grade in enumerate(START)]
    node.revealed = set(there) - set(last)
    assert not gate.has_lost(1)
    node.revealed = set(there)
    assert (gate.has_lost(1), gate.rows_asked(1)) == (True, [sorted(there)])
    told = gate.rejection(1)
    assert told.gate == pytest.approx(fmean(node.grades[row] or 0.0 for row in there))
    assert told.parent == pytest.approx(fmean(START[row] or 0.0 for row in there))


def test_bounds_count_once_the_last_of_the_gates_is_answered() -> None:
    """Who passes is the same in any timing."""
    node = Node("a", [1.0 if row % 2 else 0.0 for row in range(ROWS)])
    gate, added = doubling(node)
    node.revealed = {row for rows in added[:2] for row in rows}
    assert not gate.cannot_win(1)
    node.revealed = set(range(ROWS))
    assert gate.cannot_win(1)
