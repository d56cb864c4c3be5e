"""The shipped simulated models: the same calls always go the same way, whatever their order."""

import asyncio
import contextlib
import random

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaspo.backends import (
    Backend,
    BackendError,
    FatalError,
    Message,
    Overloaded,
    Reply,
    Request,
    Scripted,
    ServerInfo,
    Simulated,
    TimedOut,
    Usage,
)
from metaspo.backends.loops.virtual_time import run_virtual


def question(text: str, *, draw: int = 0) -> Request:
    return Request(model="m", messages=(Message("user", text),), draw=draw)


def last_text(request: Request) -> str:
    return request.messages[-1].content


async def ask_all(backend: Backend, requests: list[Request], *, at_once: int) -> dict[Request, Reply | str]:
    """Each request's reply, or the name of its error."""
    replies: dict[Request, Reply | str] = {}
    slots = anyio.Semaphore(at_once)

    async def ask(request: Request) -> None:
        async with slots:
            try:
                replies[request] = await backend.complete(request, time_limit=60)
            except BackendError as error:
                replies[request] = type(error).__name__

    async with anyio.create_task_group() as group:
        for request in requests:
            group.start_soon(ask, request)
    return replies


def flaky(seed: int) -> Simulated:
    def fault(request: Request, attempt: int) -> BackendError | None:
        return Overloaded("busy") if attempt == 0 and "3" in last_text(request) else None

    return Simulated(last_text, latency=lambda _, draw: draw.uniform(0, 50), faults=fault, seed=seed)


@given(st.integers(0, 5), st.integers(1, 8), st.permutations([question(str(i)) for i in range(12)]))
def test_a_reply_depends_on_the_request_alone(seed: int, at_once: int, order: list[Request]) -> None:
    """Not on the order of calls or how many are under way: text, usage, latency and faults are the same."""
    expected = run_virtual(ask_all(flaky(seed), sorted(order, key=last_text), at_once=1))
    assert run_virtual(ask_all(flaky(seed), order, at_once=at_once)) == expected
    assert any(reply == "Overloaded" for reply in expected.values())


def test_another_seed_draws_other_latencies() -> None:
    """And repeated draws of one question take times of their own."""
    requests = [question("a"), question("a", draw=1)]
    first, second = (run_virtual(ask_all(flaky(seed), requests, at_once=2)) for seed in (1, 2))
    times = [
        reply.completion.latency
        for replies in (first, second)
        for reply in replies.values()
        if isinstance(reply, Reply)
    ]
    assert len(set(times)) == 4


@pytest.mark.virtual
async def test_latency_passes_on_the_loops_clock() -> None:
    """Two calls at once take as long as the longer; the most in flight is on record."""
    backend = Simulated(last_text, latency=lambda request, _: float(last_text(request)))

    await ask_all(backend, [question("30"), question("45")], at_once=2)
    assert asyncio.get_running_loop().time() == pytest.approx(45)
    assert backend.most_in_flight == 2
    assert backend.calls == [question("30"), question("45")]


@pytest.mark.virtual
async def test_an_answer_over_the_limit_times_out_at_the_limit() -> None:
    """Not later, and not at once."""
    backend = Simulated(last_text, latency=100)

    with pytest.raises(TimedOut):
        await backend.complete(question("a"), time_limit=7)
    assert asyncio.get_running_loop().time() == pytest.approx(7)


async def test_faults_are_planned_by_how_often_the_request_was_sent() -> None:
    """The second try of the same request may pass."""
    backend = Simulated(last_text, faults=lambda _, n: Overloaded("busy") if n < 2 else None)
    for _ in range(2):
        with pytest.raises(Overloaded):
            await backend.complete(question("a"), time_limit=1)
    assert (await backend.complete(question("a"), time_limit=1)).completion.text == "a"


@given(st.text(max_size=40), st.text(max_size=40))
async def test_usage_is_a_quarter_of_the_characters(prompt: str, answer: str) -> None:
    """Rounded up, so that nothing but silence is free."""
    reply = await Scripted([answer]).complete(question(prompt), time_limit=1)
    expected = Usage((len(prompt) + 3) // 4, (len(answer) + 3) // 4)
    assert (reply.completion.text, reply.completion.usage) == (answer, expected)


async def test_scripted_answers_by_function_mapping_or_sequence() -> None:
    """The three ways to write a script."""
    for answers in (lambda request: last_text(request).upper(), {"a": "A", "b": "B"}, ["A", "B"]):
        backend = Scripted(answers)
        texts = [(await backend.complete(question(text), time_limit=1)).completion.text for text in "ab"]
        assert texts == ["A", "B"]


async def test_a_script_that_runs_out_stops_the_run() -> None:
    """It never passes for an answer."""
    for backend in (Scripted([]), Scripted({"b": "B"})):
        with pytest.raises(FatalError):
            await backend.complete(question("a"), time_limit=1)


async def test_a_simulated_model_is_probed_like_any_other() -> None:
    """It tells its name and its load."""
    backend: Backend = Simulated(last_text, name="toy", seed=random.Random(1).randrange(9))
    assert (await backend.probe()).models == ("toy",)
    assert await backend.load() == {"running": 0.0}
    await backend.aclose()


@pytest.mark.virtual
async def test_what_is_under_way_is_told_and_ends_however_the_call_ends() -> None:
    """Answered, refused, too late, or broken off; what was asked is on record all the same."""
    backend = Simulated(last_text, latency=lambda request, _: float(last_text(request)), faults=lambda r, n: fault(r))

    def fault(request: Request) -> BackendError | None:
        return Overloaded("busy") if last_text(request) == "2" else None

    async with anyio.create_task_group() as group:

        async def ask(text: str) -> None:
            with contextlib.suppress(BackendError):
                await backend.complete(question(text), time_limit=3.0)

        for text in ("1", "2", "3", "9"):
            group.start_soon(ask, text)
        loads = []
        for _ in range(3):
            await anyio.sleep(0.75)
            loads.append((await backend.load())["running"])
        group.cancel_scope.cancel()
    assert loads == [4.0, 3.0, 2.0]
    assert await backend.load() == {"running": 0.0}
    assert (backend.most_in_flight, len(backend.calls)) == (4, 4)


async def test_a_reply_says_who_gave_it_and_how_long_it_took() -> None:
    """The limit itself is in time; what is said of the server is what was given."""
    info = ServerInfo(models=("a", "b"), context=9)
    backend = Simulated(last_text, name="toy", latency=0.01, server_info=info)
    completion = (await backend.complete(question("a"), time_limit=0.01)).completion
    assert (completion.server, completion.latency, completion.finish_reason) == ("toy", 0.01, "stop")
    assert await backend.probe() == info
    assert backend.name == "toy"
    two = Request(model="m", messages=(Message("system", "a"), Message("user", "b")))
    assert (await Scripted({"a": "A", "b": "B"}).complete(two, time_limit=1)).completion.text == "B"
    silent = Request(model="m", messages=())
    assert (await Scripted({"": "to nothing"}).complete(silent, time_limit=1)).completion.text == "to nothing"
