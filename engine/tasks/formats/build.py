"""From a config's `answer` to an answer format."""

from metaspo.engine.tasks.base import AnswerFormat
from metaspo.engine.tasks.formats.labels import Label
from metaspo.engine.tasks.formats.letters import Letter
from metaspo.engine.tasks.formats.numbers import Integer
from metaspo.engine.tasks.formats.tagged import Kind, Tagged
from metaspo.engine.tasks.formats.texts import Text
from metaspo.engine.tasks.spec import AnswerSpec


def build_format(spec: AnswerSpec, *, labels: tuple[str, ...] = ()) -> AnswerFormat:
    """The format that a config's `answer` names; `labels` is for kind "label" without its own. Raises `ValueError`."""
    kind = _kind(spec, spec.labels or labels)
    return kind if spec.tag is None else Tagged(kind, spec.tag)


def _kind(spec: AnswerSpec, labels: tuple[str, ...]) -> Kind:
    match spec.kind:
        case "letter":
            return Letter(spec.labels) if spec.labels else Letter()
        case "integer":
            return Integer(number_words=spec.number_words)
        case "label":
            return Label(labels, number_words=spec.number_words)
        case "text":
            return Text(number_words=spec.number_words)
