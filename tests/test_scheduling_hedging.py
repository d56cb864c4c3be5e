"""A request whose call hangs is asked once more beside it: the first answer counts, and each is paid for once."""

import asyncio
from math import inf

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scheduling_world import ANSWER_TOKENS, PROMPT_TOKENS, SlotServer, answer, ask, now
from sizes import examples
from test_scheduling_lane_state import ERRORS, Asker, Rig, WrittenDown
from test_scheduling_lateness import AT, SLOW, limit, overtake, rig_that_knows

from metaspo.backends import Request
from metaspo.backends.loops.virtual_time import VirtualTimeLoop
from metaspo.cache import MemoryStore, request_key
from metaspo.scheduling import Account, Budget, Cost, Gateway, Lane, LaneSettings, Prices, Retried
from metaspo.scheduling.lanes.calls_out import LOOK_AT_FEW, MAX_OUT
from metaspo.scheduling.lanes.flight import Flight
from metaspo.scheduling.lanes.lateness import ENOUGH, Remedy, remedy
from metaspo.scheduling.settings import Billing

ANSWER = Cost(1, PROMPT_TOKENS + ANSWER_TOKENS, 0.0)
BILLINGS: tuple[Billing, ...] = ("time", "tokens")


def rig_with_two_out(billing: Billing, account: Account | None = None) -> Rig:
    """Question 1 is asked twice: a call of it hung at `AT`, and is still out."""
    rig = rig_that_knows(billing)
    rig.ask(1, AT, account=account)
    assert rig.pump(AT) == "send 1"
    assert rig.pump(AT + limit() - 2 * LOOK_AT_FEW) == ""
    assert rig.pump(AT + limit()) == "send 1"
    return rig


REMEDIES: list[tuple[Billing, str, Remedy]] = [
    ("tokens", "last room wanted", "hedge"),
    ("tokens", "room wanted", "hedge"),
    ("tokens", "queued room wanted", "wait"),
    ("tokens", "queued", "break off"),
    ("tokens", "last wanted", "break off"),
    ("tokens", "last room", "break off"),
    ("time", "last room wanted", "hedge"),
    ("time", "room wanted", "break off"),
    ("time", "queued room wanted", "break off"),
    ("time", "last wanted", "break off"),
]


@pytest.mark.parametrize(("billing", "how", "then"), REMEDIES)
def test_what_is_done_about_a_call_that_hangs(billing: Billing, how: str, then: Remedy) -> None:
    last, queued, room, wanted = (word in how.split() for word in ("last", "queued", "room", "wanted"))
    assert remedy(billing, last=last, queued=queued, room=room, wanted=wanted) == then


@pytest.mark.parametrize("billing", BILLINGS)
@pytest.mark.parametrize("newest", [False, True])
def test_the_first_of_two_answers_counts_and_both_calls_are_paid_for(billing: Billing, newest: bool) -> None:
    """The other one is broken off; where tokens cost money it may be charged all the same, at the most it can cost."""
    account = Account("run")
    rig = rig_with_two_out(billing, account)
    call = rig.take(1, newest=newest)
    reply = answer("question 1")
    assert rig.state.landed(call, reply, 110) is account
    rig.flights.finish(call.flight, reply.completion)
    assert rig.pump(110) == "abort 1, 1 answered"
    at_most = rig.out[0][1].funds.at_most
    assert rig.happen("ended 1", 111) == ""
    beside = at_most if billing == "tokens" else Cost(calls=1)
    assert account.purse.reserved == Cost()
    assert account.purse.spent == ANSWER.plus(beside)
    use = account.statistics().total
    assert (use.calls, use.retries, use.failed) == (2, 1, 0)
    assert call.flight.sent == call.sent, "what is told of the call is told of the one that was answered"


@pytest.mark.parametrize("billing", BILLINGS)
def test_two_answers_at_once_are_both_paid_for_and_one_is_kept(billing: Billing) -> None:
    account = Account("run")
    rig = rig_with_two_out(billing, account)
    rig.cancels = False
    rig.land(1, 110)
    assert rig.pump(110) == "abort 1, 1 answered"
    unstored = rig.state.statistics(110).answered
    assert rig.state.landed(rig.take(1), answer("question 1"), 110) is None
    assert rig.pump(110) == ""
    assert rig.state.statistics(110).answered == unstored + 1
    assert (account.purse.reserved, account.purse.spent) == (Cost(), ANSWER.plus(ANSWER))


