"""How a function or an answer format of a user's own is called."""

from collections.abc import Callable
from numbers import Real
from typing import TypeVar

from metaspo.engine.tasks.errors import MetricError

T = TypeVar("T")


def called(code: Callable[..., T], *arguments: object, failed: Callable[[str], MetricError]) -> T:
    """What it returns. Raises `failed` of what it raises, also of a CancelledError, which would be taken for one of the
    run's own."""
    try:
        return code(*arguments)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise failed(f"{type(error).__name__}: {error}") from error


def as_score(returned: object) -> float | None:
    """A number from 0 to 1, of whatever kind (numpy has its own); None for what is none."""
    score = float(returned) if isinstance(returned, Real) else -1.0
    return score if 0 <= score <= 1 else None
