"""What can go wrong with one call, named by cause; whether to try again is decided here, by class, and nowhere else.

`str(error)` is one sentence fit for a user: what was wrong, where (endpoint label, model), what to do. It never holds
a key, a header or a prompt.
"""

from metaspo.backends.base import LimitHints


class BackendError(Exception):
    """A call that brought no answer."""


class BackendBroken(Exception):
    """A mistake in a backend's code: it raised what is no `BackendError`, which is the cause, or gave no `Reply`."""


class TransientError(BackendError):
    """May pass: try again later.

    Attributes:
        retry_after: seconds the server asked to wait; None where it said nothing.
        hints: what the headers told about limits.
    """

    def __init__(self, message: str, *, retry_after: float | None = None, hints: LimitHints | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.hints = hints


class RateLimited(TransientError):
    """429 because of requests or tokens per minute or day."""


class SlowDown(TransientError):
    """429 `slow_down`: traffic grew too fast; go on at a lower rate."""


class Overloaded(TransientError):
    """503, or a bounded queue that is full: the server wants less at once."""


class ServerFault(TransientError):
    """Any other 5xx, 408 or 409: the server's own trouble, not our rate."""


class Unreachable(TransientError):
    """No connection: refused, name not resolved, TLS failed. `refused` is true if nobody listens at the address."""

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


class ConnectionLost(TransientError):
    """The connection broke. `before_answer` is true if no byte of an answer had come (a stale keep-alive)."""

    def __init__(self, message: str, *, before_answer: bool) -> None:
        super().__init__(message)
        self.before_answer = before_answer


class TimedOut(TransientError):
    """No whole answer within the time limit."""


class HalfAnswer(TransientError):
    """Something came that is not a whole answer: `finish_reason: abort`, truncated JSON, no choices."""


class RequestRejected(BackendError):
    """The server will never answer this request (too long, filtered, malformed): others may pass."""


class FatalError(BackendError):
    """No request to this lane can succeed until a person does something."""


class WrongForm(FatalError):
    """The server takes requests to this model, but not with these parameters or roles.

    Where all requests have one form, as a run's, that ends it; where many programs ask it is about the request alone.
    """


class AccessDenied(FatalError):
    """401 or 403: the key is missing, wrong, or not allowed to use the model."""


class CreditExhausted(FatalError):
    """The account's credit or spend limit is used up."""


class UnknownModel(FatalError):
    """The server does not serve this model."""


class ModelFileUnavailable(FatalError):
    """The model's file is not there and cannot be fetched, or is not what it should be."""


class LocalServerFailed(FatalError):
    """A server that metaspo starts did not start."""


class NotInstalled(LocalServerFailed):
    """There is no such server here. A run that finds all its answers in the cache never asks for it."""
