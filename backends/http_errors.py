"""From what a server answered, other than a completion, to the error it means.

The kind is decided by `error.code`, then `error.type`, then the status, for OpenAI's API, vLLM and llama.cpp alike.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import orjson

from metaspo.backends.base import Message
from metaspo.backends.errors import (
    AccessDenied,
    BackendError,
    CreditExhausted,
    FatalError,
    Overloaded,
    RateLimited,
    RequestRejected,
    ServerFault,
    SlowDown,
    TransientError,
    UnknownModel,
)
from metaspo.backends.limit_headers import parse_limit_hints, parse_retry_after

_BY_CODE: Mapping[str, type[BackendError]] = {
    "rate_limit_exceeded": RateLimited,
    "slow_down": SlowDown,
    "server_is_overloaded": Overloaded,
    "resource_unavailable": Overloaded,
    "insufficient_quota": CreditExhausted,
    "credit_balance_exhausted": CreditExhausted,
    "organization_spend_limit_exceeded": CreditExhausted,
    "project_spend_limit_exceeded": CreditExhausted,
    "organization_usage_limit_exceeded": CreditExhausted,
    "billing_hard_limit_reached": CreditExhausted,
    "billing_not_active": CreditExhausted,
    "invalid_api_key": AccessDenied,
    "account_deactivated": AccessDenied,
    "model_not_found": UnknownModel,
    "context_length_exceeded": RequestRejected,
    "content_filter": RequestRejected,
    "content_policy_violation": RequestRejected,
    "unsupported_parameter": FatalError,
    "unsupported_value": FatalError,
}
_BY_TYPE: Mapping[str, type[BackendError]] = {
    "insufficient_quota": CreditExhausted,
    "authentication_error": AccessDenied,
    "rate_limit_error": RateLimited,
    "requests": RateLimited,
    "tokens": RateLimited,
    "overloaded_error": Overloaded,
    "unavailable_error": Overloaded,
    "exceed_context_size_error": RequestRejected,
}
_BY_STATUS: Mapping[int, type[BackendError]] = {
    401: AccessDenied,
    402: CreditExhausted,
    403: AccessDenied,
    404: UnknownModel,
    405: FatalError,
    408: ServerFault,
    409: ServerFault,
    429: RateLimited,
    503: Overloaded,
    529: Overloaded,
}
_SENTENCES: Mapping[type[BackendError], str] = {
    RateLimited: "{endpoint} limits the rate of requests to {model}",
    SlowDown: "{endpoint} wants requests to {model} to grow more slowly",
    Overloaded: "{endpoint} is overloaded and takes no request to {model} now",
    ServerFault: "{endpoint} failed on a request to {model} (status {status})",
    CreditExhausted: "The credit or spend limit of the account at {endpoint} is used up: top it up or raise the limit",
    AccessDenied: "{endpoint} refuses access to {model} (status {status}): check the API key and what it may use",
    UnknownModel: "{endpoint} does not know the model {model} (status {status}): check its name and the base URL",
    RequestRejected: "{endpoint} rejected a request to {model} (status {status})",
    FatalError: "{endpoint} does not take requests to {model} in this form (status {status}): check the base URL "
    "and the parameters given for the model",
}
_QUIET = (AccessDenied, CreditExhausted)  # the server's words add nothing to these, and like to quote the key
_KEY_LIKE = re.compile(r"\b(?:sk|pk|hf|key)[-_][\w*.-]{4,}|\bBearer\s+\S+", re.IGNORECASE)
_MODEL_MISSING = re.compile(r"model\b.{0,80}\b(?:does not exist|not found|not supported|unknown)", re.IGNORECASE)
_WORDS_SHOWN = 200
_TELLTALE = 12


class Call(NamedTuple):
    """One call as error messages need it: whom it went to, for which model, and what they must never repeat."""

    endpoint: str
    model: str
    key: str = ""
    prompts: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """The `error` object of a response; "" for what it does not say."""

    code: str = ""
    type: str = ""
    message: str = ""


def error_from_response(status: int, headers: Mapping[str, str], body: bytes, *, call: Call) -> BackendError:
    """The error that a response without a completion means. `headers` is looked up by lower-case names."""
    error = parse_error_body(body)
    kind = _kind(status, error)
    message = _SENTENCES[kind].format(endpoint=call.endpoint, model=call.model, status=status)
    words = "" if issubclass(kind, _QUIET) else safe_words(error.message, call=call)
    message = f"{message}. The server says: {words}" if words else f"{message}."
    if issubclass(kind, TransientError):
        return kind(message, retry_after=parse_retry_after(headers), hints=parse_limit_hints(headers))
    return kind(message)


def parse_error_body(body: bytes) -> ErrorBody:
    """The error object of a JSON body in the form of OpenAI, vLLM or llama.cpp; empty for any other body."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ErrorBody()
    error = answer.get("error", answer) if isinstance(answer, dict) else None
    if isinstance(error, str):
        return ErrorBody(message=error)
    if not isinstance(error, dict):
        return ErrorBody()
    code, kind = error.get("code"), error.get("type")
    message = error.get("message") or error.get("detail") or ""
    return ErrorBody(
        code=code if isinstance(code, str) else "",
        type=kind if isinstance(kind, str) else "",
        message=message if isinstance(message, str) else "",
    )


def _kind(status: int, error: ErrorBody) -> type[BackendError]:
    if error.code in _BY_CODE:
        kind = _BY_CODE[error.code]
    elif error.type in _BY_TYPE:
        kind = _BY_TYPE[error.type]
    elif status == 400 and _MODEL_MISSING.search(error.message):
        kind = UnknownModel
    elif status in _BY_STATUS:
        kind = _BY_STATUS[status]
    elif status >= 500:
        kind = ServerFault
    elif status >= 400:
        kind = RequestRejected
    else:
        kind = FatalError  # a redirect, or a success without a body to read: the base URL is not what it should be
    return Overloaded if kind is SlowDown and status == 503 else kind


def safe_words(words: str, *, call: Call) -> str:
    """The server's own words, shortened, or "" if they repeat a piece of a prompt; keys are blotted out."""
    words = words.replace(call.key, "(key)") if call.key else words
    words = " ".join(_KEY_LIKE.sub("(key)", words).split())
    shown = words if len(words) <= _WORDS_SHOWN else words[: _WORDS_SHOWN - 1] + "…"
    return "" if any(_repeats(shown, prompt.content) for prompt in call.prompts) else shown


def _repeats(words: str, prompt: str) -> bool:
    prompt = " ".join(prompt.split())
    if len(prompt) < _TELLTALE:
        return len(prompt) > 2 and prompt in words
    return any(words[i : i + _TELLTALE] in prompt for i in range(len(words) - _TELLTALE + 1))
