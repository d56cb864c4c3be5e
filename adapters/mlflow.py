"""metaspo as MLflow's prompt optimizer: `optimize_prompts(..., optimizer=MetaSPO(client=client, writer="large"))`."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow.genai.optimize import BasePromptOptimizer, PromptOptimizerOutput

from metaspo.adapters.chat import Connection
from metaspo.adapters.search import BadMetric, Problem, Row, Scored, search
from metaspo.backends.late_patterns import late_pattern
from metaspo.scheduling import Client

Evaluate = Callable[[dict[str, str], list[dict[str, Any]]], list[Any]]
_VARIABLE = late_pattern(r"\{\{\s*([A-Za-z_]\w*)\s*\}\}")
_SHOWN = late_pattern(r"\[\[([A-Za-z_]\w*)\]\]")


class MetaSPO(BasePromptOptimizer):  # type: ignore[misc, unused-ignore] # MLflow is not installed where types are checked
    """Optimizes one prompt as the system prompt: a text as a whole, of a chat the system message. Others stay.

    Rows may belong to several tasks, of which each counts as much. Variables (`{{name}}`) stay in the prompt.
    """

    def __init__(
        self,
        *,
        client: Client | str | Path,
        writer: str,
        prompt: str = "",
        task_of: Callable[[Mapping[str, Any]], str] = lambda _row: "rows",
        best_score: float | None = None,
        **settings: object,
    ) -> None:
        """`writer`: the client's model that writes prompts. `prompt`: the name of the prompt that is optimized, where
        there are several. `task_of`: the task of a row. `best_score`: what a row can score at most; as much as there
        are scorers if left out, as MLflow adds them up. `settings` are keys of a run's config: `iterations`,
        `outer = {"candidates": 9}`, `seed` …"""
        self._connection = Connection(client)
        self._writer = writer
        self._prompt = prompt
        self._task_of = task_of
        self._best_score = best_score
        self._settings = settings

    def optimize(
        self,
        eval_fn: Evaluate | None,
        train_data: list[dict[str, Any]],
        target_prompts: dict[str, str],
        enable_tracking: bool = True,
    ) -> Any:  # noqa: ANN401 - MLflow's
        """The best prompt, and its scores. Raises `ValueError` without rows or scorers, `CallFailed`, `RunStopped`."""
        if eval_fn is None or not train_data:
            raise ValueError("MetaSPO learns from rows and what scorers say of them: give train_data and scorers.")
        template = _Template(target_prompts[self._name(target_prompts)])
        evaluator = _Evaluator(eval_fn, self._best_score)
        rows: dict[str, list[dict[str, Any]]] = {}
        for row in train_data:
            rows.setdefault(self._task_of(row), []).append(row)

        def problem(of_task: Sequence[dict[str, Any]]) -> Problem:
            async def answering(system: str, number: int) -> Scored:
                prompts = {**target_prompts, self._name(target_prompts): template.with_system(system)}
                return await evaluator.score(prompts, of_task[number])

            return Problem(rows=[Row(_text(row["inputs"]), _wanted(row)) for row in of_task], answering=answering)

        outer = {**dict(self._settings.get("outer", {})), "must_contain": template.variables}  # type: ignore[call-overload]
        result = search(
            {name: problem(of_task) for name, of_task in rows.items()},
            client=self._connection.client,
            writer=self._writer,
            system_prompt=template.system,
            settings={**self._settings, "outer": outer},
        )
        return PromptOptimizerOutput(
            optimized_prompts={
                **target_prompts,
                self._name(target_prompts): template.with_system(result.system_prompt),
            },
            initial_eval_score=result.train_before * evaluator.best,
            final_eval_score=result.train_after * evaluator.best,
        )

    def _name(self, prompts: Mapping[str, str]) -> str:
        if self._prompt in prompts:
            return self._prompt
        if self._prompt or len(prompts) != 1:
            raise ValueError(f"Say which prompt to optimize, MetaSPO(prompt=...), of: {', '.join(sorted(prompts))}.")
        return next(iter(prompts))


class _Template:
    """A prompt of MLflow's, and what of it is optimized.

    Attributes:
        system: that part, its variables written [[name]], as a model may repeat them.
        variables: that must stay in it.
    """

    def __init__(self, template: str) -> None:
        self._chat = _chat_in(template)
        said = template
        if self._chat is not None:
            said = next((message["content"] for message in self._chat if message["role"] == "system"), "")
        self._names = set(_VARIABLE.findall(said))
        self.system = _VARIABLE.sub(r"[[\1]]", said) or "You are a helpful assistant."
        self.variables = [f"[[{name}]]" for name in sorted(self._names)]

    def with_system(self, system: str) -> str:
        """The whole prompt with another one in its place."""
        said = _SHOWN.sub(lambda match: f"{{{{{match[1]}}}}}" if match[1] in self._names else match[0], system)
        if self._chat is None:
            return said
        rest = [message for message in self._chat if message["role"] != "system"]
        return json.dumps([{"role": "system", "content": said}, *rest])


class _Evaluator:
    """Asks MLflow's function, which is not for several threads: one candidate at a time, with all rows that wait.

    Attributes:
        best: what a row can score at most; known once one was scored.
    """

    def __init__(self, evaluate: Evaluate, best: float | None) -> None:
        self._evaluate = evaluate
        self._given = best
        self.best = best or 1.0
        self._waiting: dict[str, list[tuple[dict[str, str], dict[str, Any], asyncio.Future[Scored]]]] = {}
        self._working: asyncio.Task[None] | None = None

    async def score(self, prompts: dict[str, str], row: dict[str, Any]) -> Scored:
        """What a row is worth under these prompts. Raises `BadMetric`, and what the function raises."""
        future: asyncio.Future[Scored] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(json.dumps(prompts), []).append((prompts, row, future))
        if self._working is None or self._working.done():
            self._working = asyncio.ensure_future(self._work())
        return await future

    async def _work(self) -> None:
        while self._waiting:
            await asyncio.sleep(0)  # those of this moment go together
            batch = self._waiting.pop(next(iter(self._waiting)))
            try:
                records = await asyncio.to_thread(self._evaluate, batch[0][0], [row for _, row, _ in batch])
                scored = [self._scored(record) for record in records]
            except Exception as error:  # noqa: BLE001 - whoever waits gets it
                bad = BadMetric(f"MLflow's evaluation failed: {type(error).__name__}: {error}")
                bad.__cause__ = error
                for _, _, future in batch:
                    if not future.done():
                        future.set_exception(bad)
                continue
            for (_, _, future), each in zip(batch, scored, strict=True):
                if not future.done():
                    future.set_result(each)

    def _scored(self, record: Any) -> Scored:  # noqa: ANN401 - MLflow's
        if record.score is None:
            raise BadMetric("There is no score: give scorers to optimize_prompts.")
        self.best = self._given or float(len(record.individual_scores) or 1)
        score = float(record.score) / self.best
        if not 0 <= score <= 1:
            raise BadMetric(f"A row scored {record.score}, of 0 to {self.best:g}: say MetaSPO(best_score=...).")
        return Scored(_text(record.outputs), score, "\n".join(map(str, record.rationales.values())))


def _chat_in(template: str) -> list[dict[str, str]] | None:
    """The messages of a chat prompt, which MLflow hands over as JSON; None for a text."""
    try:
        said = json.loads(template)
    except ValueError:
        return None
    is_chat = isinstance(said, list) and all(isinstance(each, dict) and "role" in each for each in said)
    return said if is_chat else None


def _wanted(row: Mapping[str, Any]) -> str:
    expectations = row.get("expectations")
    return _text(expectations if expectations else row.get("outputs"))


def _text(value: Any) -> str:  # noqa: ANN401 - any of the data's
    if isinstance(value, Mapping):
        return "\n".join(f"{name}: {each}" for name, each in value.items())
    return "" if value is None else str(value)