@pytest.mark.parametrize("newest", [False, True])
def test_a_mistake_as_the_second_answer_is_booked_takes_nothing_from_the_first(newest: bool) -> None:
    account = Account("run")
    rig = rig_with_two_out("tokens", account)
    rig.cancels = False
    first = rig.take(1, newest=newest)
    assert rig.state.landed(first, answer("question 1"), 110) is account
    second, mistake = rig.take(1), OSError("no space left")

    def full() -> None:
        raise mistake

    account.on_change = full
    with pytest.raises(OSError, match="no space"):
        rig.state.landed(second, answer("question 1"), 110)
    account.on_change = None
    rig.state.unanswered.broken(second, mistake, 110)
    rig.done.remove("abort 1")
    assert rig.done == [], "nobody is told of it"
    assert rig.state._calls.unstored == 1, "the first one is on its way to the store"
    assert account.purse.out == 0


@pytest.mark.parametrize("billing", BILLINGS)
@pytest.mark.parametrize("newest", [False, True])
@pytest.mark.parametrize("how", ["fault", "half", "rate", "cut", "gone"])
def test_a_failure_of_one_says_nothing_of_the_other(billing: Billing, newest: bool, how: str) -> None:
    """The request has used up no attempt; if the other one fails, too, it has used up one, and is tried again."""
    rig = rig_with_two_out(billing)
    rig.state.unanswered.failed(rig.take(1, newest=newest), ERRORS[how], 105)
    assert rig.pump(105) == "", "and none goes in its stead at once"
    assert rig.out[0][1].flight.retries.failures == 0
    if how == "gone":
        assert rig.pump(106) + rig.happen("probe ok", 106) == "look"
    assert rig.happen("fail 1 half", 106) in ("", "send 1")
    if not rig.out and rig.pump(200) == "look":
        rig.happen("probe ok", 200)
    assert rig.out
    assert rig.happen("answer 1", 201) == "1 answered"


@pytest.mark.parametrize("billing", BILLINGS)
@pytest.mark.parametrize(("how", "told"), [("rejected", "1 RequestRejected"), ("denied", "1 LaneStopped")])
def test_a_refusal_of_one_is_for_good_and_the_other_is_not_waited_for(billing: Billing, how: str, told: str) -> None:
    account = Account("run")
    rig = rig_with_two_out(billing, account)
    assert rig.happen(f"fail 1 {how}", 105) == f"abort 1, {told}"
    assert rig.happen("ended 1", 106) == ""
    assert account.purse.reserved == Cost()


@pytest.mark.parametrize("billing", BILLINGS)
def test_an_answer_that_is_here_when_the_other_call_is_refused_is_not_thrown_away(billing: Billing) -> None:
    """Both ended in one turn of the event loop, the refusal is heard first."""
    account = Account("run")
    rig = rig_with_two_out(billing, account)
    rig.cancels = False
    assert rig.happen("fail 1 rejected", 105) == "abort 1"
    assert rig.happen("answer 1", 105) == "1 answered"
    assert (account.purse.reserved, account.purse.spent) == (Cost(), ANSWER)


def test_whoever_asks_as_the_last_one_leaves_finds_the_answer_that_is_here() -> None:
    rig = rig_with_two_out("time")
    rig.out[1][1].cancel = lambda: False
    rig.leave(1, 106)
    rig.ask(1, 106)
    assert rig.pump(106) == "abort 1"
    rig.out.reverse()
    assert rig.happen("answer 1", 106) == "1 answered"


@pytest.mark.parametrize("billing", BILLINGS)
def test_what_a_request_has_waited_is_booked_once(billing: Billing) -> None:
    account = Account("run")
    rig = rig_that_knows(billing, concurrency=1)
    rig.ask(2, AT - 10)
    assert rig.pump(AT - 10) == "send 2"
    rig.ask(1, AT - 3, account=account)
    assert rig.happen("answer 2", AT) == "2 answered, send 1"
    rig.ask(3, AT)
    first = rig.out[0][1]
    beside = rig.state._calls.start(first.flight, first.endpoint, first.funds, first.reservation, AT + 4)
    for call, at in ((first, AT + 5), (beside, AT + 5)):
        rig.state.landed(call, answer("question 1"), at)
    use = account.statistics().total
    assert (use.calls, use.queue_seconds, use.server_seconds) == (2, 3.0, 5.0 + 1.0)


