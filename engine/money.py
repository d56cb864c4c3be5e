"""Dollars as they are shown."""


def show_dollars(dollars: float, *, unpriced: int = 0) -> str:
    """An amount, as far as it is known; `unpriced` is the number of calls that are not in it, for want of a price."""
    if not unpriced:
        return f"${dollars:.4f}"
    return f"${dollars:.4f} + unknown" if dollars else "unknown"
