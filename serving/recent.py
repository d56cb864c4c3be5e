"""Answers that go out again as they are: to a chat whose body came before, byte by byte.

Only where a body says all there is to say: it is no sample, and no header of ours came with it. Then its answer is in
the store, and is the same for everybody who may ask.
"""

from collections.abc import Mapping
from hashlib import sha256
from sys import getsizeof
from typing import NamedTuple

from metaspo.backends import Completion, Request
from metaspo.cache.lru import Recent
from metaspo.scheduling import Answer
from metaspo.serving.questions import DRAW, KEEP_ALIVE, PRIORITY, RUN

RECENT_BYTES = 32 << 20
OVERHEAD = 1_500
"""Bytes of memory of one of them beside its texts, about."""
MESSAGE = 120
"""And of each message after the first."""


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
        completion, key, dollars = answer.completion, answer.key, answer.dollars
        size = OVERHEAD + 2 * len(body) + 2 * len(reply) + MESSAGE * (len(request.messages) - 1)
        texts = (completion.text, *(message.content for message in request.messages))
        size += sum(getsizeof(text) for text in texts if not text.isascii())  # four bytes a character, maybe
        kept = memoryview(reply).tobytes()  # what orjson made has a buffer of 4 KiB however short it is
        self._recent.add(digest, RecentAnswer(lane, request, completion, key, dollars, kept, size))


def digest_of(body: bytes) -> bytes:
    """By which a body is known."""
    return sha256(body).digest()


def says_all(headers: Mapping[str, str]) -> bool:
    """Whether a request's headers leave everything to its body."""
    return DRAW not in headers and RUN not in headers and PRIORITY not in headers and KEEP_ALIVE not in headers
