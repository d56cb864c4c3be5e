"""What a server says of failures: to its clients, and to whoever runs it."""

import asyncio
import logging

import pytest

from metaspo.backends import AccessDenied, CreditExhausted, FatalError, RequestRejected
from metaspo.scheduling import CallFailed, LaneAnswers, LaneGaveUp, LaneStopped, Waiting, call_failed
from metaspo.serving.for_clients import for_client
from metaspo.serving.lane_log import SAID_AGAIN_AFTER, LaneLog
from metaspo.serving.replies import failure

SERVERS = ["10.0.0.5:80", "10.0.0.5:8000", "llm:8000", "[fd00::5]:8000"]
LESS = "lower max_tokens in the request"


def told(error: Exception) -> str:
    if isinstance(error, FatalError):
        stopped = LaneStopped(str(error), lane="m", error=error)
        stopped.__cause__ = error
        error = stopped
    return str(for_client(call_failed(error), model="m", servers=SERVERS))


@pytest.mark.parametrize("kind", [AccessDenied, CreditExhausted, FatalError])
@pytest.mark.parametrize("says", [LESS, "lower max_tokens for the model", "no max_tokens in the request"])
def test_no_word_of_a_server_has_a_client_told_what_is_withheld(kind: type[FatalError], says: str) -> None:
    said = told(kind(f"llm:8000 refuses our key. The server says: {says}, team-7 at https://pay.example"))
    assert "team-7" not in said
    assert "refuses" not in said
    assert LESS not in said


def test_where_less_would_do_a_client_is_told_that_and_nothing_of_the_account() -> None:
    advice = "top it up, raise its limit, or lower max_tokens for the model"
    said = told(CreditExhausted(f"The credit of acme at llm:8000 does not allow it: {advice}. The server says: acme"))
    assert LESS in said
    assert "acme" not in said


@pytest.mark.parametrize(
    ("address", "rest"),
    [
        *((f"{scheme}{server}{path}", "") for scheme in ("", "http://") for server in SERVERS for path in ("", "/v1")),
        ("('10.0.0.5', 8000)", "('', 8000)"),
        ("10.0.0.5:81", ""),
        ("110.0.0.5:80", "110.0.0.5:80"),
        ("my-llm:8000", "my-llm:8000"),
        ("llm", "llm"),
    ],
)
def test_no_address_of_a_server_reaches_a_client_and_no_other_word_is_lost(address: str, rest: str) -> None:
    said = told(RequestRejected(f"It said {address}, and more."))
    assert said.replace("the model's server", "") == f"It said {rest}, and more."


@pytest.mark.virtual
async def test_what_clients_are_not_told_is_logged_once_a_minute_for_each_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Also where two models are refused in turns, and where it was the reason that a lane gave up for."""
    log = LaneLog()
    log(LaneGaveUp(lane="m", at=0.0, reason="c", final=False))
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        log.withheld(AccessDenied("c"))
        for _ in range(3):
            log.withheld(AccessDenied("a"))
            log.withheld(AccessDenied("b"))
        await asyncio.sleep(SAID_AGAIN_AFTER)
        log.withheld(AccessDenied("a"))
    assert [record.getMessage()[-1] for record in caplog.records] == ["a", "b", "a"]


@pytest.mark.parametrize(("seconds", "told", "header"), [(0.3, "1 second.", "1"), (1.2, "2 seconds.", "2")])
def test_a_client_is_never_told_to_come_sooner_than_is_of_use(seconds: float, told: str, header: str) -> None:
    failed = CallFailed("a:8000 is down", kind="unavailable", retry_after=seconds)
    assert str(for_client(failed, model="m", servers=[])).endswith(f"Try again in {told}")
    assert failure(failed).headers["retry-after"] == header


@pytest.mark.virtual
async def test_that_a_model_does_not_answer_is_logged_once_until_it_has_answered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = LaneLog()
    with caplog.at_level(logging.WARNING):
        for at in range(4):
            log(Waiting(lane="m", at=at, patience=900.0, reason="sent a page instead of an answer"))
            if at == 1:
                log(LaneAnswers(lane="m", at=at))
    first, again = (record.getMessage() for record in caplog.records)
    assert first == again
    assert "m model" in first
    assert "sent a page" in first
