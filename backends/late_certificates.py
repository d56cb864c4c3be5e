"""aiohttp, which reads the machine's certificates as it is imported, twice: here when somebody first needs them."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["aiohttp"]


class _LateContext(ssl.SSLContext):
    """A context that trusts nobody yet: its certificates are read before it is used or asked for them."""

    def wrap_bio(self, *given: Any, **named: Any) -> ssl.SSLObject:  # noqa: ANN401 - as ssl has it
        """As `ssl.SSLContext` does."""
        return self._read().wrap_bio(*given, **named)

    def wrap_socket(self, *given: Any, **named: Any) -> ssl.SSLSocket:  # noqa: ANN401
        """As `ssl.SSLContext` does."""
        return self._read().wrap_socket(*given, **named)

    def cert_store_stats(self) -> dict[str, int]:
        """As `ssl.SSLContext` does."""
        return self._read().cert_store_stats()

    def get_ca_certs(self, binary_form: bool = False) -> Any:  # noqa: ANN401
        """As `ssl.SSLContext` does."""
        return self._read().get_ca_certs(binary_form)

    def _read(self) -> ssl.SSLContext:
        self.__class__ = ssl.SSLContext  # type: ignore[assignment]  # from now on it is one as every other
        self.load_default_certs()
        return self


@contextmanager
def _certificates_put_off() -> Iterator[None]:
    contexts: list[ssl.SSLContext] = []
    reading = "load_default_certs", "set_default_verify_paths"
    before = {name: vars(ssl.SSLContext).get(name) for name in reading}
    for name in reading:
        setattr(ssl.SSLContext, name, lambda context, *_: contexts.append(context))
    try:
        yield
    finally:
        for name, method in before.items():
            if method is None:
                delattr(ssl.SSLContext, name)
            else:
                setattr(ssl.SSLContext, name, method)
        for context in contexts:
            context.__class__ = _LateContext


with _certificates_put_off():
    import aiohttp
