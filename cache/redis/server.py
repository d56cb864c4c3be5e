"""A Redis or Valkey server: whether answers are safe there, and what its errors mean to a user."""

import asyncio
import logging
import ssl
from ast import literal_eval
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from math import inf
from typing import Any, TypeVar

from redis import asyncio as redis
from redis import exceptions
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff

from metaspo.cache.base import StoreError
from metaspo.cache.redis.address import Address

T = TypeVar("T")

PATIENCE = 20.0
"""Seconds that one exchange with a server may take, connecting anew included."""

RETRIES = 6
SAFE_POLICY = "noeviction"
_OLDEST = (7, 0)
RIGHTS = ("INFO", "MGET", "SET", "GET", "EVAL", "PEXPIRE", "UNLINK")
"""What a user of the server has to be allowed."""
_LOG = logging.getLogger("metaspo.cache")

_ADVICE: tuple[tuple[type[BaseException], str], ...] = (  # the first that fits; subclasses stand before their bases
    (exceptions.OutOfMemoryError, "has no room left: raise its maxmemory, or prune it"),
    (exceptions.ReadOnlyError, "is a read-only replica: name its primary; after a failover try again in a moment"),
    (exceptions.BusyLoadingError, "is still loading its data: try again in a moment"),
    (exceptions.NoPermissionError, f"does not let this user do that: allow it {', '.join(RIGHTS)}"),
    (exceptions.AuthenticationError, "wants another password: set REDIS_PASSWORD in the environment or in .env"),
    (exceptions.TimeoutError, "did not answer in time: see whether it is paused, overloaded or out of reach"),
    (TimeoutError, "did not answer in time: see whether it is paused, overloaded or out of reach"),
    (exceptions.ConnectionError, "cannot be reached: see that it is running and that the address is right"),
    (
        ssl.SSLCertVerificationError,
        "has a certificate that is not trusted here: name its authority, ?ssl_ca_certs=FILE",
    ),
    (OSError, "cannot be reached: see that it is running and that the address is right"),
)
_IN_WORDS: tuple[tuple[str, type[BaseException]], ...] = (  # what is told by a text alone
    ("can't run this command", exceptions.NoPermissionError),  # of a script's command
    ("CERTIFICATE_VERIFY_FAILED", ssl.SSLCertVerificationError),
    ("the handler is closed", exceptions.ConnectionError),  # by uvloop, in a RuntimeError
)


@contextmanager
def explained(address: Address) -> Iterator[None]:
    """Turn what a client raises into a `StoreError`."""
    try:
        yield
    except (exceptions.RedisError, OSError, TimeoutError, RuntimeError) as error:
        first = error.__cause__ if isinstance(error.__cause__, exceptions.RedisError) else error  # not retried
        kind = _kind(first)
        if issubclass(kind, RuntimeError):
            raise
        advice = next((text for some, text in _ADVICE if issubclass(kind, some)), "could not be used: see the reason")
        reason = " ".join(_in_words(error).split()) or type(error).__name__
        secret = address.options["password"]
        raise StoreError(
            f"{_capital(address.where)} {advice} ({reason.replace(secret, '…') if secret else reason})."
        ) from None


def check_safe(info: Mapping[str, Any], *, where: str) -> None:
    """Raise `StoreError` if a server that says so of itself would lose answers; warn if a restart of it would."""
    version = str(info.get("redis_version", "0"))
    if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < _OLDEST:
        raise StoreError(f"{_capital(where)} is on Redis {version}: answers are safe on 7.0 or newer, or on Valkey.")
    if (problem := eviction(info)) is not None:
        raise StoreError(f"{_capital(where)} {problem}.")
    if not info.get("aof_enabled"):
        _LOG.warning("%s keeps no log of its writes (appendonly no): its restart may lose answers.", _capital(where))


