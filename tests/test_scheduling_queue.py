"""The queue: smallest priority first, first come first served, whatever is removed in between."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaspo.scheduling.queue import COMPACT_ABOVE, PriorityQueue, Ticket

PRIORITIES = st.lists(st.integers(0, 3), max_size=2).map(tuple)


@settings(deadline=None)
@given(st.lists(PRIORITIES, max_size=60))
def test_items_come_out_by_priority_then_arrival(priorities: list[tuple[int, ...]]) -> None:
    """Taking everything out is a stable sort by priority."""
    queue: PriorityQueue[int] = PriorityQueue()
    for number, priority in enumerate(priorities):
        queue.push(number, priority=priority)
    expected = sorted(range(len(priorities)), key=lambda number: priorities[number])
    assert [queue.pop() for _ in range(len(queue))] == expected


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_any_mix_of_operations_agrees_with_a_sorted_list(data: st.DataObject) -> None:
    """Against the plainest queue there is: a list that is searched."""
    queue: PriorityQueue[int] = PriorityQueue()
    oracle: dict[Ticket, int] = {}
    taken: dict[Ticket, int] = {}
    for number in range(data.draw(st.integers(0, 60))):
        match data.draw(st.sampled_from(["push", "push", "pop", "remove", "put back"])):
            case "push":
                oracle[queue.push(number, priority=data.draw(PRIORITIES))] = number
            case "pop" if oracle:
                first = min(oracle)
                assert queue.first() == oracle[first]
                taken[first] = oracle.pop(first)
                assert queue.pop() == taken[first]
            case "remove" if oracle:
                ticket = data.draw(st.sampled_from(sorted(oracle)))
                taken[ticket] = oracle.pop(ticket)
                assert queue.remove(ticket)
                assert not queue.remove(ticket)
            case "put back" if taken:
                ticket = data.draw(st.sampled_from(sorted(taken)))
                oracle[ticket] = taken.pop(ticket)
                queue.put_back(oracle[ticket], ticket=ticket)
        assert len(queue) == len(oracle)
    assert [queue.pop() for _ in range(len(queue))] == [oracle[ticket] for ticket in sorted(oracle)]


def test_an_empty_queue_has_no_first() -> None:
    """Also after everything was removed rather than taken."""
    queue: PriorityQueue[str] = PriorityQueue()
    ticket = queue.push("a")
    queue.remove(ticket)
    assert queue.first() is None
    for ask in (queue.pop, queue.first_priority):
        with pytest.raises(IndexError):
            ask()


def test_the_first_priority_is_that_of_the_first_that_is_left() -> None:
    """Not of one that was removed before it."""
    queue: PriorityQueue[str] = PriorityQueue()
    tickets = [queue.push("a", priority=(number,)) for number in range(3)]
    for ticket in tickets:
        assert queue.first_priority() == ticket.priority
        queue.remove(ticket)


def test_a_place_cannot_be_taken_twice() -> None:
    """Putting an item back where it still is would run it twice."""
    queue: PriorityQueue[str] = PriorityQueue()
    ticket = queue.push("a")
    with pytest.raises(ValueError, match="already"):
        queue.put_back("a", ticket=ticket)


@pytest.mark.parametrize("many", [1, 30, 200])
def test_leftovers_are_cleared_away_when_they_are_more_than_half_and_the_order_stays(many: int) -> None:
    """Not sooner, so that removing costs little; what stays comes out as it would have."""
    random = Random(many)
    queue: PriorityQueue[Ticket] = PriorityQueue()
    tickets = [Ticket((random.randrange(9),), number) for number in range(COMPACT_ABOVE + 2 * many)]
    for ticket in tickets:
        queue.push(ticket, priority=ticket.priority)
    left = random.sample(tickets, len(tickets))
    while len(left) > many:
        queue.remove(left.pop())
    assert len(queue._heap) == len(tickets)
    queue.remove(left.pop())
    assert len(queue._heap) == len(left)
    assert [queue.pop() for _ in left] == sorted(left)


def test_removed_items_leave_no_memory_behind() -> None:
    """A queue that a million requests went through and left is as small as a fresh one."""
    queue: PriorityQueue[int] = PriorityQueue()
    keep = queue.push(-1, priority=(0,))
    for number in range(20_000):
        queue.remove(queue.push(number, priority=(number % 7 + 1,)))
    assert len(queue) == 1
    assert len(queue._heap) < 200
    assert queue.pop() == -1
    assert not queue.remove(keep)
