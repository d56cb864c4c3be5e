"""Why a call failed, as other programs understand it: kind, HTTP status, when to try again, whether that is any use."""

import math
from collections.abc import Mapping
from typing import Literal

from metaspo.backends import (
    AccessDenied,
    BackendBroken,
    CreditExhausted,
    RequestRejected,
    TransientError,
    UnknownModel,
    WrongForm,
)
from metaspo.backends.counted import counted
from metaspo.backends.http.errors import FOR_CALLERS
from metaspo.cache import StoreError
from metaspo.scheduling.errors import BudgetExhausted, GivenUp, LaneStopped, RunStopped, Unavailable

Kind = Literal[
    "request",
    "key",
    "host",
    "rejected",
    "given_up",
    "model",
    "access",
    "credit",
    "budget",
    "unavailable",
    "store",
    "closed",
    "bug",
]

STATUS: Mapping[Kind, int] = {
    "request": 400,
    "key": 401,
    "host": 403,
    "rejected": 400,
    "given_up": 502,
    "model": 404,
    "access": 502,
    "credit": 402,
    "budget": 402,
    "unavailable": 503,
    "store": 500,
    "closed": 503,
    "bug": 500,
}
_PASSES: frozenset[Kind] = frozenset({"unavailable", "closed"})
_RETRY_AFTER = 30.0


class CallFailed(Exception):
    """A call brought no answer, after all that metaspo does about it; `str()` is a sentence with what to do.

    Attributes:
        kind: "request" (it cannot be asked), "key" and "host" (a server does not take these), "rejected" (it will never
            be answered), "given_up" (it had no answer while others had one), "model" (not served), "access" (the
            provider refuses our key), "credit" (its account's), "budget" (the cap that was set here), "unavailable"
            (nobody answers, or could), "store" (the cache), "closed" (the client or the server), "bug" (a mistake in
            metaspo, or in a backend of yours).
        status: what HTTP has for it.
        retry_after: seconds after which it may go; None where that says nothing.
        final: whether trying again as it is would be in vain.
    """

    def __init__(self, message: str, *, kind: Kind, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.kind: Kind = kind
        self.status = STATUS[kind]
        self.retry_after = retry_after
        self.final = kind not in _PASSES


def call_failed(error: BaseException) -> CallFailed:
    """What a gateway's error is to a caller."""
    if isinstance(error, CallFailed):
        return error
    kind = kind_of(error)
    wait = None
    if kind in _PASSES:
        cause = error.__cause__
        wait = cause.retry_after if isinstance(cause, TransientError) else None
        wait = _RETRY_AFTER if wait is None else wait
    again = "" if not wait else f" Try again in {counted(math.ceil(wait), 'second')}."
    failed = CallFailed(f"{_words(error)}{again}", kind=kind, retry_after=wait)
    failed.__cause__ = error
    return failed


def _words(error: BaseException) -> str:
    if kind_of(error) == "bug" and not isinstance(error, BackendBroken):
        return f"A mistake in metaspo: {type(error).__name__}: {error}"
    words = str(error)
    for of_configs, of_requests in FOR_CALLERS.items():
        words = words.replace(of_configs, of_requests)
    return words


def kind_of(error: BaseException) -> Kind:
    """The kind of a gateway's error."""
    match error:
        case GivenUp():
            return "given_up"
        case RequestRejected():
            return "rejected"
        case BudgetExhausted():
            return "budget"
        case LaneStopped():
            return _of_verdict(error.__cause__)
        case Unavailable():
            return "unavailable"
        case RunStopped():
            return "closed"
        case StoreError():
            return "store"
        case ValueError():
            return "request"
    return "bug"


def _of_verdict(cause: BaseException | None) -> Kind:
    match cause:
        case UnknownModel():
            return "model"
        case CreditExhausted():
            return "credit"
        case AccessDenied():
            return "access"
        case WrongForm():
            return "rejected"
    return "unavailable"  # no fault of the request's: a local server, a model's file, certificates, an address
