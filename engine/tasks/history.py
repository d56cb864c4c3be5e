"""Turns before a question: a column with the messages of a conversation so far."""

from collections.abc import Mapping, Sequence
from typing import Final

import orjson

from metaspo.backends import Message
from metaspo.engine.tasks.cells import Row, column_of
from metaspo.engine.tasks.errors import TaskError

ROLES: Final = ("user", "assistant", "tool")


def history_of(row: Row, column: str) -> tuple[Message, ...]:
    """The messages that a row's column holds: a list of objects, or its JSON; none for an empty cell.

    Raises `TaskError` for what is no message, and for a system prompt, which is what is optimized.
    """
    if not column:
        return ()
    value = column_of(row, column)
    if isinstance(value, str) and value.strip():
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            raise TaskError(f"{row.where}: column {column!r} must be a list of messages, or its JSON") from None
    if value in (None, "", [], ()):
        return ()
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise TaskError(f"{row.where}: column {column!r} must be a list of messages, each with a role and a content")
    return tuple(_message(turn, f"{row.where}: column {column!r}, turn {n}") for n, turn in enumerate(value, start=1))


def told(history: Sequence[Message]) -> str:
    """Turns as text, for who reads them beside the question."""
    return "\n".join(f"{message.role}: {message.content}" for message in history)


def _message(turn: object, where: str) -> Message:
    role = turn.get("role") if isinstance(turn, Mapping) else None
    if role in ("system", "developer"):
        raise TaskError(f"{where}, is a system prompt, which is what is optimized: take it out, or into system_prompt")
    if not isinstance(turn, Mapping) or role not in ROLES:
        raise TaskError(
            f'{where}, is no message: write {{"role": "user", "content": "…"}}, with the role {", ".join(ROLES)}'
        )
    from metaspo.backends.chat.request import read_message  # few tasks have turns, and it knows all a server may say

    try:
        return read_message({name: value for name, value in turn.items() if value is not None})
    except ValueError as error:
        raise TaskError(f"{where}: {str(error).replace('Message 0', 'it').replace('message 0', 'it')}") from None
