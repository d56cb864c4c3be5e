"""From a config's `answer` to an answer format."""

from pathlib import Path

from metaspo.engine.tasks.answer_spec import AnswerSpec
from metaspo.engine.tasks.base import AnswerFormat
from metaspo.engine.tasks.formats.code import Code
from metaspo.engine.tasks.formats.expressions import Math
from metaspo.engine.tasks.formats.label_sets import LabelSet
from metaspo.engine.tasks.formats.labels import Label
from metaspo.engine.tasks.formats.letters import Letter
from metaspo.engine.tasks.formats.numbers import Integer, Number
from metaspo.engine.tasks.formats.objects import Json
from metaspo.engine.tasks.formats.plugin import build_plugin
from metaspo.engine.tasks.formats.tagged import Kind, Tagged
from metaspo.engine.tasks.formats.texts import Text
from metaspo.engine.tasks.formats.unanswerable import OrUnanswerable


def build_format(spec: AnswerSpec, *, labels: tuple[str, ...] = (), base_dir: Path = Path()) -> AnswerFormat:
    """The format that a config's `answer` names.

    Args:
        labels: for kinds "label" and "labels" without their own.
        base_dir: where the module of a kind of the user's own is looked for, too.

    Raises:
        TaskError: the module of a kind of the user's own cannot be imported.
        ValueError: the format cannot be made as asked.
    """
    kind = _kind(spec, spec.labels or labels, base_dir)
    if spec.unanswerable is not None:
        kind = OrUnanswerable(kind, spec.unanswerable)
    return kind if spec.tag is None else Tagged(kind, spec.tag)


def _kind(spec: AnswerSpec, labels: tuple[str, ...], base_dir: Path) -> Kind:
    match spec.kind:
        case "letter":
            return Letter(spec.labels) if spec.labels else Letter()
        case "integer":
            return Integer(number_words=spec.number_words)
        case "label":
            return Label(labels, number_words=spec.number_words, alone=spec.alone)
        case "labels":
            return LabelSet(labels, number_words=spec.number_words)
        case "text":
            return Text(number_words=spec.number_words)
        case "number":
            return Number(spec.absolute_tolerance, spec.relative_tolerance, spec.units, spec.number_words)
        case "math":
            return Math(spec.time_limit)
        case "json":
            return Json(spec.json_schema)
        case "code":
            return Code(spec.time_limit, spec.unconfined)
        case path:
            nested = spec.tag is not None or spec.unanswerable is not None
            return build_plugin(path, spec.options, base_dir=base_dir, tagged=nested)
