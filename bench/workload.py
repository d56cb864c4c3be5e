"""The work that benchmarks have done: runs of a chosen size whose texts and answers follow from the requests alone.

The paper's size: 4 source tasks of 50 train and 500 test examples and the paper's counts of candidates are 24,200
evaluations and 126 optimizer calls, no two of them alike.
"""

from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from metaspo.backends import Request
from metaspo.backends.late_patterns import late_pattern
from metaspo.engine import Prepared, RunConfig
from metaspo.engine.tasks import Example, Task
from metaspo.engine.tasks.answer_spec import AnswerSpec
from metaspo.engine.tasks.formats import build_format
from metaspo.engine.tasks.metrics import build_metric

BASE, OPTIMIZER = "base-model", "optimizer-model"
CHARS_PER_TOKEN = 4
QUESTION_TOKENS = 60
USER_PROMPT_TOKENS = 60
SYSTEM_PROMPT_TOKENS = 150
ANSWER_TOKENS = (10, 70)
ANALYSIS_TOKENS = (150, 350)
_NUMBER = late_pattern(r"Statement (\d+)")
_FILLER = (
    "the river bends twice before it meets the old stone bridge where carts once waited for the morning bell and "
    "every trader knew by heart the price of salt wool and iron in the three towns along the northern road "
) * 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much work a run is; the defaults are the paper's."""

    tasks: int = 4
    train: int = 50
    test: int = 500
    iterations: int = 3
    inner: int = 3
    keep: int = 3
    outer: int = 9


PAPER = Size()


def make_run(size: Size = PAPER, *, folder: Path | None = None, domain: str = "") -> Prepared:
    """A run of that size, kept under `folder`, or in memory only; other domains have other tasks."""
    tasks = tuple(_task(f"{domain}task{number}", size) for number in range(1, size.tasks + 1))
    nowhere = ["http://127.0.0.1:1/v1"]  # the gateway is the benchmark's own
    config = RunConfig.model_validate(
        {
            "name": f"bench{domain}",
            "iterations": size.iterations,
            "cache": "",
            "runs": "runs" if folder else "",
            "base": {"model": BASE, "endpoints": nowhere, "max_tokens": 128},
            "optimizer": {"model": OPTIMIZER, "endpoints": nowhere, "max_tokens": 1024},
            "inner": {"candidates": size.inner, "keep": size.keep},
            "outer": {"candidates": size.outer},
            "test": {"baseline": False},
            "early_rejection": False,  # which would make the work depend on timing and fewer than it says
            "tasks": [
                {"name": task.name, "role": "source", "train": "-", "user_prompt": task.user_prompt} for task in tasks
            ],
        }
    )
    return Prepared(config=config, tasks=tasks, folder=folder or Path())


def answer(request: Request) -> str:
    """What the model named in the request says."""
    return _optimizer(request) if request.model == OPTIMIZER else _base(request)


def fraction(*parts: str) -> float:
    """A number in [0, 1) that depends on the texts alone."""
    return int.from_bytes(sha256("\x1f".join(parts).encode()).digest()[:7], "big") / 2**56


def filler(tokens: float) -> str:
    """Plain text of about so many tokens."""
    return _FILLER[: round(tokens * CHARS_PER_TOKEN)]


def between(span: tuple[int, int], share: float) -> float:
    """The point of a span at a share of its length."""
    return span[0] + share * (span[1] - span[0])


def verdict(asked: str, *, right: bool) -> str:
    """The right or the wrong answer to a statement."""
    number_match = _NUMBER.search(asked)
    number = int(number_match[1]) if number_match else 0
    return "yes" if (number % 2 == 0) == right else "no"


def _base(request: Request) -> str:
    """Some thoughts, then yes or no; right more often under some system prompts than under others."""
    system, asked = request.messages[0].content, request.messages[-1].content
    draw = fraction(system, asked)
    label = verdict(asked, right=draw < 0.4 + 0.4 * _skill(system))
    return f"{filler(between(ANSWER_TOKENS, (draw * 7919) % 1))} <answer>{label}</answer>"


@lru_cache(maxsize=4096)
def _skill(system: str) -> float:
    return fraction("skill", system)


def _optimizer(request: Request) -> str:
    """An analysis or a new prompt, another one for every draw."""
    text = request.messages[-1].content
    mark = sha256(f"{text}{request.draw}".encode()).hexdigest()[:16]
    if "between <analysis> and </analysis>" in text:
        return f"<analysis>{mark} {filler(between(ANALYSIS_TOKENS, fraction(mark)))}</analysis>"
    if "complete new user prompt" in text:
        return f"<user_prompt>{mark} {filler(USER_PROMPT_TOKENS)}\n{{question}}</user_prompt>"
    return f"<system_prompt>{mark} {filler(SYSTEM_PROMPT_TOKENS)}</system_prompt>"


def _task(name: str, size: Size) -> Task:
    def split(kind: str, count: int) -> tuple[Example, ...]:
        return tuple(
            Example(
                f"Statement {n} ({name}, {kind}): {filler(QUESTION_TOKENS)}",
                ("yes" if n % 2 == 0 else "no",),
                f"{name}.{kind}:{n + 1}",
            )
            for n in range(count)
        )

    return Task(
        name=name,
        role="source",
        train=split("train", size.train),
        test=split("test", size.test),
        answer_format=build_format(AnswerSpec(kind="label", labels=("yes", "no"), tag="answer")),
        metric=build_metric("accuracy", base_dir=Path()),
        user_prompt=f"{name}: say whether the statement is even, between <answer> and </answer>.\n{{question}}",
    )
