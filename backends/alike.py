"""What is true of several servers is told once."""

from collections.abc import Iterable


def told_once(said: Iterable[tuple[str, str]]) -> list[str]:
    """Sentences, each about the server of a name: of those that differ in the name alone the first one, and whose else
    the same is true of."""
    alike: dict[str, list[tuple[str, str]]] = {}
    for name, sentence in said:
        alike.setdefault(sentence.replace(name, ""), []).append((name, sentence))
    return [_with_others(*group) for group in alike.values()]


def _with_others(first: tuple[str, str], *others: tuple[str, str]) -> str:
    sentence = first[1] if first[1].endswith((".", "?", "!")) else f"{first[1]}."
    return f"{sentence} The same is true of {', '.join(name for name, _ in others)}." if others else sentence
