"""What a comparison comes to: one result a cell, as plain data for files and tables."""

from dataclasses import asdict, dataclass, field
from typing import Any

from metaspo.engine.config.model_table import ModelTable
from metaspo.engine.evaluation.test_score import TestScore
from metaspo.engine.optimize.result import RunResult
from metaspo.engine.studies.adapt import Curve


@dataclass(frozen=True, slots=True, kw_only=True)
class CellResult:
    """One method on one domain under one seed.

    Attributes:
        tests: the final prompts on the test splits; a source task's best user prompt first.
        transferred: the same prompts with other models, by `model_label`.
        generalized: the system prompt on target tasks under several user prompts each.
        adapted: user prompts of target tasks adapted under the system prompt, curve by curve.
        result: of the optimization; None for a fixed prompt.
        answers: how many it took with an empty cache: from the cache or not, each once.
        optimizer_answers: how many of them the optimizer model gave; 0 where it shares the base model's lane.
        train_calls: base calls on train splits of the optimization, as `RunResult` counts them; 0 for a fixed prompt.
        worth: what all of them cost, in dollars, as if the cache had been empty; `unpriced_worth` are not in it.
        calls, dollars, seconds: what this session spent on it; `unpriced` calls are not in the dollars.
        stopped: why it has no scores; "" if it has.
    """

    method: str
    domain: str
    seed: int
    system_prompt: str
    tests: tuple[TestScore, ...] = ()
    transferred: dict[str, tuple[TestScore, ...]] = field(default_factory=dict)
    generalized: tuple[TestScore, ...] = ()
    adapted: tuple[Curve, ...] = ()
    result: RunResult | None = None
    answers: int = 0
    optimizer_answers: int = 0
    train_calls: int = 0
    worth: float = 0.0
    unpriced_worth: int = 0
    calls: int = 0
    dollars: float = 0.0
    unpriced: int = 0
    seconds: float = 0.0
    stopped: str = ""

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def model_label(table: ModelTable) -> str:
    """What tells the models of transfers apart: the name, and how much room an answer has."""
    return f"{table.model}, {table.max_tokens} tokens"
