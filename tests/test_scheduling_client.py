"""The client: any thread, any loop, one gateway; what it answers and how it fails."""

import asyncio
import copy
import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from sizes import rest_is_slow

from metaspo.backends import (
    AccessDenied,
    BackendError,
    Completion,
    CreditExhausted,
    FatalError,
    LocalServerFailed,
    Message,
    ModelFileUnavailable,
    OpenAICompatible,
    Reply,
    Request,
    RequestRejected,
    Sampling,
    Scripted,
    Simulated,
    UnknownModel,
    WrongForm,
)
from metaspo.bench.overhead import fast_server
from metaspo.cache import MemoryStore, StoreError
from metaspo.scheduling import (
    Account,
    Budget,
    BudgetExhausted,
    BudgetReached,
    CallFailed,
    Client,
    DrawCounter,
    Event,
    Gateway,
    Lane,
    LaneSettings,
    LaneStopped,
    is_sampled,
)
from metaspo.scheduling.client.client import FROM_WITHIN, HITS_KEPT
from metaspo.scheduling.client.failures import STATUS, call_failed
from metaspo.scheduling.lanes.verdicts import FIRST_LASTS
from metaspo.scheduling.open_files import OURS
from metaspo.scheduling.telemetry.event_words import sentence_of

SAMPLED = Sampling(temperature=1.0)


def ask(text: str, *, sampling: Sampling | None = None, model: str = "m", draw: int = 0) -> Request:
    return Request(model=model, messages=(Message("user", text),), sampling=sampling or Sampling(), draw=draw)


def echo(request: Request) -> str:
    return f"{request.messages[-1].content}/{request.draw}"


def client_of(model: Simulated | None = None, *, cache: Path | str = "", budget: Budget | None = None) -> Client:
    return Client([Lane("m", [model or Scripted(echo)])], cache=cache, budget=budget or Budget())


class Held(Simulated):
    """Answers when it is released."""

    def __init__(self) -> None:
        super().__init__(echo)
        self.asked, self.released, self.left = threading.Event(), threading.Event(), threading.Event()

    async def complete(self, request: Request, *, time_limit: float) -> Reply:
        self.asked.set()
        try:
            await asyncio.get_running_loop().run_in_executor(None, self.released.wait)
        except asyncio.CancelledError:
            self.left.set()
            self.released.set()
            raise
        return await super().complete(request, time_limit=time_limit)


@contextmanager
def held_up(client: Client) -> Iterator[None]:
    """The client's event loop does nothing meanwhile."""
    blocked, go_on = threading.Event(), threading.Event()

    def block() -> None:
        blocked.set()
        go_on.wait()

    client._thread.loop.call_soon_threadsafe(block)
    blocked.wait()
    try:
        yield
    finally:
        go_on.set()


def test_threads_and_loops_ask_one_gateway_and_equal_questions_are_asked_once() -> None:
    model = Simulated(echo, latency=0.01)
    with client_of(model) as client, ThreadPoolExecutor(8) as threads:
        texts = [f"q{number % 10}" for number in range(80)]
        here = list(threads.map(lambda text: client.complete(ask(text)).text, texts))
        there = list(threads.map(lambda text: asyncio.run(client.acomplete(ask(text))).text, texts))
    assert here == there == [f"{text}/0" for text in texts]
    assert len(model.calls) == 10


def test_a_batch_has_its_answers_by_position_and_failures_in_their_places() -> None:
    def answer(request: Request) -> str:
        if request.messages[-1].content == "bad":
            raise RequestRejected("It is too long.")
        return echo(request)

    with client_of(Scripted(answer)) as client:
        first, second, third = client.complete_many([ask("a"), ask("bad"), ask("b")])
        again = asyncio.run(client.acomplete_many([ask("b")]))
        assert client.complete_many([]) == []
    assert isinstance(first, Completion)
    assert isinstance(third, Completion)
    assert (first.text, third.text, again) == ("a/0", "b/0", [third])
    assert isinstance(second, CallFailed)
    assert (second.kind, second.status, second.final) == ("rejected", 400, True)


