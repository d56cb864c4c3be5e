"""Which source tasks help: what the target tasks lose when one source task is left out of the optimization."""

from collections.abc import Mapping
from dataclasses import dataclass

from metaspo.engine.statistics.paired import Comparison, as_family, compare
from metaspo.engine.statistics.resampling import TaskGrades

ALL = "all source tasks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contribution:
    """What one source task brings to the target tasks.

    Attributes:
        task: the source task.
        comparison: the run with all source tasks (A) against the one without this task (B), on the target tasks;
            corrected for the number of tasks looked at. Its intervals and p hold for these two runs: whether another
            seed's runs say the same, only other seeds' runs can tell.
    """

    task: str
    comparison: Comparison

    @property
    def gain(self) -> float:
        """How much better the target tasks do with the task than without, 0 to 1; below 0 if they do worse."""
        return self.comparison.difference

    @property
    def sentence(self) -> str:
        """What it comes to, for people."""
        says = {"better": "helps", "worse": "harms", "noise": "makes no difference that can be told from noise"}
        interval = self.comparison.interval
        return (
            f"{self.task} {says[self.comparison.verdict]}: {100 * self.gain:+.1f} points on the target tasks "
            f"(95% interval {100 * interval.low:+.1f} to {100 * interval.high:+.1f})."
        )


def contributions(
    full: TaskGrades,
    without: Mapping[str, TaskGrades],
    *,
    weights: Mapping[str, float] | None = None,
    seed: int = 0,
) -> tuple[Contribution, ...]:
    """Each source task's contribution, the largest first; equal ones in the order given.

    Args:
        full: the target tasks' grades under the prompt optimized on all source tasks.
        without: by source task the same under the prompt optimized without it.
        weights: of target tasks, by name; 1 for those left out.

    Raises:
        ValueError: if runs share no answered example, or a task's grades are not of the same examples.
    """
    family = as_family(
        compare(full, grades, names=(ALL, f"without {task}"), weights=weights, seed=seed)
        for task, grades in without.items()
    )
    found = [Contribution(task=task, comparison=one) for task, one in zip(without, family, strict=True)]
    return tuple(sorted(found, key=lambda one: one.gain, reverse=True))
