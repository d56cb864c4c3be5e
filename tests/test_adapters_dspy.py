"""DSPy over a client: its own programs, rollouts, tools, errors. Skipped where DSPy is not installed."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chat_server import TOO_LONG, ChatServer

from metaspo import Client, Lane, OpenAICompatible, Request

dspy = pytest.importorskip("dspy")
pytestmark = pytest.mark.filterwarnings("ignore")

from metaspo.adapters.dspy import LM  # noqa: E402 - only where there is DSPy


def answer(request: Request) -> str:
    return f"[[ ## answer ## ]]\n{len(request.messages[-1].content)}\n\n[[ ## completed ## ]]"


@pytest.fixture
def server() -> Iterator[ChatServer]:
    calls = iter(range(10**6))

    def sampled(request: Request) -> str:
        return f"[[ ## answer ## ]]\nyes {next(calls)}\n\n[[ ## completed ## ]]"

    with ChatServer(sampled) as server:
        yield server


def client_of(server: ChatServer, folder: Path) -> Client:
    return Client([Lane("m", [OpenAICompatible(server.url)])], cache=folder / "cache")


def test_a_program_is_answered_and_evaluated_and_a_second_process_asks_nothing(
    server: ChatServer, tmp_path: Path
) -> None:
    program = dspy.Predict("question -> answer")
    rows = [dspy.Example(question=f"Is {n} so?", answer="yes").with_inputs("question") for n in range(20)]
    scores = []
    for _ in range(2):
        with client_of(server, tmp_path) as client:
            evaluate = dspy.Evaluate(
                devset=rows,
                metric=lambda row, said, trace=None: said.answer.startswith(row.answer),
                num_threads=8,
                display_progress=False,
            )
            with dspy.context(lm=LM("m", client=client, temperature=0.0, max_tokens=50)):
                scores.append(evaluate(program).score)
    assert scores == [100.0, 100.0]
    assert server.calls == 20


def test_rollouts_and_candidates_are_samples_of_their_own_and_the_same_when_run_again(
    server: ChatServer, tmp_path: Path
) -> None:
    runs = []
    for _ in range(2):
        with client_of(server, tmp_path) as client:
            lm = LM("m", client=client, temperature=1.0)
            rollouts = [lm.copy(rollout_id=k)("Is it so?")[0] for k in (3, 1, 3)]
            candidates = lm("Is it so?", n=3)
            again = asyncio.run(lm.acall("Is it so?", rollout_id=1))[0]
            runs.append((rollouts, candidates, again))
    rollouts, candidates, again = runs[0]
    assert runs[0] == runs[1]
    assert rollouts[0] == rollouts[2] != rollouts[1] == again
    assert len({*rollouts, *candidates}) == 5
    assert server.calls == 5


def test_best_of_n_sees_different_samples(server: ChatServer, tmp_path: Path) -> None:
    seen: list[str] = []

    def reward(_inputs: object, said: Any) -> float:  # noqa: ANN401 - a prediction
        seen.append(said.answer)
        return 0.0

    with client_of(server, tmp_path) as client, dspy.context(lm=LM("m", client=client, temperature=1.0)):
        dspy.BestOfN(dspy.Predict("question -> answer"), N=4, reward_fn=reward, threshold=1.0)(question="Is it so?")
    assert len(set(seen)) == 4


def test_tools_go_through(tmp_path: Path) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    usage = {"prompt_tokens": 5, "completion_tokens": 5}

    def form(_request: Request, _text: str) -> object:
        return {"choices": [{"index": 0, "finish_reason": "tool_calls", "message": message}], "usage": usage}

    tool = dspy.lm15.FunctionTool("add", "adds", {"type": "object", "properties": {"a": {"type": "integer"}}})
    question = dspy.lm15.Request(model="m", messages=(dspy.lm15.Message.user("1?"),), tools=(tool,))
    with ChatServer(lambda _: "", form=form) as server, client_of(server, tmp_path) as client:
        response = LM("m", client=client)(question)
    assert response.finish_reason == "tool_call"
    assert response.message.parts[0].input == {"a": 1}
    (sent,) = server.asked
    assert json.loads(sent)["tools"][0]["function"]["name"] == "add"


def test_a_failure_is_the_error_that_dspy_has_for_it(server: ChatServer, tmp_path: Path) -> None:
    server.refuse = lambda _request, _before: TOO_LONG
    with client_of(server, tmp_path) as client, pytest.raises(dspy.ContextWindowExceededError):
        LM("m", client=client)("Is it so?")


def test_a_program_is_saved_and_loaded_with_its_model(server: ChatServer, tmp_path: Path) -> None:
    config = tmp_path / "serve.toml"
    config.write_text(f'cache = ""\n[[models]]\nmodel = "m"\nendpoints = ["{server.url}"]\n')
    program = dspy.Predict("question -> answer")
    program.set_lm(LM("m", client=config, temperature=0.0))
    said = program(question="Is it so?").answer
    program.save(tmp_path / "program.json")
    loaded = dspy.Predict("question -> answer")
    loaded.load(tmp_path / "program.json", allow_unsafe_lm_state=True)
    assert loaded(question="Is it so?").answer == said
    assert server.calls == 1
