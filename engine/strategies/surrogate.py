"""Which of many combinations to try next, by what was tried so far: tree-structured Parzen estimators, by Optuna."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

from metaspo.engine.tasks.named_prompts import NumberRange

Combination = Mapping[str, int | float]
Spaces = Mapping[str, Sequence[int | float] | NumberRange]

INSTALL: Final = "needs the package optuna, which is not installed: pip install 'metaspo[mipro]'"


def is_installed() -> bool:
    """Whether there is an Optuna."""
    return find_spec("optuna") is not None


class Surrogate:
    """Several choices, and one trial after the other, by the seed and the scores alone.

    The first `startup` trials are drawn evenly, as long as nothing is known. With `apart` what is asked for and not
    told yet is kept away from.
    """

    def __init__(self, spaces: Spaces, *, seed: int, startup: int, apart: bool = False) -> None:
        self._optuna = optuna = import_module("optuna")  # an extra, and a quarter of a second
        self._spaces = {name: self._distribution(space) for name, space in spaces.items()}
        sampler = optuna.samplers.TPESampler(
            seed=seed, multivariate=True, n_startup_trials=startup, constant_liar=apart
        )
        verbosity = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # else it tells of the study on standard error
        try:
            self._study: Any = optuna.create_study(direction="maximize", sampler=sampler)
        finally:
            optuna.logging.set_verbosity(verbosity)
        self._trial: Any = None

    def _distribution(self, space: Sequence[int | float] | NumberRange) -> Any:  # noqa: ANN401 - Optuna's
        of = self._optuna.distributions
        if not isinstance(space, NumberRange):
            return of.CategoricalDistribution(tuple(space))
        return (of.IntDistribution if space.is_whole else of.FloatDistribution)(space.low, space.high)

    def ask(self) -> dict[str, int | float]:
        """The next combination to try."""
        self._trial = self._study.ask(self._spaces)
        return {name: self._trial.params[name] for name in self._spaces}

    def tell(self, score: float | None) -> None:
        """What that one came to; None if it could not be scored."""
        failed = self._optuna.trial.TrialState.FAIL
        self._study.tell(self._trial, score, state=failed if score is None else None)

    def add(self, combination: Combination, score: float) -> None:
        """What a combination came to that was not asked for."""
        made = self._optuna.trial.create_trial(params=dict(combination), distributions=self._spaces, value=score)
        self._study.add_trial(made)
