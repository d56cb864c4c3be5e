"""Prompts that Langfuse and LangSmith keep, as tasks: files of our exports, and what the tools' own APIs answer."""

from collections.abc import Mapping
from string import Formatter
from typing import Any, Final

from metaspo.backends.late_patterns import late_pattern
from metaspo.engine.errors import ConfigError
from metaspo.engine.exchange.imported import Imported
from metaspo.engine.exchange.prompt_files import read_chat
from metaspo.engine.exchange.templates import LANGFUSE_PLACEHOLDER
from metaspo.engine.tasks.base import PLACEHOLDER

Parts = list[tuple[str, str]]
"""A template as texts, each with the name of the variable after it; "" for none."""
Kept = tuple[Mapping[str, Any], list[tuple[str, Parts]]]
"""What is said of a prompt, and its messages, each a role with its template."""

_BRACED: Final = late_pattern(r"(?<!\{)\{\{\s*([A-Za-z_]\w*)\s*\}\}")
_ROLES: Final = {
    "SystemMessage": "system",
    "SystemMessagePromptTemplate": "system",
    "HumanMessage": "user",
    "HumanMessagePromptTemplate": "user",
}


def is_kept(data: Mapping[str, Any]) -> bool:
    """Whether it is a prompt of one of these tools, or a chat template of LangChain, which LangSmith keeps."""
    return _is_of_langfuse(data) or _manifest(data).get("lc") is not None


def read_kept(data: Mapping[str, Any], *, name: str, source: str) -> Imported:
    """Its system prompt, and its user's message as a task's user prompt.

    Raises:
        ConfigError: for any other chat, and for other variables than one in the user's message.
    """
    about, messages = _of_langfuse(data) if _is_of_langfuse(data) else _of_langchain(_manifest(data), source)
    variables = [(role, variable) for role, parts in messages for _, variable in parts if variable]
    if len(variables) > 1 or "system" in dict(variables):
        named = ", ".join(variable for _, variable in variables)
        raise ConfigError(f"{source}: one variable is wanted, for the question in the user's message; it has: {named}")
    chat = [
        {"role": role, "content": "".join(text + (PLACEHOLDER if variable else "") for text, variable in parts)}
        for role, parts in messages
    ]
    if [role for role, _ in messages] == ["system"]:
        return Imported(system_prompt=chat[0]["content"])
    return read_chat({"messages": chat, "metadata": about}, name=name, source=source)


def _is_of_langfuse(data: Mapping[str, Any]) -> bool:
    return data.get("type") in ("chat", "text") and "prompt" in data


def _of_langfuse(data: Mapping[str, Any]) -> Kept:
    prompt, config = data["prompt"], data.get("config")
    ours = config.get("metaspo") if isinstance(config, Mapping) else None
    parts_of = _of_export if ours else _of_braces
    about = ours or {"task": data["name"]}
    if isinstance(prompt, str):
        return about, [_alone(parts_of(prompt))]
    return about, [(message.get("role", ""), parts_of(message.get("content", ""))) for message in prompt]


def _alone(parts: Parts) -> tuple[str, Parts]:
    """What a text without a role is: a user prompt if it has a variable, else a system prompt."""
    return "user" if any(variable for _, variable in parts) else "system", parts


def _of_export(text: str) -> Parts:
    """What else stands in double braces there is text."""
    *before, last = text.split(LANGFUSE_PLACEHOLDER)
    return [*((part, "question") for part in before), (last, "")]


def _of_braces(text: str) -> Parts:
    pieces = _BRACED.split(text)
    return list(zip(pieces[::2], [*pieces[1::2], ""], strict=True))


def _manifest(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """A chat template as LangChain writes it, wherever it stands: in what is pushed, and in what is pulled."""
    manifest = data.get("object") or data.get("manifest") or data
    return manifest if isinstance(manifest, Mapping) else {}


def _of_langchain(manifest: Mapping[str, Any], source: str) -> Kept:
    kwargs = manifest["kwargs"]
    about = kwargs.get("metadata") or {}
    if "template" in kwargs:
        return about, [_alone(_of_template(kwargs, source))]
    messages: list[tuple[str, Parts]] = []
    for message in kwargs["messages"]:
        role, said = _ROLES.get(message["id"][-1], ""), message["kwargs"]
        text, template = said.get("content"), said.get("prompt")
        if isinstance(text, str):
            messages.append((role, [(text, "")]))
        elif isinstance(template, Mapping):
            messages.append((role, _of_template(template["kwargs"], source)))
        else:  # pictures, or turns that are put in later
            messages.append(("", []))
    return about, messages


def _of_template(said: Mapping[str, Any], source: str) -> Parts:
    text, form = said["template"], said.get("template_format", "f-string")
    if form == "f-string":
        return [(before, variable or "") for before, variable, _, _ in Formatter().parse(text)]
    parts = _of_braces(text)
    if form != "mustache" or any("{{" in before for before, _ in parts):
        raise ConfigError(f"{source}: its {form} template is more than a text with variables: write that out first")
    return parts
