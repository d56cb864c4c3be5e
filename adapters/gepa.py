"""metaspo under GEPA: an adapter that evaluates all candidates' rows as one batch, and a language model for reflection.

result = gepa.optimize(seed, trainset, valset, adapter=Adapter("mine", client=client),
                       reflection_lm=ReflectionLM("writer", client=client, temperature=1.0), max_metric_calls=200)
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gepa import EvaluationBatch
from gepa.adapters.default_adapter.default_adapter import DefaultAdapter

from metaspo.adapters.chat import ChatModel, as_chat
from metaspo.scheduling import CallFailed, Client

Candidate = dict[str, str]


class Adapter(DefaultAdapter):  # type: ignore[misc, unused-ignore] # GEPA is not installed where the types are checked
    """GEPA's default adapter (a system prompt, an evaluator of texts) over a client.

    A row that can have no answer (too long, refused) gets the evaluator's failure score, with the reason as feedback;
    what concerns all of them (key, credit, cap, nobody answers) is raised, and no score.
    """

    def __init__(
        self,
        model: str,
        *,
        client: Client | str | Path,
        evaluator: Any = None,  # noqa: ANN401 - GEPA's
        failure_score: float = 0.0,
        **settings: object,
    ) -> None:
        """`settings` are fields of a chat's body: `temperature` (0 if left out), `max_tokens` …"""
        self._chat = ChatModel(model, client, {"temperature": 0.0, **settings})
        self._failure_score = failure_score
        super().__init__(model=self._chat.text, evaluator=evaluator)

    def evaluate(self, batch: list[Any], candidate: Candidate, capture_traces: bool = False) -> Any:  # noqa: ANN401
        """One candidate on a batch."""
        (result,) = self.batch_evaluate([(candidate, batch)])
        if not capture_traces:
            result.trajectories = None
        return result

    def batch_evaluate(self, items: list[tuple[Candidate, list[Any]]]) -> list[Any]:
        """All candidates on their batches, handed over as one."""
        chats = []
        for candidate, batch in items:
            system = next(iter(candidate.values()))
            chats += [as_chat(str(row["input"]), system=system) for row in batch]
        answers = iter(self._chat.answers(chats))
        return [self._scored([(row, next(answers)) for row in batch]) for _, batch in items]

    def _scored(self, answered: Sequence[tuple[Any, Any]]) -> Any:  # noqa: ANN401 - GEPA's
        outputs, scores, trajectories, objectives = [], [], [], []
        for row, answer in answered:
            if isinstance(answer, CallFailed):
                text, score, feedback, objective = "", self._failure_score, f"No answer: {answer}", None
            else:
                text, evaluated = answer.text, self.evaluator(row, answer.text)
                score, feedback, objective = evaluated.score, evaluated.feedback, evaluated.objective_scores
            outputs.append({"full_assistant_response": text})
            scores.append(score)
            trajectories.append({"data": row, "full_assistant_response": text, "feedback": feedback})
            objectives.append(objective)
        told = objectives if objectives and all(objective is not None for objective in objectives) else None
        return EvaluationBatch(outputs=outputs, scores=scores, trajectories=trajectories, objective_scores=told)


class ReflectionLM:
    """A language model as GEPA calls one to reflect: several at once are one batch, repeated ones are samples of their
    own, and what was spent can be capped by GEPA (`max_reflection_cost`)."""

    def __init__(self, model: str, *, client: Client | str | Path, **settings: object) -> None:
        """`settings` are fields of a chat's body: `temperature`, `max_tokens` …"""
        self._chat = ChatModel(model, client, settings)

    def __call__(self, prompt: str | Sequence[Mapping[str, Any]]) -> str:
        """The text of one answer. Raises `CallFailed`."""
        return self._chat.text(as_chat(prompt))

    def batch_complete(self, messages_list: Sequence[Sequence[Mapping[str, Any]]], **_settings: object) -> list[str]:
        """The texts of several."""
        return self._chat.texts(messages_list)

    @property
    def total_cost(self) -> float:
        """Dollars that the client has spent; give reflection a client of its own for it to be reflection's alone."""
        return self._chat.client.statistics().total.dollars

    @property
    def total_tokens_in(self) -> int:
        """Prompt tokens of the client."""
        return self._chat.client.statistics().total.prompt_tokens

    @property
    def total_tokens_out(self) -> int:
        """Tokens of its answers."""
        return self._chat.client.statistics().total.completion_tokens
