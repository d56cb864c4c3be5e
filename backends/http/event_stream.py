"""A chat answer that came as server-sent events, although a whole one was asked for."""

from collections.abc import Sequence
from typing import Any

from metaspo.backends.http.loose_json import loads

_TEXTS = ("content", "reasoning_content", "reasoning", "refusal")
_UNFINISHED = "unfinished stream"


def whole_of_stream(body: bytes) -> dict[str, Any] | None:
    """The answer that the chunks make together, in the form of a whole one; None if it is no such stream.

    A stream that was cut off, or ends with an error, gets a reason to stop that nobody takes for whole.
    """
    chunks, done = _chunks(body)
    if not chunks:
        return None
    answer: dict[str, Any] = {}
    message: dict[str, Any] = {}
    reason: object = None
    pieces: list[object] = []
    for chunk in chunks:
        answer.update({name: value for name, value in chunk.items() if value is not None and name != "choices"})
        pieces += chunk["choices"] if isinstance(chunk.get("choices"), list) else ()
    for choice in of_first_choice(pieces):
        reason = choice.get("finish_reason") or reason
        _add(message, choice)
    if answer.get("error") or (reason is None and not done):
        reason = _UNFINISHED
    if message or reason is not None:
        answer["choices"] = [{"finish_reason": reason, "message": message}]
    return answer


def _chunks(body: bytes) -> tuple[list[dict[str, Any]], bool]:
    """What the events hold, and whether the last of them says that it is the last."""
    chunks: list[dict[str, Any]] = []
    begun: list[bytes] = []  # lines of an event that goes over several
    for line in (*body.splitlines(), b""):
        data = line.removeprefix(b"data:").strip() if line.startswith(b"data:") else b""
        if data == b"[DONE]" and not begun:
            return chunks, True
        if data and (begun or not _holds(data, chunks)):
            begun.append(data)
        elif begun and not line:
            if not _holds(b"\n".join(begun), chunks):
                break  # cut off within an event
            begun = []
    return chunks, False


def _holds(data: bytes, chunks: list[dict[str, Any]]) -> bool:
    """Whether it is whole JSON, which goes to the chunks if it is one."""
    try:
        chunk = loads(data)
    except ValueError:
        return False
    if isinstance(chunk, dict):
        chunks.append(chunk)
    return True


def _add(message: dict[str, Any], choice: dict[str, Any]) -> None:
    """Lay a chunk's piece on those before it; a piece that is a whole `message` stands for all of them."""
    piece = choice.get("delta")
    if not isinstance(piece, dict):
        if isinstance(choice.get("message"), dict):
            message.update(choice["message"])
        return
    for name in _TEXTS:
        value = piece.get(name)
        if isinstance(value, str):
            value = [value]
        if isinstance(value, list):
            message.setdefault(name, []).extend(value)
    for call in piece["tool_calls"] if isinstance(piece.get("tool_calls"), list) else ():
        if isinstance(call, dict):
            _add_call(message.setdefault("tool_calls", []), call)


def _add_call(calls: list[dict[str, Any]], piece: dict[str, Any]) -> None:
    """Lay a piece of a tool call on the call it belongs to: that of its index, or, without one, that of its id."""
    index, function = piece.get("index"), piece.get("function")
    function = function if isinstance(function, dict) else {}
    if isinstance(index, int):
        call = next((call for call in calls if call["index"] == index), None)
    else:
        call = calls[-1] if calls and piece.get("id") in (None, calls[-1].get("id")) else None
    if call is None:
        call = {"index": index, "type": "function", "function": {"name": "", "arguments": ""}}
        calls.append(call)
    if piece.get("id"):
        call["id"] = piece["id"]
    for name in ("name", "arguments"):
        if isinstance(function.get(name), str):
            call["function"][name] += function[name]


def of_first_choice(choices: Sequence[object]) -> list[dict[str, Any]]:
    """Of an answer's choices, or of their pieces, those of the lowest index, wherever they stand."""
    objects = [choice for choice in choices if isinstance(choice, dict)]
    if len(objects) < 2:  # as nearly all answers have
        return objects
    indices = {index for choice in objects if isinstance(index := choice.get("index"), int)}
    others = indices - {min(indices, default=0)}
    return [choice for choice in objects if not (isinstance(choice.get("index"), int) and choice["index"] in others)]
