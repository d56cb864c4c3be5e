"""A split's questions: their keys are those of their requests, which are made only where somebody needs one."""

from collections.abc import Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scheduling_world import Server, ask

from metaspo.backends import HalfAnswer, Message, Request, Sampling
from metaspo.backends.loops.virtual_time import run_virtual
from metaspo.cache import MARK, Key, KeyedRequests, MemoryStore, request_key
from metaspo.engine.config.models import Model
from metaspo.engine.evaluation.asking import Base, Questions
from metaspo.engine.prompts import PromptPair, Roles, render
from metaspo.engine.strategies.worked_examples import WorkedExample, join_user, without_own
from metaspo.engine.tasks import Example
from metaspo.scheduling import Gateway, GivenUp, Lane, LaneSettings

SHOWN = join_user((WorkedExample("2", "two"), WorkedExample("\ud800", "three")), "Say {question}.")
texts = st.text(st.sampled_from(["a", '"', "\\", "\n", "\x7f", "é", "\ud83d", "\ude00", "2", "\ue000"]), max_size=4)
user_prompts = st.one_of(
    st.sampled_from(["{question}", "{question} or {question}", "no place", SHOWN, f"{MARK}{{question}}"]),
    st.builds("{}{{question}}{}".format, texts, texts),
)
examples = st.builds(
    Example,
    texts,
    st.just(()),
    history=st.sampled_from([(), (Message("user", "before"), Message("assistant", "so"))]),
)


@given(
    system=st.one_of(texts, st.just(MARK)),
    user=user_prompts,
    split=st.lists(examples, max_size=3),
    roles=st.sampled_from(["separate", "merged"]),
    extra=st.sampled_from(["", '{"a": "text"}', f'{{"a": "{MARK}"}}']),
)
@example(system="s", user="Short {question}, then", split=[Example("2", ())], roles="separate", extra="")
@example(system="s", user="{question}\ude00", split=[Example("\ud83d", ())], roles="separate", extra="")
@example(system="s", user=f"{MARK[:-1]}{{question}}", split=[Example("2", ())], roles="separate", extra="")
@example(system="s", user=f"{{question}}{MARK[1:]}", split=[Example("2", ())], roles="separate", extra="")
@example(system="s", user=SHOWN, split=[Example("2", ()), Example("3", ())], roles="merged", extra="")
def test_questions_have_the_keys_of_their_requests(
    system: str, user: str, split: list[Example], roles: Roles, extra: str
) -> None:
    """Whatever the prompts and the questions hold, and whatever goes with a question."""
    pair = PromptPair(system, user)
    with_server = Gateway([Lane("lane", [Server()])], store=MemoryStore())
    model = Model(lane="lane", name="m", revision="", sampling=Sampling(extra=extra), roles=roles)
    base = Base(gateway=with_server, model=model, roles=roles)
    questions = Questions(base, pair, split)
    requests = [model.request(render(without_own(pair, each.question), each, roles=roles)) for each in split]
    keys = list(map(request_key, requests))
    assert questions.keys(range(len(split))) == keys
    assert [key.place for key in questions.keys(range(len(split)))] == [key.place for key in keys]
    assert list(questions) == requests
    assert list(questions.of([*range(len(split))][::-1])) == requests[::-1]


class Counted(KeyedRequests):
    """So many requests; which of them were made is noted."""

    def __init__(self, count: int) -> None:
        self._requests = [ask(number) for number in range(count)]
        self.made: list[int] = []

    def __len__(self) -> int:
        return len(self._requests)

    @property
    def model(self) -> str:
        return self._requests[0].model

    def make(self, position: int, /) -> Request:
        self.made.append(position)
        return self._requests[position]

    def keys(self, positions: Iterable[int], /) -> list[Key]:
        return [request_key(self._requests[position]) for position in positions]


@pytest.mark.virtual
async def test_of_what_is_in_the_store_no_request_is_made() -> None:
    """Nor for the lane, which keeps in mind what the model answers: it makes that where it has to ask it again."""
    server, store = Server(), MemoryStore()
    async with Gateway([Lane("lane", [server])], store=store) as gateway:
        await gateway.complete_many([ask(number) for number in range(0, 600, 2)], lane="lane")
        requests = Counted(600)
        answers = await gateway.complete_many(requests, lane="lane")
        assert [position for position in requests.made if position % 2] == list(range(1, 600, 2))
        assert len(requests.made) == 300
        again = Counted(600)
        assert list((await gateway.lookup_many(again, lane="lane")).values()) == answers
        assert again.made == []


def test_what_the_lane_asks_again_in_doubt_is_the_last_of_what_was_in_the_store() -> None:
    """It is made then, and no other one; that it is answered tells that a request alone is to blame."""

    def halve(request: Request) -> None:
        if "question 9" in request.messages[-1].content:
            raise HalfAnswer("cut")

    async def main() -> None:
        server, store = Server(), MemoryStore()
        async with Gateway([Lane("lane", [server])], store=store) as gateway:
            await gateway.complete_many([ask(number) for number in range(4)], lane="lane")
        server = Server()
        server.plan = halve
        async with Gateway([Lane("lane", [server], LaneSettings(attempts=2))], store=store) as gateway:
            requests = Counted(4)
            await gateway.complete_many(requests, lane="lane")
            assert (requests.made, server.calls) == ([], [])
            with pytest.raises(GivenUp):
                await gateway.complete(ask(9), lane="lane")
            assert requests.made == [3]
        assert server.finished == ["question 3"]

    run_virtual(main())
