"""Who asks a question that is not answered yet: one process among all that share a store."""

from collections.abc import Collection, Coroutine
from typing import Any, Protocol, TypeVar, runtime_checkable

T = TypeVar("T")


class Claims(Protocol):
    """Claims on keys. Of all processes one at most has a key's claim; it ends with its process, however that ends."""

    @property
    def lease(self) -> float | None:
        """Seconds after which a claim ends that is not renewed; None if it lasts as long as the process."""
        ...

    @property
    def contested(self) -> bool:
        """Whether somebody else may have stored answers since this process looked for them last.

        If so, look again for what was just claimed: its answer may have come between.
        """
        ...

    async def claim_many(self, keys: Collection[str]) -> set[str]:
        """Claim keys; returns those that are ours now, or were. Raises `StoreError`."""
        ...

    async def renew(self, keys: Collection[str]) -> None:
        """Let our claims last for another lease. Raises `StoreError`."""
        ...

    def release(self, keys: Collection[str]) -> None:
        """Give claims back, soon."""
        ...


@runtime_checkable
class LocalClaims(Claims, Protocol):
    """Claims that nobody waits for; no method raises `StoreError`: what cannot be claimed is everybody's."""

    def claim(self, key: str) -> bool:
        """Claim a key; whether it is ours now, or was."""
        ...


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that does not suspend."""
    try:
        coroutine.send(None)
    except StopIteration as returned:
        result: T = returned.value
        return result
    raise RuntimeError("get_many of a store that says `local = True` suspended: it must not, or not say so")