def test_what_is_told_of_a_call_that_hangs_says_how_long_and_which_it_was() -> None:
    rig = rig_with_two_out("time")
    told = [event for event in rig.events if isinstance(event, Retried)]
    assert [(event.attempt, event.wait, event.reason) for event in told] == [
        (1, 0.0, f"lane gave no answer for {limit():.2f} seconds.")
    ]


def replica_of(rig: Rig, index: int = -1) -> str:
    """Where the call went."""
    return rig.out[index][1].endpoint.backend.name


@pytest.mark.parametrize("billing", BILLINGS)
def test_what_hangs_at_one_replica_is_asked_at_another(billing: Billing) -> None:
    for number in range(8):  # whatever the prefix, its own replica would be asked first
        rig = rig_that_knows(billing, servers=4)
        rig.ask(number, AT)
        for other in range(10, 13):
            rig.ask(other, AT)
        rig.pump(AT)
        assert f"send {number}" in rig.pump(AT + limit())
        assert replica_of(rig, 0) != next(
            call.endpoint.backend.name for asked, call in reversed(rig.out) if asked == number
        )


def test_what_is_broken_off_goes_to_another_replica() -> None:
    rig = rig_that_knows("time", servers=3)
    rig.ask(0, AT)
    rig.pump(AT)
    hung = replica_of(rig)
    overtake(rig, AT, first=1)
    at = AT + limit(last=False) + LOOK_AT_FEW
    rig.ask(900, at)  # something waits, so that nothing goes beside
    rig.state.tick(at)
    assert rig.out[0][1].abort_reason is not None
    rig.done.clear()
    assert "send 0" in rig.happen("ended 0", at)
    assert hung != next(call.endpoint.backend.name for number, call in rig.out if number == 0)


@pytest.mark.parametrize("billing", BILLINGS)
def test_a_replica_that_refuses_a_call_beside_rests_and_the_next_goes_elsewhere_at_once(billing: Billing) -> None:
    rig = rig_that_knows(billing, servers=3)
    rig.ask(1, AT)
    rig.pump(AT)
    asked = {replica_of(rig)}
    at = AT + limit()
    assert rig.pump(at) == "send 1"
    asked.add(replica_of(rig))
    rig.state.unanswered.failed(rig.take(1, newest=True), ERRORS["gone"], at)
    assert rig.pump(at + LOOK_AT_FEW) == "send 1"
    assert replica_of(rig) not in asked
    assert rig.happen("answer 1", at + 1) == "abort 1, 1 answered"


def test_a_replica_that_answers_nothing_while_others_do_is_asked_no_more_until_it_does() -> None:
    """Its calls hang one after the other; what is out there is asked elsewhere, and it is probed meanwhile."""
    rig = rig_that_knows("time", servers=2)
    for number in range(8):
        rig.ask(number, AT)
    rig.pump(AT)
    silent = replica_of(rig, 0)
    for number in [number for number, call in rig.out if call.endpoint.backend.name != silent]:
        rig.land(number, AT + 1)
    rig.done.clear()
    for number in range(20, 20 + 2 * ENOUGH):  # enough answers, so that enough may be asked again
        rig.ask(number, AT + 1)
    rig.pump(AT + 1)
    for number in [number for number, call in rig.out if call.endpoint.backend.name != silent]:
        rig.land(number, AT + 2)
    rig.done.clear()
    rig.pump(AT + 1 + limit())
    before = len(rig.out)
    for number in range(100, 108):
        rig.ask(number, AT + 2 + limit())
    rig.pump(AT + 2 + limit())
    assert len(rig.out) > before
    assert silent not in {call.endpoint.backend.name for _, call in rig.out[before:]}
    assert [how.value for _, how in rig.looks] == ["down"]


