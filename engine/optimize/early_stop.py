"""Whether another iteration is worth its calls: how likely it brings anything, by those since the last one that did.

After m iterations in a row without a gain, the odds that the next one brings one are put at 1 in m + 2: the rule of
succession, from odds that were even before the first of them. It takes an iteration to be no likelier to bring a gain
than those before it, which holds where the prompts get better and proposals do not.
"""

from collections.abc import Sequence

from metaspo.backends.counted import counted
from metaspo.engine.config.calls import count_calls
from metaspo.engine.config.schema import RunConfig
from metaspo.engine.optimize.state import RunState
from metaspo.engine.tasks import Task


class EarlyStop:
    """Looks at the state after each iteration.

    Attributes:
        idle: iterations in a row that changed no best prompt.
    """

    def __init__(self, config: RunConfig, tasks: Sequence[Task], first: RunState) -> None:
        self._config, self._tasks = config, tasks
        self._best = _best(first)
        self.idle = 0

    def after(self, iteration: int, state: RunState, *, left: int | None) -> str:
        """Why the run ends after this iteration, in a sentence; "" if it goes on, or is at its end anyhow.

        Args:
            left: base calls that `train_calls` leaves; None without such a cap.
        """
        best = _best(state)
        self.idle = 0 if best != self._best else self.idle + 1
        self._best = best
        below = self._config.stop_below
        if below is None or odds(self.idle) >= below or (left is None and iteration >= self._config.iterations):
            return ""
        idle = "it" if self.idle == 1 else f"{self.idle} in a row"
        why = f"{idle} brought no gain, so the odds that the next one does are about {odds(self.idle):.0%}"
        more = self._going_on(iteration, left)
        return (
            f"ended after iteration {iteration}: {why}, below stop_below = {below:g}; going on would take up to {more}"
        )

    def _going_on(self, iteration: int, left: int | None) -> str:
        if left is not None:
            return counted(left, "more base call")
        whole = count_calls(self._config, self._tasks)
        done = count_calls(self._config.model_copy(update={"iterations": iteration}), self._tasks)
        optimizer = whole.optimizer - done.optimizer
        asked = f" and {counted(optimizer, 'call')} of the optimizer model" if optimizer else ""
        base = whole.inner + whole.outer - done.inner - done.outer
        return f"{counted(base, 'more base call')}{asked}"


def odds(idle: int) -> float:
    """That the next iteration brings a gain, after so many in a row without one."""
    return 1 / (idle + 2)


def _best(state: RunState) -> tuple[str, ...]:
    return (state.system, *(task.kept[0].pair.user for task in state.tasks))
