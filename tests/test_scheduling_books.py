"""The books of a budget and of who spends it, to the figure: what is taken, announced, left, and said at the end."""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scheduling_world import Server, ask
from sizes import examples
from test_scheduling_lane_state import ERRORS, Asker, Rig

from metaspo.backends import Usage
from metaspo.engine.journal.events import Spent
from metaspo.engine.journal.journal import MemoryJournal
from metaspo.engine.journal.spending import note_spending
from metaspo.engine.runs.spending_book import unanswered
from metaspo.scheduling import Account, Budget, BudgetExhausted, Cost, LaneSettings, Prices
from metaspo.scheduling.budget.budget import AHEAD, CALLS_AHEAD, Purse
from metaspo.scheduling.lanes.books import Books
from metaspo.scheduling.lanes.endpoints import Endpoint
from metaspo.scheduling.lanes.flight import Call, Flight
from metaspo.scheduling.lanes.single_flight import FlightTable
from metaspo.scheduling.lanes.surroundings import Surroundings
from metaspo.scheduling.limits.limits import RateLimits
from metaspo.scheduling.settings import Billing
from metaspo.scheduling.statistics import LaneUse

COST = st.builds(Cost, st.integers(0, 3), st.integers(0, 900), st.integers(0, 40).map(lambda eighths: eighths / 8))


def test_costs_add_up_and_take_away_part_by_part() -> None:
    """Calls, tokens, dollars."""
    a, b = Cost(1, 20, 0.5), Cost(3, 7, 2.0)
    assert a.plus(b) == Cost(4, 27, 2.5)
    assert b.minus(a) == Cost(2, -13, 1.5)


