"""metaspo as DSPy's optimizer: one system prompt for all predictors of one program, or of several.

better = MetaSPO(metric, client=client, writer="gpt-4o-mini").compile(program, trainset=rows)
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio.to_thread
from dspy.teleprompt import Teleprompter

from metaspo.adapters.chat import Connection
from metaspo.adapters.search import BadMetric, Problem, Row, Scored, search
from metaspo.engine import RunResult
from metaspo.engine.prompts import DEFAULT_SYSTEM_PROMPT
from metaspo.scheduling import Client


class MetaSPO(Teleprompter):  # type: ignore[misc, unused-ignore] # DSPy is not installed where the types are checked
    """Puts a system prompt before the instructions of every predictor, and optimizes it over all programs' rows.

    The programs' own instructions, demonstrations and models stay as they are.
    """

    def __init__(
        self,
        metric: Any,  # noqa: ANN401 - DSPy's
        *,
        client: Client | str | Path,
        writer: str,
        system_prompt: str = DEFAULT_SYSTEM_PROMPT,
        **settings: object,
    ) -> None:
        """`metric(example, prediction)` returns a number from 0 to 1, or a `dspy.Prediction` with `score` and
        `feedback`, which the model that writes prompts gets to see. That is `writer`, a model of the client's.
        `settings` are keys of a run's config: `iterations`, `outer = {"candidates": 9}`, `seed`, `early_rejection` …"""
        super().__init__()
        self._result: RunResult | None = None
        self._metric = metric
        self._connection = Connection(client)
        self._writer = writer
        self._system_prompt = system_prompt
        self._settings = settings

    @property
    def result(self) -> RunResult:
        """Of the last search; its `system_prompt` fits programs that it has never seen, too. Raises `RuntimeError`
        before the first."""
        if self._result is None:
            raise RuntimeError("MetaSPO has no result yet: call compile or compile_all first")
        return self._result

    def compile(
        self,
        student: Any,  # noqa: ANN401 - DSPy's
        *,
        trainset: Sequence[Any],
        teacher: Any = None,  # noqa: ANN401 - DSPy's
        valset: Sequence[Any] | None = None,
        **_kwargs: Any,  # noqa: ANN401 - DSPy's
    ) -> Any:  # noqa: ANN401 - DSPy's
        """The program with the best system prompt for it. Raises `CallFailed`, and `ValueError` for a metric that is
        none, or a teacher or a valset, of which there is no use."""
        if teacher is not None or valset is not None:
            raise ValueError("MetaSPO selects on the trainset, and has no teacher: leave teacher and valset out.")
        return self.compile_all({"program": (student, trainset)})["program"]

    def compile_all(self, programs: Mapping[str, tuple[Any, Sequence[Any]]]) -> dict[str, Any]:
        """Several programs, each with its trainset, with the one system prompt that is best for all of them."""
        problems = {name: self._problem(program, list(rows)) for name, (program, rows) in programs.items()}
        found = self._result = search(
            problems,
            client=self._connection.client,
            writer=self._writer,
            system_prompt=self._system_prompt,
            settings=self._settings,
        )
        return {name: with_system_prompt(found.system_prompt, program) for name, (program, _) in programs.items()}

    def _problem(self, program: Any, rows: list[Any]) -> Problem:  # noqa: ANN401 - DSPy's
        programs: dict[str, Any] = {}

        def answer(system: str, number: int) -> Scored:
            if system not in programs:
                programs[system] = with_system_prompt(system, program)
            row = rows[number]
            return self._scored(row, programs[system](**row.inputs()))

        async def answering(system: str, number: int) -> Scored:
            return await anyio.to_thread.run_sync(answer, system, number)

        told = "\n\n".join(predictor.signature.instructions for predictor in program.predictors())
        return Problem(
            rows=[Row(_as_text(row.inputs()), _as_text(row.labels())) for row in rows],
            answering=answering,
            instructions=told,
        )

    def _scored(self, row: Any, prediction: Any) -> Scored:  # noqa: ANN401 - DSPy's
        try:
            said = self._metric(row, prediction)
            score, feedback = (said.score, said.get("feedback") or "") if hasattr(said, "score") else (said, "")
            score = float(score)
        except Exception as error:
            raise BadMetric(f"The metric failed: {type(error).__name__}: {error}") from error
        if not 0 <= score <= 1:
            raise BadMetric(f"The metric must return a number from 0 to 1, it returned {score}.")
        return Scored(_as_text(prediction), score, str(feedback))


def with_system_prompt(system: str, program: Any) -> Any:  # noqa: ANN401 - DSPy's
    """A copy of a program whose every predictor has the system prompt before its own instructions."""
    copy = program.deepcopy()
    for predictor in copy.predictors():
        signature = predictor.signature
        predictor.signature = signature.with_instructions(f"{system}\n\n{signature.instructions}")
    return copy


def _as_text(fields: Any) -> str:  # noqa: ANN401 - DSPy's
    return "\n".join(f"{name}: {value}" for name, value in fields.items())
