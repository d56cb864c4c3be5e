"""Prompts in files of text, and bodies of chat requests, as tasks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metaspo.backends.late_patterns import late_pattern
from metaspo.engine.errors import ConfigError
from metaspo.engine.exchange.imported import Imported, ImportedTask, plain_text, task_name
from metaspo.engine.tasks.base import PLACEHOLDER, single_braces

_VARIABLE = late_pattern(r"\{\{\s*(\w+)\s*\}\}|(?<!\{)\{(\w+)\}(?!\})")


def read_prompt_file(path: Path) -> Imported:
    """A prompt in a file of text: one with a variable is a task's user prompt, one without a system prompt.

    `system.txt` is a system prompt whatever it holds, `user.NAME.txt` the task NAME. Raises `ConfigError` for a file
    that cannot be read, is empty, or holds several variables.
    """
    text = plain_text(path).removesuffix("\n")
    if not text.strip():
        raise ConfigError(f"{path}: is empty")
    prompt = "" if path.stem == "system" else with_placeholder(text, source=str(path))
    if PLACEHOLDER not in prompt:
        return Imported(system_prompt=text)
    return Imported(tasks=(ImportedTask(name=task_name(path.stem.removeprefix("user.")), user_prompt=prompt),))


def read_chat(body: Mapping[str, Any], *, name: str, source: str) -> Imported:
    """The body of a chat request: its system prompt, and its last user message as a task's user prompt."""
    system, user = roles_of(body["messages"], source=source)
    about = body.get("metadata", {})
    task = about.get("task", name) if isinstance(about, Mapping) else name
    prompt = with_placeholder(user, source=source)
    if PLACEHOLDER not in prompt:
        prompt = f"{prompt}\n\n{PLACEHOLDER}"
    return Imported(system_prompt=system, tasks=(ImportedTask(name=task_name(str(task)), user_prompt=prompt),))


def roles_of(messages: object, *, source: str) -> tuple[str, str]:
    """The system prompt and the user's message of a chat. Raises `ConfigError` for any other chat."""
    texts: dict[str, str] = {}
    for message in messages if isinstance(messages, Sequence) else ():
        role, content = (message.get(key) for key in ("role", "content")) if isinstance(message, Mapping) else ("", "")
        role = "system" if role == "developer" else role
        if role not in ("system", "user") or role in texts or not isinstance(content, str):
            raise ConfigError(f"{source}: only a system message and one user's message, both of text, can be taken")
        texts[role] = content
    if "user" not in texts:
        raise ConfigError(f"{source}: holds no user's message")
    return texts.get("system", ""), texts["user"]


def with_placeholder(text: str, *, source: str) -> str:
    """A prompt whose only variable, whatever its name, is `{question}`. Raises `ConfigError` for several."""
    text = single_braces(text)
    if text.count(PLACEHOLDER) == 1:
        return text
    variables = {match[0] for match in _VARIABLE.finditer(text)}
    if len(variables) > 1 or any(text.count(variable) > 1 for variable in variables):
        named = ", ".join(sorted(variables))
        raise ConfigError(f"{source}: one place for the question is wanted, {PLACEHOLDER}; it has: {named}")
    return text.replace(variables.pop(), PLACEHOLDER) if variables else text