@settings(max_examples=examples(40, random=100))
@given(
    st.none() | st.integers(0, 900),
    st.none() | st.integers(0, 9_000),
    st.none() | st.integers(0, 400).map(lambda eighths: eighths / 8),
    st.lists(st.tuples(st.sampled_from("rrs"), COST, st.booleans()), max_size=40),
    COST,
)
def test_a_purse_is_its_calls_added_up_and_announces_a_part_of_its_caps_ahead(
    calls: int | None,
    tokens: int | None,
    dollars: float | None,
    steps: list[tuple[str, Cost, bool]],
    spent: Cost,
) -> None:
    """A call goes if no cap is overshot with all that is out; it is announced before, and again only beyond that."""
    budget = Budget(calls=calls, tokens=tokens, dollars=dollars)
    said: list[Cost] = []
    purse = Purse(budget, spent=spent, unanswered=Cost(0, 1, 0.0))
    purse.listeners.append(lambda: said.append(purse.announced))
    out: list[Cost] = []
    over, lost = [spent], [Cost(0, 1, 0.0)]

    def total(costs: list[Cost]) -> Cost:
        return Cost(*(sum(part) for part in zip(*costs, strict=True))) if costs else Cost()

    for what, cost, answered in steps:
        if what == "s" and out:
            most = out.pop(0)
            actual = Cost(*(min(parts) for parts in zip(cost, most, strict=True)))  # type: ignore[arg-type]
            purse.settle(most, actual, answered=answered)
            over.append(actual)
            if not answered:
                lost.append(actual)
        elif what == "r":
            before, taken = purse.announced, total([*over, *out, cost])
            fits = [
                name
                for name, cap, part in zip(("calls", "tokens", "dollars"), (calls, tokens, dollars), taken, strict=True)
                if cap is not None and part > cap + 1e-9
            ]
            assert purse.short_of(cost) == (fits[0] if fits else None)
            count = len(said)
            assert purse.reserve(cost) == (not fits)
            if not fits:
                out.append(cost)
                beyond = taken.calls > before.calls
                beyond |= tokens is not None and taken.tokens > before.tokens
                beyond |= dollars is not None and taken.dollars > before.dollars
                ahead = Cost(
                    taken.calls + CALLS_AHEAD if calls is None else min(taken.calls + calls // AHEAD, calls),
                    taken.tokens if tokens is None else min(taken.tokens + tokens // AHEAD, tokens),
                    taken.dollars
                    if dollars is None
                    else max(taken.dollars, min(taken.dollars + dollars / AHEAD, dollars)),
                )
                assert said[count:] == ([ahead] if beyond else [])
                assert purse.announced == (ahead if beyond else before)
        assert purse.spent == pytest.approx(total(over))
        assert purse.reserved == pytest.approx(total(out))
        assert purse.unanswered == pytest.approx(total(lost))
        assert (purse.out, purse.earlier) == (len(out), spent)


@pytest.mark.parametrize(
    ("budget", "lost", "needs", "cap", "says"),
    [
        (
            Budget(calls=5),
            Cost(),
            Cost(1, 10, 0.0),
            "calls",
            "budget of run is used up: 5 of 5 calls are spent and",
        ),
        (
            Budget(calls=9, tokens=1_200),
            Cost(1, 200, 0.0),
            Cost(1, 1_000, 0.0),
            "tokens",
            "1,100 of 1,200 tokens are spent (200 of them set aside for calls without an answer) and the next call may "
            "take 1,000; everything answered is kept and costs nothing again: for more, raise the cap on tokens",
        ),
        (
            Budget(dollars=2.5),
            Cost(0, 0, 0.25),
            Cost(1, 10, 0.5),
            "dollars",
            "$2.2500 of $2.5000 dollars are spent ($0.2500 of them set aside for calls without an answer) and the next "
            "call may take $0.5000",
        ),
    ],
)
def test_the_end_of_a_budget_names_the_cap_and_what_is_spent_of_it(
    budget: Budget, lost: Cost, needs: Cost, cap: str, says: str
) -> None:
    """In words, and for programs."""
    spent = Cost(5, 1_100, 2.25)
    purse = Purse(budget, spent=spent, unanswered=lost)
    error = purse.exhaustion(needs, account="run")
    assert says in str(error)
    assert (error.cap, error.limit, error.spent) == (cap, getattr(budget, cap), getattr(spent, cap))
    assert str(purse.exhaustion(needs, account="")).startswith("The budget is used up: ")
    of_all = Purse(budget, spent=spent, name="study")
    assert str(of_all.exhaustion(needs, account="cell")).startswith("The budget of study is used up: ")


@dataclass
class Parked:
    """Waits for funds; writes down when it was asked."""

    account: Account
    needs: Cost
    asked: list[str] = field(default_factory=list)

    def upper_bound(self) -> Cost:
        return self.needs

    def fund(self, now: float) -> bool:
        funds = self.account.reserve(self.needs)
        self.asked.append(f"{now:g} {funds is not None}")
        if funds is not None:
            self.account.parked.pop()
        return funds is not None

    def ask_again(self, now: float) -> None:
        raise AssertionError("only where caps are shared")


def test_what_a_call_gives_back_lets_the_first_in_line_go_on_and_then_the_next() -> None:
    """As long as there is room; where nothing is out and there is none, it is said what was needed."""
    purse = Purse(Budget(tokens=100))
    payer, other = Account("a", purse=purse), Account("b", purse=purse)
    assert payer.purse is other.purse
    funds, more = payer.reserve(Cost(1, 60, 0.0)), other.reserve(Cost(1, 40, 0.0))
    assert funds is not None
    assert more is not None
    assert (funds.account, funds.at_most) == (payer, Cost(1, 60, 0.0))
    assert payer.reserve(Cost(1, 1, 0.0)) is None
    assert (payer.out, payer.taken()) == (1, Cost(1, 60, 0.0))
    waiting = [Parked(other, Cost(1, tokens, 0.0)) for tokens in (30, 20, 90)]
    for parked in waiting:
        payer.parked.push(parked)
    assert payer.settle(funds.at_most, Cost(1, 10, 0.0), 7.0) is None
    assert [parked.asked for parked in waiting] == [["7 True"], ["7 True"], ["7 False"]]
    assert other.settle(more.at_most, Cost(1, 5, 0.0), 8.0) is None, "two are out that may give something back"
    assert other.settle(Cost(1, 30, 0.0), Cost(1, 30, 0.0), 9.0) is None
    assert other.settle(Cost(1, 20, 0.0), Cost(1, 20, 0.0), 10.0) == Cost(1, 90, 0.0)
    assert waiting[2].asked == ["7 False", "8 False", "9 False", "10 False"]
    assert (payer.taken(), other.taken()) == (Cost(1, 10, 0.0), Cost(3, 55, 0.0))


def test_an_account_says_whenever_something_of_it_was_set_aside_or_settled() -> None:
    """With what is taken by then; what does not fit is not set aside."""
    account, taken = Account("run", Budget(calls=2)), list[float]()
    account.on_change = lambda: taken.append(account.taken().calls)
    funds = [account.reserve(Cost(1, 10, 0.0)) for _ in range(3)]
    assert taken == [1, 2]
    for each, calls in zip(funds, (0, 1), strict=False):
        assert each is not None
        account.settle(each.at_most, Cost(calls, 0, 0.0), 1.0)
    assert taken == [1, 2, 1, 1]


def test_an_account_says_when_nothing_of_it_is_out_and_is_silent_when_told() -> None:
    """Of a purse that others take from, too, it announces its own part, with what may be taken before the next word."""
    said: list[tuple[str, Cost]] = []
    purse = Purse(Budget(calls=5 * AHEAD), spent=Cost(10, 0, 0.0))
    accounts = [
        Account(name, purse=purse, announce=lambda account: said.append((account.name, account.announced())))
        for name in "ab"
    ]
    a, b = accounts
    settled: list[str] = []
    a.on_settled = lambda: settled.append("a")
    first = a.reserve(Cost(1, 9, 0.5))
    assert first is not None
    assert said == [("a", Cost(6, 9, 0.5)), ("b", Cost(5, 0, 0.0))]
    second = b.reserve(Cost(2, 9, 0.5))
    third = a.reserve(Cost(3, 1, 0.25))
    assert second is not None
    assert third is not None
    assert len(said) == 2
    assert (a.taken(), a.announced()) == (Cost(4, 10, 0.75), Cost(4, 10, 0.75))
    a.settle(first.at_most, Cost(1, 4, 0.25), 0.0)
    assert (a.out, settled, a.taken()) == (1, [], Cost(4, 5, 0.5))
    a.silence()
    a.silence()
    assert b.reserve(Cost(20, 0, 0.0)) is not None
    assert [name for name, _ in said] == ["a", "b", "b"]
    a.settle(third.at_most, Cost(), 0.0)
    assert (a.out, settled, a.taken()) == (0, ["a"], Cost(1, 4, 0.25))
    purse.exhausted = BudgetExhausted("over", cap="calls", limit=1, spent=1)
    assert a.exhausted is purse.exhausted
    assert b.reserve(Cost()) is None
    assert (b.out, b.taken()) == (2, Cost(22, 9, 0.5))


def test_what_cannot_be_announced_is_not_taken() -> None:
    """As on a full disk: once there is room again the whole budget is there."""
    full = [True]

    def announce(account: Account) -> None:
        if full:
            raise OSError("No space left on device")

    account = Account("run", Budget(calls=5), announce=announce)
    with pytest.raises(OSError, match="No space"):
        account.reserve(Cost(1, 10, 0.0))
    assert (account.out, account.taken(), account.announced()) == (0, Cost(), Cost())
    full.clear()
    assert [account.reserve(Cost(1, 10, 0.0)) is not None for _ in range(6)] == [True] * 5 + [False]
    assert (account.out, account.purse.out) == (5, 5)


def test_a_session_says_what_it_has_spent_and_what_may_be_gone_of_its_budget() -> None:
    """More than that while it goes on; exactly that in its last word; and what nobody saw an answer for is the rest."""
    account, journal = Account("run", Budget(calls=5 * AHEAD), announce=lambda _: None), MemoryJournal()
    funds = account.reserve(Cost(1, 90, 0.5))
    assert funds is not None
    tally = account.tally("lane")
    tally.calls, tally.prompt_tokens, tally.completion_tokens, tally.dollars, tally.unpriced = 2, 30, 4, 0.125, 3
    account.tally("other").calls = 5
    for last in (False, True):
        note_spending(journal, account, seconds=1.23456, last=last)
    whole = Spent(calls=7, prompt_tokens=30, completion_tokens=4, dollars=0.125, unpriced=3, seconds=1.235)
    assert journal.events == [
        replace(whole, of_budget=Cost(6, 90, 0.5)),
        replace(whole, of_budget=Cost(1, 90, 0.5)),
    ]
    told = Spent(calls=2, prompt_tokens=30, completion_tokens=4, dollars=0.125, of_budget=Cost(3, 100, 0.5))
    assert unanswered(told) == Cost(1, 66, 0.375)
    assert unanswered(Spent(calls=2, prompt_tokens=9, dollars=1.0, of_budget=Cost(1, 2, 0.5))) == Cost(0, 0, 0.0)


PRICES = Prices(input=100.0, cached=50.0, output=200.0)  # dollars a million
USAGE = Usage(5_000, 70, cached_tokens=4_000)


def a_call(books: Books, account: Account, *, wanted: bool = True) -> Call:
    """It went at 10, for a request that had waited a second for a slot, two for the rate and four between tries."""
    flight = Flight("", ask(1), Asker("", account, []), home=Rig().state, priority=())
    flight.queue_seconds, flight.limiter_seconds, flight.retry_seconds = 1.0, 2.0, 4.0
    funds = books.fund(account, flight)
    assert funds is not None
    if not wanted:
        flight.waiters.clear()
    return Call(flight, Endpoint(Server()), funds, RateLimits().reserve(1, 10.0), 10.0, 0)


def books_of(prices: Prices | None = PRICES, billing: Billing = "time") -> Books:
    around = Surroundings(FlightTable(), lambda _: None, lambda: None, lambda _: None)
    return Books("lane", LaneSettings(prices=prices, billing=billing), around)


@pytest.mark.parametrize("prices", [None, PRICES])
def test_an_answer_is_booked_as_what_it_says_it_took(prices: Prices | None) -> None:
    """Each answer that was paid for; what its request has waited with the first of them alone."""
    books, account = books_of(prices), Account("run")
    for first in (True, False, True):
        call = a_call(books, account)
        assert books.answered(call, USAGE, 13.0, first=first) is account
        assert call.booked
        assert books.upper_bound(call.flight).tokens >= 5_000, "the next one may take as much"
    dollars = account.purse.spent.dollars
    assert dollars == pytest.approx(3 * prices.dollars(USAGE) if prices is not None else 0.0)
    assert account.statistics().lanes["lane"] == LaneUse(
        calls=3,
        prompt_tokens=15_000,
        completion_tokens=210,
        cached_tokens=12_000,
        dollars=dollars,
        unpriced=3 * (prices is None),
        server_seconds=9.0,
        queue_seconds=2.0,
        limiter_seconds=4.0,
        retry_seconds=8.0,
    )
    assert account.purse.spent == Cost(3, 15_210, dollars)
    assert (account.purse.reserved, account.purse.unanswered) == (Cost(), Cost())


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize("prices", [None, PRICES])
@pytest.mark.parametrize(
    ("billing", "how", "most"),
    [
        ("time", "broken off", False),
        ("tokens", "broken off", True),
        ("time", "half", True),
        ("tokens", "late", True),
        ("tokens", "gone", None),
        ("time", "gone", None),
    ],
)
def test_a_call_without_an_answer_is_booked_at_the_most_that_it_may_be_charged(
    billing: Billing, how: str, most: bool | None, prices: Prices | None, wanted: bool
) -> None:
    """Where tokens are paid for, and half an answer; as a call where time is; as nothing where it never got there."""
    books, account = books_of(prices, billing), Account("run")
    call = a_call(books, account, wanted=wanted)
    at_most = call.funds.at_most
    if how == "broken off":
        books.broken_off(call, 13.0)
    else:
        books.failed(call, ERRORS[how], 13.0)
    counted = how == "broken off" or bool(most)
    lost = at_most if most else Cost(1, 0, 0.0) if counted else Cost()
    assert call.booked
    assert account.purse.spent == lost
    assert account.purse.unanswered == (at_most if most else Cost())
    assert account.tally("lane") == LaneUse(
        calls=counted, withdrawn=counted and not wanted, dollars=lost.dollars, unpriced=counted and prices is None
    )


def test_near_a_cap_one_call_goes_until_an_answer_has_told_what_they_take() -> None:
    """Another one beside it where 32 times what both may take would fit, by tokens and by dollars."""
    books = books_of()
    each = a_call(books, Account("run")).funds.at_most
    for cap, goes in ((64, True), (63.9, False)):
        for budget in (Budget(tokens=int(cap * each.tokens)), Budget(dollars=cap * each.dollars)):
            account = Account("run", budget)
            flight = a_call(books, account).flight
            assert (books.fund(account, flight) is not None) == goes
