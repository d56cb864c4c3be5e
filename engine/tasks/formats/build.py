"""From a config's `answer` to an answer format."""

from pathlib import Path

from metaspo.engine.tasks import formats  # each of which is imported when it is made
from metaspo.engine.tasks.answer_spec import AnswerSpec
from metaspo.engine.tasks.base import AnswerFormat
from metaspo.engine.tasks.formats.plugin import build_plugin
from metaspo.engine.tasks.formats.tagged import Kind, Tagged


def build_format(spec: AnswerSpec, *, base_dir: Path = Path()) -> AnswerFormat:
    """The format that a config's `answer` names; a module of the user's own is looked for in `base_dir`, too.

    Raises:
        TaskError: the module of a kind of the user's own cannot be imported.
        ValueError: the format cannot be made as asked.
    """
    kind = _kind(spec, base_dir)
    if spec.unanswerable is not None:
        kind = formats.OrUnanswerable(kind, spec.unanswerable)
    return kind if spec.tag is None else Tagged(kind, spec.tag)


def _kind(spec: AnswerSpec, base_dir: Path) -> Kind:
    match spec.kind:
        case "letter":
            return formats.Letter(spec.labels) if spec.labels else formats.Letter()
        case "integer":
            return formats.Integer(number_words=spec.number_words)
        case "label":
            return formats.Label(spec.labels, number_words=spec.number_words, alone=spec.alone)
        case "labels":
            return formats.LabelSet(spec.labels, number_words=spec.number_words)
        case "text":
            return formats.Text(number_words=spec.number_words)
        case "number":
            return formats.Number(spec.absolute_tolerance, spec.relative_tolerance, spec.units, spec.number_words)
        case "math":
            return formats.Math(spec.time_limit)
        case "json":
            return formats.Json(spec.json_schema)
        case "code":
            return formats.Code(spec.time_limit, spec.unconfined)
        case path:
            nested = spec.tag is not None or spec.unanswerable is not None
            return build_plugin(path, spec.options, base_dir=base_dir, tagged=nested)
