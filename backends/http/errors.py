"""From what a server answered, other than a completion, to the error it means.

The kind is decided by `error.code`, then `error.type`, then what the words plainly say, then the status; for OpenAI's
API, vLLM, llama.cpp and whoever else speaks its format alike.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

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
    WrongForm,
)
from metaspo.backends.http.limit_headers import parse_limit_hints, parse_retry_after
from metaspo.backends.http.server_words import ErrorBody, parse_error_body
from metaspo.backends.late_patterns import late_pattern
from metaspo.backends.printable import printable
from metaspo.backends.secrets import BLOT, KEY_LIKE, forms_of

_PARAMETERS = "the parameters given for the model"
_FEWER_TOKENS = "lower max_tokens for the model"
_MERGE = 'set roles = "merged" for it'
_NO_TEMPERATURE = 'set temperature = "none" for the model'
FOR_CALLERS: Mapping[str, str] = {
    _PARAMETERS: "the parameters of the request",
    _FEWER_TOKENS: "lower max_tokens in the request",
    _MERGE: "put what it says into the first message of the user",
    _NO_TEMPERATURE: "leave temperature out of the request",
}
"""What is said to whoever writes a config, and in its place to programs that say such things in each request."""

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
    "in_flight_budget_exhausted": RateLimited,
    "invalid_api_key": AccessDenied,
    "API_KEY_INVALID": AccessDenied,
    "UNAUTHENTICATED": AccessDenied,
    "PERMISSION_DENIED": AccessDenied,
    "account_deactivated": AccessDenied,
    "model_not_found": UnknownModel,
    "context_length_exceeded": RequestRejected,
    "content_filter": RequestRejected,
    "content_policy_violation": RequestRejected,
    "unknown_parameter": WrongForm,
    "unsupported_parameter": WrongForm,
    "unsupported_value": WrongForm,
}
_BY_TYPE: Mapping[str, type[BackendError]] = {
    "insufficient_quota": CreditExhausted,
    "authentication_error": AccessDenied,
    "permission_error": AccessDenied,
    "billing_error": CreditExhausted,
    "request_too_large": RequestRejected,
    "rate_limit_error": RateLimited,
    "requests": RateLimited,
    "tokens": RateLimited,
    "overloaded_error": Overloaded,
    "overloaded": Overloaded,
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
    ServerFault: "{endpoint} failed on a request to {model} (status {status}, {address})",
    CreditExhausted: "The credit or spend limit of the account at {endpoint} is used up: top it up or raise the limit",
    AccessDenied: "{endpoint} refuses access to {model} (status {status}, {address}): check the API key and what it "
    "may use",
    UnknownModel: "{endpoint} does not know the model {model} (status {status}, {address}): check its name and the "
    "base URL",
    RequestRejected: "{endpoint} rejected a request to {model} (status {status}, {address})",
    **dict.fromkeys(
        (FatalError, WrongForm),
        "{endpoint} does not take requests to {model} in this form (status {status}, {address}): check the "
        f"base URL and {_PARAMETERS}",
    ),
}


class _Telling(NamedTuple):
    """Words that tell the cause more plainly than the status does.

    Attributes:
        statuses: where they may stand; () for any.
        advice: what to do about it, where the kind's own sentence says it less well.
    """

    words: re.Pattern[str]
    kind: type[BackendError]
    statuses: tuple[int, ...]
    advice: str = ""


def _telling(words: str, kind: type[BackendError], statuses: tuple[int, ...] = (), advice: str = "") -> _Telling:
    return _Telling(late_pattern(words, re.IGNORECASE | re.DOTALL), kind, statuses, advice)


_FAULTS_IN_FORM = (400, 404, 422, 500)
_FIELD = "(?:request |keyword )?(?:argument|parameter|field|name|property)"
_TELLING = (
    _telling(
        r"\bsystem\b.{0,30}\b(?:role|message|prompt|instruction)s?\b.{0,40}\b(?:not|n't|un)\s*(?:be |is |are )?"
        r"(?:supported|enabled)|\bnot support\b.{0,30}\bsystem\b|roles must alternate"
        r"|only user and assistant roles",
        WrongForm,
        _FAULTS_IN_FORM,
        f"the model has no system role: {_MERGE}",
    ),
    _telling(
        r"max_completion_tokens.{0,20} instead|unsupported.{0,30}\bmax_tokens",
        WrongForm,
        _FAULTS_IN_FORM,
        'set token_limit_parameter = "max_completion_tokens" for the model',
    ),
    _telling(
        r"(?:unsupported|unknown|unrecognized|unexpected|not permitted|not allowed).{0,40}\bmax_completion_tokens"
        r"|max_completion_tokens.{0,40}\b(?:not permitted|not allowed|not supported|unknown)",
        WrongForm,
        _FAULTS_IN_FORM,
        'set token_limit_parameter = "max_tokens" for the model',
    ),
    _telling(
        r"(?:unsupported|does not support|not supported|deprecated|(?:unrecogni[sz]ed|unknown|unexpected) "
        rf"{_FIELD}).{{0,60}}\btemperature\b"
        r"|\btemperature\b.{0,60}(?:unsupported|does not support|not (?:supported|permitted|allowed)|deprecated)",
        WrongForm,
        _FAULTS_IN_FORM,
        _NO_TEMPERATURE,
    ),
    _telling(
        r"\bextra (?:field|input)s?\b.{0,10}\bnot permitted|\b(?:unrecogni[sz]ed|unknown|unexpected|unsupported) "
        rf"{_FIELD}|\bproperty\b.{{0,60}}\bunsupported",
        WrongForm,
        (400, 422),
    ),
    _telling(
        r"fewer max_tokens|can only afford",
        CreditExhausted,
        (400, 402, 403),
        f"top it up, raise its limit, or {_FEWER_TOKENS}",
    ),
    _telling(
        r"\bcredits? balance|insufficient (?:credit|balance|funds)|(?:used|run) (?:up|out of).{0,30}\bcredits"
        r"|spending limit|API usage limits|billing (?:is |has )?not",
        CreditExhausted,
        (400, 403, 429),
    ),
    _telling(r"\b(?:input|prompt|content|request)\b.{0,20}\bflagged|\bmoderation\b", RequestRejected, (400, 403)),
    _telling(r"\bcontext (?:length|size|window)|\bcontext\b.{0,20}\bexceed", RequestRejected, (422, 500)),
    _telling(r"\b(?:image|audio|video)s?\b.{0,20}\bnot supported|\brequires --jinja\b", RequestRejected, (500,)),
    _telling(
        r"\bapi[ _-]?key\b.{0,40}\b(?:not valid|invalid|incorrect|expired|missing|not found|required|disabled)"
        r"|\b(?:invalid|incorrect|expired|missing|no|bad|wrong)\b.{0,20}\b(?:api[ _-]?key|access token|credentials)\b",
        AccessDenied,
        (400, 404, 422, 500),
    ),
    _telling(r"\bmodel\b.{0,80}\b(?:does not exist|not found|not supported|unknown)", UnknownModel, (400, 422)),
)
_ADVISED: Mapping[type[BackendError], str] = {
    WrongForm: "{endpoint} does not take requests to {model} in this form (status {status}, {address}): {advice}",
    CreditExhausted: "The credit or spend limit of the account at {endpoint} does not allow a request to {model}: "
    "{advice}",
}
_WORDS_READ = 4_000
_WORDS_SHOWN = 200
_TELLTALE = 12


class Call(NamedTuple):
    """One call as error messages need it: whom it went to, for which model, and what they must never repeat."""

    endpoint: str
    model: str
    url: str = ""
    secrets: tuple[str, ...] = ()
    prompts: tuple[Message, ...] = ()

    @property
    def address(self) -> str:
        """The URL without its query, or at least the endpoint's label."""
        return self.url.partition("?")[0] or self.endpoint


