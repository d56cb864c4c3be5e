"""The embedded proposer: pieces, worked examples, edits, and the two strategies made of them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaspo.backends import Message
from metaspo.engine.prompts import check_system_prompt, check_user_prompt
from metaspo.engine.strategies.base import InnerContext, NoProposal, OuterContext, TaskView
from metaspo.engine.strategies.components import drop, families, join_components, reorder, split_components, vary
from metaspo.engine.strategies.drawn_examples import LONGEST_INPUT, draw_for_system, draw_for_user
from metaspo.engine.strategies.embedded import FORM, INNER_MOVES, OUTER_MOVES, EmbeddedInner, EmbeddedOuter
from metaspo.engine.strategies.user_edits import move_question, toggle_cue, toggle_mark, toggle_rule
from metaspo.engine.strategies.worked_examples import WorkedExample, join_system, join_user, split_system, split_user
from metaspo.engine.tasks import Failure
from metaspo.engine.tasks.base import PLACEHOLDER, Example

T = TypeVar("T")
DEFAULT = "You are a helpful assistant."
RULE = "Answer with one of: yes, no."
FAMILY_NAMES = [family.name for family in families()]
LIBRARY = [text for family in families() for text in family.components]

one_line = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=30)
worked = st.builds(WorkedExample, one_line, one_line)
user_prompts = st.sampled_from(
    ["{question}", "{question}\n\nYes or no?", "Yes or no?\n\nText: {question}", "Say {question}\n\nPlease.\n\nAnswer:"]
)


class AskForbidden:
    """An optimizer that must not be called."""

    async def __call__(self, step: str, messages: Sequence[Message], parse: Callable[[str], T], /) -> T:
        raise AssertionError("the embedded proposer asked a model")


def failure(question: str = "is it raining", answer: str = "yes") -> Failure:
    return Failure(example=Example(question, (answer, "another")), response="Well,", prediction=None)


def view(name: str = "weather", *, failures: Sequence[Failure] = (), user_prompt: str = PLACEHOLDER) -> TaskView:
    return TaskView(name=name, user_prompt=user_prompt, score=0.5, train=(), failures=tuple(failures), answer_rule=RULE)


def outer(candidate: int, *, seed: int = 0, system: str = DEFAULT, tasks: Sequence[TaskView]) -> OuterContext:
    return OuterContext(
        address="a",
        candidate=candidate,
        show=2,
        rng=Random(seed),
        system_prompt=system,
        tasks=tuple(tasks),
        ask=AskForbidden(),
    )


def inner(candidate: int, *, seed: int = 0, task: TaskView) -> InnerContext:
    return InnerContext(
        address="a", candidate=candidate, show=3, rng=Random(seed), system_prompt=DEFAULT, task=task, ask=AskForbidden()
    )


def failing_tasks() -> list[TaskView]:
    return [view(f"task{n}", failures=[failure(f"question {n}{k}", f"answer {n}{k}") for k in range(4)]) for n in "xyz"]


def test_library_is_task_agnostic_one_line_text_without_repeats() -> None:
    """Every component is one line of its own that holds no placeholder; 25 to 45 of them."""
    assert len(LIBRARY) == len(set(LIBRARY))
    assert 25 <= len(LIBRARY) <= 45
    assert all(text == text.strip() and "\n" not in text and "{" not in text for text in LIBRARY)
    assert all(len(family.components) >= 2 for family in families())


@given(st.lists(st.sampled_from(LIBRARY), unique=True))
def test_known_components_are_read_back(pieces: list[str]) -> None:
    """A prompt made of components is split into exactly those."""
    assert list(split_components(join_components(pieces))) == pieces


@given(st.text(alphabet="ab\n ", max_size=40), st.sampled_from(LIBRARY))
def test_foreign_text_stays_whole(foreign: str, component: str) -> None:
    """What is not in the library is one piece, blank lines inside it included."""
    core = foreign.strip("\n")
    assert split_components(f"{foreign}\n{component}") == ((core, component) if core else (component,))


@given(st.integers(), st.lists(st.sampled_from(FAMILY_NAMES), unique=True), st.lists(st.sampled_from(LIBRARY)))
def test_varied_families_have_one_new_component(seed: int, names: list[str], start: list[str]) -> None:
    """Each named family has a component in the result that was not in the parent, and never two by varying."""
    alone = {next(family.name for family in families() if text in family.components): text for text in start}
    before = tuple(alone.values())
    after = vary(before, names, rng=Random(seed))
    for family in families():
        there = [piece for piece in after if piece in family.components]
        if family.name in names:
            assert len(there) == 1
            assert there[0] not in before
        else:
            assert there == [piece for piece in before if piece in family.components]


def test_new_components_stand_in_the_order_of_the_families() -> None:
    """A component goes behind the user's own text and between its neighbours' families."""
    pieces = vary(("Our own house rules.",), list(reversed(FAMILY_NAMES)), rng=Random(1))
    assert pieces[0] == "Our own house rules."
    assert [next(f.name for f in families() if piece in f.components) for piece in pieces[1:]] == FAMILY_NAMES


@given(st.integers(), st.lists(one_line, min_size=2, unique=True))
def test_drop_and_reorder_touch_nothing_else(seed: int, pieces: list[str]) -> None:
    """Dropping leaves one piece out and keeps the order; reordering keeps the pieces and changes the order."""
    fewer = drop(tuple(pieces), rng=Random(seed))
    moved = reorder(tuple(pieces), rng=Random(seed))
    assert len(fewer) == len(pieces) - 1
    assert list(fewer) == [piece for piece in pieces if piece in fewer]
    assert sorted(moved) == sorted(pieces)
    assert moved != tuple(pieces)


def test_the_last_piece_is_never_dropped() -> None:
    """A system prompt cannot become empty."""
    assert drop((DEFAULT,), rng=Random(0)) == (DEFAULT,)


@given(one_line, st.lists(worked, max_size=4))
def test_worked_examples_are_read_back(text: str, examples: list[WorkedExample]) -> None:
    """Splitting undoes joining, for system and user prompts."""
    assert split_system(join_system(text, examples)) == (text, tuple(examples))
    assert split_user(join_user(examples, text)) == (tuple(examples), text)


@pytest.mark.parametrize("prompt", ["Worked examples:\n\nnone yet", "Be kind.\n\nWorked examples:\n\nInput: a\nb", ""])
def test_a_look_alike_is_left_alone(prompt: str) -> None:
    """Text that only begins like the block belongs to the prompt."""
    assert split_system(prompt) == (prompt, ())
    assert split_user(prompt) == ((), prompt)


@given(st.integers(), st.integers(2, 6))
def test_examples_are_spread_over_tasks(seed: int, size: int) -> None:
    """No task has two worked examples before every task has one, and each carries its right answer."""
    examples = draw_for_system(failing_tasks(), size=size, show=2, rng=Random(seed))
    assert len(examples) == size
    assert len({example.question[:-1] for example in examples[:3]}) == min(size, 3)
    assert all(example.answer[-2:] == example.question[-2:] for example in examples)


def test_examples_show_the_question_as_it_was_asked() -> None:
    """Across tasks an example includes its task's instruction, on one line, without that prompt's own examples."""
    prompt = join_user([WorkedExample("old", "no")], "Yes or no?\n\n{question}")
    drawn = draw_for_system([view(failures=[failure()], user_prompt=prompt)], size=2, show=1, rng=Random(0))
    assert drawn == (WorkedExample("Yes or no? is it raining", "yes"),)


@pytest.mark.parametrize("question", ["x" * (LONGEST_INPUT + 1), "what does {question} mean", " "])
def test_unusable_failures_are_passed_over(question: str) -> None:
    """A question that is too long, blank, or holds the placeholder never becomes a worked example."""
    task = view(failures=[failure(question), failure("fine")])
    assert draw_for_user(task, size=2, rng=Random(0)) == (WorkedExample("fine", "yes"),)


@given(user_prompts)
def test_edits_of_user_prompts_can_be_undone(prompt: str) -> None:
    """Toggling twice gives the prompt back; every edit keeps the placeholder exactly once."""
    assert toggle_mark(toggle_mark(prompt)) == prompt
    assert toggle_cue(toggle_cue(prompt)) == prompt
    assert toggle_rule(toggle_rule(prompt, RULE), RULE) == prompt
    for edited in (toggle_mark(prompt), toggle_cue(prompt), toggle_rule(prompt, RULE), move_question(prompt)):
        check_user_prompt(edited)


def test_the_rule_stands_before_the_cue() -> None:
    """'Answer:' stays the last word of the prompt."""
    assert toggle_rule("{question}\n\nAnswer:", RULE) == f"{{question}}\n\n{RULE}\n\nAnswer:"
    assert move_question("{question}\n\nYes or no?\n\nAnswer:") == "Yes or no?\n\n{question}\n\nAnswer:"


@pytest.mark.parametrize("candidate", range(1, 2 * len(OUTER_MOVES) + 1))
@given(st.integers(), st.sampled_from([DEFAULT, "Be kind.", "\n".join(LIBRARY[::6])]))
async def test_system_proposals_are_new_usable_and_repeatable(candidate: int, seed: int, system: str) -> None:
    """Every candidate differs from its parent, passes the engine's check, and follows from the seed alone."""
    propose = EmbeddedOuter().propose
    first = await propose(outer(candidate, seed=seed, system=system, tasks=failing_tasks()))
    again = await propose(outer(candidate, seed=seed, system=system, tasks=failing_tasks()))
    assert first == again != system
    check_system_prompt(first)