def eviction(info: Mapping[str, Any]) -> str | None:
    """Why a server throws answers away when its memory is full, and what to do; None if it does not."""
    policy = info.get("maxmemory_policy")
    if policy == SAFE_POLICY:
        return None
    return f"throws answers away when it is full (maxmemory-policy {policy}): set maxmemory-policy {SAFE_POLICY}"


class Server:
    """A connection to a server, for one event loop."""

    def __init__(self, address: Address, *, patience: float) -> None:
        """`patience` in seconds. Nothing is sent yet."""
        self.address = address
        self._patience = patience
        # Trying again takes half of the patience at most: the error then tells why it failed, not that time ran out. It
        # is done on a new connection, which after a failover may lead to another server.
        retry = _Patient(
            ExponentialBackoff(cap=patience / 10, base=patience / 100), RETRIES, is_known=lambda: self._is_in_trouble()
        )
        self._client = redis.Redis(
            **address.options,
            socket_timeout=patience,
            retry=retry,
            retry_on_error=[exceptions.ResponseError, RuntimeError],
        )
        self._failed = -inf  # when an exchange last did, on the loop's clock
        self._checked = False
        self._checking = asyncio.Lock()

    async def run(self, exchange: Callable[["redis.Redis"], Awaitable[T]]) -> T:
        """The result of an exchange with the server, once that was found safe. Raises `StoreError`."""
        if not self._checked:
            async with self._checking:
                if not self._checked:
                    check_safe(await self._run(lambda client: client.info()), where=self.address.where)
                    self._checked = True
        return await self._run(exchange)

    async def aclose(self) -> None:
        """Let go of the connections."""
        await self._client.aclose()

    async def _run(self, exchange: Callable[["redis.Redis"], Awaitable[T]]) -> T:
        try:
            with explained(self.address):
                async with asyncio.timeout(self._patience):
                    return await exchange(self._client)
        except StoreError:
            self._failed = asyncio.get_running_loop().time()
            raise

    def _is_in_trouble(self) -> bool:
        return asyncio.get_running_loop().time() < self._failed + self._patience


class _Patient(Retry):
    """Tries again, also on what passes; once, on a new connection, where trouble is known: others have waited for that.

    Each connection has a copy, and `is_known` is a function, of which there is one.
    """

    def __init__(self, backoff: ExponentialBackoff, retries: int, *, is_known: Callable[[], bool]) -> None:
        super().__init__(backoff, retries)
        self._is_known = is_known

    async def call_with_retry(
        self,
        do: Callable[[], Awaitable[T]],
        fail: Callable[[Exception], Any] | Callable[[Exception, int], Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> T:
        may_pass, tries = is_retryable or _may_pass, 1 if self._is_known() else RETRIES

        def is_worth_it(error: Exception) -> bool:
            nonlocal tries
            tries -= 1
            return tries >= 0 and may_pass(error)

        return await super().call_with_retry(do, fail, is_worth_it, with_failure_count)


def _may_pass(error: Exception) -> bool:
    """Whether trouble may be over in a moment by itself, as a restart and a failover are."""
    kind = _kind(error)
    if issubclass(kind, exceptions.ResponseError):
        passing = (exceptions.ReadOnlyError, exceptions.OutOfMemoryError, exceptions.MasterDownError)
        return issubclass(kind, passing) or any(code in str(error) for code in ("NOREPLICAS", "MISCONF"))
    return not issubclass(kind, (exceptions.AuthenticationError, ssl.SSLCertVerificationError, RuntimeError))


def _in_words(error: BaseException) -> str:
    """What the server said, without the command that redis-py puts before it: that may be a whole record."""
    before, _, said = str(error).rpartition(" of pipeline caused error: ")
    try:
        arguments = literal_eval(said) if before else said
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):  # some versions write them as they are
        return said
    return " ".join(map(str, arguments)) if isinstance(arguments, tuple) else said


def _kind(error: BaseException) -> type[BaseException]:
    return next((kind for words, kind in _IN_WORDS if words in str(error)), type(error))


def _capital(where: str) -> str:
    return where[0].upper() + where[1:]
