"""What is wrong with a config, and the paths that it names."""

from pathlib import Path

from metaspo.backends.paths import path_of


class ConfigError(ValueError):
    """A config that cannot be used; one line per fault, each with file and key."""


def resolve_path(path: str, *, base_dir: Path) -> Path:
    """A path of a config: relative ones start at the config's folder, `~` is the home folder. Raises `ConfigError`."""
    try:
        return base_dir / path_of(path)
    except ValueError as error:
        raise ConfigError(f"{path!r} {error}") from None
