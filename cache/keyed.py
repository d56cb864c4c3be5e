"""Requests that know their keys before they are made: of what is in the store, nobody needs more."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import overload

from metaspo.backends import Request
from metaspo.cache.key import request_key
from metaspo.cache.place import Key


class KeyedRequests(Sequence[Request]):
    """Requests to one model, each of them made when somebody asks for it."""

    @property
    @abstractmethod
    def model(self) -> str:
        """The one that they are to."""

    @abstractmethod
    def make(self, position: int, /) -> Request:
        """One of them."""

    @abstractmethod
    def keys(self, positions: Iterable[int], /) -> list[Key]:
        """The keys of those at some positions. Raises `ValueError` as `request_key` does."""

    @overload
    def __getitem__(self, index: int) -> Request: ...

    @overload
    def __getitem__(self, index: slice) -> list[Request]: ...

    def __getitem__(self, index: int | slice) -> Request | list[Request]:
        positions = range(len(self))[index]
        return self.make(positions) if isinstance(positions, int) else [self.make(position) for position in positions]


def keys_of(requests: Sequence[Request], positions: Iterable[int]) -> list[Key]:
    """The keys of those at some positions. Raises `ValueError` as `request_key` does."""
    if isinstance(requests, KeyedRequests):
        return requests.keys(positions)
    return [request_key(requests[position]) for position in positions]


def last_of_each_model(
    requests: Sequence[Request], positions: Sequence[int]
) -> Iterable[tuple[str, Sequence[Request], int]]:
    """Each model that is asked at some positions, and of what it is asked the last, as one of a sequence."""
    if isinstance(requests, KeyedRequests):
        return ((requests.model, requests, positions[-1]),)
    last = {requests[position].model: requests[position] for position in positions}
    return ((model, (request,), 0) for model, request in last.items())