def test_answers_of_a_batch_come_one_by_one_with_whether_they_were_in_the_cache() -> None:
    """Also to who breaks off, and so withdraws the rest."""

    class Slow(Simulated):
        async def complete(self, request: Request, *, time_limit: float) -> Reply:
            if request.messages[-1].content == "held":
                await asyncio.Event().wait()
            if request.messages[-1].content == "bad":
                raise RequestRejected("It is too long.")
            return await super().complete(request, time_limit=time_limit)

    with client_of(Slow(echo)) as client:
        client.complete(ask("old"))
        new, old, bad, again = client.as_completed([ask("new"), ask("old"), ask("bad"), ask("new")])
        came = {each.position: each for each in (new, old, bad, again)}
        assert {position: each.from_cache for position, each in came.items()} == {0: False, 1: True, 2: False, 3: False}
        assert [each.answer.text for each in came.values() if isinstance(each.answer, Completion)].count("new/0") == 2
        assert isinstance(came[2].answer, CallFailed)
        batch = client.as_completed([ask("held"), ask("old")])
        assert next(batch).position == 1
        assert isinstance(batch, Generator)
        batch.close()
        assert list(client.as_completed([])) == []
    with pytest.raises(CallFailed, match="closed"):
        list(client.as_completed([ask("old")]))


def test_a_batch_tells_the_caller_s_thread_how_far_it_is_and_has_its_answers_by_position_all_the_same() -> None:
    told: list[tuple[int, int, int]] = []
    with client_of(Simulated(echo)) as client:
        requests = [ask(text) for text in ("a", "b", "c", "a")]
        answers = client.complete_many(
            requests, progress=lambda done, of: told.append((done, of, threading.get_ident()))
        )
        assert answers == client.complete_many(requests)
        assert told == [(done, 4, threading.get_ident()) for done in (1, 2, 3, 4)]
        with pytest.raises(ZeroDivisionError):
            client.complete_many(requests, progress=lambda done, of: told.append((done, of, done // (of - 4))))


def test_what_is_cached_is_answered_without_the_client_s_loop(tmp_path: Path) -> None:
    """Also by a client that has never asked it; and it is counted."""
    with client_of(cache=tmp_path / "cache") as client:
        client.complete(ask("q"))
    model = Scripted([])
    with client_of(model, cache=tmp_path / "cache") as client:
        with held_up(client):
            assert [client.complete(ask("q")).text for _ in range(3)] == ["q/0"] * 3
        assert client.statistics().total.hits == 3
    assert model.calls == []


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the system does not say which files are open")
def test_a_client_that_is_closed_has_let_go_of_its_folder(tmp_path: Path) -> None:
    def held() -> list[str]:
        return [name for link in Path("/proc/self/fd").iterdir() if str(tmp_path) in (name := os.path.realpath(link))]

    with client_of(cache=tmp_path / "cache") as client:
        assert held()
    assert held() == []
    assert client.closed


def test_what_a_client_was_answered_it_has_at_hand_though_no_file_keeps_it() -> None:
    with client_of() as client:
        client.complete(ask("q"))
        with held_up(client):
            assert client.complete(ask("q")).text == "q/0"


def test_hits_are_counted_though_nobody_asks_for_statistics() -> None:
    """Else their answers would be held as long as the client."""
    with client_of() as client:
        for _ in range(3 * HITS_KEPT + 1):
            client.complete(ask("q"))
        client.complete(ask("r"))  # its turn comes after those of the counts
        assert len(client._hits) < HITS_KEPT
        assert client.statistics().total.hits == 3 * HITS_KEPT


def test_repeated_samples_are_different_draws_and_the_same_ones_in_the_next_run(tmp_path: Path) -> None:
    questions = [ask("q", sampling=SAMPLED)] * 3
    runs = []
    for _ in range(2):
        model = Scripted(echo)
        with client_of(model, cache=tmp_path / "cache") as client, ThreadPoolExecutor(3) as threads:
            single = sorted(threads.map(lambda request: client.complete(request).text, questions))
            batch = [answer.text for answer in client.complete_many(questions) if isinstance(answer, Completion)]
            assert client.complete(questions[0], draw=1).text == "q/1"
            assert client.complete(ask("q", sampling=SAMPLED, draw=9)).text == "q/9"
            assert client.complete(ask("q")).text == client.complete(ask("q")).text == "q/0"
        runs.append((single, batch, len(model.calls)))
    assert runs == [
        (["q/0", "q/1", "q/2"], ["q/3", "q/4", "q/5"], 8),
        (["q/0", "q/1", "q/2"], ["q/3", "q/4", "q/5"], 0),
    ]


def test_a_draw_that_brought_no_answer_is_asked_for_again() -> None:
    """By a retry, or a rerun: which sample is which does not depend on failures."""
    broken = [True, True]

    def answer(request: Request) -> str:
        if broken:
            broken.pop()
            raise RequestRejected("Not now.")
        return echo(request)

    with client_of(Scripted(answer)) as client:
        with pytest.raises(CallFailed):
            client.complete(ask("q", sampling=SAMPLED))
        assert isinstance(client.complete_many([ask("q", sampling=SAMPLED)])[0], CallFailed)
        assert [client.complete(ask("q", sampling=SAMPLED)).text for _ in range(2)] == ["q/0", "q/1"]


@pytest.mark.parametrize(
    ("sampling", "path", "sampled"),
    [
        (Sampling(), "", False),
        (Sampling(temperature=None), "", True),
        (Sampling(temperature=0.1), "", True),
        (Sampling(temperature=1.0, seed=1), "", False),
        (Sampling(temperature=None), "embeddings", False),
        (Sampling(temperature=None), "completions", True),
        (Sampling(temperature=None, extra='{"temperature":0}'), "completions", False),
        (Sampling(temperature=None, extra='{"seed":0}'), "responses", False),
    ],
)
def test_what_a_seed_or_temperature_0_fixes_is_not_sampled(sampling: Sampling, path: str, sampled: bool) -> None:
    request = Request(model="m", messages=(), sampling=sampling, path=path)
    assert is_sampled(request) is sampled
    counter = DrawCounter()
    assert [counter.take(request).draw for _ in range(3)] == ([0, 1, 2] if sampled else [0, 0, 0])


def failing(error: BackendError) -> Simulated:
    return Simulated(echo, faults=lambda _request, _sent: error)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RequestRejected("too long"), "rejected"),
        (UnknownModel("no such model"), "model"),
        (AccessDenied("the key is wrong"), "access"),
        (CreditExhausted("no credit"), "credit"),
        (WrongForm("no temperature"), "rejected"),
    ],
)
def test_a_failure_has_its_kind_its_status_and_the_sentence(error: BackendError, kind: str) -> None:
    with client_of(failing(error)) as client, pytest.raises(CallFailed) as caught:
        client.complete(ask("q"))
    failed = caught.value
    assert (failed.kind, failed.status, failed.final) == (kind, STATUS[failed.kind], True)
    assert str(failed) == str(error)
    assert call_failed(failed) is failed, "it has been told already"


