"""Answers that go out again as they are: to a chat whose body came before, byte by byte.

Only where a body says all there is to say: it is no sample, and no header of ours came with it. Then its answer is in
the store, and is the same for everybody who may ask.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import NamedTuple

from metaspo.backends import Completion, Request
from metaspo.cache.lru import Recent
from metaspo.scheduling import Answer
from metaspo.serving.questions import DRAW, KEEP_ALIVE, PRIORITY, RUN

RECENT_BYTES = 32 << 20
OVERHEAD = 1_500
"""Bytes of memory of one of them beside its texts, about."""

_OURS = (DRAW, RUN, PRIORITY, KEEP_ALIVE)


class RecentAnswer(NamedTuple):
    """An answer, what was asked, of which lane, and the body that says it; dollars: what its call cost, if known."""

    lane: str
    request: Request
    completion: Completion
    key: str
    dollars: float | None
    reply: bytes
    size: int


class RecentAnswers:
    """Forgets those that were longest not asked for once all of them are over `max_bytes`."""

    def __init__(self, max_bytes: int = RECENT_BYTES) -> None:
        self._recent: Recent[bytes, RecentAnswer] = Recent(max_bytes, lambda recent: recent.size)

    def __len__(self) -> int:
        return len(self._recent)

    def get(self, digest: bytes) -> RecentAnswer | None:
        """The answer to the body of this digest, if it is here; it is then the last to be forgotten."""
        return self._recent.get(digest)

    def add(self, digest: bytes, body: bytes, reply: bytes, *, lane: str, request: Request, answer: Answer) -> None:
        """Keep the answer to a body, and forget others for it where need be."""
        size = OVERHEAD + 2 * len(body) + 2 * len(reply)
        completion, key, dollars = answer.completion, answer.key, answer.dollars
        self._recent.add(digest, RecentAnswer(lane, request, completion, key, dollars, reply, size))


def digest_of(body: bytes) -> bytes:
    """By which a body is known."""
    return sha256(body).digest()


def says_all(headers: Mapping[str, str]) -> bool:
    """Whether a request's headers leave everything to its body."""
    return not any(name in headers for name in _OURS)
