"""One address of a server, and all that belongs to reaching it: key, headers, certificates, proxy."""

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from urllib.parse import urlsplit

from metaspo.backends.late_patterns import late_pattern
from metaspo.backends.secrets import hold_secret

_VARIABLE = late_pattern(r"\$(?:\{(\w+)\}|(\w+))")
_TELLING = 8  # characters of a value that may be a secret whatever the header's name
_SECRET_HEADER = late_pattern(r"auth|key|token|secret|cookie|password|signature", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpEndpoint:
    """Where requests go, and what goes with them. Shown without its secrets.

    Attributes:
        url: the base URL, as `parse_base_url` reads it.
        api_key: sent as a bearer token, unless the headers say otherwise; "" for none.
        headers: sent with every request; their values are taken for secrets.
        ca_file: a file of certificates (PEM) to trust besides the system's; "" for none.
        proxy: URL of a proxy; "" for none, None for what the process's environment says.
        time_limit: seconds for one request, where whoever sends it gives it more.
        model: its own name for the model that requests name; "" where that is the same.

    Raises `ValueError` for a key or a header that is not sendable.
    """

    url: str
    api_key: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    ca_file: str = ""
    proxy: str | None = field(default=None, repr=False)
    time_limit: float = inf
    model: str = ""

    def __post_init__(self) -> None:
        hold_secret(*self.secrets)
        named = {f"the header {name!r}": name + value for name, value in self.headers.items()}
        for name, text in {"the API key": self.api_key, **named}.items():
            if not is_sendable(text):
                raise ValueError(f"{name} has a character that no header can have, as a line break: take it out")

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no message may repeat, the longest first, as one may be a part of another."""
        values = {value for name, value in self.headers.items() if is_secret_header(name) or len(value) >= _TELLING}
        return tuple(sorted((value for value in {self.api_key, *values} if value), key=len, reverse=True))

    @property
    def has_key(self) -> bool:
        """Whether there is something that a server may ask for before it answers."""
        return bool(self.api_key) or any(map(is_secret_header, self.headers))

    def all_headers(self) -> dict[str, str]:
        """The headers given, and the key."""
        if not self.api_key or any(name.lower() == "authorization" for name in self.headers):
            return dict(self.headers)
        return {"Authorization": f"Bearer {self.api_key}", **self.headers}

    def proxy_url(self) -> str | None:
        """The proxy to use. Raises `ValueError` for one that cannot be."""
        return (proxy_for(self.url, os.environ) if self.proxy is None else self.proxy) or None


def is_sendable(text: str) -> bool:
    """Whether a header can hold it: no line break, which would be read as more headers, no bytes that are no text, and
    nothing else that cannot be seen."""
    return text.replace("\t", " ").isprintable()


def is_secret_header(name: str) -> bool:
    """Whether a header of this name holds a secret."""
    return _SECRET_HEADER.search(name) is not None


def variables_in(value: str) -> tuple[str, ...]:
    """The environment variables that a header's value names ("$NAME" or "${NAME}")."""
    return tuple(braced or bare for braced, bare in _VARIABLE.findall(value))


def fill_in(value: str, environment: Mapping[str, str]) -> str:
    """A header's value with its variables replaced. Raises `KeyError` for one that is not set."""
    return _VARIABLE.sub(lambda match: environment[match[1] or match[2]].strip(), value)


def proxy_for(url: str, environment: Mapping[str, str]) -> str:
    """The proxy that HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY name for a URL; "" for none.

    This machine's own addresses are never looked for elsewhere. Raises `ValueError` for a proxy that does not speak
    HTTP.
    """
    parts = urlsplit(url)
    proxies = {name.lower(): value for name, value in sorted(environment.items()) if name.lower().endswith("_proxy")}
    proxy = proxies.get(f"{parts.scheme}_proxy") or proxies.get("all_proxy") or ""
    host = parts.hostname or ""
    if not proxy or _is_loopback(host) or _is_bypassed(host, parts.port, proxies.get("no_proxy", "")):
        return ""
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    if urlsplit(proxy).scheme not in ("http", "https"):
        raise ValueError("a proxy must be one for HTTP; set HTTPS_PROXY, or NO_PROXY for hosts reached without")
    return proxy


def _is_bypassed(host: str, port: int | None, no_proxy: str) -> bool:
    """Whether NO_PROXY names a host: itself, a domain above it, a network around it, each with a port or without."""
    for entry in no_proxy.lower().replace(",", " ").split():
        name, _, its_port = entry.rpartition(":") if re.search(r"[^:\]]:\d+$|\]:\d+$", entry) else (entry, "", "")
        if its_port and its_port != str(port):
            continue
        domain = name.lstrip("*.").strip("[]")
        if name == "*" or host == domain or host.endswith(f".{domain}") or _is_within(host, domain):
            return True
    return False


def _is_within(host: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
