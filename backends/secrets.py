"""What nothing that is logged may repeat: the keys that this process holds, and what looks like one."""

import json
import re
from base64 import standard_b64encode, urlsafe_b64encode
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Final
from urllib.parse import quote, quote_plus, unquote

from metaspo.backends.late_patterns import late_pattern

BLOT: Final = "(key)"
SHORTEST: Final = 8  # characters of a key that is looked for in any text: "none", "EMPTY" and "1000" are words, too
_HELD: set[str] = set()  # of the process, as its log is
KEY_LIKE: Final = late_pattern(
    r"\b(?:sk|pk|hf|key|gsk|xai|ghp|nvapi)[-_][\w*.-]{4,}|\bAIza[\w-]{8,}|\bBearer(?:\s|%20|\+)+[^\s\"']+",
    re.IGNORECASE,
)
_NAME: Final = r"api[-_]?key|(?:private|access|account)[-_]?key|token|secret|passw(?:or)?d|pwd|cookie|signature"
_SECRET_VARIABLE: Final = late_pattern(r"(?:^|_)(?:API_?KEY|ACCESS_KEY|PRIVATE_KEY|TOKEN|SECRET|PASSWORD|PASSWD)$")
_OTLP_HEADERS: Final = late_pattern(r"OTEL_EXPORTER_OTLP_(?:\w+_)?HEADERS")
_IS: Final = r"\\*[\"']?\s*[:=]\s*(?P<quote>\\*[\"'])?"  # after a name; what stands in quotes goes on to their end
_QUOTED: Final = r"(?:(?!(?P=quote))[^\r\n])+"
_BLOTTED: Final = rf"{re.escape(BLOT)}(?:[\s\"',;&)]|\Z)"
_AUTHORIZATION: Final = late_pattern(  # whatever its scheme, and with the parameters that some have
    rf"(authorization{_IS})(?(quote){_QUOTED}|(?:=\s*\"[^\"\r\n]*\"|[^\"'}}\r\n])+)", re.IGNORECASE
)
_NAMED: Final = late_pattern(rf"((?:{_NAME}){_IS})(?(quote){_QUOTED}|(?!{_BLOTTED})[^\s\"',;&)]{{4,}})", re.IGNORECASE)
_IN_QUERY: Final = late_pattern(r"(?<=[?&])((?:key|sig|code|auth)=)[^\s\"'&#)]+", re.IGNORECASE)
_OPTION: Final = late_pattern(rf"((?<!\S)-[\w-]*(?:key|{_NAME})\s+)(?!-)\S{{4,}}", re.IGNORECASE)
_CREDENTIALS: Final = late_pattern(  # to the last "@", for a password may hold one, or a slash that nobody has quoted
    r"(?<=://)(?:[^/?#\s]*|[^/?#\s@:]*:(?!\d+[/?#])\S*|:\S*)(?=@)|(?<=redis://)\S*(?=@)|(?<=rediss://)\S*(?=@)",
    re.IGNORECASE,
)
_ESCAPE: Final = late_pattern("%[0-9A-F]{2}")


def hold_secret(*secrets: str) -> None:
    """From here on no log of this process repeats them."""
    _HELD.update(form for secret in secrets if len(secret) >= SHORTEST for form in forms_of(secret))


def hold_secrets_of(environment: Mapping[str, str]) -> None:
    """Hold what variables have that are named like a key, and the headers of OpenTelemetry's exporters."""
    for name, value in environment.items():
        if _SECRET_VARIABLE.search(name):
            hold_secret(value)
        elif _OTLP_HEADERS.fullmatch(name):
            values = [header.partition("=")[2].strip() for header in value.split(",")]
            hold_secret(*values, *map(unquote, values))


@cache
def forms_of(secret: str) -> tuple[str, ...]:
    """A secret as itself, and as it is written within a literal, a JSON text and a URL, in letters of one size and in
    base64; the longest first."""
    forms = {*_forms(secret)}
    if len(secret) >= SHORTEST:
        forms |= {sized for form in forms for sized in (form.lower(), form.upper())} | {*_in_base64(secret)}
    return tuple(sorted(forms, key=len, reverse=True))


def _forms(secret: str) -> Iterator[str]:
    yield secret
    yield from (repr(secret)[1:-1], ascii(secret)[1:-1])
    yield from (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1])
    for safe in ("", "/"):  # some leave a slash, some write small letters
        for form in (quote(secret, safe=safe, errors="replace"), quote_plus(secret, safe=safe, errors="replace")):
            yield from (form, _ESCAPE.sub(lambda escape: escape[0].lower(), form))


def _in_base64(secret: str) -> Iterator[str]:
    """The letters that are the secret's alone, wherever it stands in what was encoded."""
    content = secret.encode("utf-8", "replace")
    for before in range(3):
        bits = 8 * (before + len(content))
        letters = slice(-(-8 * before // 6), bits // 6)
        for encode in (standard_b64encode, urlsafe_b64encode):
            yield encode(bytes(before) + content)[letters].decode()


def without_held(text: str) -> str:
    """The text with every key that is held blotted out, and what looks like one wherever it stands."""
    return _without_likes(_without_held(text))


def without_secrets(text: str) -> str:
    """As `without_held`, and without what stands where a key does: in a header, a URL's query, behind its name."""
    text = _without_held(text)
    for pattern in (_AUTHORIZATION, _NAMED, _IN_QUERY, _OPTION):
        text = pattern.sub(rf"\1{BLOT}", text)
    return _without_likes(text)


def _without_held(text: str) -> str:
    for secret in sorted(_HELD, key=len, reverse=True):  # one may be a part of another
        text = text.replace(secret, BLOT)
    return text


def _without_likes(text: str) -> str:
    return _CREDENTIALS.sub(BLOT, KEY_LIKE.sub(BLOT, text))
