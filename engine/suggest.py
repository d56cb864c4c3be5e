"""Names that there are not."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(word: str, names: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the closest known name, of close ones that which begins alike; "" if none is close."""
    matches = get_close_matches(word, list(names), n=5, cutoff=0.55)
    matches.sort(key=lambda name: name[:2] != word[:2])
    return f" (did you mean '{matches[0]}'?)" if matches else ""


def there_is_no(what: str, name: str, known: Iterable[str]) -> str:
    """What is said of a name that there is not, with the names that there are."""
    names = list(known)
    return f"there is no {what} '{name}'{nearest(name, names)}; known: {', '.join(names)}"
