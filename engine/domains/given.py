"""User prompts that were written for the target tasks beforehand, as the reference repository ships them."""

import json
import re
from pathlib import Path
from typing import Final

from metaspo.backends.late_patterns import late_pattern
from metaspo.engine.domains.specs import UnknownDomain, find_task
from metaspo.engine.errors import PromptError
from metaspo.engine.prompts import check_user_prompt
from metaspo.engine.tasks import PLACEHOLDER, TaskError

SUBFOLDER: Final = "unseen_user_prompts"
# Ways to write the slot: {question}, {{question}} (of templates), { question }, {Question}.
_SLOT: Final = late_pattern(r"\{\{\s*question\s*\}\}|\{\s*question\s*\}", re.IGNORECASE)


def given_user_prompts(folder: Path, task: str) -> tuple[str, ...]:
    """The user prompts for a task from `TASK.json`, a list of texts, each with `{question}` exactly once.

    Args:
        folder: where the files are, or a data folder with them in `unseen_user_prompts`.
        task: its name; a file under the name that the reference uses for it is found too.

    Raises:
        TaskError: one line, where there is no such file, it is no list of texts, or one of them has not one slot.
    """
    path = _find(folder, task)
    try:
        prompts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TaskError(f"{path}: cannot be read as JSON: {str(error).splitlines()[0]}") from error
    if not isinstance(prompts, list) or not prompts or not all(isinstance(prompt, str) for prompt in prompts):
        raise TaskError(f'{path}: must be a list of user prompts, ["… {PLACEHOLDER} …"]')
    return tuple(_checked(prompt, f"{path}: prompt {number}") for number, prompt in enumerate(prompts, 1))


def _find(folder: Path, task: str) -> Path:
    try:
        names = dict.fromkeys((task, *find_task(task).names))
    except UnknownDomain:
        names = {task: None}  # a task of one's own
    for directory in (folder, folder / SUBFOLDER):
        for name in names:
            if (path := directory / f"{name}.json").is_file():
                return path
    raise TaskError(f"{folder / f'{task}.json'}: no such file, and none in {SUBFOLDER}: no user prompts for '{task}'")


def _checked(prompt: str, where: str) -> str:
    try:
        return check_user_prompt(_SLOT.sub(PLACEHOLDER, prompt))
    except PromptError as error:
        raise TaskError(f"{where}: {error}") from None
