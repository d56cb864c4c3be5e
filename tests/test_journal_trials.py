"""What became of the system prompts that were tried, and of the proposals: in counts and in sentences."""

import pytest

from metaspo.engine.journal.address import Address
from metaspo.engine.journal.events import Candidate, Event, Malformed, Proposal, Rejected, Select
from metaspo.engine.journal.proposals import MIN_LOST, Proposals
from metaspo.engine.journal.system_search import SystemSearch, SystemTrials


def at(candidate: int, iteration: int = 1) -> str:
    return f"iter={iteration}/outer/cand={candidate}"


def tried(*events: Event) -> SystemSearch:
    """After two proposals and these events."""
    trials = SystemTrials()
    for event in (Proposal(address=at(1), system="x"), Proposal(address=at(2), system="y"), *events):
        trials.apply(event, Address.parse(event.address))
    return trials.search


def select(chosen: int, score: float | None, unshared: int | None = None) -> Select:
    return Select(address="iter=1/outer", system="s", chosen=chosen, score=score, unshared=unshared)


def below(candidate: int, worth: float, *, reach: float = 0.5, whole: bool = True, guard: str = "g") -> Event:
    kind = Candidate if whole else Rejected
    return kind(address=at(candidate), guard=guard, reach=reach, floor=0.75, bound=worth)


@pytest.mark.parametrize(
    ("events", "why"),
    [
        ([Rejected(address=at(1), bound=0.5)], "1 dropped once a win was out of reach"),
        ([Rejected(address=at(1), gate=0.0)], "1 did not pass the gate"),
        (
            [Rejected(address=at(1), invalid="first"), Candidate(address=at(2), invalid="second")],
            "2 not to be selected, whatever the score (first)",
        ),
        (
            [Candidate(address=at(1), score=0.25), Candidate(address=at(2), score=0.5), select(0, 0.625)],
            "2 scored no better on the train examples (the best of them 50.0% against 62.5%)",
        ),
        (
            [Candidate(address=at(1), score=0.75), select(0, 0.5)],
            "1 scored no better on the train examples (the best of them 75.0% before its length was charged against "
            "50.0%)",
        ),
        (
            [Candidate(address=at(1), score=0.5), select(0, 0.5)],
            "1 scored no better on the train examples (the best of them 50.0% against 50.0%)",
        ),
        ([Candidate(address=at(1), score=0.5), select(0, None)], "1 scored no better on the train examples"),
        (
            [
                *(Candidate(address=at(1), score=0.25), select(0, 0.5), Candidate(address=at(2, 2), score=0.5)),
                *(select(0, 0.625), Candidate(address=at(1, 3), score=0.1), select(0, 0.75)),
            ],
            "3 scored no better on the train examples (the best of them 50.0% against 62.5%)",
        ),
        (
            [Candidate(address=at(2), score=0.5), select(0, 0.4, unshared=2)],
            "1 better in the mean, but by one task alone, or by little beside what user prompts lost",
        ),
        ([below(1, 0.9), select(0, 0.5)], "1 below the floor of a guard"),
        (
            [Rejected(address=at(1)), Rejected(address=at(2), invalid="no")],
            "1 dropped once a win was out of reach; 1 not to be selected, whatever the score (no)",
        ),
    ],
)
def test_why_none_was_adopted(events: list[Event], why: str) -> None:
    assert tried(*events).sentence == f"No system prompt was adopted; of 2 tried: {why}."
    assert tried(*events, select(2, 0.9)).sentence == "", "one was"
    inner = [Rejected(address="iter=1/inner/task=a/cand=1"), Proposal(address="iter=1/inner/task=a/cand=1", user="u")]
    assert tried(*inner, *events) == tried(*events), "the inner loop's are not counted"


def test_what_was_adopted_is_counted() -> None:
    """A selection that keeps what there was adopts nothing."""
    assert [tried(*[select(chosen, 0.5) for chosen in one]).adopted for one in ([], [0], [2], [1, 0, 2])] == [
        0,
        0,
        1,
        2,
    ]


