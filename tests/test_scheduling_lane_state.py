"""What a lane decides, as tables: something happens at a time, and this is done about it. No event loop is involved."""

from collections.abc import Callable
from contextvars import Context
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scheduling_world import ANSWER_TOKENS, PROMPT_TOKENS, Server, answer, ask

from metaspo.backends import (
    AccessDenied,
    BackendError,
    Completion,
    ConnectionLost,
    HalfAnswer,
    Overloaded,
    RateLimited,
    RequestRejected,
    ServerFault,
    TimedOut,
    UnknownModel,
    Unreachable,
    Usage,
)
from metaspo.cache import StoreError, request_key
from metaspo.scheduling import Account, Budget, Cost, Event, LaneSettings, Prices, RunStopped
from metaspo.scheduling.lanes.calls_out import OVERDUE
from metaspo.scheduling.lanes.endpoints import FIRST_REST, Endpoint, Health
from metaspo.scheduling.lanes.flight import Call, Flight, State
from metaspo.scheduling.lanes.lane_state import LaneState
from metaspo.scheduling.lanes.single_flight import FlightTable
from metaspo.scheduling.lanes.surroundings import Surroundings
from metaspo.scheduling.queue import Priority

ERRORS: dict[str, BackendError] = {
    "half": HalfAnswer("half"),
    "fault": ServerFault("500"),
    "full": Overloaded("full"),
    "rate": RateLimited("429", retry_after=30.0),
    "gone": Unreachable("refused", refused=True),
    "late": TimedOut("slow"),
    "stale": ConnectionLost("gone", before_answer=True),
    "cut": ConnectionLost("gone", before_answer=False),
    "denied": AccessDenied("no"),
    "unknown": UnknownModel("no such model"),
    "rejected": RequestRejected("too long"),
}
ONE = LaneSettings(concurrency=1)
TWO = LaneSettings(concurrency=2)
PAID = LaneSettings(concurrency=1, billing="tokens")


class Asker:
    """Waits for one answer, and writes down what comes."""

    def __init__(self, name: str, account: Account, told: list[str]) -> None:
        self.name = name
        self.account = account
        self.context: Context | None = None
        self.told = told

    def asked(self, flight: Flight) -> int:
        return 1

    def resolve(self, flight: Flight, completion: Completion) -> None:
        self.told.append(f"{self.name} answered")

    def fail(self, flight: Flight, error: BaseException) -> None:
        self.told.append(f"{self.name} {type(error).__name__}")


class WrittenDown:
    """What an account announces is kept somewhere, as long as there is room."""

    def __init__(self) -> None:
        self.full = False

    def __call__(self, account: Account) -> None:
        if self.full:
            raise StoreError("The disk is full.")


