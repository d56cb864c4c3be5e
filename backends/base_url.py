"""Addresses of OpenAI-compatible servers, as people write them."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class BaseUrl:
    """A server's address in its two uses: `api` ends in the version ("…/v1"), `root` is what stands before it."""

    api: str
    root: str
    label: str


def parse_base_url(text: str) -> BaseUrl:
    """Read a base URL with or without "/v1" and slashes at its end; the label is host and port.

    A path that holds a version of its own ("/v1beta/openai") is left alone. Raises `ValueError`.
    """
    parts = urlsplit(text.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("a base URL looks like http://127.0.0.1:8000/v1")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a base URL must not hold a user name or password; give the key apart from it")
    if parts.query or parts.fragment:
        raise ValueError("a base URL must end with its path")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    label = host if parts.port is None else f"{host}:{parts.port}"
    path = parts.path.rstrip("/").removesuffix("/chat/completions")
    if not any(re.fullmatch(r"v\d+\w*", piece) for piece in path.split("/")):
        path += "/v1"
    api = f"{parts.scheme}://{label}{path}"
    return BaseUrl(api, re.sub(r"/v\d+$", "", api), label)
