"""What log records are about: names such as `run` and `lane`, for whoever formats them.

The library logs to the standard library's loggers and configures nothing.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from typing import Final

_NOTHING: Final[Mapping[str, str]] = {}
_ABOUT: ContextVar[Mapping[str, str]] = ContextVar("metaspo_log", default=_NOTHING)


def about(context: Context | None = None) -> Mapping[str, str]:
    """What a record is about that is logged here and now, or in a context."""
    return _ABOUT.get() if context is None else context.get(_ABOUT, _NOTHING)


@contextmanager
def logging_about(**names: str) -> Iterator[None]:
    """What is logged in here, and in tasks begun in here, is about these, too."""
    token = _ABOUT.set({**_ABOUT.get(), **names})
    try:
        yield
    finally:
        _ABOUT.reset(token)


def context_about(**names: str) -> Context:
    """A copy of the context here in which records are about these alone: for work that is nobody's in particular."""
    context = copy_context()
    context.run(_ABOUT.set, names)
    return context
