"""Addresses of OpenAI-compatible servers, as people write them."""

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, urlsplit

from metaspo.backends.late_patterns import late_pattern

_CHAT = "/chat/completions"
_UNVERSIONED_HOSTS = {"api.perplexity.ai", "models.inference.ai.azure.com"}
_SECRET = late_pattern(r"key|token|secret|password|passwd|signature|^sig$|^auth|^code$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class BaseUrl:
    """A server's address in its uses.

    Attributes:
        api: what stands before "/models" and, but for those who give that address whole, "/chat/completions".
        root: what stands before the version.
        label: host and port.
        query: what goes behind every path of the API, with its question mark; "" for nothing.
        chat: where a chat call goes.
        other_chat: where it goes if there is nothing at `chat`; "" if the address leaves no doubt.
    """

    api: str
    root: str
    label: str
    query: str
    chat: str
    other_chat: str

    @property
    def models(self) -> str:
        """Where the list of models is, if there is one."""
        return f"{self.api}/models{self.query}"


def path_beside(chat: str, path: str) -> str:
    """Where another path of the API is, beside the address of chat calls."""
    before, _, query = chat.rpartition(_CHAT)
    return f"{before}/{path}{query}"


def parse_base_url(text: str) -> BaseUrl:
    """Read a base URL with or without "/v1", "/chat/completions", slashes at its end, and a query (Azure's).

    A path that holds a version of its own ("/v1beta/openai") is left alone, and so is one with "/chat/completions" or
    with its version in the query. Any other path may or may not want "/v1" behind it, which only a call can tell.
    Raises `ValueError`, which repeats nothing that may be a key.
    """
    parts = urlsplit(text.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("a base URL looks like http://127.0.0.1:8000/v1")
    if _has_user(parts):
        raise ValueError("a base URL must not hold a user name or password; give the key apart from it")
    if parts.fragment:
        raise ValueError("a base URL must end with its path or query, without a '#'")
    names = _names_in(parts)
    if any(map(_SECRET.search, names)):
        raise ValueError("a base URL must not hold a key in its query; give it apart from it, or as a header")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    label = host if parts.port is None else f"{host}:{parts.port}"
    query = f"?{parts.query}" if parts.query else ""
    path = parts.path.rstrip("/")
    given = f"{parts.scheme}://{label}{path.removesuffix(_CHAT)}"
    whole = path.endswith(_CHAT) or "api-version" in names or parts.hostname in _UNVERSIONED_HOSTS
    versioned = any(re.fullmatch(r"v\d+\w*", piece) for piece in path.split("/"))
    api = given if whole or versioned else f"{given}/v1"
    root = re.sub(r"/v\d+$", "", api)
    fallback = f"{given}{_CHAT}{query}" if api != given and path else ""
    return BaseUrl(api, root, label, query, f"{api}{_CHAT}{query}", fallback)


def holds_key(url: str) -> bool:
    """Whether a URL, which need not be a base URL, has a key where `parse_base_url` accepts none.

    A database's user without a password is none.
    """
    try:
        parts = urlsplit(url.strip())
    except ValueError:
        return False
    return (parts.scheme in ("http", "https") and _has_user(parts)) or any(map(_SECRET.search, _names_in(parts)))


def _has_user(parts: SplitResult) -> bool:
    return parts.username is not None or parts.password is not None


def _names_in(parts: SplitResult) -> list[str]:
    return [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