@pytest.mark.parametrize(
    "error",
    [ModelFileUnavailable("no file"), LocalServerFailed("it did not start"), FatalError("a redirect")],
    ids=lambda error: type(error).__name__,
)
def test_what_the_request_is_not_to_blame_for_may_be_asked_again_later(error: BackendError) -> None:
    with client_of(failing(error)) as client, pytest.raises(CallFailed, match=str(error)) as caught:
        client.complete(ask("q"))
    assert (caught.value.kind, caught.value.status, caught.value.final) == ("unavailable", 503, False)


def test_a_cap_is_a_failure_of_its_own_kind() -> None:
    with client_of(budget=Budget(calls=1)) as client:
        client.complete(ask("a"))
        says = r"1 of 1 calls are spent and the next call may take 1; everything .* raise the cap on calls\.$"
        with pytest.raises(CallFailed, match=says) as caught:
            client.complete(ask("b"))
        assert client.complete(ask("a")).text == "a/0"
    assert (caught.value.kind, caught.value.status) == ("budget", 402)


def test_a_server_that_is_not_there_may_be_asked_again_later() -> None:
    settings = LaneSettings(first_patience=0.1)
    lane = Lane("m", [OpenAICompatible("http://127.0.0.1:9/v1")], settings)
    with Client([lane]) as client, pytest.raises(CallFailed) as caught:
        client.complete(ask("q"))
    assert (caught.value.kind, caught.value.status, caught.value.final) == ("unavailable", 503, False)
    assert caught.value.retry_after is not None


