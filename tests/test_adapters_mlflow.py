"""metaspo as MLflow's prompt optimizer, by MLflow's own `optimize_prompts`. Skipped where MLflow is not installed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from adapter_world import client_of
from chat_server import ChatServer

from metaspo import Client, Message, Request

mlflow = pytest.importorskip("mlflow")
pytestmark = pytest.mark.filterwarnings("ignore")

from mlflow.genai.optimize.types import EvaluationResultRecord  # noqa: E402 - only where there is MLflow
from mlflow.genai.scorers import scorer  # noqa: E402

from metaspo.adapters.mlflow import MetaSPO  # noqa: E402

SMALL: dict[str, Any] = {"iterations": 1, "outer": {"candidates": 2}}
ROWS = [{"inputs": {"question": f"Is {n} so?"}, "expectations": {"expected_response": "yes"}} for n in range(4)]


def answer(request: Request) -> str:
    """Right answers for whoever is told to be careful; prompts for whoever is asked to write one."""
    told = request.messages[0].content
    if told.startswith("You improve"):
        variable = " [[question]]" if "[[question]]" in request.messages[-1].content else ""
        return f"<analysis>Careless.</analysis><system_prompt>Be careful.{variable}</system_prompt>"
    return "yes" if "Be careful." in told else "no"


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with ChatServer(answer) as server:
        yield server


@pytest.fixture
def _registry(tmp_path: Path) -> Iterator[None]:
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    mlflow.set_registry_uri(f"sqlite:///{tmp_path}/mlflow.db")
    yield
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)


@scorer  # type: ignore[untyped-decorator, unused-ignore] # MLflow is not installed where the types are checked
def exact(outputs: str, expectations: dict[str, str]) -> float:
    return float(outputs == expectations["expected_response"])


def ask(client: Client, messages: list[dict[str, str]]) -> str:
    chat = tuple(Message(each["role"], each["content"]) for each in messages)  # type: ignore[arg-type]
    return client.complete(Request(model="m", messages=chat)).text


@pytest.mark.usefixtures("_registry")
def test_a_text_prompt_is_optimized_and_keeps_its_variables(server: ChatServer, tmp_path: Path) -> None:
    prompt = mlflow.genai.register_prompt(name="qa", template="Answer: {{question}}")
    with client_of(server, tmp_path) as client:

        def predict(question: str) -> str:
            return ask(client, [{"role": "user", "content": prompt.format(question=question)}])

        found = mlflow.genai.optimize_prompts(
            predict_fn=predict,
            train_data=ROWS,
            prompt_uris=[prompt.uri],
            optimizer=MetaSPO(client=client, writer="m", **SMALL),
            scorers=[exact],
            enable_tracking=False,
        )
    assert found.optimized_prompts[0].template == "Be careful. {{question}}"
    assert (found.initial_eval_score, found.final_eval_score) == (0.0, 1.0)


@pytest.mark.usefixtures("_registry")
def test_of_a_chat_the_system_message_is_optimized(server: ChatServer, tmp_path: Path) -> None:
    chat = [{"role": "system", "content": "Be quick."}, {"role": "user", "content": "{{question}}"}]
    prompt = mlflow.genai.register_prompt(name="chat", template=chat)
    with client_of(server, tmp_path) as client:
        found = mlflow.genai.optimize_prompts(
            predict_fn=lambda question: ask(client, prompt.format(question=question)),
            train_data=ROWS,
            prompt_uris=[prompt.uri],
            optimizer=MetaSPO(client=client, writer="m", **SMALL),
            scorers=[exact],
            enable_tracking=False,
        )
    assert found.optimized_prompts[0].template == [{"role": "system", "content": "Be careful."}, chat[1]]


def test_every_row_of_a_candidate_goes_to_the_function_at_once_and_never_two_candidates(
    server: ChatServer, tmp_path: Path
) -> None:
    working, batches = [], []

    def evaluate(prompts: dict[str, str], rows: list[dict[str, Any]]) -> list[Any]:
        working.append(prompts)
        assert len(working) == 1
        batches.append(len(rows))
        good = "careful" in prompts["a"]
        records = [
            EvaluationResultRecord(
                inputs=row["inputs"],
                outputs="yes" if good else "no",
                expectations=row["expectations"],
                score=3.0 if good else 0.0,
                trace=None,
                rationales={"why": "Because."},
            )
            for row in rows
        ]
        working.clear()
        return records

    with client_of(server, tmp_path) as client:
        optimizer = MetaSPO(client=client, writer="m", prompt="a", best_score=3.0, **SMALL)
        found = optimizer.optimize(evaluate, ROWS, {"a": "Be quick.", "b": "{{question}}"})
    assert batches[0] == 4
    assert found.optimized_prompts == {"a": "Be careful.", "b": "{{question}}"}
    assert (found.initial_eval_score, found.final_eval_score) == (0.0, 3.0)
    assert any("Because." in body for body in server.asked)


def test_what_cannot_be_optimized_is_said(server: ChatServer, tmp_path: Path) -> None:
    with client_of(server, tmp_path) as client:
        optimizer = MetaSPO(client=client, writer="m")
        with pytest.raises(ValueError, match="scorers"):
            optimizer.optimize(None, [], {"a": "x"})
        with pytest.raises(ValueError, match="of: a, b"):
            optimizer.optimize(lambda _prompts, _rows: [], ROWS, {"a": "x", "b": "y"})