@pytest.mark.parametrize("candidate", range(1, 2 * len(INNER_MOVES) + 1))
@given(st.integers(), user_prompts)
async def test_user_proposals_are_new_usable_and_repeatable(candidate: int, seed: int, prompt: str) -> None:
    """The same for user prompts, also when a failed question holds the placeholder."""
    failures = [failure(), failure("odd {question}"), failure("dry at last", "no")]
    task = view(failures=failures, user_prompt=prompt)
    try:
        first = await EmbeddedInner().propose(inner(candidate, seed=seed, task=task))
    except NoProposal:
        assert prompt == "{question}"  # nothing to move
        return
    assert first == await EmbeddedInner().propose(inner(candidate, seed=seed, task=task))
    assert first != prompt
    check_user_prompt(first)


async def test_candidates_of_a_round_look_in_different_directions() -> None:
    """With one seed, each number in the cycle of moves brings another prompt."""
    system = [await EmbeddedOuter().propose(outer(n, tasks=failing_tasks())) for n in range(1, len(OUTER_MOVES) + 1)]
    user = [
        await EmbeddedInner().propose(
            inner(n, task=view(failures=[failure(), failure("b")], user_prompt="A\n\n{question}"))
        )
        for n in range(1, len(INNER_MOVES) + 1)
    ]
    assert len(set(user)) == len(INNER_MOVES)
    assert any(split_system(prompt)[1] for prompt in system)
    assert any(not split_system(prompt)[1] for prompt in system)