def test_one_program_s_mistake_stops_no_other() -> None:
    """A model that is not served, or parameters that it does not take."""

    def fault(request: Request, _sent: int) -> BackendError | None:
        if request.sampling.top_p is not None:
            return WrongForm("no top_p")
        return UnknownModel("not here") if request.model != "m" else None

    with Client([Lane("all", [Simulated(echo, faults=fault)])]) as client:
        for wrong in (ask("q", sampling=Sampling(top_p=0.5)), ask("q", model="n")):
            with pytest.raises(CallFailed):
                client.complete(wrong)
        assert client.complete(ask("q")).text == "q/0"


@pytest.mark.parametrize("wrong", [Sampling(extra="[1]"), Sampling(extra='"x"')])
def test_a_field_that_no_body_can_have_is_its_request_s_fault_alone(wrong: Sampling) -> None:
    with fast_server() as url, Client([Lane("m", [OpenAICompatible(url)])]) as client:
        with pytest.raises(CallFailed, match="The request's 'extra' is not a JSON object") as failed:
            client.complete(ask("q", sampling=wrong))
        assert (failed.value.kind, failed.value.final) == ("rejected", True)
        assert client.complete(ask("q")).text


@pytest.mark.parametrize("text", ["Is 7 prime?", b"Is 7 prime?", None])
def test_what_is_no_request_is_told_how_one_is_made(text: Any) -> None:  # noqa: ANN401 - that is the point
    with client_of(Simulated(lambda request: "yes")) as client:
        for call in (client.complete, lambda given: client.complete_many([given])):
            with pytest.raises(TypeError, match=r"what is asked is a Request\(.*this is a (str|bytes|NoneType)"):
                call(text)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ("Is 7 prime?", "a request's messages are those of .*this is a str$"),
        (("Is 7 prime?",), "this is a str: 'Is 7 prime[?]'$"),
        ((Message("user", cast("str", 7)),), "a message's content is a text; this is a int: 7$"),
    ],
)
def test_messages_that_are_none_are_told(messages: Any, says: str, temperature: float) -> None:  # noqa: ANN401 - the point
    wrong = Request(model="m", messages=messages, sampling=Sampling(temperature=temperature))
    with client_of(Simulated(lambda request: "yes")) as client:
        for call in (client.complete, lambda given: client.complete_many([given])):
            with pytest.raises(TypeError, match=says):
                call(wrong)


def test_one_request_is_no_batch() -> None:
    with client_of(Simulated(lambda request: "yes")) as client:
        for given in (ask("q"), "Is 7 prime?", 7):
            with pytest.raises(TypeError, match=r"a batch is a list of Request\(.*; this is a (Request|str|int)$"):
                client.complete_many(cast("list[Request]", given))


@pytest.mark.parametrize("lanes", [Lane("m", [Scripted(lambda _: "")]), ["m"], "m", None])
def test_what_is_no_list_of_lanes_is_told(lanes: Any) -> None:  # noqa: ANN401 - that is the point
    with pytest.raises(TypeError, match=r"lanes: give a list of metaspo\.Lane; (this|in it) is "):
        Client(lanes)


def test_requests_that_come_from_a_generator_are_answered_too() -> None:
    with client_of(Simulated(lambda request: request.messages[-1].content)) as client:
        for call in (client.complete_many, partial(client.complete_many, progress=lambda _done, _of: None)):
            answers = call(ask(text) for text in "ab")
            assert [answer.text for answer in answers if isinstance(answer, Completion)] == ["a", "b"]
        assert {each.position for each in client.as_completed(ask(text) for text in "cd")} == {0, 1}


def test_a_client_is_copied_as_itself_and_sent_nowhere() -> None:
    with client_of(Simulated(lambda request: "yes")) as client:
        assert copy.copy(client) is client
        assert copy.deepcopy({"model": client})["model"] is client
        with pytest.raises(TypeError, match="cannot be sent to another process: make one there"):
            pickle.dumps(client)


