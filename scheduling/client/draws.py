"""Which sample is meant by a program that asks the same twice: the k-th equal request of a run is draw k.

So repeated samples at a temperature above 0 are different samples, and the same ones when the program is run again. A
request whose draw was not answered gives it back: who asks again gets that one, not the next.
"""

import heapq
import json
import threading
from dataclasses import dataclass, field, replace

from metaspo.backends import Request
from metaspo.cache import request_key


def is_sampled(request: Request) -> bool:
    """Whether asking again may give another answer: no seed, and a temperature above 0, or the server's own."""
    sampling = request.sampling
    if not request.path:
        return sampling.seed is None and (sampling.temperature is None or sampling.temperature > 0)
    if request.path == "embeddings":
        return False
    body = json.loads(sampling.extra) if sampling.extra else {}
    return body.get("seed") is None and body.get("temperature") != 0


@dataclass(slots=True)
class _Count:
    """Draws of one request: the next, and those before it that were given back."""

    following: int = 0
    returned: list[int] = field(default_factory=list)


class DrawCounter:
    """The draws of one run. For any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, _Count] = {}

    def __repr__(self) -> str:
        return f"<DrawCounter requests={len(self._counts)}>"

    def take(self, request: Request) -> Request:
        """The request with the draw that is its turn; as it is if it has a draw already, or is not sampled. Raises
        `ValueError` for a request that has no key."""
        if request.draw or not is_sampled(request):
            return request
        key = request_key(request)
        with self._lock:
            count = self._counts.get(key)
            if count is None:
                count = self._counts[key] = _Count()
            if count.returned:
                draw = heapq.heappop(count.returned)
            else:
                draw = count.following
                count.following += 1
        return replace(request, draw=draw) if draw else request

    def give_back(self, request: Request) -> None:
        """A request that `take` gave its draw has had no answer."""
        if is_sampled(request):
            key = request_key(replace(request, draw=0))
            with self._lock:
                heapq.heappush(self._counts[key].returned, request.draw)