def error_from_response(status: int, headers: Mapping[str, str], body: bytes, *, call: Call) -> BackendError:
    """The error that a response without a completion means. `headers` is looked up by lower-case names."""
    if 300 <= status < 400:
        return _redirected(status, headers, call=call)
    return error_from(status, headers, parse_error_body(body), call=call)


def error_from(status: int, headers: Mapping[str, str], error: ErrorBody, *, call: Call) -> BackendError:
    """The same for an error that was read already, from a body or from within an answer."""
    kind, advice = _kind(status, error, call.prompts)
    sentence = _ADVISED[kind] if advice else _SENTENCES[kind]
    message = sentence.format(
        endpoint=call.endpoint, model=call.model, status=status, address=call.address, advice=advice
    )
    words = safe_words(error.message, call=call)
    message = f"{message}. The server says: {words}" if words else f"{message}."
    if issubclass(kind, TransientError):
        wait = parse_retry_after(headers)
        wait = error.retry_after if wait is None else wait
        return kind(message, retry_after=wait, hints=parse_limit_hints(headers))
    return kind(message)


def _redirected(status: int, headers: Mapping[str, str], *, call: Call) -> FatalError:
    """A request is never sent on elsewhere: the key was not meant for there."""
    target = safe_words(headers.get("location", "").partition("?")[0], call=call)
    return FatalError(
        f"{call.address} sends requests to {call.model} elsewhere (status {status}"
        f"{f', to {target}' if target else ''}), where metaspo does not follow: give the right base URL."
    )