class Rig:
    """A lane, and everything around it that a gateway would be.

    Attributes:
        done: what the lane has done since the last look: calls sent and broken off, endpoints looked at, askers told.
        calls: those that are out, by the number of the question; out: all of them, in order.
        names: of the servers, in the order of the one prefix of all questions; "" where each has its own.
    """

    def __init__(
        self,
        settings: LaneSettings = ONE,
        *,
        flights: FlightTable | None = None,
        name: str = "lane",
        claim: Callable[[Flight], State | None] = lambda flight: None,
        servers: int = 1,
        prefix: str = "",
    ) -> None:
        self.flights = FlightTable() if flights is None else flights
        self.events: list[Event] = []
        self.woken = 0
        self.done: list[str] = []
        self.out: list[tuple[int, Call]] = []
        self.looks: list[tuple[Endpoint, Health]] = []
        self.askers: dict[int, list[Asker]] = {}
        self.cancels = True
        around = Surroundings(self.flights, self.events.append, self._wake, claim)
        backends = [Server(f"server {number}") for number in range(servers)]
        self.state = LaneState(name, backends, settings, around, now=0.0)
        order = self.state._endpoints._order(prefix) if prefix else []
        self.names = {endpoint: f" to {letter}" for endpoint, letter in zip(order, "abcdefgh", strict=False)}
        self._prefix = prefix

    def _wake(self) -> None:
        self.woken += 1

    def pump(self, at: float) -> str:
        """Let it do what is due, and say all that was done."""
        for endpoint in self.state.tick(at):
            if endpoint.health is not Health.UP:  # else it has no gauges to show
                self.looks.append((endpoint, endpoint.health))
                self.done.append("look")
        while (call := self.state.next_start(at)) is not None:
            self._send(call)
        return self.take_done()

    def take_done(self) -> str:
        """What was done since the last look."""
        done = ", ".join(self.done)
        self.done.clear()
        return done

    def _send(self, call: Call) -> None:
        number = int(call.flight.request.messages[-1].content.split()[1])

        def cancel() -> bool:
            self.done.append(f"abort {number}")
            return self.cancels

        call.cancel = cancel
        self.out.append((number, call))
        self.done.append(f"send {number}{self.names.get(call.endpoint, '')}")

    def take(self, number: int, *, newest: bool = False) -> Call:
        """The first call for a question that is out, or the newest; it is not, any more."""
        entry = next(entry for entry in (reversed(self.out) if newest else self.out) if entry[0] == number)
        self.out.remove(entry)
        return entry[1]

    def ask(self, number: int, at: float, *, priority: Priority = (), account: Account | None = None) -> None:
        request = ask(number, system=self._prefix)
        key = request_key(request)
        asker = Asker(str(number), account or Account(), self.done)
        self.askers.setdefault(number, []).append(asker)
        flight = self.flights.get(key)
        if flight is not None:
            self.state.join(flight, asker, priority)
            return
        flight = Flight(key, request, asker, home=self.state, priority=priority)
        self.flights.add(flight)
        self.state.submit(flight, at)

    def leave(self, number: int, at: float) -> None:
        """The first asker leaves."""
        flight = self.flights.get(request_key(ask(number, system=self._prefix)))
        assert flight is not None
        self.state.leave(flight, self.askers[number].pop(0), at)

    def land(self, number: int, at: float) -> Account:
        """A call is answered, and the answer is kept at once."""
        call, reply = self.take(number), answer(f"question {number}")
        payer = self.state.landed(call, reply, at)
        assert payer is not None, "it was answered before"
        self.state.stored()
        self.flights.finish(call.flight, reply.completion)
        return payer

    def happen(self, what: str, at: float) -> str:
        """One line of a table."""
        self.hear(what, at)
        return self.pump(at)

    def hear(self, what: str, at: float) -> None:
        """What happens, before anything is done about it."""
        word, *rest = what.split() or [""]
        number = int(rest[0]) if rest and rest[0].isdigit() else 0
        match word:
            case "ask":
                self.ask(number, at, priority=(1,) if rest[1:] == ["urgently"] else (5,))
            case "leave":
                self.leave(number, at)
            case "answer":
                self.land(number, at)
            case "fail":
                self.state.unanswered.failed(self.take(number), ERRORS[rest[1]], at)
            case "ended":
                self.state.unanswered.cancelled(self.take(number), at)
            case "probe":
                self._end_look(rest[0], at)
            case "close":
                self.state.unanswered.close(at)

    def _end_look(self, how: str, at: float) -> None:
        endpoint, was = self.looks.pop(0)
        if how == "ok":
            self.state.looks.went_well(endpoint, was, {}, at)
        else:
            self.state.looks.failed(endpoint, was, ERRORS[how], at)


Table = list[tuple[float, str, str]]

