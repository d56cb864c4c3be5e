"""Configs of promptfoo as tasks: the prompt, and the tests whose answer can be compared."""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, Final

from metaspo.backends.late_patterns import late_pattern
from metaspo.engine.errors import ConfigError
from metaspo.engine.exchange.imported import Imported, ImportedTask, Row, plain_text, task_name
from metaspo.engine.exchange.prompt_files import roles_of
from metaspo.engine.exchange.structured import json_of, read_structured
from metaspo.engine.tasks.base import PLACEHOLDER

_LITERAL: Final = late_pattern(r"\{\{\s*'((?:\\.|[^'\\])*)'\s*\}\}|\{%\s*raw\s*%\}(.*?)\{%\s*endraw\s*%\}", re.DOTALL)
_TOKEN: Final = late_pattern(rf"{_LITERAL.pattern}|\{{\{{\s*(?P<variable>\w+)\s*\}}\}}", re.DOTALL)
_ONE: Final = {"equals", "contains", "icontains", "starts-with"}
_SEVERAL: Final = {"contains-any", "icontains-any"}
MAX_TESTS: Final = 100_000  # of the lists in one
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t"}


def is_promptfoo(data: Mapping[str, Any]) -> bool:
    """Whether it is a config of promptfoo."""
    return "prompts" in data and ("tests" in data or "providers" in data)


def read_promptfoo(data: Mapping[str, Any], *, path: Path) -> Imported:
    """The first prompt and the tests of a config; files that it names lie beside it.

    Raises:
        ConfigError: for a prompt that is no plain template, or tests that cannot be read.
    """
    system, user, notes = _prompt(data, path)
    before, span, after = _around_variables(user, path)
    tests = [_with_defaults(test, data.get("defaultTest")) for test in _tests(data.get("tests", ()), path)]
    rows: list[Row] = []
    for test in tests:
        answers = _answers(test)
        rows += [(_filled(span, each, path), answers) for each in _vars(test) if answers]
    if left_out := sum(not _answers(test) for test in tests):
        notes.append(f"{left_out} of {len(tests)} tests have no answer to compare with (equals, contains …): left out")
    name = _name(data, path)
    task = ImportedTask(name=name, user_prompt=f"{before}{PLACEHOLDER}{after}", rows=tuple(rows))
    return Imported(system_prompt=system, tasks=(task,), base=_base(data), notes=tuple(notes))


def _name(data: Mapping[str, Any], path: Path) -> str:
    default = data.get("defaultTest")
    metadata = default.get("metadata", {}) if isinstance(default, Mapping) else {}
    stem = path.name.partition(".")[0] if path.stem == "promptfooconfig" else path.stem.removeprefix("promptfooconfig.")
    return task_name(str(metadata.get("task") or (path.absolute().parent.name if stem == "promptfooconfig" else stem)))


def _prompt(data: Mapping[str, Any], path: Path) -> tuple[str, str, list[str]]:
    """The first prompt as system and user prompt, templates still, and what was left out."""
    prompts = data["prompts"] if isinstance(data["prompts"], list) else [data["prompts"]]
    if not prompts:
        raise ConfigError(f"{path}: holds no prompt")
    first = prompts[0]
    if isinstance(first, Mapping):
        first = first.get("raw") or first.get("id") or ""
    text = _of_file(str(first), path)
    notes = [f"the first of {len(prompts)} prompts was taken"] if len(prompts) > 1 else []
    try:
        chat = json.loads(text)
    except ValueError:
        return "", text, notes
    if not isinstance(chat, list):
        return "", text, notes
    system, user = roles_of(chat, source=str(path))
    return _plain(system, path), user, notes


def _of_file(text: str, path: Path) -> str:
    """What a prompt's file holds, up to its first "---"; a prompt that is no file, as it is."""
    named = text.removeprefix("file://")
    beside = path.parent / named
    is_file = "\n" not in text and len(text) < 300 and Path(named).suffix in (".txt", ".md", ".json", ".j2")
    if not (text.startswith("file://") or (is_file and beside.is_file())):
        return text
    held = plain_text(beside)
    return held if beside.suffix == ".json" else re.split(r"^---\s*$", held, flags=re.MULTILINE)[0].strip()


def _around_variables(template: str, path: Path) -> tuple[str, str, str]:
    """What stands before the first variable, from it to the last one, and after it; only the middle is a template."""
    marks = _variables(template)
    if not marks:
        raise ConfigError(
            f"{path}: its prompt has no variable, such as {{{{question}}}}, for what differs from test to test"
        )
    start, end = marks[0].start(), marks[-1].end()
    return _plain(template[:start], path), template[start:end], _plain(template[end:], path)


def _variables(template: str) -> list[re.Match[str]]:
    """Where a template names its variables; within a literal part nothing is one."""
    return [token for token in _TOKEN.finditer(template) if token["variable"]]


