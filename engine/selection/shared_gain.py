"""A gain that several tasks share: what a system prompt brings to tasks that nobody has seen yet.

The mean over the source tasks asks for less than that: a line that mends one of four tasks raises it, though it is idle
in every other. Two figures tell more. What the tasks have gained since the first prompt without the one that has gained
most shows whether others have a part in it. What the best user prompts lose under the new one shows idle lines, since
what is one task's own stands in its user prompt already. The first has to outweigh the second.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean

from metaspo.engine.evaluation.scorecard import Scorecard
from metaspo.engine.selection.objective import mean, score_of

FEWEST = 3  # tasks of which one can be left out


def by_task(cards: Sequence[Scorecard]) -> dict[str, float]:
    """Each task's mean over the user prompts that system prompts are compared under."""
    tasks = dict.fromkeys(card.task for card in cards)
    return {task: fmean(score_of(card) for card in cards if card.task == task) for task in tasks}


def is_shared(
    new: Mapping[str, float],
    first: Mapping[str, float],
    weights: Mapping[str, float],
    *,
    best_change: float,
    margin: float = 0.0,
) -> bool:
    """Whether the tasks other than the one that gained most have gained more than the best user prompts lose.

    Of fewer than three tasks none can be left out, and whatever is better will do.

    Args:
        new, first: by task, under the new and under the first system prompt, with the same user prompts.
        best_change: of the mean of every task's best user prompt, from the present system prompt to the new one.
        margin: by how much.
    """
    if len(new) < FEWEST:
        return True
    gains = {task: score - first[task] for task, score in new.items()}
    most = max(gains, key=lambda task: gains[task] * weights[task])
    others = [task for task in gains if task != most]
    gained = mean([gains[task] for task in others], weights=[weights[task] for task in others])
    return mean([gained + best_change - margin]) > 0
