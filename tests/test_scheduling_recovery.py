"""Who tries again after a failure, when, and who does not: tables of what happens and what a lane does about it."""

import pytest
from test_scheduling_lane_state import ERRORS, Rig

from metaspo.backends import AccessDenied, TimedOut
from metaspo.scheduling import LaneAnswers, LaneSettings, RunStopped, Waiting
from metaspo.scheduling.lanes.endpoints import FAULTS_TO_REST, Health
from metaspo.scheduling.lanes.recovery import DOUBTED, SILENT
from metaspo.scheduling.lanes.verdicts import FIRST_LASTS, LONGEST_LASTS, Verdicts
from metaspo.scheduling.telemetry.event_words import sentence_of

Table = list[tuple[float, str, str]]

TABLES: dict[str, tuple[LaneSettings, Table]] = {
    "a server that answered nobody is asked for the same proof in a later doubt": (
        LaneSettings(concurrency=1, attempts=1),
        [
            (0, "ask 1", "send 1"),
            (1, "answer 1", "1 answered"),
            (2, "ask 2", "send 2"),
            (3, "fail 2 fault", "send 1"),
            (4, "fail 1 fault", "2 Unavailable"),
            (5, "ask 3", "send 3"),
            (6, "fail 3 fault", ""),  # the third in a row: it rests
            (7, "", "look"),
            (7, "probe ok", "send 3"),
            (8, "fail 3 fault", ""),
            (10, "", "look"),
            (10, "probe ok", "send 1"),
        ],
    ),
    "patience counts while a server refuses, and is over while it is waited for": (
        LaneSettings(concurrency=1, patience=100, first_patience=100),
        [
            (0, "ask 1", "send 1"),
            (0, "fail 1 rate", ""),
            (32, "", "send 1"),
            (32, "fail 1 rate", ""),
            (64, "", "send 1"),
            (64, "fail 1 rate", ""),
            (96, "", "send 1"),
            (96, "fail 1 rate", ""),
            (99.9, "", ""),
            (100, "", "1 Unavailable"),
        ],
    ),
    "patience does not count what is a request's own failure": (
        LaneSettings(concurrency=1, patience=20, first_patience=20),
        [
            (0, "ask 1", "send 1"),
            (0, "fail 1 half", ""),
            (2, "", "send 1"),
            (19, "fail 1 half", ""),
            (21, "", "send 1"),
            (22, "answer 1", "1 answered"),
        ],
    ),
    "an endpoint that fails its trial is tried next with what it could answer before": (
        LaneSettings(concurrency=3, patience=100),
        [
            (0, "ask 0", "send 0"),
            (1, "answer 0", "0 answered"),
            (2, "ask 1", "send 1"),
            (2, "ask 2", "send 2"),
            (2, "ask 3", "send 3"),
            (3, "fail 1 fault", ""),
            (3, "fail 2 fault", ""),
            (3, "fail 3 fault", ""),
            (4, "", "look"),
            (4, "probe ok", "send 1"),
            (5, "fail 1 fault", ""),
            (7, "", "look"),
            (7, "probe ok", "send 0"),
            (8, "answer 0", "send 1, send 2, send 3"),
        ],
    ),
    "what fails after its model was closed to us is told why, and not tried again": (
        LaneSettings(concurrency=2),
        [
            (0, "ask 1", "send 1"),
            (0, "ask 2", "send 2"),
            (1, "fail 1 denied", "1 LaneStopped"),
            (2, "fail 2 half", "2 LaneStopped"),
        ],
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_what_fails_is_followed_by_what_the_table_says(name: str) -> None:
    settings, table = TABLES[name]
    rig = Rig(settings)
    assert [(at, what, rig.happen(what, at)) for at, what, _ in table] == table


def test_after_some_attempts_without_any_answer_it_is_asked_whether_the_server_answers_others() -> None:
    """Though the request has attempts left; one that nobody waits for any more is not worth that."""
    for stays in (True, False):
        rig, at = Rig(LaneSettings(concurrency=2, attempts=8, billing="tokens")), 2.0
        rig.happen("ask 0", 0)
        rig.happen("answer 0", 1)
        rig.happen("ask 1", at)
        for _ in range(DOUBTED - 1):
            assert rig.happen("fail 1 half", at) == ""
            at += 100
            assert rig.pump(at) == "send 1"
        if not stays:
            rig.happen("leave 1", at)
        rig.take_done()
        assert rig.happen("fail 1 half", at) == ("send 0" if stays else "")


@pytest.mark.parametrize("failure", ["half", "fault"])
def test_that_nothing_but_failures_comes_is_told_once_within_seconds_and_that_it_is_over(failure: str) -> None:
    """Though one request alone meets them, which counts them as its own."""
    rig, at = Rig(LaneSettings(attempts=8)), 0.0
    for _ in range(2):  # after an answer it is news again
        rig.events.clear()
        rig.happen("ask 1", at)
        since = at
        for _ in range(DOUBTED + 2):
            rig.happen(f"fail 1 {failure}", at)
            while not rig.out:
                at += 0.25
                rig.pump(at)
        (told,) = (event for event in rig.events if isinstance(event, Waiting))
        assert told.reason == ERRORS[failure].args[0]
        assert sentence_of(told).endswith("; waiting up to 900 s, or until a request has failed 8 times")
        assert told.at <= since + 1.5 * SILENT
        rig.happen("answer 1", at)
        assert sum(isinstance(event, LaneAnswers) for event in rig.events) == 1
        at += 1.0


@pytest.mark.parametrize("others", [0, 1])
def test_who_fails_faster_than_others_are_answered_says_nothing_of_the_server(others: int) -> None:
    rig, at = Rig(LaneSettings(concurrency=2, attempts=8)), 0.0
    for number in range(others + 1):
        rig.happen(f"ask {number}", at)
    for _ in range(DOUBTED):
        while others not in dict(rig.out):
            at += 0.25
            rig.pump(at)
        rig.happen(f"fail {others} half", at)
    assert sum(isinstance(event, Waiting) for event in rig.events) == 1 - others
    for number in range(others):
        rig.happen(f"answer {number}", 30.0)
    assert not any(isinstance(event, LaneAnswers) for event in rig.events)


@pytest.mark.parametrize(("failure", "attempts"), [("half", 8), ("fault", 0)])
def test_it_is_told_that_a_wait_ends_with_a_requests_attempts_where_these_are_used_up(
    failure: str, attempts: int
) -> None:
    rig = Rig(LaneSettings(concurrency=FAULTS_TO_REST, attempts=8))
    for number in range(FAULTS_TO_REST):
        rig.happen(f"ask {number}", 0)
    for number in range(FAULTS_TO_REST):
        rig.happen(f"fail {number} {failure}", 1)
    assert [event.attempts for event in rig.events if isinstance(event, Waiting)] == [attempts]


def test_an_endpoint_that_a_call_finds_well_again_is_looked_at_for_its_load() -> None:
    """At once; nothing else would have it looked at."""
    rig = Rig(LaneSettings(concurrency=1, first_patience=100))
    for at, what in ((0, "ask 1"), (0, "fail 1 gone"), (1, ""), (1, "probe ok")):
        rig.happen(what, at)
    rig.ask(2, 2)
    assert list(rig.state.tick(2)) == []
    rig.land(1, 3)
    (endpoint,) = rig.state.tick(3)
    assert endpoint.backend.name == "server 0"


def test_what_is_mended_opens_no_lane_that_was_closed() -> None:
    """Nor does the time after which a verdict is tried again."""
    verdicts = Verdicts("lane", final=False)
    verdicts.add(AccessDenied("no"), 10.0, model="m")
    assert verdicts.reopens_at == 10.0 + FIRST_LASTS
    closed = RunStopped("closed")
    verdicts.close(closed)
    verdicts.clear()
    assert (verdicts.any, verdicts.of("m")) == (closed, closed)


def test_a_verdict_lasts_seconds_and_each_that_follows_without_an_answer_twice_as_long_up_to_a_minute() -> None:
    verdicts = Verdicts("lane", final=False)

    def lasts() -> float:
        verdicts.add(AccessDenied("no"), 10.0, model="m")
        reopens = verdicts.reopens_at
        verdicts.clear()
        return reopens - 10.0

    in_a_row = [lasts() for _ in range(9)]
    assert in_a_row[:4] == [FIRST_LASTS * 2**k for k in range(4)]
    assert in_a_row[-2:] == [LONGEST_LASTS] * 2
    assert not verdicts.answered("another")
    assert lasts() == LONGEST_LASTS
    assert verdicts.answered("m")
    assert not verdicts.answered("m"), "that is no news"
    assert lasts() == FIRST_LASTS


@pytest.mark.parametrize("model", ["m", None])
def test_a_call_that_was_out_already_proves_nothing_of_a_verdict(model: str | None) -> None:
    verdicts = Verdicts("lane", final=False)
    verdicts.add(AccessDenied("no"), 10.0, model=model)
    assert not verdicts.answered("m")
    verdicts.clear()
    assert verdicts.answered("m")


def test_calls_that_hang_rest_an_endpoint_that_answers_nothing_while_another_one_does() -> None:
    """Three of them; fewer, or where nobody answers, say nothing of it."""
    rig = Rig(LaneSettings(concurrency=12), servers=2)
    for number in range(12):
        rig.happen(f"ask {number}", 0)
    silent = rig.out[0][1].endpoint
    hung = [call for _, call in rig.out if call.endpoint is silent]
    recovery = rig.state.unanswered.recovery
    for call in hung[:FAULTS_TO_REST]:
        recovery.hangs(call, TimedOut("slow"), 5)
    assert silent.health is Health.UP, "nobody answers"
    rig.land(next(number for number, call in rig.out if call.endpoint is not silent), 6)
    healths = []
    for call in hung[:FAULTS_TO_REST]:
        recovery.hangs(call, TimedOut("slow"), 7)
        healths.append(silent.health)
    assert healths == [Health.UP, Health.UP, Health.DOWN]