def test_a_call_beside_asks_for_its_part_of_a_limit_that_processes_share() -> None:
    """Nothing else is queued that would."""
    rig = rig_that_knows("tokens", limit_group="g")
    allowance = rig.state.allowance
    assert allowance is not None
    rig.state._throttle.limits.requests.learn(600, AT)
    rig.state._throttle.limits._share_pace()
    rig.ask(1, AT)
    assert rig.pump(AT) == ""
    assert allowance.asked(AT) is not None
    allowance.granted(0.0, requests_sent=1, tokens_sent=1, now=AT)
    assert rig.pump(AT) == "send 1"
    at = AT + limit()
    assert rig.pump(at) == ""
    wanted = allowance.asked(at)
    assert wanted is not None
    assert wanted.requests == 1
    allowance.granted(0.0, requests_sent=2, tokens_sent=2, now=at)
    assert rig.pump(at + LOOK_AT_FEW) == "send 1"


def test_nothing_is_broken_off_whose_next_call_nobody_could_pay_for() -> None:
    """It may be only slow; a call that is broken off is one of those that are capped."""
    for calls, then in ((1, ""), (2, "send 1")):
        rig, account = rig_that_knows("time"), Account("run", Budget(calls=calls))
        rig.ask(1, AT, account=account)
        assert rig.pump(AT) == "send 1"
        assert rig.pump(AT + limit()) == then
        assert rig.happen("answer 1", 110) == ("1 answered" if calls == 1 else "abort 1, 1 answered")


@pytest.mark.virtual
@pytest.mark.parametrize("billing", BILLINGS)
@pytest.mark.parametrize("prefixes", [1, 4])
async def test_replicas_that_fall_silent_cost_a_run_some_seconds_and_not_its_time_limit(
    billing: Billing, prefixes: int
) -> None:
    """Two of four take calls and answer none, from the twentieth second on; without them the work takes 40 seconds."""
    servers = [Falling(f"replica {number}", slots=16) for number in range(4)]
    for falling in servers[:2]:
        falling.until = 20.0
    lane = Lane("lane", servers, LaneSettings(concurrency=64, billing=billing))
    async with Gateway([lane], store=MemoryStore()) as gateway:
        for turn in range(10):
            questions = [ask(200 * turn + number, system=f"turn {turn} {number % prefixes}") for number in range(200)]
            await gateway.complete_many(questions, lane="lane")
        assert now() < 80
        assert sum(len(falling.calls) for falling in servers) < 1.03 * 2000


@pytest.mark.virtual
@pytest.mark.parametrize("billing", BILLINGS)
async def test_what_was_answered_while_the_process_stood_still_is_not_asked_again(billing: Billing) -> None:
    """It is read when the process goes on (after Ctrl-Z, on a virtual machine that was paused)."""
    server = Paused(slots=4)
    lane = Lane("lane", [server], LaneSettings(concurrency=4, billing=billing))
    async with Gateway([lane], store=MemoryStore()) as gateway:
        await gateway.complete_many([ask(number) for number in range(20)], lane="lane")
        server.pause = 30.0
        await gateway.complete_many([ask(number) for number in range(20, 24)], lane="lane")
    assert len(server.calls) == 24


@pytest.mark.virtual
async def test_a_call_that_hangs_is_asked_again_by_a_process_that_is_always_late() -> None:
    """As one that shares its core: it has read what there is, and the call hangs all the same."""
    server, loop = Hanging(slots=4), asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)

    async def be_late() -> None:
        while True:
            loop.jump(0.5)
            await asyncio.sleep(0)

    async with Gateway([Lane("lane", [server], LaneSettings(concurrency=4))], store=MemoryStore()) as gateway:
        await gateway.complete_many([ask(number) for number in range(20)], lane="lane")
        server.hangs = True
        late = asyncio.create_task(be_late())
        await gateway.complete_many([ask(20)], lane="lane")
        assert now() < 100
        late.cancel()


class Hanging(SlotServer):
    """Never answers the call that comes next."""

    hangs = False

    async def work(self, request: Request) -> None:
        if self.hangs:
            self.hangs = False
            await asyncio.sleep(1e6)
        await super().work(request)


