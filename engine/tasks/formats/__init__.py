"""How an answer is read out of a completion: kinds of answers, and a tag that may stand around them."""

from typing import TYPE_CHECKING

from metaspo.backends.late_exports import late_exports

if TYPE_CHECKING:
    from metaspo.engine.tasks.formats.build import build_format
    from metaspo.engine.tasks.formats.code import Code
    from metaspo.engine.tasks.formats.expressions import Math
    from metaspo.engine.tasks.formats.label_sets import LabelSet
    from metaspo.engine.tasks.formats.labels import Label
    from metaspo.engine.tasks.formats.letters import Letter
    from metaspo.engine.tasks.formats.numbers import Integer, Number
    from metaspo.engine.tasks.formats.objects import Json
    from metaspo.engine.tasks.formats.plugin import Plugin
    from metaspo.engine.tasks.formats.tagged import Kind, Tagged
    from metaspo.engine.tasks.formats.texts import Text
    from metaspo.engine.tasks.formats.unanswerable import OrUnanswerable
else:
    __getattr__, __dir__ = late_exports(__name__)

__all__ = [
    "Code",
    "Integer",
    "Json",
    "Kind",
    "Label",
    "LabelSet",
    "Letter",
    "Math",
    "Number",
    "OrUnanswerable",
    "Plugin",
    "Tagged",
    "Text",
    "build_format",
]
