"""An answer format of the user's own, named by import path."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from metaspo.engine.tasks.base import reading_of, similarity_of
from metaspo.engine.tasks.errors import FormatError
from metaspo.engine.tasks.formats.tagged import Kind, field_reader
from metaspo.engine.tasks.imports import import_object
from metaspo.engine.tasks.own_code import as_score, called
from metaspo.engine.tasks.shown import shown

T = TypeVar("T")
_METHODS: Final = ("parse", "canonical", "describe")


@dataclass(frozen=True, slots=True)
class Plugin:
    """A user's own answer format, checked at each call.

    It must depend on its arguments alone, or runs no longer replay. What it raises becomes a `FormatError`.

    Attributes:
        path: "package.module:Class".
        options: what the class was called with.
    """

    path: str
    options: Mapping[str, Any]
    _format: Kind = field(repr=False, compare=False)

    @property
    def wanted(self) -> str:
        return self._format.wanted

    def parse(self, text: str, /) -> str | None:
        return self._checked(self._format.parse, text)

    def parse_field(self, text: str, /) -> str | None:
        return self._checked(field_reader(self._format), text)

    def canonical(self, answer: str, /) -> str | None:
        return self._checked(self._format.canonical, answer)

    def describe(self) -> str:
        return self._said("describe", self._format.describe)

    def reading(self) -> str:
        return self._said("reading", partial(reading_of, self._format))

    def similarity(self, prediction: str, answer: str, /) -> float:
        returned = self._called(similarity_of(self._format), prediction, answer)
        score = as_score(returned)
        if score is None:
            raise FormatError(
                f"answer.kind = {self.path!r}: similarity returned {shown(returned)}, not a number from 0 to 1"
            )
        return score

    def _said(self, name: str, method: Callable[[], object]) -> str:
        sentence = called(method, failed=lambda why: FormatError(f"answer.kind = {self.path!r}: {name} failed: {why}"))
        if not isinstance(sentence, str):
            raise FormatError(f"answer.kind = {self.path!r}: {name} returned {shown(sentence)}, not a sentence")
        return sentence

    def _checked(self, read: Callable[[str], str | None], text: str) -> str | None:
        answer = self._called(read, text)
        if answer is not None and not (isinstance(answer, str) and answer):
            raise FormatError(
                f"answer.kind = {self.path!r} returned {shown(answer)} for {shown(text)}: it must return text or None"
            )
        return answer

    def _called(self, method: Callable[..., T], *texts: str) -> T:
        return called(method, *texts, failed=partial(self._failed_on, texts[0]))

    def _failed_on(self, text: str, why: str) -> FormatError:
        return FormatError(f"answer.kind = {self.path!r} failed on {shown(text)}: {why}")


def build_plugin(path: str, options: Mapping[str, Any], *, base_dir: Path, tagged: bool) -> Plugin:
    """Import the class and call it with the options. Raises `TaskError`, `ValueError`."""
    factory = import_object(path, base_dir=base_dir, key="answer.kind")
    if not callable(factory):
        raise ValueError(f"kind = {path!r} names no class: name one with the methods {', '.join(_METHODS)}")
    try:
        inspect.signature(factory).bind(**options)
    except TypeError as error:
        raise ValueError(f"kind = {path!r} cannot be made with options = {dict(options)!r}: {error}") from None
    try:
        answer_format = factory(**options)
    except (Exception, SystemExit) as error:
        raise ValueError(f"kind = {path!r} cannot be made: {type(error).__name__}: {error}") from error
    needed = (*_METHODS, "wanted") if tagged else _METHODS
    if lacking := [name for name in needed if not hasattr(answer_format, name)]:
        raise ValueError(f"kind = {path!r} has no {', '.join(lacking)}: an answer format needs {', '.join(needed)}")
    plugin = Plugin(path, dict(options), cast(Kind, answer_format))
    plugin.reading()  # what is wrong with it is told before anything is asked
    return plugin
