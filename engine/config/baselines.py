"""Fixed system prompts to compare with: named ones, and any prompt from a file.

The baselines of Choi, Baek and Hwang, "System Prompt Optimization with Meta-Learning", NeurIPS 2025 (arXiv 2505.09666):
the usual one-line helpful assistant, the step-by-step instruction of zero-shot chain of thought (Kojima et al., 2022,
arXiv 2205.11916), and the kind of prompt that vendors put before their services. But for that instruction the texts are
our own.
"""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path

from metaspo.backends.paths import read_written, why_unreadable
from metaspo.engine.errors import ConfigError, PromptError
from metaspo.engine.prompts import DEFAULT_SYSTEM_PROMPT, check_system_prompt
from metaspo.engine.suggest import there_is_no


@cache
def _prompts() -> Mapping[str, str]:
    texts = tomllib.loads(files(__package__).joinpath("baselines.toml").read_text(encoding="utf-8"))
    return {"default": DEFAULT_SYSTEM_PROMPT} | {name: str(text).strip() for name, text in texts.items()}


def baseline_prompt(name: str) -> str:
    """The system prompt of a name. Raises `ConfigError`."""
    prompts = _prompts()
    if name not in prompts:
        raise ConfigError(there_is_no("baseline prompt", name, prompts))
    return prompts[name]


def read_prompt_file(path: Path) -> str:
    """The system prompt that a UTF-8 text file holds, without the blank lines around it. Raises `ConfigError`."""
    try:
        return check_system_prompt(read_written(path).strip())
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except PromptError as error:
        raise ConfigError(f"{path}: {error}") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {why_unreadable(error)}") from error
