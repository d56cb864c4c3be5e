"""What a program may hand over to be asked, and what it is told of anything else."""

from collections.abc import Iterable
from typing import cast

from metaspo.backends import Message, Request

_LIKE = 'Request(model="…", messages=(Message("user", "…"),))'


def in_batch(given: Iterable[Request]) -> list[Request]:
    """The requests of a batch. Raises `TypeError` for what is none."""
    if isinstance(cast(object, given), Request | str | bytes) or not isinstance(cast(object, given), Iterable):
        raise TypeError(f"a batch is a list of {_LIKE}; this is a {type(given).__name__}")
    return list(given)


def require_request(given: object) -> None:
    """Raises `TypeError` where it is none."""
    if not isinstance(given, Request):
        raise TypeError(f"what is asked is a {_LIKE}, in a batch a list of them; this is a {type(given).__name__}")


def require_messages(requests: Iterable[Request]) -> None:
    """Raises `TypeError` for what is no request, and for messages that are none.

    Only who has met an error looks: for each request it would take as long as a part of its key.
    """
    for request in requests:
        require_request(request)
        messages: object = request.messages
        if not isinstance(messages, tuple | list):
            raise TypeError(f"a request's messages are those of {_LIKE}; this is a {type(messages).__name__}")
        for message in messages:
            if not isinstance(message, Message):
                raise TypeError(f'a message is a Message("user", "…"); this is a {type(message).__name__}: {message!r}')
            for name, text in (("role", message.role), ("content", message.content)):
                if not isinstance(text, str):
                    raise TypeError(f"a message's {name} is a text; this is a {type(text).__name__}: {text!r}")
