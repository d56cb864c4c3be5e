"""A world in which it is known why a prompt is good: prompts name skills, examples need some of them.

Every answer of the base model is a function of the request alone. Each example needs a skill of its task's subject and
a manner of working; its question holds a hint of both, which is what a reader of failures can learn from. It is right
with a probability that rises with the share of the two that system prompt and user prompt name; a worked example that
needed a skill shows half of it. In an entangled world a manner helps only as far as the subject is named. Attention is
a budget: each named skill that the task does not need costs a little, so do words beyond a number, and asking for haste
where a task hates it.

In a shared world all tasks need the same manners, four of eight that sentences of the component libraries carry, so
that every strategy can find them. In a world apart each task has manners of its own.

In a fickle world hardly anything that a prompt names helps, as with a small model: each wording makes each task easier
or harder by itself.

In a world that leans, two of the ways are ever right, and the base model answers mostly with the first of them what it
does not know. A prompt that pushes to a way turns nearly all answers there, right ones too (`pushes`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from random import Random
from statistics import NormalDist, fmean
from typing import Any, Final

from metaspo.backends import Request
from metaspo.backends.late_patterns import late_pattern
from metaspo.bench.known_truth.pushes import TURNED, pushed_to
from metaspo.bench.known_truth.skills import CATALOGUE, COMMON, HASTE, HINTS, TOPICS, hinted, named
from metaspo.engine import Prepared
from metaspo.engine.config.load import parse_config
from metaspo.engine.prompts import DEFAULT_SYSTEM_PROMPT
from metaspo.engine.tasks import Example, Task, TaskRole
from metaspo.engine.tasks.answer_spec import AnswerSpec
from metaspo.engine.tasks.base import PLACEHOLDER
from metaspo.engine.tasks.formats import build_format
from metaspo.engine.tasks.metrics import build_metric

BASE, WRITER = "answerer", "writer"
SOURCES: Final = ("harbour", "orchard", "foundry", "archive")
TARGETS: Final = ("theatre", "clinic", "market")
WAYS: Final = ("north", "east", "south", "west")
FORMAT: Final = build_format(AnswerSpec(kind="label", labels=WAYS))
RULE: Final = FORMAT.describe()

SUBJECTS: Final = 2  # skills of its own that a task needs in any world
MANNERS: Final = 4  # further ones: common to all tasks in a shared world, its own in a world apart
MIN_CHANCE, MAX_CHANCE = 0.3, 0.9  # chance of being right with none and with all of the skills that an example needs
FICKLE: Final = 0.65  # chance of being right in a fickle world
WHIM: Final = NormalDist(0, 0.07)  # what a wording shifts it by
WORDS: Final = 110  # that a pair of prompts may have before attention suffers
PER_WORD: Final = 0.0015  # what each further word costs
HASTE_COST: Final = 0.08
MALFORMED: Final = 0.04  # share of answers without a label; a quarter of it where the user prompt says how to answer

_QUESTION: Final = late_pattern(r"Case \d+ of (\w+): a matter of (\w+) and (\w+)\.")


def fraction(*parts: str) -> float:
    """A number in [0, 1) that depends on the texts alone."""
    return int.from_bytes(sha256("\x1f".join(parts).encode()).digest()[:8], "big") / 2**64


@dataclass(frozen=True)
class World:
    """Tasks and the base model.

    Attributes:
        shared: whether the tasks have manners in common.
        entangled: whether a manner is of use only with the subject.
        distraction: what each named skill costs that the task does not need.
        noise: whether every prompt draws its own luck on an example; without it an example has a difficulty of its own,
            and what raises the chance of being right never makes a right answer wrong.
        fickle: whether the first prompts are right with a chance of `FICKLE`, and each other wording, of a system or a
            user prompt, shifts each task's chance by an amount of its own, whatever it names.
        helped: what naming all that an example needs adds to that.
        worse: by how much a wording is worse than the first one in the mean.
        leaning: of what the base model does not know the share that it answers with the first of two ways; 0 for a
            world of four ways in which it leans to none and nothing pushes it.
    """

    seed: int
    shared: bool = True
    entangled: bool = False
    distraction: float = 0.02
    noise: bool = True
    leaning: float = 0.0
    fickle: bool = False
    helped: float = 0.0
    worse: float = 0.0

    @property
    def ways(self) -> tuple[str, ...]:
        """The right answers that there are."""
        return WAYS[:2] if self.leaning else WAYS

    @cached_property
    def own(self) -> Mapping[str, tuple[str, ...]]:
        """By task, the skills that nobody else needs, its subjects first."""
        topics = Random(f"{self.seed} topics").sample(TOPICS, len(TOPICS))
        count = SUBJECTS if self.shared else SUBJECTS + MANNERS
        names = (*SOURCES, *TARGETS)
        return {name: tuple(topics[position * count : (position + 1) * count]) for position, name in enumerate(names)}

    @cached_property
    def common(self) -> tuple[str, ...]:
        """The skills that every task needs."""
        names = [skill.name for skill in COMMON]
        return tuple(Random(f"{self.seed} common").sample(names, MANNERS)) if self.shared else ()

    @property
    def shared_prompt(self) -> str:
        """A system prompt that names what every task needs, and nothing else."""
        return "\n".join([DEFAULT_SYSTEM_PROMPT, *(CATALOGUE[skill].sentences[0] for skill in self.common)])

    @cached_property
    def needs(self) -> Mapping[str, frozenset[str]]:
        """By task, all skills that some of its examples need."""
        return {name: frozenset((*self.common, *own)) for name, own in self.own.items()}

    def hates_haste(self, task: str) -> bool:
        """Whether haste does harm to the task, as it does to half of them."""
        return fraction(str(self.seed), "haste", task) < 0.5

    def chance(self, system: str, around: str, question: str) -> float:
        """The probability that the base model is right; `around` is the user prompt without the question."""
        prompts = f"{system}\n{around}"
        task, skills, shown = task_of(question), named(prompts), hinted(prompts)
        subject, manner = (1.0 if need in skills else 0.5 * (need in shown) for need in needs_of(question))
        met = subject * (1 + manner) / 2 if self.entangled else (subject + manner) / 2
        idle = self.distraction * len(skills - self.needs[task])
        tired = PER_WORD * max(0, len(prompts.split()) - WORDS)
        harm = HASTE_COST * (HASTE.name in skills and self.hates_haste(task))
        least, most = (FICKLE, FICKLE + self.helped) if self.fickle else (MIN_CHANCE, MAX_CHANCE)
        whim = sum(self._whim(task, wording) for wording in (system, around)) if self.fickle else 0.0
        known = min(0.98, max(0.02, least + (most - least) * met - idle - tired - harm + whim))
        return self._leant(known, prompts, truth(question, self.ways)) if self.leaning else known

    def _whim(self, task: str, wording: str) -> float:
        """What a wording shifts a task's chance by, drawn by its words; nothing, if it is a first one."""
        words = _words(wording)
        if words in (_words(DEFAULT_SYSTEM_PROMPT), _words(first_prompt(task))):
            return 0.0
        return WHIM.inv_cdf(max(1e-9, fraction(str(self.seed), "whim", task, words))) - self.worse

    def _leant(self, known: float, prompts: str, right: str) -> float:
        """The chance that a way is answered where it is right and so much is known."""
        guessed = self.leaning if right == self.ways[0] else 1 - self.leaning
        own = known + (1 - known) * guessed
        label = pushed_to(prompts)
        return TURNED * (label == right) + (1 - TURNED) * own if label in self.ways else own

    def worth(self, system: str, user_prompts: Mapping[str, Sequence[str]], tasks: Sequence[Task]) -> float:
        """The mean chance of being right on the test splits of tasks that a system prompt gives with user prompts."""
        return fmean(
            self.chance(system, user, example.question)
            for task in tasks
            for user in user_prompts.get(task.name, ())
            for example in task.test
        )

    def carried(self, system: str) -> tuple[int, int]:
        """How many skills that every task needs a system prompt names, and how many others."""
        skills = named(system)
        return len(skills.intersection(self.common)), len(skills.difference(self.common))

    def base(self, request: Request) -> str:
        """A way, or something that is none."""
        system, message = request.messages[0].content, request.messages[-1].content
        question = questions(message)[-1]
        before, _, after = message.rpartition(question)
        around = f"{before}{after}"
        drawn_by = (system, message) if self.noise else (question,)
        draw = fraction(str(self.seed), "malformed", *drawn_by)
        if draw < (MALFORMED / 4 if RULE in around else MALFORMED):
            return "That is hard to say."
        right = fraction(str(self.seed), "base", *drawn_by) < self.chance(system, around, question)
        right_way = self.ways.index(truth(question, self.ways))
        return self.ways[right_way if right else (right_way + 1) % len(self.ways)]

    def tasks(self, *, train: int, test: int) -> tuple[Task, ...]:
        """Sources, then targets."""
        roles: list[tuple[TaskRole, Sequence[str]]] = [("source", SOURCES), ("target", TARGETS)]
        return tuple(self._task(name, role, train=train, test=test) for role, names in roles for name in names)

    def _task(self, name: str, role: TaskRole, *, train: int, test: int) -> Task:
        rng = Random(f"{self.seed} {name}")
        needed = [CATALOGUE[need].hint for need in (*self.own[name], *self.common)]

        def draw(first: int, size: int) -> tuple[Example, ...]:
            examples = []
            for number in range(first, first + size):
                subject, manner = rng.choice(needed[:SUBJECTS]), rng.choice(needed[SUBJECTS:])
                question = f"Case {number} of {name}: a matter of {subject} and {manner}."
                examples.append(Example(question, (truth(question, self.ways),), f"{name}:{number}"))
            return tuple(examples)

        return Task(
            name=name,
            role=role,
            train=draw(1, train),
            test=draw(train + 1, test),
            answer_format=FORMAT,
            metric=build_metric("accuracy", base_dir=Path()),
            user_prompt=first_prompt(name),
        )


