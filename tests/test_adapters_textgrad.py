"""TextGrad over a client. Skipped where TextGrad is not installed."""

from pathlib import Path

import pytest
from adapter_world import client_of
from chat_server import ChatServer

from metaspo import Request

textgrad = pytest.importorskip("textgrad")
pytestmark = pytest.mark.filterwarnings("ignore")

from metaspo.adapters.textgrad import Engine  # noqa: E402 - only where there is TextGrad


def answer(request: Request) -> str:
    said = request.messages[-1].content
    return "<IMPROVED_VARIABLE>Be careful.</IMPROVED_VARIABLE>" if "IMPROVED_VARIABLE" in str(request) else said[:20]


def test_backward_and_step_run_and_ask_nothing_when_run_again(tmp_path: Path) -> None:
    with ChatServer(answer) as server:
        calls = []
        for _ in range(2):
            with client_of(server, tmp_path) as client:
                engine = Engine("m", client=client, temperature=0.0)
                textgrad.set_backward_engine(engine, override=True)
                prompt = textgrad.Variable("Answer.", requires_grad=True, role_description="a system prompt")
                loss = textgrad.TextLoss("Say what is wrong.", engine=engine)(prompt)
                loss.backward()
                textgrad.TGD(parameters=[prompt], engine=engine).step()
            assert prompt.value == "Be careful."
            calls.append(server.calls)
    assert calls[0] == calls[1] >= 2


def test_every_setting_counts(tmp_path: Path) -> None:
    with ChatServer(answer) as server, client_of(server, tmp_path) as client:
        engine = Engine("m", client=client, temperature=0.0)
        assert engine("hello") == engine.generate("hello") == "hello"
        assert engine("hello", system_prompt="Be brief.", max_tokens=7) == "hello"
    assert server.calls == 2
