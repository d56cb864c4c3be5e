"""Who waits until when before another try."""

from heapq import heappop, heappush
from math import inf
from typing import Generic, TypeVar

T = TypeVar("T")


class BackOffs(Generic[T]):
    """Items by the time when their wait is over; synchronous. What is removed stays in the heap until it comes up.

    Attributes:
        held_slots: how many of them keep their slot meanwhile, because a full server refused them.
    """

    __slots__ = ("_heap", "_items", "_next", "held_slots")

    def __init__(self) -> None:
        self.held_slots = 0
        self._heap: list[tuple[float, int, T]] = []
        self._items: dict[T, tuple[int, bool]] = {}  # the heap's number, and whether a slot is held
        self._next = 0

    def __len__(self) -> int:
        return len(self._items)

    def add(self, item: T, until: float, *, holds_slot: bool) -> None:
        """Let an item wait."""
        heappush(self._heap, (until, self._next, item))
        self._items[item] = (self._next, holds_slot)
        self.held_slots += holds_slot
        self._next += 1

    def remove(self, item: T) -> None:
        """It waits no longer; nothing happens if it did not."""
        _, holds_slot = self._items.pop(item, (0, False))
        self.held_slots -= holds_slot

    def next_over(self) -> float:
        """When the next wait is over; infinite if nobody waits."""
        heap = self._heap
        while heap and self._items.get(heap[0][2], (-1, False))[0] != heap[0][1]:
            heappop(heap)
        return heap[0][0] if heap else inf

    def pop_over(self, now: float) -> T | None:
        """Take out one whose wait is over by now."""
        if self.next_over() > now:
            return None
        item = heappop(self._heap)[2]
        self.remove(item)
        return item