def _words(wording: str) -> str:
    """A wording without the question's place."""
    return " ".join(wording.replace(PLACEHOLDER, "").split())


def first_prompt(task: str) -> str:
    """The user prompt that a task comes with."""
    return f"North, east, south or west? This comes from the {task}.\n\n{PLACEHOLDER}"


def truth(question: str, ways: Sequence[str] = WAYS) -> str:
    """The right answer, one of the ways."""
    return ways[int(fraction("truth", question) * len(ways))]


def questions(text: str) -> list[str]:
    """Every question in a text."""
    return [match[0] for match in _QUESTION.finditer(text)]


def task_of(question: str) -> str:
    """The task that a question belongs to."""
    return _read(question)[0]


def needs_of(question: str) -> tuple[str, str]:
    """The subject and the manner that a question's hints speak of."""
    _, subject, manner = _read(question)
    return HINTS[subject], HINTS[manner]


def _read(question: str) -> tuple[str, str, str]:
    match = _QUESTION.fullmatch(question)
    assert match is not None, "only questions of this world are asked"
    return match[1], match[2], match[3]


def prepare(world: World, changes: Mapping[str, Any], *, train: int, test: int) -> Prepared:
    """A run in the world, kept in memory. Raises `ConfigError` for changes that no config may say."""
    nowhere = ["http://127.0.0.1:1/v1"]  # the gateway is the caller's own
    raw: dict[str, Any] = {
        "name": "known-truth",
        "seed": world.seed,
        "cache": "",
        "runs": "",
        "base": {"model": BASE, "endpoints": nowhere, "max_tokens": 8},
        "optimizer": {"model": WRITER, "endpoints": nowhere},
        "tasks": [{"name": "a", "role": "source", "train": "a.jsonl", "user_prompt": "{question}"}],  # a placeholder
    }
    config = parse_config({**raw, **changes})
    return Prepared(config=config, tasks=world.tasks(train=train, test=test), folder=Path())