def test_a_client_s_lanes_have_names_of_their_own() -> None:
    with pytest.raises(ValueError, match="two lanes are named 'm'"):
        Client([Lane("m", [Scripted(lambda _: "")]), Lane("m", [Scripted(lambda _: "")])])


def test_no_cache_is_no_folder_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Client([Lane("m", [Scripted(lambda _: "yes")])], cache=None) as client:
        client.complete(ask("q"))
    assert not list(tmp_path.iterdir())


def test_lanes_are_found_by_the_model_s_name() -> None:
    lanes = [Lane(name, [Scripted(lambda _, name=name: name)]) for name in ("m", "n")]  # type: ignore[misc]
    with Client(lanes) as client:
        assert client.complete(ask("q", model="n")).text == "n"
        assert client.complete(ask("q", model="x"), lane="m").text == "m"
        for call, words in (
            (lambda: client.complete(ask("q", model="x")), "lane"),
            (lambda: client.complete(ask("q", model="n"), lane="x"), "lane"),
            (lambda: client.complete_many([ask("q"), ask("q", model="n")]), "for several lanes: hand over a batch"),
        ):
            with pytest.raises(CallFailed, match=words) as caught:
                call()
            assert caught.value.kind == "request"


def test_who_leaves_ends_the_call_and_the_next_one_asks_anew() -> None:
    model = Held()
    with client_of(model) as client:

        async def leave() -> None:
            waiting = asyncio.create_task(client.acomplete(ask("q")))
            await asyncio.get_running_loop().run_in_executor(None, model.asked.wait)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

        asyncio.run(leave())
        assert model.left.wait(60)
        assert client.complete(ask("q")).text == "q/0"


def closed_in_the_middle(call: Callable[[Client], Any]) -> CallFailed:
    model = Held()
    client = client_of(model)
    failures: list[CallFailed] = []

    def wait() -> None:
        try:
            call(client)
        except CallFailed as failed:
            failures.append(failed)

    thread = threading.Thread(target=wait)
    thread.start()
    model.asked.wait()
    client.close()
    thread.join()
    client.close()
    with pytest.raises(CallFailed, match="closed"):
        call(client)
    return failures[0]


@pytest.mark.parametrize("call", [lambda c: c.complete(ask("q")), lambda c: c.complete_many([ask("q")])])
def test_closing_tells_who_waits_and_who_comes_later(call: Callable[[Client], Any]) -> None:
    failed = closed_in_the_middle(call)
    assert (failed.kind, failed.status, failed.final) == ("closed", 503, False)


def test_a_closed_client_answers_nothing_not_even_what_it_has_at_hand() -> None:
    client = client_of()
    client.complete(ask("q"), draw=0)
    client.close()
    with pytest.raises(CallFailed, match="closed"):
        client.complete(ask("q"), draw=0)


def test_a_close_that_ctrl_c_breaks_off_leaves_nobody_waiting() -> None:
    closing = threading.Event()

    class Watched(Client):
        async def _shut(self) -> None:
            closing.set()
            await super()._shut()

    def interrupt() -> None:
        closing.wait()
        os.kill(os.getpid(), signal.SIGINT)

    model = Held()
    client = Watched([Lane("m", [model], LaneSettings(billing="tokens"))])  # what is paid for is waited for
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(client.complete, ask("q"))
        model.asked.wait()
        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            client.close()
        failed = waiting.exception(timeout=60)
    assert isinstance(failed, CallFailed)
    assert failed.kind == "closed"


def test_who_comes_as_the_loop_stops_or_later_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """His check that the client is open was just before it was closed."""
    client = client_of()
    loop, futures = client._thread.loop, list[Future[None]]()

    def come() -> None:  # taken over in the loop's last round, so that the task has no turn
        futures.append(client._thread.hand_over(asyncio.sleep(0)))
        loop.call_soon(loop.stop)

    def stop() -> None:
        loop.call_soon_threadsafe(come)
        client._thread._thread.join()

    monkeypatch.setattr(client._thread, "stop", stop)
    client.close()
    futures += [client._thread.hand_over(asyncio.sleep(0)) for _ in range(2)]
    assert [future.done() for future in futures] == [True] * 3
    assert {str(future.exception()) for future in futures} == {"This client is closed; make a new one."}