@pytest.mark.parametrize(
    ("events", "why"),
    [
        ([], "none was tried."),
        ([Proposal(address=at(1), none="first"), Proposal(address=at(2), none="second")], "none was tried: first."),
        ([Proposal(address=at(1), none="no", unusable=True)], "none that could be used was proposed: no."),
    ],
)
def test_why_none_was_tried(events: list[Event], why: str) -> None:
    trials = SystemTrials()
    for event in events:
        trials.apply(event, Address.parse(event.address))
    assert trials.search.sentence == f"No system prompt was adopted: {why}"
    assert trials.search.as_json()["sentence"] == trials.search.sentence


REFUSED = "Refused by a guard: 2 of 2 system prompts tried (g 2)"
FIRST = "but 50.0% on guard 'g', whose floor is 75.0%"


@pytest.mark.parametrize(
    ("events", "cost"),
    [
        ([], ""),
        ([below(1, 0.5), below(2, 0.4), select(0, 0.5)], f"{REFUSED}; none of them would have been selected without."),
        ([below(1, 0.9), below(2, 0.4)], f"{REFUSED}; none of them would have been selected without."),
        (
            [below(1, 0.6), below(2, 0.9), select(0, 0.5)],
            f"{REFUSED}; 2 of them might have been selected without: {at(2)} scored 90.0%, where 50.0% was "
            f"selected, {FIRST}.",
        ),
        (
            [below(1, 0.6), select(0, 0.5), below(2, 0.7), select(0, 0.65)],
            f"{REFUSED}; 2 of them might have been selected without: {at(1)} scored 60.0%, where 50.0% was "
            f"selected, {FIRST}.",
        ),
        (
            [below(1, 0.3), select(0, 0.0), below(2, 0.6), select(0, 0.5)],
            f"{REFUSED}; 2 of them might have been selected without: {at(1)} scored 30.0%, where 0.0% was selected, "
            f"{FIRST}.",
        ),
        (
            [below(1, 0.6, whole=False), below(2, 0.4), select(0, 0.5)],
            f"{REFUSED}; 1 of them might have been selected without: {at(1)} could have come to 60.0% at most, where "
            "50.0% was selected, but 50.0% at most on guard 'g', whose floor is 75.0%.",
        ),
    ],
)
def test_what_the_guards_cost_is_told_with_the_best_that_they_refused(events: list[Event], cost: str) -> None:
    assert tried(*events).guards_cost == cost


def test_each_guard_is_named_with_how_often_it_refused() -> None:
    told = tried(below(1, 0.1), below(2, 0.1, guard="h"), below(3, 0.1, guard="h")).guards_cost
    assert told.startswith("Refused by a guard: 3 of 2 system prompts tried (g 1, h 2);")


def test_what_could_not_be_used_for_its_wording_is_counted_and_told() -> None:
    unfit, torn = (Malformed(address=at(1), attempt=1, why=why, unfit=why == "long") for why in ("long", "torn"))
    none = Proposals(asked=False)
    assert none.sentence == ""
    assert (none.after_unfit(torn).unfit, none.after_unfit(torn).asked) == (0, True)
    once = none.after_unfit(unfit)
    assert (once.unfit, once.last_unfit, once.asked) == (1, "long", True)
    assert once.sentence.startswith("1 answer of the optimizer model was not taken, ")
    assert once.after_unfit(unfit).sentence.startswith("2 answers of the optimizer model were not taken, ")
    assert once.sentence.endswith("asks of its wording (the last: long).")


@pytest.mark.parametrize(
    ("made", "unusable", "words"),
    [
        (9, MIN_LOST - 1, ""),
        (2 * MIN_LOST + 1, MIN_LOST, ""),
        (2 * MIN_LOST, MIN_LOST, "only 3 of the 6 proposals could be used (the last that could not: bad). The others"),
        (MIN_LOST, MIN_LOST, "none of the 3 proposals could be used (the last that could not: bad). No prompt was"),
    ],
)
def test_lost_proposals_are_told_where_they_are_some_and_half(made: int, unusable: int, words: str) -> None:
    told = Proposals()
    for number in range(made):
        lost = Proposal(address=at(1), none="bad", unusable=True)
        told = told.after(lost if number < unusable else Proposal(address=at(1), system="x"))
    told = told.after(Proposal(address=at(1), none="nothing to learn from"))
    assert (told.made, told.unusable) == (made, unusable)
    assert told.warning.startswith(words)
    assert bool(told.warning) is bool(told.short_warning) is bool(words)
    assert told.as_json()["warning"] == told.warning
