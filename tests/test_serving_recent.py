"""The memory of bodies that came before stays within its size and forgets the right ones."""

import tracemalloc

import orjson
import pytest

from metaspo.backends import Completion, Message, Request, Usage, read_chat_call
from metaspo.scheduling import Answer
from metaspo.serving.recent import OVERHEAD, RecentAnswers, digest_of
from metaspo.serving.replies import chat_body_of

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


@pytest.mark.parametrize(
    ("question", "answer", "messages"),
    [
        ("q", "yes", 1),
        ("q" * 500, "yes", 1),
        ("q" * 2000 + "\N{GRINNING FACE}", "yes", 1),
        ("q", "a" * 4000 + "\N{GRINNING FACE}", 1),
        ("q", "\N{CJK UNIFIED IDEOGRAPH-4E2D}" * 2000, 1),
        ("q", "yes", 100),
    ],
)
def test_takes_no_more_memory_than_it_may(question: str, answer: str, messages: int) -> None:
    """Whatever the bodies are like: long or short, in whichever script, of one message or of many."""
    most = 1 << 18
    recent = RecentAnswers(most)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(400):
        asked = [{"role": "user", "content": f"{question}{number}"}] * messages
        body = orjson.dumps({"model": "m", "temperature": 0, "messages": asked})
        call = read_chat_call(orjson.loads(body))
        completion = Completion(
            text=f"{answer}{number}", finish_reason="stop", usage=Usage(number, number), latency=1.0 + number
        )
        got = Answer(completion, digest_of(body).hex(), "miss", 1.0, 0.5 + number)
        recent.add(digest_of(body), body, chat_body_of(call, [got]), lane="m", request=call.request, answer=got)
    took = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert 0 < len(recent) < 400
    assert took < 1.1 * most


def test_what_is_kept_is_all_that_a_hit_tells() -> None:
    recent = RecentAnswers()
    add(recent, b"a", b"reply")
    again = recent.get(digest_of(b"a"))
    assert again is not None
    assert again[:6] == ("m", REQUEST, ANSWER.completion, "key", 0.5, b"reply")
