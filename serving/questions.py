"""From an HTTP request to what the gateway is asked: whose it is, which samples, how urgent."""

import itertools
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace

from metaspo.backends import Request
from metaspo.scheduling import Account, CallFailed, DrawCounter, Priority, is_sampled

RUNS_KEPT = 1024
DRAW, RUN, PRIORITY, KEEP_ALIVE = "x-metaspo-draw", "x-metaspo-run", "x-metaspo-priority", "x-metaspo-keep-alive"
_MAX_DRAW = 2**53  # that JSON's numbers hold everywhere


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, in how many samples.

    Attributes:
        lane: the name of its model's.
        counter: that gave the draws out; None where they were named, or do not matter.
    """

    lane: str
    requests: tuple[Request, ...]
    account: Account
    priority: Priority
    counter: DrawCounter | None

    @property
    def draws(self) -> list[int]:
        """Which samples these are."""
        return [request.draw for request in self.requests]

    def give_back(self) -> None:
        """Nobody has had answers of these draws."""
        if self.counter is not None:
            for request in self.requests:
                self.counter.give_back(request)


class Sampler:
    """Decides which samples a request is for.

    The cases: what is not sampled is one question for all; a draw that the client names; the k-th equal request of a
    run that it names is draw k; else a sample that nobody has had before.
    """

    def __init__(self) -> None:
        self._runs: OrderedDict[tuple[str, str], DrawCounter] = OrderedDict()
        self._new = itertools.count(secrets.randbits(52))

    def question(
        self, lane: str, request: Request, *, choices: int, account: Account, headers: Mapping[str, str]
    ) -> Question:
        """What a client asks. Raises `CallFailed` for headers that say nothing, and `ValueError` for a request that
        has no key."""
        said = headers.get(PRIORITY)
        priority = (_whole(said, PRIORITY, least=-_MAX_DRAW),) if said else (0,)
        draw, run = headers.get(DRAW), headers.get(RUN)
        if not draw and not is_sampled(request):
            return Question(lane, (request,) * choices, account, priority, None)
        if draw:
            first = _whole(draw, DRAW, least=0)
            drawn = [replace(request, draw=first + k) for k in range(choices)]
            return Question(lane, tuple(drawn), account, priority, None)
        if not run:
            return Question(
                lane,
                tuple(replace(request, draw=next(self._new) % _MAX_DRAW) for _ in range(choices)),
                account,
                priority,
                None,
            )
        counter = self._counter(account, run)
        return Question(lane, tuple(counter.take(request) for _ in range(choices)), account, priority, counter)

    def _counter(self, account: Account, run: str) -> DrawCounter:
        key = (account.name, run)
        counter = self._runs.get(key)
        if counter is None:
            counter = self._runs[key] = DrawCounter()
            if len(self._runs) > RUNS_KEPT:
                self._runs.popitem(last=False)
        else:
            self._runs.move_to_end(key)
        return counter


def _whole(said: str, header: str, *, least: int) -> int:
    try:
        value = int(said)
    except ValueError:
        value = least - 1
    if not least <= value <= _MAX_DRAW:
        raise CallFailed(f"{header} must be a whole number, it is {said[:40]!r}.", kind="request")
    return value
