"""What nothing that is logged may repeat: the keys that this process holds, and what looks like one."""

import re
from typing import Final

BLOT: Final = "(key)"
SHORTEST: Final = 4  # characters of a key that is looked for in any text: "x" is a server's that wants none
_HELD: set[str] = set()  # of the process, as its log is
KEY_LIKE: Final = re.compile(
    r"\b(?:sk|pk|hf|key|gsk|xai|ghp|nvapi)[-_][\w*.-]{4,}|\bAIza[\w-]{8,}|\bBearer\s+\S+", re.IGNORECASE
)
_HEADER: Final = re.compile(
    r"((?:[\w-]*(?:authorization|api[-_]?key|token|secret|password|cookie|signature))[\"']?\s*[:=]\s*[\"']?"
    r"(?:(?:bearer|basic)\s+)?)(?!(?:bearer|basic)\b)[^\s\"',;&)]{4,}",
    re.IGNORECASE,
)
_CREDENTIALS: Final = re.compile(r"(?<=://)[^/\s@]+(?=@)")


def hold_secret(*secrets: str) -> None:
    """From here on no log of this process repeats them."""
    _HELD.update(secret for secret in secrets if len(secret) >= SHORTEST)


def without_secrets(text: str) -> str:
    """The text with every key that is held, and every header or URL that carries one, blotted out."""
    for secret in sorted(_HELD, key=len, reverse=True):  # one may be a part of another
        text = text.replace(secret, BLOT)
    return _CREDENTIALS.sub(BLOT, _HEADER.sub(rf"\1{BLOT}", KEY_LIKE.sub(BLOT, text)))
