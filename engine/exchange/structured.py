"""Files of JSON or YAML."""

import importlib
import json
from pathlib import Path

from metaspo.engine.errors import ConfigError
from metaspo.engine.exchange.imported import plain_text


def read_structured(path: Path) -> object:
    """What a file of JSON or YAML holds. Raises `ConfigError` where it cannot be read."""
    text = plain_text(path)
    if path.suffix == ".json":
        return json_of(text, path)
    try:
        yaml = importlib.import_module("yaml")
    except ModuleNotFoundError:
        raise ConfigError(f"{path}: reading YAML needs PyYAML: pip install 'metaspo[yaml]'") from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None


def json_of(text: str, path: Path) -> object:
    """What a text, of this file, says. Raises `ConfigError`."""
    try:
        value: object = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{path}: not valid JSON: {error}") from None
    return value