TABLES: dict[str, tuple[LaneSettings, Table]] = {
    "one slot, first come first served": (
        ONE,
        [
            (0, "ask 1", "send 1"),
            (0, "ask 2", ""),
            (0, "ask 3 urgently", ""),
            (1, "answer 1", "1 answered, send 3"),
            (2, "answer 3", "3 answered, send 2"),
        ],
    ),
    "an urgent joiner hurries a request that waits": (
        ONE,
        [
            (0, "ask 1", "send 1"),
            (0, "ask 2", ""),
            (0, "ask 3", ""),
            (0, "ask 3 urgently", ""),
            (1, "answer 1", "1 answered, send 3"),
        ],
    ),
    "an urgent joiner of a call that is out changes nothing": (
        TWO,
        [
            (0, "ask 1", "send 1"),
            (0, "ask 1 urgently", ""),
            (0, "ask 2", "send 2"),
            (0, "ask 3", ""),
            (1, "answer 1", "1 answered, 1 answered, send 3"),
            (2, "answer 3", "3 answered"),
            (2, "answer 2", "2 answered"),
        ],
    ),
    "a joiner of a call that is out has its urgency when the call comes back": (
        ONE,
        [
            (0, "ask 1", "send 1"),
            (0, "ask 2", ""),
            (0, "ask 1 urgently", ""),
            (1, "fail 1 stale", "send 1"),
        ],
    ),
    "the last asker to leave aborts a call that costs time; who asks again gets a call of its own": (
        TWO,
        [
            (0, "ask 1", "send 1"),
            (1, "leave 1", "abort 1"),
            (1, "ask 1", "send 1"),  # though the first one's backend is slow to cancel and holds its slot
            (1, "ask 2", ""),
            (5, "ended 1", "send 2"),
            (6, "answer 1", "1 answered"),
        ],
    ),
    "what is more urgent goes before a refused request for longer than the patience, and that is no refusal": (
        LaneSettings(concurrency=1, patience=60),
        [
            (0, "ask 1", "send 1"),
            (0, "ask 2 urgently", ""),
            (1, "fail 1 rate", ""),
            (40, "", "send 2"),
            (50, "ask 3 urgently", ""),
            (70, "answer 2", "2 answered, send 3"),
            (100, "answer 3", "3 answered, send 1"),
            (101, "fail 1 rate", ""),
            (140, "", "send 1"),
            (141, "answer 1", "1 answered"),
        ],
    ),
    "no patience is lost while nobody waits": (
        LaneSettings(concurrency=1, patience=60, first_patience=60),
        [
            (0, "ask 1", "send 1"),
            (1, "fail 1 rate", ""),
            (2, "leave 1", ""),
            (55, "ask 2", "send 2"),
            (56, "fail 2 rate", ""),
            (90, "", "send 2"),
            (91, "answer 2", "2 answered"),
        ],
    ),
    "what the backend answers after all ends nobody else's request": (
        TWO,
        [
            (0, "ask 1", "send 1"),
            (1, "leave 1", "abort 1"),
            (1, "ask 1", "send 1"),
            (2, "answer 1", ""),  # the aborted one: nobody waits for it
            (3, "ask 1", ""),  # joins the new one
            (4, "answer 1", "1 answered, 1 answered"),
        ],
    ),
    "an aborted call that fails is forgotten, and the new one goes on": (
        TWO,
        [
            (0, "ask 1", "send 1"),
            (1, "leave 1", "abort 1"),
            (1, "ask 1", "send 1"),
            (2, "fail 1 fault", ""),
            (3, "answer 1", "1 answered"),
        ],
    ),
    "a call that costs tokens is left to finish, and may be joined": (
        PAID,
        [
            (0, "ask 1", "send 1"),
            (1, "leave 1", ""),
            (2, "ask 1", ""),
            (3, "answer 1", "1 answered"),
        ],
    ),
    "a call that costs tokens and fails when nobody waits is not tried again": (
        PAID,
        [
            (0, "ask 1", "send 1"),
            (1, "leave 1", ""),
            (2, "fail 1 half", ""),
            (99, "ask 1", "send 1"),
        ],
    ),
    "who leaves the queue is never sent": (
        ONE,
        [
            (0, "ask 1", "send 1"),
            (0, "ask 2", ""),
            (0, "leave 2", ""),
            (1, "answer 1", "1 answered"),
        ],
    ),
    "a half answer is tried again later, others meanwhile": (
        ONE,
        [
            (0, "ask 1", "send 1"),
            (0, "ask 2", ""),
            (1, "fail 1 half", "send 2"),
            (1.1, "answer 2", "2 answered"),
            (9, "", "send 1"),
        ],
    ),
    "a full server's slot is held": (
        ONE,
        [
            (0, "ask 1", "send 1"),
            (0, "ask 2", ""),
            (1, "fail 1 full", ""),
            (9, "", "send 1"),
        ],
    ),
    "who leaves while a full server's slot is held gives it to the next": (
        ONE,
        [
            (0, "ask 1", "send 1"),
            (0, "ask 2", ""),
            (1, "fail 1 full", ""),
            (1.01, "leave 1", "send 2"),
        ],
    ),
    "a refusal for the rate holds everybody": (
        TWO,
        [
            (0, "ask 1", "send 1"),
            (1, "fail 1 rate", ""),
            (1, "ask 2", ""),
            (30.9, "", ""),
            (33, "", "send 1"),
            (34.5, "", "send 2"),
        ],
    ),
    "a rejected request fails alone": (
        ONE,
        [
            (0, "ask 1", "send 1"),
            (0, "ask 2", ""),
            (1, "fail 1 rejected", "1 RequestRejected, send 2"),
        ],
    ),
    "a denied call stops the lane": (
        TWO,
        [
            (0, "ask 1", "send 1"),
            (0, "ask 2", "send 2"),
            (0, "ask 3", ""),
            (1, "fail 1 denied", "3 LaneStopped, 1 LaneStopped"),
            (2, "fail 2 half", "2 LaneStopped"),
        ],
    ),
    "an unreachable endpoint is probed and then tried with one call": (
        LaneSettings(concurrency=2, patience=100, first_patience=100),
        [
            (0, "ask 1", "send 1"),
            (0, "ask 2", "send 2"),
            (0, "fail 1 gone", ""),
            (0.9, "", ""),
            (1, "", "look"),
            (1, "probe ok", ""),  # the other call is still out
            (2, "fail 2 gone", ""),
            (99, "", "look"),
            (99, "probe ok", "send 1"),
            (99.5, "answer 1", "1 answered, send 2"),
        ],
    ),
    "patience does not end a lane while a call is out, and ends it when that one fails, too": (
        LaneSettings(concurrency=2, first_patience=10),
        [
            (0, "ask 1", "send 1"),
            (0, "ask 2", "send 2"),
            (0, "fail 1 gone", ""),
            (11, "", "look"),
            (12, "fail 2 gone", "1 Unavailable, 2 Unavailable"),
        ],
    ),
    "patience ends a lane whose only call nobody wants any more": (
        LaneSettings(concurrency=2, first_patience=10),
        [
            (0, "ask 1", "send 1"),
            (0, "ask 2", "send 2"),
            (0, "fail 1 gone", ""),
            (1, "", "look"),
            (5, "leave 2", "abort 2"),
            (10, "", "1 Unavailable"),
        ],
    ),
    "a backend that does not keep its time limit is broken off": (
        LaneSettings(concurrency=1, time_limit=60),
        [
            (0, "ask 1", "send 1"),
            (59 + OVERDUE, "", ""),
            (60 + OVERDUE, "", "abort 1"),
            (66, "", ""),  # and not twice
            (66, "ended 1", ""),
            (99, "", "send 1"),
        ],
    ),
    "the last asker leaves while an overdue call is being broken off": (
        LaneSettings(concurrency=1, time_limit=60),
        [
            (0, "ask 1", "send 1"),
            (60 + OVERDUE, "", "abort 1"),
            (66, "leave 1", ""),  # its backend is slow to cancel: it is broken off already
            (67, "ask 2", ""),
            (68, "ended 1", "send 2"),
        ],
    ),
    "calls to an endpoint that refuses connections go elsewhere": (
        LaneSettings(concurrency=2, first_patience=100),
        [
            (0, "ask 1", "send 1"),
            (0, "ask 2", "send 2"),
            (0, "fail 1 gone", ""),
            (1, "", "look"),
            (1, "probe gone", "abort 2"),
            (1, "ended 2", ""),
            (9, "", "look"),
            (9, "probe ok", "send 1"),
        ],
    ),
    "closing fails what waits and aborts what costs time": (
        ONE,
        [
            (0, "ask 1", "send 1"),
            (0, "ask 2", ""),
            (1, "close", "2 RunStopped, abort 1"),
            (1, "ended 1", "1 RunStopped"),
        ],
    ),
    "closing lets what costs tokens come in": (
        PAID,
        [
            (0, "ask 1", "send 1"),
            (0, "ask 2", ""),
            (1, "close", "2 RunStopped"),
            (2, "answer 1", "1 answered"),
        ],
    ),
    "what fails while closing is not tried again": (
        PAID,
        [
            (0, "ask 1", "send 1"),
            (1, "close", ""),
            (2, "fail 1 half", "1 RunStopped"),
        ],
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_what_happens_is_answered_by_what_the_table_says(name: str) -> None:
    lane_settings, table = TABLES[name]
    rig = Rig(lane_settings)
    assert [(at, what, rig.happen(what, at)) for at, what, _ in table] == table


@pytest.mark.parametrize("name", TABLES)
def test_whoever_drives_a_lane_only_by_its_own_word_misses_nothing(name: str) -> None:
    """Looked after when it wakes, when a look has ended, and at `wake_at`, it does what the table says, and nothing in
    between."""
    lane_settings, table = TABLES[name]
    rig, done, rings_at = Rig(lane_settings), list[str](), inf
    for (at, what, _), (next_at, _, _) in zip(table, [*table[1:], table[-1]], strict=True):
        woken = rig.woken
        rig.hear(what, at)
        done.append(rig.take_done())
        if rig.woken > woken or what.startswith("probe"):
            done.append(rig.pump(at))
            rings_at = rig.state.wake_at()
        while rings_at <= next_at:
            if rings_at > at:
                assert rig.pump(0.5 * (at + rings_at)) == ""
            done.append(rig.pump(rings_at))
            at, rings_at = rings_at, rig.state.wake_at()
    assert ", ".join(filter(None, done)) == ", ".join(filter(None, (effects for _, _, effects in table)))


def test_while_another_process_asks_no_patience_is_lost() -> None:
    """What that one has given up is tried here, however long ago something failed here."""
    claims: dict[str, State] = {request_key(ask(2)): State.ELSEWHERE}
    rig = Rig(LaneSettings(concurrency=1, patience=60, first_patience=60), claim=lambda flight: claims.get(flight.key))
    assert rig.happen("ask 2", 0) == ""
    assert [rig.happen(what, 1) for what in ("ask 1", "fail 1 rate", "leave 1")] == ["send 1", "", ""]
    assert rig.pump(100) == ""
    flight = rig.flights.get(request_key(ask(2)))
    assert flight is not None
    claims.clear()
    rig.state.claimed(flight, State.QUEUED, 300)
    assert rig.pump(300) == "send 2"


def test_a_slot_is_free_again_once_another_process_is_found_to_ask() -> None:
    """It was kept while that was not known."""
    claims: dict[str, State] = {request_key(ask(1)): State.CLAIMING}
    rig = Rig(ONE, claim=lambda flight: claims.get(flight.key))
    assert [rig.happen(what, 0) for what in ("ask 1", "ask 2")] == ["", ""]
    flight, woken = rig.flights.get(request_key(ask(1))), rig.woken
    assert flight is not None
    rig.state.claimed(flight, State.ELSEWHERE, 1)
    assert rig.woken > woken
    assert rig.pump(1) == "send 2"


def test_a_lane_that_finds_its_number_knows_how_long_its_slots_were_taken() -> None:
    """Or no round would say anything, and it would stay at the number that it began with."""
    rig = Rig(LaneSettings())
    for number in range(100):
        rig.ask(number, 0)
    in_flight = [rig.pump(0).count("send")]
    for second in (1, 2, 3, 4):
        for number, _ in list(rig.out):
            rig.land(number, second)
        rig.pump(second)
        in_flight.append(len(rig.out))
    assert in_flight == [8, 8, 8, 8, 16]


def test_a_request_that_ends_its_server_each_time_is_given_up() -> None:
    """Though others are answered whenever the server is back: it is asked no longer than its patience."""
    rig, at, number = Rig(LaneSettings(concurrency=1, patience=60)), 0, 0
    rig.ask(0, at, priority=(2,))
    while rig.flights.get(request_key(ask(0))) is not None:
        at += 1
        assert at < 200, "it is asked for ever"
        if "look" in rig.pump(at):
            rig.happen("probe ok", at)
        while rig.out:
            if rig.out[0][0]:
                rig.happen(f"answer {number}", at)
                continue
            rig.hear("fail 0 gone", at)
            told = rig.take_done()
            number += 1
            rig.ask(number, at, priority=(1,))
            rig.pump(at)
    assert (told, at) == ("0 Unavailable", 62)


def test_an_answer_that_is_here_is_not_aborted() -> None:
    """Whoever asks again finds it."""
    rig = Rig()
    rig.happen("ask 1", 0)
    rig.cancels = False
    rig.happen("leave 1", 1)
    assert rig.happen("ask 1", 1) == ""
    assert rig.happen("answer 1", 1) == "1 answered"


def test_patience_with_refusals_is_for_what_they_have_a_request_wait_in_a_row() -> None:
    """However long it stands in the queue beside; one that was refused, then failed otherwise, then
    is refused again is waited for as if it were new."""
    rig, at = Rig(LaneSettings(concurrency=2, patience=140, attempts=100, requests_per_minute=6_000)), 0.0
    rig.happen("ask 0", at)

    def fail(kind: str) -> str:
        """70 seconds later; another request is answered meanwhile, so that the lane itself does not despair."""
        nonlocal at
        at += 70
        rig.ask(int(at), at)
        sent = rig.pump(at)
        rig.land(int(at), at)
        assert "send 0" in sent or at == 70
        return rig.happen(f"fail 0 {kind}", at).replace(f"{at:.0f} answered", "").strip(", ")

    told = [fail(kind) for kind in ["rate", "rate", "rate", "half", "rate", "rate", "rate", "rate", "rate"]]
    assert told == [""] * 8 + ["0 Unavailable"]


@settings(max_examples=60)
@given(
    st.sampled_from(["time", "tokens"]),
    st.lists(st.sampled_from(["answer", "half", "late", "cut", "stale", "full", "gone", "leave"]), max_size=40),
    st.floats(0.001, 3.0),
)
def test_what_is_taken_was_announced_before_in_dollars_too(billing: str, ends: list[str], cap: float) -> None:
    """Whatever becomes of the calls; and the account's dollars, call by call, are its purse's."""
    prices = Prices(input=1_000.0, cached=500.0, output=2_000.0)
    said = [Cost()]
    account = Account("run", Budget(dollars=cap), announce=lambda account: said.append(account.announced()))
    lane_settings = LaneSettings(
        concurrency=3, prices=prices, billing="tokens" if billing == "tokens" else "time", first_patience=1e9
    )
    rig, at = Rig(lane_settings), 0.0
    for number, end in enumerate(ends):
        at += 10
        if account.exhausted is None:
            rig.ask(number, at, account=account)
        rig.pump(at)
        assert account.taken().dollars <= said[-1].dollars + 1e-9 <= cap + 2e-9
        if rig.out and end == "leave":
            oldest, call = rig.out[0]
            if call.flight.waiters:
                rig.leave(oldest, at)
            if call.abort_reason is not None:
                rig.state.unanswered.cancelled(rig.take(oldest), at)
        elif rig.out and end == "answer":
            rig.land(rig.out[0][0], at)
        elif rig.out:
            rig.state.unanswered.failed(rig.take(rig.out[0][0]), ERRORS[end], at)
    assert account.statistics().total.dollars == pytest.approx(account.purse.spent.dollars)


def test_reserve_and_give_back_leave_what_is_taken_as_before() -> None:
    """A call that cost nothing leaves nothing behind, whatever else is out."""
    account = Account("run", Budget(tokens=10_000))
    first = account.reserve(Cost(1, 700, 0.1))
    assert first is not None
    before = account.taken()
    second = account.reserve(Cost(1, 300, 0.2))
    assert second is not None
    account.settle(second.at_most, Cost(), 0.0)
    assert account.taken() == pytest.approx(before)


def test_a_call_that_exactly_fills_a_token_cap_goes() -> None:
    """To the last token, and not one more."""
    rig = Rig()
    probe = Flight("", ask(1), Asker("", Account(), []), home=rig.state, priority=())
    needed = rig.state.upper_bound(probe).tokens
    for cap, done in ((needed, "send 1"), (needed - 1, "1 BudgetExhausted")):
        rig = Rig()
        rig.ask(1, 0, account=Account("run", Budget(tokens=cap)))
        assert rig.pump(0) == done


def test_a_cap_that_is_reached_ends_what_waits_on_every_lane() -> None:
    """Also what backs off there; others who wait for the same pay for it."""
    flights, account = FlightTable(), Account("poor", Budget(calls=2))
    here, there = Rig(flights=flights), Rig(flights=flights, name="there")
    there.ask(1, 0, account=account)
    there.ask(2, 0, account=account)
    assert there.pump(0) == "send 1"
    there.ask(2, 0, account=Account("rich"))
    there.ask(5, 0, account=account)
    here.ask(3, 0, account=account)
    here.ask(4, 0, account=account)
    assert here.pump(0) == "send 3"
    here.land(3, 1)
    there.land(1, 1)
    assert here.pump(1) == "3 answered, 4 BudgetExhausted"
    assert there.done == ["1 answered", "5 BudgetExhausted"]
    assert there.pump(1) == "1 answered, 5 BudgetExhausted, send 2"
    assert there.land(2, 2).name == "rich"


def test_a_request_parked_for_funds_goes_when_another_lane_gives_some_back() -> None:
    """And its own lane is woken for it."""
    flights, account = FlightTable(), Account("run", Budget(calls=1))
    here, there = Rig(flights=flights), Rig(flights=flights, name="there")
    here.ask(1, 0, account=account)
    assert here.pump(0) == "send 1"
    there.ask(2, 0, account=account)
    assert there.pump(0) == ""
    woken = there.woken
    here.happen("fail 1 gone", 1)  # which cost nothing
    assert there.woken > woken
    assert there.pump(1) == "send 2"


def test_a_request_parked_for_funds_fails_where_they_cannot_be_written_down() -> None:
    """Nobody else does, and whose call gave them back is told of that call alone."""
    flights, prices = FlightTable(), Prices(input=1e6, cached=1e6, output=1e6)
    here = Rig(LaneSettings(concurrency=1, prices=Prices(input=1, cached=1, output=1)), flights=flights)
    there = Rig(LaneSettings(concurrency=1, prices=prices), flights=flights)
    needed = there.state.upper_bound(Flight("", ask(2), Asker("", Account(), []), home=there.state, priority=()))
    disk = WrittenDown()
    account = Account("run", Budget(dollars=needed.dollars), announce=disk)
    here.ask(1, 0, account=account)
    assert here.pump(0) == "send 1"
    there.ask(2, 0, account=account)
    assert there.pump(0) == ""
    disk.full = True
    assert here.happen("fail 1 gone", 1) == ""
    assert there.take_done() == "2 StoreError"
    assert account.purse.reserved.dollars < needed.dollars


def test_what_the_last_one_to_wait_gives_back_may_show_that_nothing_more_can_be_paid() -> None:
    """What was set aside for it comes back, and the first in the line for it would still cost too much."""
    flights, account = FlightTable(), Account("run", Budget(dollars=1.0))
    here = Rig(LaneSettings(concurrency=1, prices=Prices(input=1, cached=1, output=1)), flights=flights)
    dear = Prices(input=1e6, cached=1e6, output=1e6)
    there = Rig(LaneSettings(concurrency=1, prices=dear), flights=flights)
    here.ask(1, 0, account=account)
    assert here.pump(0) == "send 1"
    assert here.happen("fail 1 rate", 0) == ""  # it waits with its funds
    there.ask(2, 0, account=account)
    assert there.pump(0) == ""
    here.leave(1, 1)
    assert there.pump(1) == "2 BudgetExhausted"
    assert (here.pump(100), account.purse.reserved) == ("", Cost())


def test_after_a_success_an_endpoints_next_rest_is_the_first_ones() -> None:
    """Rests grow only while nothing succeeds in between."""
    endpoint = Endpoint(Server())
    waits = [endpoint.rest() for _ in range(3)]
    assert waits == [FIRST_REST, 2 * FIRST_REST, 4 * FIRST_REST]
    endpoint.succeed("a", 0.0)
    assert endpoint.rest() == FIRST_REST


def test_what_an_answer_took_is_booked_once() -> None:
    """Calls, tokens and seconds of the account."""
    rig, account = Rig(), Account("run")
    rig.ask(1, 0, account=account)
    rig.ask(2, 0, account=account)
    rig.pump(0)
    rig.land(1, 3)
    rig.pump(3)
    rig.land(2, 5)
    use = account.statistics().total
    assert (use.calls, use.prompt_tokens, use.completion_tokens) == (2, 2 * PROMPT_TOKENS, 2 * ANSWER_TOKENS)
    assert (use.queue_seconds, use.server_seconds) == (3.0, 5.0)
    assert account.purse.spent == Cost(2, 2 * (PROMPT_TOKENS + ANSWER_TOKENS), 0.0)


def test_a_stopped_lane_wants_nothing_and_a_closed_one_is_never_woken() -> None:
    """Nothing is probed or sent; only what is out is still looked after."""
    rig = Rig(LaneSettings(concurrency=3))
    for number in (1, 2, 3):
        rig.happen(f"ask {number}", 0)
    rig.happen("fail 1 gone", 0)
    rig.happen("fail 2 denied", 0)
    assert isinstance(rig.state.verdicts.any, RunStopped)
    assert rig.pump(100) == ""
    assert rig.pump(1_000) == "abort 3"
    rig.state.unanswered.close(1_000)
    rig.state.closed = True
    assert rig.state.wake_at() == inf


def test_an_account_whose_cap_is_reached_sets_nothing_aside_however_little() -> None:
    """Its run ends; what would still fit is not spent on the way."""
    rig, account = Rig(), Account("run", Budget(tokens=1_000))
    rig.ask(1, 0, account=account)
    account.purse.exhausted = account.purse.exhaustion(Cost(1, 2_000, 0.0), account="run")
    assert rig.pump(0) == "1 BudgetExhausted"


def test_a_witness_is_asked_though_its_answer_is_in_the_store() -> None:
    """Where others share it, a claim ends with the answer that is there; that would prove nothing."""
    answered = {request_key(ask(1))}
    rig = Rig(
        LaneSettings(concurrency=2, attempts=1), claim=lambda flight: State.OVER if flight.key in claimed else None
    )
    claimed: set[str] = set()
    assert rig.happen("ask 1", 0) == "send 1"
    assert rig.happen("answer 1", 1) == "1 answered"
    claimed |= answered
    assert rig.happen("ask 2", 2) == "send 2"
    assert rig.happen("fail 2 fault", 3) == "send 1"
    rig.state.landed(rig.take(1), answer("question 1"), 4)
    assert rig.pump(4) == "2 GivenUp"


def test_a_call_whose_end_lets_go_on_what_cannot_be_announced_is_booked_once() -> None:
    """Its funds were settled before the next one's could not be set aside."""
    full: list[bool] = []

    def announce(account: Account) -> None:
        if full:
            raise OSError("No space left on device")

    rig, account = Rig(PAID), Account("run", Budget(calls=1), announce=announce)
    for number in (1, 2):
        rig.ask(number, 0, account=account)
    other = Rig(PAID, flights=rig.flights, name="other")
    other.ask(3, 0, account=account)
    assert (rig.pump(0), other.pump(0)) == ("send 1", "")
    call = rig.take(1)
    account.purse.announced = Cost()
    full.append(True)
    with pytest.raises(OSError, match="No space") as raised:
        rig.state.unanswered.failed(call, ERRORS["gone"], 1)
    rig.state.unanswered.broken(call, raised.value, 1)
    assert "1 OSError" in rig.pump(1)
    assert (account.out, account.purse.out, account.taken(), account.purse.spent) == (0, 0, Cost(), Cost())


@pytest.mark.parametrize("state", [State.OVER, State.ELSEWHERE])
def test_a_witness_that_need_not_be_asked_any_more_gives_back_what_was_set_aside_for_it(state: State) -> None:
    """It waited for the rate limit with its funds; then another answer settled the doubt, and its claim is not ours."""
    claimed, account = set[str](), Account("run", Budget(calls=100))
    rig = Rig(
        LaneSettings(concurrency=8, attempts=1, requests_per_minute=60),
        claim=lambda flight: state if flight.key in claimed else None,
    )
    for at, number in ((0, 1), (2, 2), (4, 3)):
        rig.ask(number, at, account=account)
        assert rig.pump(at) == f"send {number}"
        if number == 1:
            assert rig.land(1, 1) is account
            rig.done.clear()
    claimed.add(request_key(ask(1)))
    assert rig.happen("fail 2 half", 4.1) == ""
    assert account.out == 2, "the witness waits for the rate limit"
    assert rig.happen("answer 3", 4.2) == "2 GivenUp, 3 answered"
    assert rig.pump(10) == ""
    assert (account.out, account.purse.reserved) == (0, Cost())


def test_a_witness_whose_payer_is_exhausted_on_another_lane_is_asked_on_another_account_at_once() -> None:
    """Nothing happens on its own lane meanwhile."""
    flights, poor, rich = FlightTable(), Account("poor", Budget(calls=2)), Account("rich")
    rig = Rig(LaneSettings(concurrency=2, attempts=1), flights=flights)
    elsewhere = Rig(name="elsewhere", flights=flights)
    rig.ask(0, 0)
    rig.pump(0)
    rig.land(0, 0)
    rig.ask(1, 1, account=poor)
    rig.ask(2, 1, account=rich)
    assert rig.pump(1) == "0 answered, send 1, send 2"
    for number in (1, 2):
        rig.hear(f"fail {number} half", 1)  # the witness waits, as nobody looks after the lane yet
    elsewhere.ask(8, 2, account=poor)
    elsewhere.ask(9, 2, account=poor)
    assert elsewhere.pump(2) == "send 8"
    woken = rig.woken
    elsewhere.land(8, 2)
    assert elsewhere.pump(2) == "8 answered, 9 BudgetExhausted"
    assert rig.woken > woken
    assert rig.pump(2) == "1 BudgetExhausted, send 0"
    rig.land(0, 3)
    assert rig.pump(3) == "2 GivenUp"


def test_what_answers_have_taken_is_expected_of_the_next_ones() -> None:
    """By a server that counts far more than the texts have, and may do so again."""
    rig, expected = Rig(), []
    for number in range(3):
        rig.ask(number, number)
        rig.pump(number)
        call = rig.take(number)
        expected.append((rig.state.books.expected_tokens(call.flight), call.funds.at_most.tokens))
        reply = answer("x")
        usage = Usage(prompt_tokens=5_000, completion_tokens=5)
        rig.state.landed(call, reply._replace(completion=reply.completion._replace(usage=usage)), number)
        rig.state.stored()
    assert expected[0][0] < 1_000 < expected[1][0] <= expected[2][0]
    assert expected[0][1] < 5_000 <= expected[1][1]


def test_nobody_is_asked_whether_a_server_answers_for_the_sake_of_a_request_that_nobody_waits_for() -> None:
    """It was left to finish into the store; its attempts are used up."""
    rig = Rig(LaneSettings(concurrency=2, attempts=1, billing="tokens"))
    for at, (what, done) in enumerate(
        [("ask 1", "send 1"), ("answer 1", "1 answered"), ("ask 2", "send 2"), ("leave 2", ""), ("fail 2 fault", "")]
    ):
        assert rig.happen(what, at) == done
    assert rig.happen("ask 3", 5) == "send 3"


def test_a_question_that_is_being_asked_again_anyway_is_no_witness() -> None:
    """Whoever waits for it keeps his call, and it is asked once."""
    rig = Rig(LaneSettings(concurrency=3, attempts=1))
    for at, what in enumerate(["ask 1", "answer 1", "ask 1", "ask 2"]):
        rig.happen(what, at)
    assert rig.happen("fail 2 fault", 4) == "2 Unavailable"
    assert rig.happen("answer 1", 5) == "1 answered"


@pytest.mark.parametrize(
    ("end", "told"), [("fail 1 rejected", ""), ("answer 1", "4 GivenUp"), ("answer 3", "4 GivenUp")]
)
def test_a_witness_that_has_nothing_to_prove_any_more_stands_in_no_other_ones_way(end: str, told: str) -> None:
    """It was settled before its turn came, and the next doubt has a witness of its own: that goes first."""
    rig = Rig(LaneSettings(concurrency=8, attempts=1))
    for at, what in [(0, "ask 1"), (1, "answer 1"), (2, "ask 2"), (3, "ask 3"), (5, "ask 4")]:
        rig.happen(what, at)
    for what in ("fail 2 half", "answer 3", "fail 4 half"):  # at one moment: nobody looks after the lane yet
        rig.hear(what, 5)
    assert rig.pump(5) == "2 GivenUp, 3 answered, send 3, send 1"
    assert rig.happen(end, 6) == told
    assert told or rig.happen("answer 3", 7) == "4 GivenUp"


def test_a_request_that_waits_for_funds_goes_once_another_one_is_to_pay() -> None:
    """As whoever was to pay, and cannot yet, leaves it."""
    rig, poor = Rig(TWO), Account("poor", Budget(calls=1))
    rig.ask(1, 0, account=poor)
    assert rig.pump(0) == "send 1"
    rig.ask(2, 0, account=poor)
    assert rig.pump(0) == ""
    rig.ask(2, 0, account=Account("rich"))
    woken = rig.woken
    rig.leave(2, 1)
    assert rig.woken > woken
    assert rig.pump(1) == "send 2"
    assert rig.land(2, 2).name == "rich"