def test_a_failure_that_nobody_waits_for_any_more_is_told_by_nobody() -> None:
    """Not by the event loop either, which tells of every error that nobody has seen."""
    told: list[object] = []
    held, over = threading.Event(), threading.Event()

    async def fail() -> None:
        held.set()
        try:
            await asyncio.sleep(3600)
        finally:
            over.set()
            raise LookupError("too late")

    with client_of() as client:
        client._thread.loop.set_exception_handler(lambda _, context: told.append(context))
        future = client._thread.hand_over(fail())
        held.wait()
        future.cancel()
        over.wait()
        del future
        client.statistics()
        gc.collect()
        client.statistics()
    assert told == []


def test_a_child_that_was_forked_is_told_and_its_parent_goes_on() -> None:
    with client_of() as client:
        client._process += 1  # what a child sees
        with pytest.raises(CallFailed, match="forked"):
            client.complete(ask("q"))
        client.close()
        client._process = os.getpid()
        assert client.complete(ask("q")).text == "q/0"


FORKS = """
import gc, os, sys, weakref
if "{loop}" == "asyncio":
    sys.modules["uvloop"] = None
from metaspo import Client, Lane, Message, OpenAICompatible, Request
client = Client([Lane("m", [OpenAICompatible("{url}")])])
before, after = (Request(model="m", messages=(Message("user", text),)) for text in ("before", "after"))
client.complete(before)
child = os.fork()
if not child:
    {child}
    sys.exit()
print(os.waitpid(child, 0)[1], client.complete(after).finish_reason)
"""
DROPS = "kept = weakref.ref(client); del client; gc.collect(); assert kept()"


@pytest.mark.whole
@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
@pytest.mark.parametrize(
    ("loop", "child"),
    rest_is_slow([("uvloop", "pass"), ("asyncio", DROPS), ("asyncio", "pass"), ("uvloop", DROPS)], but=2),
)
def test_a_child_that_was_forked_ends_without_a_word_and_its_parent_goes_on(loop: str, child: str) -> None:
    """As a web server's workers do, whether they use a client or not. Python 3.12 has a word of its own for forks."""
    with fast_server() as url:  # which keeps connections
        program = FORKS.format(loop=loop, url=url, child=child)
        command = [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", program]
        run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (run.stdout, run.stderr) == ("0 stop\n", "")


def test_a_client_that_comes_when_the_interpreter_ends_says_so() -> None:
    program = """
import atexit
from metaspo import Client, Lane, OpenAICompatible
from metaspo.scheduling import CallFailed
def late():
    try:
        Client([Lane("m", [OpenAICompatible("http://127.0.0.1:9/v1")])])
    except (CallFailed, RuntimeError) as refused:  # Python's own, where no thread can be started any more
        print(refused)
atexit.register(late)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert "interpreter" in run.stdout
    assert run.stderr == ""


@pytest.mark.parametrize(
    "blocking",
    [
        lambda client: client.complete(ask("q")),
        lambda client: client.complete_many([ask("q")]),
        lambda client: list(client.as_completed([ask("q")])),
        Client.statistics,
        Client.close,
    ],
)
def test_what_would_wait_for_the_client_in_its_own_thread_is_refused(blocking: Callable[[Client], Any]) -> None:
    said: list[str] = []

    def within(_told: object) -> None:
        with pytest.raises(RuntimeError) as refused:
            blocking(client)
        said.append(str(refused.value))

    with Client([Lane("m", [Scripted(echo)])], on_call=within) as client:
        assert client.complete(ask("a")).text == "a/0"
        assert client.complete(ask("b")).text == "b/0"
    assert said == [FROM_WITHIN] * 2


def test_a_client_that_is_dropped_is_closed_with_a_warning(tmp_path: Path) -> None:
    """Though it has answered, and is a part of a cycle; its backends and its cache with it."""
    closed = threading.Event()

    class Closing(Scripted):
        async def aclose(self) -> None:
            closed.set()

    def asked() -> threading.Thread:
        client = client_of(Closing(echo), cache=tmp_path / "cache")
        client.complete(ask("q"))
        client.complete_many([ask("q"), ask("other")])
        cycle: list[object] = [client]
        cycle.append(cycle)
        return client._thread._thread

    thread = asked()
    with pytest.warns(ResourceWarning, match="not closed"):
        gc.collect()
    thread.join(30)
    assert (thread.is_alive(), closed.is_set()) == (False, True)


PROGRAM = """
import sys
from metaspo import Client, Lane, Message, Request
from metaspo.backends import Scripted
class Model(Scripted):
    async def aclose(self):
        print("closed")
client = Client([Lane("m", [Model(lambda request: "yes")])], cache=sys.argv[1])
print(client.complete_many([Request(model="m", messages=(Message("user", "q"),))])[0].text)
"""


def test_a_program_that_just_ends_ends_cleanly(tmp_path: Path) -> None:
    """The client is closed with it: no hang, no word, and the answer is kept."""
    run = subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path / "c")], capture_output=True, timeout=60)
    assert (run.returncode, run.stdout, run.stderr) == (0, b"yes\nclosed\n", b"")
    with client_of(Scripted([]), cache=tmp_path / "c") as client:
        assert client.complete(ask("q")).text == "yes"


def test_a_client_sends_no_more_at_once_than_it_may_have_files_open(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Else calls fail that nothing is wrong with."""
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (OURS + 7, OURS + 7))
    lane = Lane("m", [Scripted(echo)], LaneSettings(concurrency=100))
    with caplog.at_level("WARNING"), Client([lane]):
        assert lane.settings.concurrency == 7
    assert "at most 7 calls go out together" in caplog.text


