"""The memory of bodies that came before stays within its size and forgets the right ones."""

from metaspo.backends import Completion, Message, Request, Usage
from metaspo.scheduling import Answer
from metaspo.serving.recent import OVERHEAD, RecentAnswers, digest_of

REQUEST = Request(model="m", messages=(Message("user", "Is it so?"),))
ANSWER = Answer(Completion(text="yes", finish_reason="stop", usage=Usage(1, 1), latency=0.0), "key", "miss", 1.0, 0.5)


def add(recent: RecentAnswers, body: bytes, reply: bytes = b"") -> None:
    recent.add(digest_of(body), body, reply, lane="m", request=REQUEST, answer=ANSWER)


def kept(recent: RecentAnswers, *bodies: bytes) -> list[bytes]:
    return [body for body in bodies if recent.get(digest_of(body)) is not None]


def test_forgets_what_was_longest_not_asked_for() -> None:
    recent = RecentAnswers(3 * (OVERHEAD + 2))
    for body in (b"a", b"b", b"c"):
        add(recent, body)
    recent.get(digest_of(b"a"))
    add(recent, b"d")
    assert kept(recent, b"a", b"b", b"c", b"d") == [b"a", b"c", b"d"]


def test_counts_bytes_and_each_body_once() -> None:
    """One long answer takes the room of many short ones, and one that is too long for all is not kept."""
    recent = RecentAnswers(10 * OVERHEAD)
    for _ in range(3):
        add(recent, b"a")
        add(recent, b"b")
    add(recent, b"long", b"x" * (3 * OVERHEAD))
    assert kept(recent, b"a", b"b", b"long") == [b"a", b"b", b"long"]
    add(recent, b"too long", b"x" * (6 * OVERHEAD))
    assert len(recent) == 0


def test_what_is_kept_is_all_that_a_hit_tells() -> None:
    recent = RecentAnswers()
    add(recent, b"a", b"reply")
    again = recent.get(digest_of(b"a"))
    assert again is not None
    assert again[:6] == ("m", REQUEST, ANSWER.completion, "key", 0.5, b"reply")
