"""How a function or an answer format of a user's own is called."""

from collections.abc import Callable
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
