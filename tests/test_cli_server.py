"""What goes wrong at the server is told in one clear sentence, costs nothing that was paid for, and is no zero."""

import socket
import time
from pathlib import Path

import pytest
from chat_server import BAD_KEY, GONE, NO_CREDIT, TOO_LONG, UNKNOWN_MODEL, ChatServer, Refusal
from command_line import Ended, here, write_project
from world import World

from metaspo.backends import Request
from metaspo.engine import read_journal
from metaspo.engine.journal.events import Candidate, Proposal, Score

WORLD = World(3, malformed=0.0)
FIRST = "You are a helpful assistant."


def stopped(ended: Ended, *says: str) -> None:
    """Exit status 3 and one error line that says all of it."""
    assert (ended.code, len(ended.errors)) == (3, 1), ended
    for part in says:
        assert part in ended.errors[0]
    assert ended.err.count("run the same command again") == 1
    assert ended.err.count("is kept") == 1


@pytest.mark.parametrize(
    ("refusal", "says"),
    [
        (BAD_KEY, ("API key", "(status 401, http://127.0.0.1:", "/v1/chat/completions)")),
        (UNKNOWN_MODEL, ("answerer", "(status 404, http://127.0.0.1:", "/v1/chat/completions)")),
        (NO_CREDIT, ("credit", "top it up")),
    ],
)
def test_what_only_a_person_can_mend_stops_the_run_and_keeps_what_was_paid_for(
    project: Path, server: ChatServer, refusal: Refusal, says: tuple[str, ...]
) -> None:
    server.refuse = lambda _request, before: None if before < 10 else refusal
    stopped(here("optimize", "run.toml"), *says)
    assert sum(server.asked.values()) <= 10 + 2 * 8  # what was in flight, not a storm
    answered = server.answered.copy()
    assert answered.total() == 10
    server.refuse = lambda _request, _before: None
    assert here("optimize", "run.toml").code == 0
    assert all(server.answered[body] == 1 for body in answered if '"answerer"' in body)


def test_a_refusal_when_evaluating_is_told_the_same_way(project: Path, server: ChatServer) -> None:
    server.refuse = lambda _request, _before: BAD_KEY
    stopped(here("evaluate", "run.toml"), "API key")


def test_a_prompt_too_long_for_the_server_makes_its_candidate_invalid_and_the_run_goes_on(
    project: Path, server: ChatServer
) -> None:
    """Everything but the first prompts is refused: nothing can be selected, and every refusal is on record."""

    def refuse(request: Request, _before: int) -> Refusal | None:
        asked = "\n".join(message.content for message in request.messages)
        first = asked.startswith(f"{FIRST}\nAbout ")
        return None if first or request.model == "writer" else TOO_LONG

    server.refuse = refuse
    done = here("optimize", "run.toml", "--json")
    assert done.code == 0
    result = done.data[0]["result"]
    assert result["system_prompt"] == FIRST
    assert {len(prompts) for prompts in result["user_prompts"].values()} == {1}
    (path,) = project.glob(".metaspo/runs/*/journal.jsonl")
    events = read_journal(path)
    refused = [event for event in events if isinstance(event, Score) and event.invalid]
    assert len(refused) >= 3
    assert all(event.failed > 0 and "context length" in (event.invalid or "") for event in refused)
    candidates = [event for event in events if isinstance(event, Candidate)]
    assert len(candidates) == 3
    assert all("context length" in (event.invalid or "") for event in candidates)


def test_an_example_refused_under_the_first_prompts_is_named(project: Path, server: ChatServer) -> None:
    server.refuse = lambda request, _before: TOO_LONG if "b train number 4" in request.messages[-1].content else None
    ended = here("optimize", "run.toml")
    assert (ended.code, len(ended.errors)) == (2, 1)
    for part in ("'b'", "b.train.jsonl:5", "max_question_chars"):
        assert part in ended.errors[0]


def test_where_every_example_is_refused_the_config_is_to_be_mended_and_not_the_data(
    project: Path, server: ChatServer
) -> None:
    server.refuse = lambda _request, _before: TOO_LONG
    ended = here("optimize", "run.toml")
    assert (ended.code, len(ended.errors)) == (2, 1)
    all_of_b = "'b': b.train.jsonl:1, like all 6 examples"
    for part in ("every example", all_of_b, "what the config says of the model", "/v1/chat/completions"):
        assert part in ended.errors[0]
    assert "jsonl:2" not in ended.errors[0]


def test_a_test_example_that_is_refused_counts_as_failed_not_as_wrong(project: Path, server: ChatServer) -> None:
    server.refuse = lambda request, _before: (
        TOO_LONG if "unseen test number 2" in request.messages[-1].content else None
    )
    done = here("optimize", "run.toml", "--json")
    assert done.code == 0
    rows = [row for row in done.data[0]["result"]["tests"] if row["task"] == "unseen"]
    assert [row["failed"] for row in rows] == [1, 1]
    for row in rows:
        grades = row["grades"]
        assert grades[2] is None
        assert row["score"] == sum(grade for grade in grades if grade is not None) / 3


def test_a_storm_of_malformed_answers_ends_with_scores_of_0_and_the_count_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with ChatServer(lambda _request: "Let me think about that for a while.") as server:
        write_project(tmp_path, server.url)
        done = here("optimize", "run.toml", "--json")
    assert done.code == 0
    rows = done.data[0]["result"]["tests"]
    assert {(row["score"], row["malformed"], row["failed"]) for row in rows} == {(0.0, 4, 0)}
    shown = here("show", done.data[0]["name"]).out
    assert "4 → 4" in shown
    (path,) = tmp_path.glob(".metaspo/runs/*/journal.jsonl")
    proposals = [event for event in read_journal(path) if isinstance(event, Proposal)]
    assert any("malformed 4 times" in (event.none or "") for event in proposals)


def test_a_connection_dropped_now_and_then_is_nobodys_error(project: Path, server: ChatServer) -> None:
    server.refuse = lambda _request, before: GONE if before % 20 == 19 else None
    assert here("optimize", "run.toml").code == 0


@pytest.mark.slow
def test_a_server_that_is_not_there_is_told_within_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience is for a server that has answered before; one that never did is most likely a wrong address."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        write_project(tmp_path, f"http://127.0.0.1:{nobody.getsockname()[1]}/v1")
        monkeypatch.chdir(tmp_path)
        started = time.monotonic()
        stopped(here("optimize", "run.toml"), "cannot be reached", "is the server running?")
    assert time.monotonic() - started < 30
