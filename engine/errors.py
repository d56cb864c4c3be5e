"""What is wrong with a config, and the paths that it names; with prompts, strategies and directories of runs."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from metaspo.backends.paths import path_of


class ConfigError(ValueError):
    """A config that cannot be used; one line per fault, each with file and key."""


class PromptError(ValueError):
    """A prompt that cannot be used; `str()` says why."""


class WordingError(PromptError):
    """A prompt that could be used, and breaks what the config says every prompt must keep to."""


class RunDirectoryError(RuntimeError):
    """A run directory that cannot be used; `str()` says why and what to do."""


class UnknownStrategy(ValueError):
    """No strategy has this name, or it cannot be made as asked; `str()` says which, and lists those there are."""


class StrategyError(RuntimeError):
    """A strategy of another package failed, or proposed what is no prompt; `str()` names it and says what."""


@contextmanager
def told_as(key: str, name: str) -> Iterator[None]:
    """What is wrong with a key that something else than the config has set is told of that, by its name."""
    try:
        yield
    except ConfigError as error:
        lines = re.sub(rf"(?m)^(.*?): {re.escape(key)}: ", lambda found: f"{found[1]}: {name}: ", str(error))
        raise ConfigError(lines) from error


def resolve_path(path: str, *, base_dir: Path) -> Path:
    """A path of a config: relative ones start at the config's folder, `~` is the home folder. Raises `ConfigError`."""
    try:
        return base_dir / path_of(path)
    except ValueError as error:
        raise ConfigError(f"{path!r} {error}") from None
