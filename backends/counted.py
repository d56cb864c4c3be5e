"""Numbers with what they count."""


def counted(number: int, one: str, many: str = "") -> str:
    """`1 call`, `1,200 calls`; `many` where that is not `one` with an s."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"
