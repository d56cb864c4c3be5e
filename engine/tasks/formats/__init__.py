"""How an answer is read out of a completion: kinds of answers, and a tag that may stand around them."""

from typing import TYPE_CHECKING

from metaspo.backends.late_exports import late_exports

if TYPE_CHECKING:
    from metaspo.engine.tasks.formats.build import build_format as build_format
    from metaspo.engine.tasks.formats.code import Code as Code
    from metaspo.engine.tasks.formats.expressions import Math as Math
    from metaspo.engine.tasks.formats.label_sets import LabelSet as LabelSet
    from metaspo.engine.tasks.formats.labels import Label as Label
    from metaspo.engine.tasks.formats.letters import Letter as Letter
    from metaspo.engine.tasks.formats.numbers import Integer as Integer
    from metaspo.engine.tasks.formats.numbers import Number as Number
    from metaspo.engine.tasks.formats.objects import Json as Json
    from metaspo.engine.tasks.formats.plugin import Plugin as Plugin
    from metaspo.engine.tasks.formats.tagged import Kind as Kind
    from metaspo.engine.tasks.formats.tagged import Tagged as Tagged
    from metaspo.engine.tasks.formats.texts import Text as Text
    from metaspo.engine.tasks.formats.unanswerable import OrUnanswerable as OrUnanswerable
else:
    __getattr__, __dir__ = late_exports(__name__)
