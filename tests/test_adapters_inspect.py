"""Inspect over a client. Skipped where Inspect is not installed."""

from pathlib import Path
from typing import Any

import pytest
from adapter_world import client_of, counting_server
from chat_server import ChatServer

pytest.importorskip("inspect_ai")
pytestmark = pytest.mark.filterwarnings("ignore")

from inspect_ai import Task  # noqa: E402 - only where there is Inspect
from inspect_ai import eval as evaluate  # noqa: E402
from inspect_ai.dataset import Sample  # noqa: E402
from inspect_ai.model import GenerateConfig, get_model  # noqa: E402
from inspect_ai.scorer import includes  # noqa: E402
from inspect_ai.solver import generate  # noqa: E402

SAMPLES = [Sample(input=f"Is {n} so?", target="yes") for n in range(4)]


def run(client: Any, folder: Path, *, temperature: float) -> list[str]:  # noqa: ANN401 - a client
    """The answers of an evaluation of three epochs, sorted."""
    model = get_model("metaspo/m", client=client, config=GenerateConfig(temperature=temperature), memoize=False)
    task = Task(dataset=SAMPLES, solver=generate(), scorer=includes(), epochs=3)
    (log,) = evaluate(task, model=model, log_dir=str(folder / "logs"), display="none")
    assert log.status == "success", log.error
    assert log.results is not None
    assert log.results.scores[0].metrics["accuracy"].value == 1.0
    return sorted(sample.output.completion for sample in log.samples or [])


@pytest.mark.parametrize(("temperature", "calls"), [(1.0, 12), (0.0, 4)])
def test_epochs_are_samples_of_their_own_and_the_same_when_run_again(
    tmp_path: Path, temperature: float, calls: int
) -> None:
    runs = []
    with counting_server() as server:
        for _ in range(2):
            with client_of(server, tmp_path) as client:
                runs.append(run(client, tmp_path, temperature=temperature))
    assert runs[0] == runs[1]
    assert len(set(runs[0])) == server.calls == calls


async def test_tools_and_usage_go_through(tmp_path: Path) -> None:
    from inspect_ai.tool import ToolInfo

    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    choices = [{"index": 0, "finish_reason": "tool_calls", "message": message}]
    usage = {"prompt_tokens": 9, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}}
    with (
        ChatServer(lambda _: "", form=lambda *_: {"choices": choices, "usage": usage}) as server,
        client_of(server, tmp_path) as client,
    ):
        model = get_model("metaspo/m", client=client, memoize=False)
        output = await model.generate("1?", tools=[ToolInfo(name="add", description="adds")])
    assert output.message.tool_calls is not None
    assert [(said.function, said.arguments) for said in output.message.tool_calls] == [("add", {"a": 1})]
    assert output.usage is not None
    assert (output.usage.input_tokens, output.usage.input_tokens_cache_read) == (5, 4)


def test_without_a_client_it_is_a_sentence() -> None:
    with pytest.raises(ValueError, match="needs a client"):
        get_model("metaspo/m", memoize=False)