def test_a_cache_that_cannot_be_used_is_told_when_the_client_is_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    before = threading.active_count()
    with pytest.raises(StoreError):
        client_of(cache=tmp_path / "file")
    assert threading.active_count() == before


def test_a_client_that_cannot_be_made_leaves_nothing_open(tmp_path: Path) -> None:
    """However far it came: its lanes can be another's."""
    lanes, before = [Lane("m", [Scripted(echo)])], threading.active_count()

    class Broken(Client):
        async def _open(self) -> None:
            await super()._open()
            raise OSError("late")

    with pytest.raises(OSError, match="late"):
        Broken(lanes, cache=tmp_path / "cache")
    assert threading.active_count() == before
    with Client(lanes, cache=tmp_path / "cache") as client:
        assert client.complete(ask("q")).text == "q/0"


def test_trio_programs_can_ask(tmp_path: Path) -> None:
    trio = pytest.importorskip("trio")

    async def both(client: Client) -> Sequence[str]:
        return [(await client.acomplete(ask(text))).text for text in ("a", "a")]

    with client_of() as client:
        assert trio.run(both, client) == ["a/0", "a/0"]


def test_a_trio_program_can_leave_a_call() -> None:
    """What waits is cancelled as trio has it, and so is the call."""
    trio = pytest.importorskip("trio")
    model = Held()

    async def leaving(client: Client) -> bool:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.acomplete, ask("q"))
                await trio.to_thread.run_sync(model.asked.wait)
                scope.cancel()
        return bool(scope.cancelled_caught)

    with client_of(model) as client:
        assert trio.run(leaving, client)
        assert model.left.wait(60)


@pytest.mark.virtual
async def test_what_only_a_person_can_mend_is_tried_again_soon() -> None:
    """Where many programs ask: whoever topped the account up does not start the server anew. So it is however often it
    happens, as long as calls are answered between; that it answers again is told once."""
    used_up, heard = list[bool](), list[Event]()
    model = Simulated(echo, faults=lambda _request, _sent: CreditExhausted("no credit") if used_up else None)
    lanes = [Lane("m", [model])]
    async with Gateway(lanes, store=MemoryStore(), on_event=heard.append, many_programs=True) as gateway:
        for number in range(4):
            used_up.append(True)
            for _ in range(2):
                with pytest.raises(LaneStopped):
                    await gateway.complete(ask(f"{number}"), lane="m")
            assert len(model.calls) == 3 * number + 1
            used_up.clear()
            await asyncio.sleep(FIRST_LASTS)
            heard.clear()
            for text in (f"{number}", f"another {number}"):
                assert (await gateway.complete(ask(text), lane="m")).text == f"{text}/0"
            assert [sentence_of(event) for event in heard] == ["the m model answers again"]


