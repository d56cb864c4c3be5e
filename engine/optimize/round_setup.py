"""What a round of either loop is about, before anything of it is asked."""

from dataclasses import dataclass, field, replace

from metaspo.engine.config.wording import Wording
from metaspo.engine.errors import WordingError
from metaspo.engine.optimize.state import GuardState, TaskState
from metaspo.engine.optimize.train_calls import TrainCalls
from metaspo.engine.prompts import PromptPair, check_system_prompt, check_user_prompt
from metaspo.engine.runtime import priorities
from metaspo.engine.runtime.context import RunContext
from metaspo.engine.selection.objective import Objective, ScoredPrompt
from metaspo.engine.strategies import Level, RoundSize, TaskView, Tried
from metaspo.engine.tasks import Task
from metaspo.scheduling import Priority


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSpec:
    """One node that a round's prompts are scored on: a task, and the prompt of the pair that stays as it is.

    Attributes:
        position: the task's position in the round.
        prompt: 0 for the task's best user prompt.
        fixed: the system prompt at level "user", the user prompt at level "system".
    """

    level: Level
    task: Task
    position: int
    prompt: int
    fixed: str

    def pair(self, prompt: str) -> PromptPair:
        """A prompt of the round with the one that stays."""
        return PromptPair(self.fixed, prompt) if self.level == "user" else PromptPair(prompt, self.fixed)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundSetup:
    """One round: user prompts for one task under a fixed system prompt, or system prompts for all tasks.

    Attributes:
        level: which prompts are looked for: "user" or "system".
        address: where its candidates and its selection are.
        system: the system prompt that the tasks' user prompts were scored under.
        tasks: with their kept user prompts, best first; one at level "user".
        candidates: how many prompts are proposed at most.
        keep: how many of old and new ones are kept.
        guards: at level "system", what a candidate may not fall too far on; a search sees nothing of them.
        beam: at level "system", kept prompts beside the first one, with their cards by node.
        gate: examples of each task on which a candidate must beat what it starts from; 0 for no gate.
        doubles: whether further gates of twice as many examples each follow, at which as good will do.
        tried: what was proposed in earlier rounds, oldest first, each once.
        task_position: of the task at level "user" among those that have a round at the same time.
        pruned: whether candidates may be dropped before they are scored in full, as the config says.
        after: base calls that selecting a candidate takes beyond the round.
        calls: counts what it takes, and caps it where the run is capped.
    """

    context: RunContext
    level: Level
    iteration: int
    address: str
    system: str
    tasks: tuple[TaskState, ...]
    candidates: int
    keep: int
    guards: tuple[GuardState, ...] = ()
    beam: tuple[ScoredPrompt, ...] = ()
    gate: int = 0
    doubles: bool = False
    tried: tuple[Tried, ...] = ()
    task_position: int = 0
    pruned: bool = True
    after: int = 0
    calls: TrainCalls = field(default_factory=TrainCalls)
    objective: Objective = field(default_factory=Objective)

    def spare(self, base: int, *, optimizer: int = 0) -> None:
        """So many of its calls are never made. Where the run is capped, others are made in their place."""
        if self.calls.left is None:
            self.context.observer.calls_done(base_calls=base, optimizer_calls=optimizer)

    @property
    def wording(self) -> Wording:
        """What the text of a candidate must keep to; a user prompt to its task's fixed parts alone."""
        return self.context.config.outer if self.level == "system" else Wording(fixed=self.tasks[0].task.fixed)

    def mended(self, prompt: str) -> str:
        """The prompt with its fixed parts."""
        config = self.context.config
        first = config.system_prompt if self.level == "system" else self.tasks[0].task.user_prompt
        return self.wording.mended(prompt, first=first)

    def usable(self, prompt: str) -> str:
        """The prompt as the round takes it. Raises `PromptError` if it cannot, `WordingError` for its wording."""
        prompt, user = self.mended(prompt), self.level == "user"
        checked = check_user_prompt(prompt, self.tasks[0].task.form) if user else check_system_prompt(prompt)
        if fault := self.wording.fault(checked, count=self.context.count_tokens):
            raise WordingError(fault)
        return checked

    @property
    def all_nodes(self) -> tuple[NodeSpec, ...]:
        """What a candidate is scored on: the nodes, then the guards with their first user prompts."""
        guards = (
            NodeSpec(level=self.level, task=guard.task, position=position, prompt=0, fixed=guard.card.pair.user)
            for position, guard in enumerate(self.guards, start=len(self.tasks))
        )
        return (*self.nodes, *guards)

    @property
    def rows(self) -> int:
        """How many answers a candidate takes that is scored in full."""
        return sum(len(node.task.train) for node in self.all_nodes)

    @property
    def nodes(self) -> tuple[NodeSpec, ...]:
        """What a prompt is scored on: the task, or every task with each of its kept user prompts."""
        fixed = [[self.system]] if self.level == "user" else [[c.pair.user for c in task.kept] for task in self.tasks]
        return tuple(
            NodeSpec(level=self.level, task=state.task, position=position, prompt=prompt, fixed=text)
            for position, (state, texts) in enumerate(zip(self.tasks, fixed, strict=True))
            for prompt, text in enumerate(texts)
        )

    @property
    def old(self) -> list[ScoredPrompt]:
        """The prompts that are there, best first."""
        cards = tuple(card for task in self.tasks for card in task.kept)
        beam = [(prompt.prompt, prompt.cards) for prompt in self.beam]
        prompts = (
            [(card.pair.user, (card,)) for card in cards]
            if self.level == "user"
            else [(self.system, (*cards, *(guard.card for guard in self.guards))), *beam]
        )
        return [
            self.objective.scored(position, prompt, scored)
            for position, (prompt, scored) in enumerate(prompts, start=1 - len(prompts))
        ]

    @property
    def starts(self) -> list[ScoredPrompt]:
        """What candidates start from, in turn: the best user prompt, or every kept system prompt."""
        return self.old[:1] if self.level == "user" else self.old

    @property
    def parents(self) -> tuple[tuple[str, tuple[TaskView, ...]], ...]:
        """Of each start the system prompt, and how every task fares under it."""
        return tuple((start.cards[0].pair.system, self._views(start)) for start in self.starts)

    def _views(self, start: ScoredPrompt) -> tuple[TaskView, ...]:
        by_task = [tuple(card for card in start.cards if card.task == state.task.name) for state in self.tasks]
        return tuple(replace(state, kept=cards).view() for state, cards in zip(self.tasks, by_task, strict=True))

    @property
    def size(self) -> RoundSize:
        """How large the round is."""
        nodes = self.nodes
        rows = sum(len(node.task.train) for node in nodes)
        return RoundSize(
            level=self.level, candidates=self.candidates, tasks=len(self.tasks), nodes=len(nodes), rows=rows
        )

    def priority(self, candidate: int, *, part: int = 0, node: NodeSpec | None = None) -> Priority:
        """Of a candidate's calls; `candidate` 0 is a search, whose `part`-th call it is."""
        if self.level == "user":
            return priorities.inner(self.iteration, task=self.task_position, candidate=candidate, part=part)
        task, prompt = (node.position, node.prompt) if node else (0, 0)
        return priorities.outer(self.iteration, candidate=candidate, part=part, task=task, prompt=prompt)
