"""What is wrong with a config, and the paths that it names."""

from pathlib import Path


class ConfigError(ValueError):
    """A config that cannot be used; one line per fault, each with file and key."""


def resolve_path(path: str, *, base_dir: Path) -> Path:
    """A path of a config: relative ones start at the config's folder, `~` is the home folder."""
    return base_dir / Path(path).expanduser()