def _kind(status: int, error: ErrorBody, prompts: Sequence[Message]) -> tuple[type[BackendError], str]:
    """The kind of an error, and advice that fits it better than what is said of its kind."""
    telling = _telling_words(status, error.message, prompts)
    if telling is not None and telling.advice:
        return telling.kind, telling.advice
    if error.code in _BY_CODE:
        kind = _BY_CODE[error.code]
    elif error.type in _BY_TYPE:
        kind = _BY_TYPE[error.type]
    elif telling is not None:
        kind = telling.kind
    elif status in _BY_STATUS:
        kind = _BY_STATUS[status]
    elif status >= 500:
        kind = ServerFault
    elif status >= 400:
        kind = RequestRejected
    else:
        kind = FatalError  # not even a redirect: the base URL is not what it should be
    return Overloaded if kind is SlowDown and status == 503 else kind, ""


def _telling_words(status: int, message: str, prompts: Sequence[Message]) -> _Telling | None:
    """What the server's words tell, but for those of a prompt that it repeats."""
    message = " ".join(message[:2000].split())
    for telling in _TELLING:
        if not telling.statuses or status in telling.statuses:
            for match in telling.words.finditer(message):
                if not any(match[0] in " ".join(prompt.content.split()) for prompt in prompts):
                    return telling
    return None


def safe_words(words: str, *, call: Call) -> str:
    """The server's own words in one line, shortened and fit to be shown, or "" if they repeat a piece of a prompt.

    Keys are blotted out.
    """
    words = words[:_WORDS_READ]
    for form in (form for secret in call.secrets for form in forms_of(secret)):
        words = words.replace(form, BLOT)
    words = printable(" ".join(KEY_LIKE.sub(BLOT, words).split()))
    shown = words if len(words) <= _WORDS_SHOWN else words[: _WORDS_SHOWN - 1] + "…"
    return "" if any(_repeats(shown, prompt.content) for prompt in call.prompts) else shown


def _repeats(words: str, prompt: str) -> bool:
    prompt = " ".join(prompt.split())
    if len(prompt) < _TELLTALE:
        return len(prompt) > 2 and prompt in words
    return any(words[i : i + _TELLTALE] in prompt for i in range(len(words) - _TELLTALE + 1))
