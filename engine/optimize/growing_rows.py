"""Train rows that grow with what is at stake: few while large gains are easy to see, all of them for the last.

Of the calls that `train_calls` allows, the first part is spent on `rows` examples of each source task, the next on
twice as many, and so on up to `rows_end`, each stage with an equal part. Where a stage begins, the prompts that there
are answer the new examples; where that does not fit within the calls any more, the stage does not come.
"""

from collections.abc import Mapping
from dataclasses import replace

from metaspo.engine.addresses import join
from metaspo.engine.config.schema import RunConfig
from metaspo.engine.evaluation.evaluation import score
from metaspo.engine.evaluation.scorecard import Scorecard
from metaspo.engine.gather import gather
from metaspo.engine.optimize.state import RunState, TaskState
from metaspo.engine.optimize.train_calls import TrainCalls, TrainCell
from metaspo.engine.prompts import PromptPair
from metaspo.engine.runtime import priorities
from metaspo.engine.runtime.context import RunContext
from metaspo.engine.selection.objective import Objective
from metaspo.engine.tasks import Task


def stages(config: RunConfig) -> list[int]:
    """How many rows the loops look at, stage by stage."""
    if config.rows is None or config.rows_end is None:
        return []
    rows = [config.rows]
    while rows[-1] < config.rows_end:
        rows.append(min(2 * rows[-1], config.rows_end))
    return rows


class GrowingRows:
    """How far the rows of a run have grown; of one whose rows do not grow there is no stage."""

    def __init__(self, context: RunContext, calls: TrainCalls) -> None:
        self._context, self._calls = context, calls
        self._stages = stages(context.config)
        self._stage = 0

    def next_stage(self) -> bool:
        """Go on to the next stage, whatever was used; False where there is none."""
        self._stage += 1
        return self._stage < len(self._stages)

    async def grow(self, state: RunState, *, iteration: int) -> RunState:
        """The state on as many rows as the calls that are used allow; the same one where that changes nothing."""
        if not self._stages:
            return state
        self._stage = max(self._stage, stage_at(self._context.config, self._calls.taken))
        rows = self._stages[min(self._stage, len(self._stages) - 1)]
        tasks = {task.name: task.with_train(rows) for task in self._context.tasks}
        if all(len(tasks[old.task.name].train) <= len(old.task.train) for old in state.tasks):
            return state
        cards = [card for task in state.tasks for card in (*task.kept, *task.plain)]
        cards += [card for prompt in state.beam for card in prompt.cards]
        asked: set[TrainCell] = {
            (card.pair, card.task, row) for card in cards for row in range(len(tasks[card.task].train))
        }
        if self._calls.admit(asked) is None:
            return state
        distinct = {(card.pair, card.task): tasks[card.task] for card in cards}
        scored = await gather(
            score(
                self._context,
                pair,
                task,
                examples=task.train,
                address=join(f"iter={iteration}", "rows", f"task={task.name}", f"prompt={number}"),
                priority=priorities.initial(number),
            )
            for number, ((pair, _), task) in enumerate(distinct.items(), start=1)
        )
        if any(card.invalid for card in scored):  # a new example is refused: its prompt cannot be compared on it
            return state
        return _with(state, tasks, dict(zip(distinct, scored, strict=True)))


def stage_at(config: RunConfig, taken: int) -> int:
    """The stage that is reached once so many calls are taken."""
    sizes = len(stages(config))
    return min(sizes - 1, taken * sizes // (config.train_calls or 1))


def _with(state: RunState, tasks: Mapping[str, Task], cards: Mapping[tuple[PromptPair, str], Scorecard]) -> RunState:
    """The state by new cards, kept prompts ranked anew."""

    def new(old: tuple[Scorecard, ...]) -> tuple[Scorecard, ...]:
        return tuple(cards[card.pair, card.task] for card in old)

    def task_state(old: TaskState) -> TaskState:
        task = tasks[old.task.name]
        return replace(old, task=task, kept=Objective().ranked(new(old.kept)), plain=new(old.plain))

    beam = [Objective().scored(prompt.position, prompt.prompt, new(prompt.cards)) for prompt in state.beam]
    beam.sort(key=lambda prompt: -prompt.value)
    return replace(state, tasks=tuple(map(task_state, state.tasks)), beam=tuple(beam))
