"""The address of a Redis or Valkey server, read from its URL."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from metaspo.backends.secrets import hold_secret
from metaspo.cache.base import StoreError

_TLS_OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is.

    Attributes:
        where: what messages call the cache there; holds no user and no password, as `repr` holds none.
        options: what a client is made with.
    """

    where: str
    options: Mapping[str, Any] = field(repr=False)


def read_address(url: str, *, password: str = "") -> Address:
    """The address in `redis://HOST:PORT/DB`, `rediss://…` (TLS) or `unix:///PATH?db=DB`.

    `password` is for a URL that holds none. Raises `StoreError`, which does not repeat a password.
    """
    try:
        parts = urlsplit(url)
        query = {name: values[0] for name, values in parse_qs(parts.query, strict_parsing=bool(parts.query)).items()}
        database = int(query.pop("db", parts.path.strip("/") if parts.scheme != "unix" else "") or 0)
        options: dict[str, Any] = {"db": database, "protocol": 2}
        if parts.scheme == "unix":
            options["unix_socket_path"] = shown = unquote(parts.path)
        else:
            options |= {"host": parts.hostname or "localhost", "port": parts.port or 6379}
            shown = f"{options['host']}:{options['port']}/{database}"
        if parts.scheme == "rediss":
            options |= {"ssl": True} | {name: query.pop(name) for name in _TLS_OPTIONS if name in query}
        if query or parts.scheme not in ("redis", "rediss", "unix"):
            raise ValueError
    except ValueError:
        raise StoreError(
            "This is no URL of a Redis server: write redis://HOST:PORT/DB, rediss://HOST:PORT/DB or unix:///PATH?db=DB."
        ) from None
    options["username"] = unquote(parts.username) if parts.username else None
    options["password"] = unquote(parts.password) if parts.password else password or None
    hold_secret(options["password"] or "")
    return Address(f"the cache at {parts.scheme}://{shown}", options)
