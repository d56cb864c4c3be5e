"""What `bench embed` asks through each package with our adapter. Skipped where it is not installed."""

from pathlib import Path

import pytest
from chat_server import ChatServer

from metaspo import Client, Lane, OpenAICompatible
from metaspo.bench.embedded import ADAPTERS, ANSWER, MODEL, Work, measured

pytestmark = pytest.mark.filterwarnings("ignore")
QUESTIONS = [f"Is {number} so?" for number in range(6)]


@pytest.mark.parametrize("name", ADAPTERS)
def test_every_question_is_asked_once_and_all_answers_are_right(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, ask = ADAPTERS[name]
    pytest.importorskip(module)
    with ChatServer(lambda _request: ANSWER) as server:
        monkeypatch.setenv("LOGS", str(tmp_path / "logs"))
        with Client([Lane(MODEL, [OpenAICompatible(server.url)])]) as client:
            assert measured(ask(Work(QUESTIONS, server.url, client)), len(QUESTIONS))["score"] == 100
        assert server.calls == len(QUESTIONS)
