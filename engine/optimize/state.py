"""What a run has found so far: one system prompt, and the kept user prompts of each source task."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from metaspo.engine.config.schema import Under
from metaspo.engine.evaluation.scorecard import Scorecard
from metaspo.engine.selection.objective import Objective, ScoredPrompt, mean, score_of
from metaspo.engine.statistics import Optimism
from metaspo.engine.strategies.base import TaskView, Tried
from metaspo.engine.tasks import Task
from metaspo.engine.tasks.base import reading_of


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskState:
    """One source task: scorecards of its kept user prompts under the incumbent system prompt, best first.

    Attributes:
        plain: of user prompts that no round changes, first or induced ones, if system prompts are scored under them.
        tried: user prompts that were proposed for it in earlier iterations, oldest first, each once.
        raced_out: addresses of candidates that statistics alone dropped in its last inner round.
    """

    task: Task
    kept: tuple[Scorecard, ...]
    plain: tuple[Scorecard, ...] = ()
    tried: tuple[Tried, ...] = ()
    raced_out: tuple[str, ...] = ()

    def contenders(self, objective: Objective) -> tuple[Scorecard, ...]:
        """Kept and plain user prompts, best first, each once."""
        return objective.ranked({card.pair.user: card for card in (*self.kept, *self.plain)}.values())

    def under(self, which: Under) -> tuple[Scorecard, ...]:
        """The cards of the user prompts that system prompts are compared under, each prompt once."""
        cards = {"kept": self.kept, "mixed": (*self.kept[:1], *self.plain)}.get(which, self.plain)
        return tuple({card.pair.user: card for card in cards}.values())

    def beside(self, which: Under) -> tuple[Scorecard, ...]:
        """The cards of kept user prompts that are none of those."""
        there = {card.pair.user for card in self.under(which)}
        return tuple(card for card in self.kept if card.pair.user not in there)

    def view(self) -> TaskView:
        """What a strategy may see: the best user prompt and its failures."""
        best, kept = self.kept[0], {card.pair.user for card in self.kept}
        plain = {card.pair.user: card for card in self.plain if card.pair.user not in kept}
        return TaskView(
            name=self.task.name,
            user_prompt=best.pair.user,
            score=score_of(best),
            train=self.task.train,
            failures=best.failures,
            answer_rule=self.task.answer_format.describe(),
            reading=reading_of(self.task.answer_format),
            metric=self.task.metric.name,
            right=best.right,
            beaten=tuple(
                Tried(user, beaten=score_of(card), unread=card.malformed, answers=len(card.outcomes))
                for user, card in plain.items()
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardState:
    """One guard: its scorecard under the incumbent system prompt, with its first user prompt.

    Attributes:
        first: the score of the first prompts.
    """

    task: Task
    first: float
    card: Scorecard

    @property
    def floor(self) -> float:
        """The lowest score that a selected system prompt may have here."""
        return max(0.0, mean([self.first - self.task.tolerance]))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """The incumbent: its system prompt, and every source task with its kept user prompts.

    Attributes:
        tried: system prompts that were proposed in earlier iterations, oldest first, each once.
        raced_out: addresses of candidates that statistics alone dropped in all rounds so far.
        beam: further kept system prompts, best first, with cards under the user prompts that they are compared under.
        guards: what no system prompt may fall too far on.
        first: by task, the score under the first system prompt with the user prompts that others are compared under.
        optimism: what luck had to do with the choice of the system prompt; None for the first one.
    """

    system: str
    tasks: tuple[TaskState, ...]
    tried: tuple[Tried, ...] = ()
    raced_out: tuple[str, ...] = ()
    beam: tuple[ScoredPrompt, ...] = ()
    guards: tuple[GuardState, ...] = ()
    first: Mapping[str, float] = field(default_factory=dict)
    optimism: Optimism | None = None

    @property
    def best_score(self) -> float:
        """The mean over the tasks of each one's best prompt: comparable along a run, however many are kept."""
        return Objective().value([state.kept[0] for state in self.tasks])