class Paused(SlotServer):
    """The process stands still while it answers; what it said then is read in some turns of the loop."""

    pause = 0.0

    async def work(self, request: Request) -> None:
        await super().work(request)
        loop, pause = asyncio.get_running_loop(), self.pause
        assert isinstance(loop, VirtualTimeLoop)
        if pause:
            self.pause = 0.0
            loop.jump(pause)
        for _ in range(5):
            await asyncio.sleep(0)


class Falling(SlotServer):
    """Answers calls that come before a time; later ones never."""

    until = inf

    async def work(self, request: Request) -> None:
        if now() >= self.until:
            await asyncio.sleep(1e6)
        await super().work(request)


def test_so_many_are_out_at_most_and_the_oldest_makes_room_for_the_next() -> None:
    """It has had the most time; what was only slow is still likely to be answered."""
    rig = rig_that_knows(concurrency=4 * ENOUGH)
    for number in range(100, 100 + 4 * ENOUGH):  # so that enough may be asked again
        rig.ask(number, AT)
    rig.pump(AT)
    for number in range(100, 100 + 4 * ENOUGH):
        rig.land(number, AT + SLOW)
    rig.done.clear()
    at = AT + SLOW
    rig.ask(1, at)
    assert rig.pump(at) == "send 1"
    for _ in range(MAX_OUT - 1):
        at += limit() + LOOK_AT_FEW
        assert rig.pump(at) == "send 1"
    at += limit() + LOOK_AT_FEW
    assert rig.pump(at) == "abort 1, send 1"
    assert rig.happen("ended 1", at) == ""
    assert rig.happen("answer 1", at + 1) == "abort 1, abort 1, 1 answered"


@pytest.mark.parametrize("billing", BILLINGS)
def test_nothing_is_asked_beside_where_the_budget_has_no_room_for_both(billing: Billing) -> None:
    """Where a call that is broken off gives back what it reserved, it is asked again in its stead."""
    rig = rig_that_knows(billing)
    probe = Account("probe")
    rig.ask(2, 90, account=probe)
    rig.pump(90)
    at_most = probe.purse.reserved.tokens
    rig.land(2, 91)
    account = Account("run", Budget(tokens=2 * at_most - 1))
    rig.ask(1, AT, account=account)
    assert rig.pump(AT).endswith("send 1")
    assert rig.pump(AT + limit()) == ("abort 1" if billing == "time" else "")
    if billing == "time":
        assert rig.happen("ended 1", AT + limit()) == "send 1"
    assert rig.happen("answer 1", 110) == "1 answered"
    assert account.exhausted is None


@pytest.mark.parametrize("billing", BILLINGS)
def test_nothing_is_asked_beside_where_what_it_costs_cannot_be_written_down(billing: Billing) -> None:
    """The call that hangs is waited for, or asked again in its stead."""
    rig, disk = rig_that_knows(billing), WrittenDown()
    rig.ask(1, AT, account=Account("run", Budget(calls=100), announce=disk))
    assert rig.pump(AT) == "send 1"
    disk.full = True
    assert rig.pump(AT + limit()) == ("abort 1" if billing == "time" else "")
    assert rig.happen("answer 1", 110) == "1 answered"


def test_what_others_pay_for_with_the_same_purse_comes_before() -> None:
    """A request that waits in the line for the budget gets what comes back, not a call beside one that hangs."""
    rig = rig_that_knows("tokens")
    dear = Prices(input=1e6, cached=1e6, output=1e6)
    other = Rig(LaneSettings(concurrency=2, prices=dear), flights=rig.flights, name="other")
    other.ask(9, 0)
    other.pump(0)
    other.land(9, 1)
    other.done.clear()
    needed = other.state.upper_bound(Flight("", ask(2), Asker("", Account(), []), home=other.state, priority=()))
    account = Account("run", Budget(dollars=1.5 * needed.dollars))
    rig.ask(1, AT, account=account)
    assert rig.pump(AT) == "send 1"
    for number in (2, 3):
        other.ask(number, AT, account=account)
    assert other.pump(AT) == "send 2"
    assert rig.pump(AT + limit()) == ""
    other.leave(3, AT + limit())
    assert rig.pump(AT + limit() + LOOK_AT_FEW) == "send 1"