@given(st.integers(), st.sampled_from([1, 3]))
async def test_where_answers_could_not_be_read_their_form_is_told(seed: int, candidate: int) -> None:
    """A composed prompt then says how an answer looks and how long it is; else it may be about anything."""
    form = [text for family in families() if family.name in FORM for text in family.components]
    proposal = await EmbeddedOuter().propose(outer(candidate, seed=seed, tasks=failing_tasks()))
    assert sum(line in form for line in proposal.splitlines()) == len(FORM)


async def test_the_form_is_not_what_wrong_labels_are_answered_with_alone() -> None:
    wrong = [replace(failure(f"q{n}"), prediction="no") for n in range(4)]
    form = [text for family in families() if family.name in FORM for text in family.components]
    proposals = [await EmbeddedOuter().propose(outer(1, seed=seed, tasks=[view(failures=wrong)])) for seed in range(20)]
    assert any(not any(line in form for line in proposal.splitlines()) for proposal in proposals)


async def test_parents_examples_survive_other_moves() -> None:
    """A move that is not about examples leaves the parent's block as it is."""
    parent = join_system(DEFAULT, [WorkedExample("q", "a")])
    proposal = await EmbeddedOuter().propose(outer(1, system=parent, tasks=failing_tasks()))
    assert split_system(proposal)[1] == (WorkedExample("q", "a"),)


async def test_nothing_is_proposed_without_failures() -> None:
    """With every example right there is nothing to learn from."""
    with pytest.raises(NoProposal):
        await EmbeddedOuter().propose(outer(1, tasks=[view(), view("other")]))
    with pytest.raises(NoProposal):
        await EmbeddedInner().propose(inner(1, task=view()))


@pytest.mark.parametrize("strategy", [EmbeddedInner(), EmbeddedOuter()])
def test_the_report_says_that_no_model_writes(strategy: EmbeddedInner | EmbeddedOuter) -> None:
    """Nobody is led to think that a language model wrote these prompts."""
    assert "no language model" in strategy.describe()
    assert strategy.calls_optimizer == 0
