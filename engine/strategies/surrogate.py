"""Which of many combinations to try next, by what was tried so far: tree-structured Parzen estimators, by Optuna."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

Combination = tuple[int, int]

INSTALL: Final = "needs the package optuna, which is not installed: pip install 'metaspo[mipro]'"
_NAMES: Final = ("first", "second")  # what Optuna calls the two choices


def is_installed() -> bool:
    """Whether there is an Optuna."""
    return find_spec("optuna") is not None


class Surrogate:
    """Two choices, each of so many, and one trial after the other, by the seed and the scores alone.

    The first `startup` trials are drawn evenly, as long as nothing is known.
    """

    def __init__(self, sizes: Combination, *, seed: int, startup: int) -> None:
        self._optuna = optuna = import_module("optuna")  # an extra, and a quarter of a second
        choice = optuna.distributions.CategoricalDistribution
        self._choices = {name: choice(tuple(range(size))) for name, size in zip(_NAMES, sizes, strict=True)}
        sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, n_startup_trials=startup)
        verbosity = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # else it tells of the study on standard error
        try:
            self._study: Any = optuna.create_study(direction="maximize", sampler=sampler)
        finally:
            optuna.logging.set_verbosity(verbosity)
        self._trial: Any = None

    def ask(self) -> Combination:
        """The next combination to try."""
        self._trial = self._study.ask(self._choices)
        first, second = (self._trial.params[name] for name in _NAMES)
        return first, second

    def tell(self, score: float | None) -> None:
        """What that one came to; None if it could not be scored."""
        failed = self._optuna.trial.TrialState.FAIL
        self._study.tell(self._trial, score, state=failed if score is None else None)

    def add(self, combination: Combination, score: float) -> None:
        """What a combination came to that was not asked for."""
        params = dict(zip(_NAMES, combination, strict=True))
        self._study.add_trial(self._optuna.trial.create_trial(params=params, distributions=self._choices, value=score))
