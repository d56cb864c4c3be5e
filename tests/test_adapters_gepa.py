"""GEPA over a client. Skipped where GEPA is not installed."""

import json
from pathlib import Path
from typing import Any

import pytest
from adapter_world import client_of, counting_server
from chat_server import TOO_LONG, ChatServer

from metaspo import CallFailed, Request

gepa = pytest.importorskip("gepa")
pytestmark = pytest.mark.filterwarnings("ignore")

from metaspo.adapters.gepa import Adapter, ReflectionLM  # noqa: E402 - only where there is GEPA

ROWS = [{"input": f"Is {n} so?", "answer": f"yes {n}", "additional_context": {}} for n in range(6)]


def answer(request: Request) -> str:
    """Right answers for whoever is told to be careful; new instructions for whoever reflects."""
    said = request.messages[-1].content
    if not said.startswith("Is "):
        return "```\nBe careful.\n```"
    return f"yes {said.split()[1]}" if "careful" in request.messages[0].content else "no"


def test_optimize_runs_and_asks_nothing_when_it_is_run_again(tmp_path: Path) -> None:
    with ChatServer(answer) as server:
        calls = []
        for _ in range(2):
            with client_of(server, tmp_path) as client:
                result = gepa.optimize(
                    seed_candidate={"system_prompt": "Answer."},
                    trainset=ROWS,
                    valset=ROWS,
                    adapter=Adapter("m", client=client, max_tokens=50),
                    reflection_lm=ReflectionLM("m", client=client, temperature=1.0),
                    max_metric_calls=40,
                    display_progress_bar=False,
                )
            calls.append(server.calls)
            assert result.best_candidate["system_prompt"] == "Be careful."
    assert calls[0] == calls[1] > 6


def test_all_candidates_rows_are_one_batch_and_a_row_without_an_answer_has_its_reason(tmp_path: Path) -> None:
    with ChatServer(answer) as server, client_of(server, tmp_path) as client:
        server.refuse = lambda request, _before: TOO_LONG if "Is 1 " in request.messages[-1].content else None
        good, bad = Adapter("m", client=client).batch_evaluate(
            [({"s": "Be careful."}, ROWS), ({"s": "Answer."}, ROWS[:2])]
        )
    assert good.scores == [1.0, 0.0, 1.0, 1.0, 1.0, 1.0]
    assert "No answer: " in good.trajectories[1]["feedback"]
    assert bad.scores == [0.0, 0.0]


def test_what_concerns_all_of_them_is_raised_and_is_no_score(tmp_path: Path) -> None:
    from chat_server import NO_CREDIT

    with ChatServer(answer) as server, client_of(server, tmp_path) as client:
        server.refuse = lambda _request, _before: NO_CREDIT
        with pytest.raises(CallFailed, match="credit"):
            Adapter("m", client=client).evaluate(ROWS, {"s": "Answer."})


def test_reflections_on_the_same_are_samples_of_their_own(tmp_path: Path) -> None:
    question: Any = [{"role": "user", "content": "Reflect."}]
    with counting_server() as server, client_of(server, tmp_path) as client:
        lm = ReflectionLM("m", client=client, temperature=1.0)
        assert len({*lm.batch_complete([question, question]), lm("Reflect.")}) == 3
        assert (lm.total_tokens_in, lm.total_tokens_out) == (60, 9)
        assert [json.loads(body)["temperature"] for body in server.asked] == [1.0]