def _plain(template: str, path: Path) -> str:
    """The text of a template without variables. Raises `ConfigError` where it holds more than text."""
    text, at = [], 0
    for literal in _LITERAL.finditer(template):
        text += [_checked(template[at : literal.start()], path), _unescaped(literal)]
        at = literal.end()
    return "".join([*text, _checked(template[at:], path)])


def _unescaped(literal: re.Match[str]) -> str:
    if literal[1] is None:
        return literal[2]
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[1]), literal[1], flags=re.DOTALL)


def _checked(text: str, path: Path) -> str:
    if command := re.search(r"\{[{%#].{0,40}", text):
        raise ConfigError(
            f"{path}: its prompt is more than a text with variables: {command[0]!r}; write that out first"
        )
    return text


def _filled(span: str, values: Mapping[str, str], path: Path) -> str:
    """The part of the prompt that differs from test to test, for one of them."""
    text, at = [], 0
    for mark in _variables(span):
        if mark["variable"] not in values:
            raise ConfigError(f"{path}: a test has no variable '{mark['variable']}', which its prompt names")
        text += [_plain(span[at : mark.start()], path), values[mark["variable"]]]
        at = mark.end()
    return "".join(text)


def _tests(tests: object, path: Path) -> Iterator[Mapping[str, Any]]:
    """Tests as they stand in the config, or in files beside it."""
    if isinstance(tests, str):
        tests = [tests]
    for test in tests if isinstance(tests, Sequence) else ():
        if isinstance(test, Mapping):
            yield test
        elif isinstance(test, str):
            yield from _tests_of_file(path.parent / test.removeprefix("file://"))


def _tests_of_file(path: Path) -> Iterator[Mapping[str, Any]]:
    if path.suffix == ".csv":
        for row in csv.DictReader(io.StringIO(plain_text(path))):
            expected = row.get("__expected", "")
            kind, colon, value = expected.partition(":")
            supported = colon and kind.strip() in _ONE | _SEVERAL
            check = (
                {"type": kind.strip(), "value": value.strip()} if supported else {"type": "equals", "value": expected}
            )
            yield {
                "vars": {name: value for name, value in row.items() if name and not name.startswith("__")},
                "assert": [check] if expected else [],
            }
    elif path.suffix == ".jsonl":
        for line in plain_text(path).split("\n"):
            if line.strip() and isinstance(test := json_of(line, path), Mapping):
                yield test
    else:
        tests = read_structured(path)
        yield from (test for test in (tests if isinstance(tests, list) else ()) if isinstance(test, Mapping))


def _with_defaults(test: Mapping[str, Any], default: object) -> Mapping[str, Any]:
    if not isinstance(default, Mapping):
        return test
    variables = {**(default.get("vars") or {}), **(test.get("vars") or {})}
    checks = [*(default.get("assert") or ()), *(test.get("assert") or ())]
    return {**test, "vars": variables, "assert": checks, "metaspo": "metaspo" in (default.get("metadata") or {})}


def _vars(test: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """A test's variables; where some are lists, every combination, as promptfoo has it."""
    variables = test.get("vars") or {}
    lists = [value if isinstance(value, list) else [value] for value in variables.values()]
    if prod(map(len, lists)) > MAX_TESTS:
        raise ValueError(f"one test stands for more than {MAX_TESTS:,}")
    for values in product(*lists):
        yield {
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in zip(variables, values, strict=True)
        }


def _answers(test: Mapping[str, Any]) -> tuple[str, ...]:
    """The answers that a test takes for right; () where it has none to compare with."""
    if test.get("metaspo"):  # of our own export
        return tuple(json.loads(test["vars"]["expected"]))
    for check in test.get("assert") or ():
        kind, value = (check.get("type"), check.get("value")) if isinstance(check, Mapping) else ("", None)
        if kind in _ONE and isinstance(value, str | int | float) and str(value).strip():
            return (str(value),)
        if kind in _SEVERAL and value:
            several = value if isinstance(value, list) else str(value).split(",")
            return tuple(str(each).strip() for each in several)
    return ()


def _base(data: Mapping[str, Any]) -> dict[str, Any]:
    """The `[base]` table, where the first provider is one that speaks OpenAI's format."""
    providers = data.get("providers") or ()
    first = providers[0] if isinstance(providers, list) and providers else providers
    name, settings = (
        (first.get("id", ""), first.get("config") or {}) if isinstance(first, Mapping) else (str(first), {})
    )
    match = re.fullmatch(r"openai:(?:chat:)?([^:]+(?::[^:]+)?)", str(name))
    if not match:
        return {}
    url = settings.get("apiBaseUrl")
    where = {"endpoints": [str(url)]} if url else {"backend": "openai"}
    tokens, key = settings.get("max_tokens"), settings.get("apiKeyEnvar")
    said = {**({"max_tokens": int(tokens)} if tokens else {}), **({"api_key_env": str(key)} if key else {})}
    return {**where, "model": match[1], **said}
