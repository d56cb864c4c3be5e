"""Texts in the template languages of other tools: what looks like a command there comes out as the text that it is."""

import re
from typing import Final

from metaspo.backends.late_patterns import late_pattern
from metaspo.engine.errors import ConfigError
from metaspo.engine.tasks.base import PLACEHOLDER

_SPECIAL: Final = late_pattern(r"\{(?=[{%#\r]|\n?\Z)|#(?=\})|\r|\n\Z")
_LITERALS: Final = {"{": "{{ '{' }}", "#": "{{ '#' }}", "\r": "{{ '\\r' }}", "\n": "{{ '\\n' }}"}
_VARIABLE: Final = late_pattern(r"\{\{\s*[A-Za-z_][\w.]*\s*\}\}")
_BRACED: Final = late_pattern(r"\{\{(.*?)\}\}", re.DOTALL)
JINJA_PLACEHOLDER: Final = "{{ question }}"
LANGFUSE_PLACEHOLDER: Final = "{{question}}"
EMPTY_BLOCK: Final = "{% raw %}{% endraw %}"


def jinja(template: str) -> str:
    """A template with `{question}` for Jinja2 and Nunjucks, where it is `{{ question }}`."""
    return JINJA_PLACEHOLDER.join(_SPECIAL.sub(lambda match: _LITERALS[match[0]], part) for part in _parts(template))


def f_string(template: str) -> str:
    """The same for `str.format` and LangChain's f-strings."""
    return PLACEHOLDER.join(part.replace("{", "{{").replace("}", "}}") for part in _parts(template))


def mlflow(templates: list[str]) -> list[str]:
    """The templates of one chat for MLflow, which takes all of them for Jinja2's if one has `{%` and `%}` in it, and
    else fills in what stands in double braces, without a way to write such braces as text."""
    raw = [JINJA_PLACEHOLDER.join(_parts(template)) for template in templates]
    as_jinja = any("{%" in text and "%}" in text for text in raw)
    if not as_jinja and all(len(_VARIABLE.findall(text)) == text.count(JINJA_PLACEHOLDER) for text in raw):
        return raw
    return [EMPTY_BLOCK + jinja(template) for template in templates]


def langfuse(template: str, *, what: str) -> str:
    """A template for Langfuse, which takes what stands in double braces for a variable, without a way to write such
    braces as text, and leaves those that it is given nothing for. Raises `ConfigError` where the question's own are
    none by that rule."""
    text = LANGFUSE_PLACEHOLDER.join(_parts(template))
    if _BRACED.sub(lambda braced: PLACEHOLDER if braced[1].strip() == "question" else braced[0], text) != template:
        raise ConfigError(f"{what} has braces before {PLACEHOLDER} that would hide it from Langfuse: use --to messages")
    return text


def modelfile_value(text: str, *, what: str) -> str:
    """A text in an Ollama Modelfile, in three quotes. Raises `ConfigError` for what that file cannot hold."""
    lines = re.split(r"[\r\n]", text)
    if any(line.strip().endswith('"""') for line in lines[:-1]):
        raise ConfigError(f'{what} has a line that ends with """, where a Modelfile would end it: use --to messages')
    lost = next((char for char in text if not char.isprintable() and char not in "\n\r\t"), "")
    if lost:
        raise ConfigError(f"{what} holds {lost!r}, which a Modelfile loses: use --to messages")
    return f'"""{text}"""'


def _parts(template: str) -> list[str]:
    """What stands before and after the placeholder; the whole where there is none."""
    return template.split(PLACEHOLDER)
