"""Dollars as they are added up and shown, and numbers as tables show them."""

from collections.abc import Iterable
from typing import Final

UNKNOWN: Final = "unknown"


def show_dollars(dollars: float, *, unpriced: int = 0) -> str:
    """An amount, as far as it is known; `unpriced` is the number of calls that are not in it, for want of a price."""
    if not unpriced:
        return f"${dollars:.4f}"
    return f"${dollars:.4f} + {UNKNOWN}" if dollars else UNKNOWN


def total(dollars: Iterable[float | None]) -> float | None:
    """The sum; None if one of them is not known."""
    each = list(dollars)
    amounts = [amount for amount in each if amount is not None]
    return sum(amounts) if len(amounts) == len(each) else None


def whole(number: float | None) -> str:
    """A number without decimals; "–" for none."""
    return "–" if number is None else f"{number:,.0f}"