def test_while_the_rate_limit_is_used_up_nothing_goes_beside() -> None:
    """It goes when it may, if the first one still hangs then."""
    rig = rig_that_knows("tokens")
    for number in (1, 2):
        rig.ask(number, AT)
    assert rig.pump(AT) == "send 1, send 2"
    assert rig.happen("fail 2 rate", AT + 1) == ""
    assert rig.pump(AT + limit()) == ""
    assert rig.pump(AT + 30) == ""
    assert [rig.pump(AT + seconds) for seconds in (40, 41, 45)] == ["send 2", "", "send 1"]


@pytest.mark.parametrize("billing", BILLINGS)
def test_whoever_leaves_takes_both_back_where_that_saves_anything(billing: Billing) -> None:
    rig = rig_with_two_out(billing)
    rig.leave(1, 106)
    assert rig.pump(106) == ("abort 1, abort 1" if billing == "time" else "")
    if billing == "tokens":
        assert rig.happen("answer 1", 107) == "abort 1"
    while rig.out:
        assert rig.happen("ended 1", 108) == ""


ENDS = st.sampled_from(["answer", "answer newest", "fault", "rate", "half", "rejected", "ended", "leave", "wait"])


@hypothesis_settings(max_examples=examples(50, random=150))
@given(st.sampled_from(BILLINGS), st.lists(st.tuples(ENDS, st.integers(0, 3)), max_size=40), st.integers(2, 30))
def test_whatever_becomes_of_two_calls_each_is_booked_once_within_the_cap_and_everybody_is_told_once(
    billing: Billing, steps: list[tuple[str, int]], calls: int
) -> None:
    """Money is conserved: nothing is reserved when nothing is out, and each call that was sent is one that is spent,
    or was refused for nothing."""
    rig, account, at = rig_that_knows(billing), Account("run", Budget(calls=calls)), AT
    told, free, sent = [str(number) for number in range(4)], 0, 0
    for number in range(4):
        rig.ask(number, at, account=account)
    seen: list[str] = []

    def pump() -> None:
        nonlocal sent
        done = rig.pump(at).split(", ")
        sent += sum(word.startswith("send") for word in done)
        seen.extend(word for word in done if word and word[0].isdigit())
        taken = account.purse.reserved.calls + account.purse.spent.calls
        assert taken <= calls

    def end(how: str, index: int) -> None:
        nonlocal free
        number, call = rig.out[index % len(rig.out)]
        rig.out.remove((number, call))
        if call.abort_reason is not None:
            rig.state.unanswered.cancelled(call, at)
        elif how.startswith("answer") or how == "ended":
            if (payer := rig.state.landed(call, answer("question"), at)) is not None:
                assert payer is account
                rig.state.stored()
                rig.flights.finish(call.flight, answer("question").completion)
        else:
            before = account.purse.spent.calls
            rig.state.unanswered.failed(call, ERRORS[how], at)
            free += account.purse.spent.calls == before

    pump()
    for how, index in steps:
        at += 2.0
        if how == "leave":
            flights = [asker for asker in rig.askers.get(index, ()) if str(index) not in " ".join(seen).split()]
            if flights and rig.flights.get(_key(index)) is not None:
                rig.leave(index, at)
                told.remove(str(index))
        elif how != "wait" and rig.out:
            end(how, index)
        else:
            at += SLOW
        pump()
    for _ in range(200):
        at += 100.0
        if rig.out:
            end("answer", 0)
        pump()
    assert sorted(word.split()[0] for word in seen) == sorted(told)
    assert (account.purse.reserved, account.purse.out) == (Cost(), 0)
    assert account.purse.spent.calls + free == sent


def _key(number: int) -> str:
    return request_key(ask(number))


def test_what_comes_as_a_call_is_found_to_hang_has_the_slot_that_was_free_for_another_try() -> None:
    rig = rig_that_knows(concurrency=2)
    rig.ask(1, AT)
    assert rig.pump(AT) == "send 1"
    at = AT + limit()
    assert rig.pump(at - 2 * LOOK_AT_FEW) == ""
    rig.state.tick(at)
    rig.ask(2, at)
    assert rig.pump(at) == "send 2"
    assert rig.happen("answer 2", at + 1) == "2 answered, send 1"
