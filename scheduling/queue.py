"""The queue of one lane: smallest priority first, first come first served within a priority.

Requests that share a prefix are put in one after the other by whoever makes them, so serving equals in order of arrival
keeps them together, and the server's prefix cache hot.
"""

from heapq import heapify, heappop, heappush
from itertools import count
from typing import Generic, NamedTuple, TypeVar

Priority = tuple[int, ...]

T = TypeVar("T")

COMPACT_ABOVE = 64


class Ticket(NamedTuple):
    """A place in the queue. Putting an item back under its old ticket restores its place."""

    priority: tuple[float, ...]
    number: int


class PriorityQueue(Generic[T]):
    """A heap of tickets beside the items by their tickets' numbers; removal is amortized O(log n).

    A removed item's ticket stays in the heap until it comes up or more than half of the heap is such leftovers.
    """

    __slots__ = ("_heap", "_items", "_numbers")

    def __init__(self) -> None:
        self._heap: list[Ticket] = []
        self._items: dict[int, T] = {}
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"<PriorityQueue queued={len(self._items)} first={self._heap[0] if self._items else None}>"

    def push(self, item: T, *, priority: tuple[float, ...] = ()) -> Ticket:
        """Put an item behind all of its priority; returns its place."""
        ticket = Ticket(priority, next(self._numbers))
        self._items[ticket.number] = item
        heappush(self._heap, ticket)
        return ticket

    def put_back(self, item: T, *, ticket: Ticket) -> None:
        """Put an item in a place it had. Raises `ValueError` if that place is taken."""
        if ticket.number in self._items:
            raise ValueError(f"{ticket} is already in the queue")
        self._items[ticket.number] = item
        heappush(self._heap, ticket)

    def first(self) -> T | None:
        """The first item, left in place; None if there is none."""
        heap = self._heap
        while heap:
            item = self._items.get(heap[0].number)
            if item is not None:
                return item
            heappop(heap)  # a leftover
        return None

    def first_priority(self) -> tuple[float, ...]:
        """Of the first item. Raises `IndexError` if there is none."""
        self.first()
        return self._heap[0].priority

    def pop(self) -> T:
        """Take the first item out. Raises `IndexError` if there is none."""
        self.first()
        return self._items.pop(heappop(self._heap).number)

    def remove(self, ticket: Ticket) -> bool:
        """Take out the item of that place; false if it is not in the queue."""
        if self._items.pop(ticket.number, None) is None:
            return False
        if len(self._heap) > COMPACT_ABOVE + 2 * len(self._items):
            self._heap = [ticket for ticket in self._heap if ticket.number in self._items]
            heapify(self._heap)
        return True