@pytest.mark.virtual
async def test_a_request_that_is_too_much_for_a_budget_fails_alone_where_many_programs_ask() -> None:
    """Whether it stood in line or came when nothing was out; what fits is asked, before and after and beside it. Nor
    is the account said to be at its cap, which would keep a log from telling when it is."""
    budget = Budget(tokens=2_000)
    account = Account("a", budget)
    model = Simulated(echo, latency=1.0)

    def sized(text: str, most: int) -> Request:
        return replace(ask(text), sampling=Sampling(max_tokens=most))

    capped: list[Event] = []
    lane = Lane("m", [model])
    async with Gateway([lane], store=MemoryStore(), on_event=capped.append, many_programs=True) as gateway:
        sizes = [9_000, 400, 9_000, 400, 9_000]
        for round_ in range(2):
            asked = [sized(f"{round_} {number}", most) for number, most in enumerate(sizes)]
            ends = await asyncio.gather(
                *(gateway.complete(request, lane="m", account=account) for request in asked), return_exceptions=True
            )
            assert [isinstance(end, BudgetExhausted) for end in ends] == [most > 2_000 for most in sizes]
    said = str(ends[0])
    assert said.startswith("This request may take up to 9,")
    assert "of the 2,000 tokens of the budget of a are left" in said
    assert "ask for less (max_tokens), or raise the cap on tokens" in said
    assert not any(isinstance(event, BudgetReached) for event in capped)


@pytest.mark.virtual
async def test_what_a_budget_can_never_pay_does_not_wait_for_calls_that_are_out() -> None:
    """There always were some, while others of its key went on asking; what they may leave room for waits for it."""
    account = Account("a", Budget(tokens=2_000))
    async with Gateway([Lane("m", [Simulated(echo, latency=9.0)])], store=MemoryStore(), many_programs=True) as gateway:

        def asked(text: str, most: int) -> "asyncio.Task[Completion]":
            request = replace(ask(text), sampling=Sampling(max_tokens=most))
            return asyncio.create_task(gateway.complete(request, lane="m", account=account))

        first = asked("first", 400)
        await asyncio.sleep(1)
        later = asked("later", 1_500)
        with pytest.raises(BudgetExhausted, match=r"up to 9,.* and 2,000 of the 2,000 tokens"):
            await asyncio.wait_for(asked("never", 9_000), 1)
        assert not first.done()
        assert [(await each).text for each in (first, later)] == ["first/0", "later/0"]


@pytest.mark.virtual
async def test_a_request_that_is_too_much_for_all_who_ask_it_fails_for_each() -> None:
    """Their budgets do not take turns at it for ever; one that has room for it pays."""
    small, large = Budget(tokens=2_000), Budget(tokens=20_000)
    model = Simulated(echo, latency=1.0)
    lane = Lane("m", [model], LaneSettings(concurrency=1))
    async with Gateway([lane], store=MemoryStore(), many_programs=True) as gateway:
        for number, budgets in enumerate(([small, small], [small, small, large], [large, small])):
            before = asyncio.create_task(gateway.complete(ask(f"before {number}"), lane="m"))
            await asyncio.sleep(0.5)
            request = replace(ask(f"{number}"), sampling=Sampling(max_tokens=9_000))
            accounts = [Account(f"{at}", budget) for at, budget in enumerate(budgets)]
            ends = await asyncio.gather(
                *(gateway.complete(request, lane="m", account=account) for account in accounts), return_exceptions=True
            )
            await before
            assert [isinstance(end, BudgetExhausted) for end in ends] == [large not in budgets] * len(budgets)


def test_a_cap_in_dollars_against_which_calls_could_not_count_is_refused() -> None:
    with pytest.raises(ValueError, match="what the lane m costs is not known"):
        Client([Lane("m", [Simulated(lambda request: "a")])], budget=Budget(dollars=5.0))
