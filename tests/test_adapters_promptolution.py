"""promptolution over a client. Skipped where promptolution is not installed."""

from pathlib import Path

import pytest
from adapter_world import client_of, counting_server
from chat_server import TOO_LONG

from metaspo import CallFailed

pytest.importorskip("promptolution")
pytestmark = pytest.mark.filterwarnings("ignore")

from metaspo.adapters.promptolution import LLM  # noqa: E402 - only where there is promptolution


def test_batches_are_answered_by_position_with_the_server_s_tokens(tmp_path: Path) -> None:
    prompts = [f"Is {n} so?" for n in range(5)]
    with counting_server() as server, client_of(server, tmp_path) as client:
        llm = LLM("m", client=client, temperature=0.0, max_tokens=9)
        first, again = llm.get_response(prompts), llm.get_response(prompts)
        assert first == again
        assert len(set(first)) == 5
        assert llm.get_token_count() == {"input_tokens": 200, "output_tokens": 30, "total_tokens": 230}
        llm.set_generation_seed(7)
        assert llm.get_response(prompts[0], "Be brief.") == ["yes 5"]
    assert server.calls == 6


def test_a_prompt_without_an_answer_fails_its_batch_and_the_others_are_kept(tmp_path: Path) -> None:
    with counting_server() as server, client_of(server, tmp_path) as client:
        server.refuse = lambda request, _before: TOO_LONG if "bad" in request.messages[-1].content else None
        llm = LLM("m", client=client, temperature=0.0)
        with pytest.raises(CallFailed):
            llm.get_response(["good", "bad"])
        assert llm.get_response(["good"]) == ["yes 0"]
    assert server.calls == 1
