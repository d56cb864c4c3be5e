"""The embedded proposer: prompts without an optimizer model, by seeded edits and worked examples.

It is for runs on one machine without an API key: no language model that fits there writes prompts that help. A
candidate is its parent's text with one kind of edit, and the candidate's number says which kind, so that the
candidates of a round look in different directions. Where most failures are answers that could not be read, edits of a
system prompt are about the form of answers first. The parent's structure is read back from its text, so nothing is
kept between calls and a prompt from anywhere can be the parent.
"""

from collections.abc import Callable
from random import Random
from typing import Final

from metaspo.engine.strategies import user_edits
from metaspo.engine.strategies.base import InnerContext, NoProposal, OuterContext, require_failures
from metaspo.engine.strategies.components import drop, families, join_components, reorder, split_components, vary
from metaspo.engine.strategies.drawn_examples import draw_for_system, draw_for_user
from metaspo.engine.strategies.worked_examples import WorkedExample, join_system, join_user, split_system, split_user

MIN_EXAMPLES: Final = 2
MAX_EXAMPLES: Final = 6
COMPOSED: Final = 3  # families that a composing move touches at once
FORM: Final = ("format", "brevity")  # families that say how an answer looks
_ATTEMPTS: Final = 20  # an edit may give the parent again; then it is drawn anew

Pieces = tuple[str, ...]


class EmbeddedOuter:
    """System prompts from a library of components and from worked examples across tasks."""

    name = "embedded"
    calls_optimizer = 0

    def describe(self) -> str:
        """One line for the report."""
        return (
            "no language model: instructions of a library are combined by rule into one system prompt, with failures "
            "of all tasks shown with their right answers (embedded)"
        )

    async def propose(self, context: OuterContext, /) -> str:
        """The incumbent with one edit. Raises `NoProposal` when no task has a failure or no edit changes anything."""
        require_failures(context.tasks)
        move = OUTER_MOVES[(context.candidate - 1) % len(OUTER_MOVES)]
        return _first_change(context.system_prompt, lambda: move(context))


class EmbeddedInner:
    """User prompts by rule-based edits and from worked examples of the task."""

    name = "embedded"
    calls_optimizer = 0

    def describe(self) -> str:
        """One line for the report."""
        return (
            "no language model: each task's prompt is edited by rule (how to answer, where the question stands), with "
            "its own failures shown with their right answers (embedded)"
        )

    async def propose(self, context: InnerContext, /) -> str:
        """The parent with one edit. Raises `NoProposal` when there is no failure or no edit changes anything."""
        require_failures([context.task])
        move = INNER_MOVES[(context.candidate - 1) % len(INNER_MOVES)]
        return _first_change(context.task.user_prompt, lambda: move(context))


def _first_change(parent: str, edit: Callable[[], str]) -> str:
    for _ in range(_ATTEMPTS):
        if (proposal := edit()) != parent:
            return proposal
    raise NoProposal("no edit changes this prompt")


def _compose(context: OuterContext) -> str:
    """Several families varied at once: one-piece edits alone take too many rounds to get anywhere."""
    pieces, examples = _read(context.system_prompt)
    form = FORM if _form_is_missed(context) else ()
    rest = [family.name for family in families() if family.name not in form]
    names = [*form, *context.rng.sample(rest, COMPOSED - len(form))]
    return _write(vary(pieces, names, rng=context.rng), examples)


def _adjust(context: OuterContext) -> str:
    """One piece varied, left out, or moved."""
    pieces, examples = _read(context.system_prompt)
    name = _one_family(context)
    edits: tuple[Callable[[Pieces, Random], Pieces], ...] = (
        lambda pieces, rng: vary(pieces, [name], rng=rng),
        lambda pieces, rng: drop(pieces, rng=rng),
        lambda pieces, rng: reorder(pieces, rng=rng),
    )
    # Before there is anything to leave out or to move, only the first makes sense.
    edit = context.rng.choice(edits) if len(pieces) > 2 else edits[0]
    return _write(edit(pieces, context.rng), examples)


def _exemplify(context: OuterContext) -> str:
    """The worked examples drawn anew, and one family varied."""
    pieces, _ = _read(context.system_prompt)
    size = context.rng.randint(MIN_EXAMPLES, MAX_EXAMPLES)
    examples = draw_for_system(context.tasks, size=size, show=context.show, rng=context.rng)
    return _write(vary(pieces, [_one_family(context)], rng=context.rng), examples)


def _one_family(context: OuterContext) -> str:
    return context.rng.choice(FORM if _form_is_missed(context) else [family.name for family in families()])


def _form_is_missed(context: OuterContext) -> bool:
    """Whether most failures are answers that could not be read, and not wrong ones."""
    failures = [failure for task in context.tasks for failure in task.failures]
    return 2 * sum(failure.prediction is None for failure in failures) > len(failures)


def _read(prompt: str) -> tuple[Pieces, tuple[WorkedExample, ...]]:
    text, examples = split_system(prompt)
    return split_components(text), examples


def _write(pieces: Pieces, examples: tuple[WorkedExample, ...]) -> str:
    return join_system(join_components(pieces), examples)


def _state_rule(context: InnerContext) -> str:
    """How the answer must look, said or taken back."""
    examples, text = split_user(context.task.user_prompt)
    return join_user(examples, user_edits.toggle_rule(text, context.task.answer_rule))


def _show_examples(context: InnerContext) -> str:
    """The worked examples drawn anew."""
    _, text = split_user(context.task.user_prompt)
    size = context.rng.randint(MIN_EXAMPLES, max(MIN_EXAMPLES, context.show))
    return join_user(draw_for_user(context.task, size=size, rng=context.rng), text)


def _arrange(context: InnerContext) -> str:
    """The question moved, marked, or followed by a cue to answer."""
    examples, text = split_user(context.task.user_prompt)
    edit = context.rng.choice(user_edits.ARRANGEMENTS)
    return join_user(examples, edit(text))


OUTER_MOVES: Final = (_compose, _exemplify, _compose, _adjust)
INNER_MOVES: Final = (_state_rule, _show_examples, _arrange)
