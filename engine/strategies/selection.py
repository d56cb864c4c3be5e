"""Choosing among prompts: a bandit policy says which to score, the search's context scores them."""

from collections.abc import Callable, Sequence

from metaspo.engine.strategies.bandits import Policy, schedule
from metaspo.engine.strategies.search import RoundSize, SearchContext


def share(examples: int, tasks: int) -> int:
    """Examples of each task that make a sample of `examples` in all: an equal share, rounded up."""
    return -(-examples // tasks)


async def bandit_ranking(context: SearchContext, step: str, prompts: Sequence[str], policy: Policy) -> list[str]:
    """Different prompts, best first by a policy's estimates; those that could not be scored are left out.

    A pull's examples are drawn anew for each pull, the same for all its prompts, equally many of each task. An example
    that a prompt has answered in an earlier pull counts again, as in the authors' codes, but is not asked again.
    """
    number = 0
    while (pull := policy.next()) is not None:
        number += 1
        at = f"{step}/pull={number}"
        rows = context.sample(f"{at}/rows", per_task=share(pull.examples, len(context.tasks)))
        trials = await context.score(at, [prompts[arm] for arm in pull.arms], rows=rows)
        scores = {trial.prompt: trial.score for trial in trials}
        policy.tell([scores.get(prompts[arm]) for arm in pull.arms], examples=sum(map(len, rows)))
    return [prompts[arm] for arm in policy.ranking()]


def max_calls_of_ranking(size: RoundSize, *, prompts: int, policy: Callable[[int], Policy]) -> int:
    """The most calls that `bandit_ranking` makes for up to `prompts` prompts; `policy` makes one for so many."""
    return max((_calls(size, policy(count)) for count in range(1, prompts + 1)), default=0)


def _calls(size: RoundSize, policy: Policy) -> int:
    pulls = schedule(policy)
    calls = sum(len(pull.arms) * size.batch(share(pull.examples, size.tasks)) for pull in pulls)
    return min(calls, policy.arms * size.rows)
